import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from tasks.outputs.decade import DecadeOutput
from tasks.outputs.genres import GenresOutput
from tasks.outputs.output import OutputContext, find_output_classes, make_outputs, split_columns
from tasks.outputs.score import ScoreOutput
from tasks.settings import GENRES_ALONE, OUTPUTS


def test_genres_come_first_and_are_alone_by_default(context: OutputContext) -> None:
    assert [output.name for output in make_outputs(context)] == ["genres", "decade", "score", "embedding"]
    alone = make_outputs(dataclasses.replace(context, heads=GENRES_ALONE))
    assert [output.name for output in alone] == ["genres"]


def test_weights_are_the_settings(context: OutputContext) -> None:
    assert [output.weight for output in make_outputs(context)] == [1.0, 0.1, 0.2, 0.3]


def test_every_output_is_made_again_from_its_config(context: OutputContext) -> None:
    for output in make_outputs(context):
        copy = type(output).from_config(output.get_config())
        assert copy.get_config() == output.get_config()
        assert (copy.num_columns, copy.target_spec) == (output.num_columns, output.target_spec)
        assert copy.column_names == output.column_names


@pytest.mark.parametrize(
    ("names", "outputs"),
    [
        (["a", "b"], [GenresOutput(["a", "b"])]),
        (["a", "decade 1990s", "decade 2000s"], [GenresOutput(["a"]), DecadeOutput([1990, 2000])]),
        (["a", "decade 1990s", "score"], [GenresOutput(["a"]), DecadeOutput([1990]), ScoreOutput(0, 1)]),
        (["a", "score"], [GenresOutput(["a"]), ScoreOutput(0, 1)]),
    ],
)
def test_outputs_are_found_by_the_names_of_their_columns(names: list[str], outputs: list[object]) -> None:
    found = [output for output in (kind.from_column_names(names) for kind in find_output_classes()) if output]
    assert found == outputs
    assert [name for output in found for name in output.column_names] == names
    numbers = np.arange(2 * len(names), dtype=np.float32).reshape(2, -1)
    parts = split_columns(found, numbers)
    assert [part.shape[1] for part in parts] == [len(output.column_names) for output in found]
    np.testing.assert_array_equal(np.hstack(parts), numbers)


def test_predictions_are_decoded_without_tensorflow() -> None:
    script = (
        "import sys\nfrom tasks.outputs.output import find_output_classes\n"
        "print([output.name for output in find_output_classes()], "
        "sorted({'tensorflow', 'keras', 'prefect', 'pandas', 'sklearn', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{list(OUTPUTS)} []\n"
