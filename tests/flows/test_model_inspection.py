import shutil
from pathlib import Path

import pytest
from called import call_main
from PIL import Image

from tasks.model_folder import ModelFolder

pytestmark = pytest.mark.backbone


def inspect(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str, str]:
    return call_main(capsys, "inspect", "model", *arguments)


def test_layers_and_picture_of_a_pulled_model(
    small_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The folder alone, without data, weights and registry.
    shutil.copytree(small_run.run.model.path, tmp_path / "pulled")
    monkeypatch.chdir(tmp_path)
    code, shown, errors = inspect(capsys, "pulled")
    assert (code, errors) == (0, "")
    names = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    assert [name for name in names if name.startswith("block_")] == [f"block_{number}" for number in range(1, 17)]
    (tapped,) = [line for line in shown.splitlines() if line.startswith("│ block_13 ")]
    assert tapped.endswith(" mean │")
    assert max(map(len, shown.splitlines())) <= 80  # as of a pipe: no column is cut off
    assert {"hidden", "logits", "taps", "views", "outputs", "parameters"} <= set(names)
    assert f"labels ({len(small_run.run.metrics['vocabulary'])})" in shown
    assert shown.endswith("picture   inspection/pulled/network.png\n")
    with Image.open(tmp_path / "inspection" / "pulled" / "network.png") as picture:
        assert min(picture.size) > 1000
    ModelFolder(tmp_path / "pulled").verify()


def test_maps_of_a_layer(small_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    poster = small_run.posters[0]
    pictures = []
    for layer in ("block_3_expand_relu", "block_13_expand_relu"):
        arguments = ("--layer", layer, "--image", poster, "--to", tmp_path, "--artifacts", small_run.artifacts_dir)
        code, shown, errors = inspect(capsys, "champion", *arguments)
        path = tmp_path / f"{layer}-{poster.stem}.png"
        assert (code, shown, errors) == (0, f"picture   {path}\n", "")
        pictures.append(path.read_bytes())
    assert pictures[0] != pictures[1]
    assert len(list(tmp_path.iterdir())) == 2


def test_all_layers_are_those_of_the_error(small_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_run.run.model.path
    code, _, errors = inspect(capsys, model, "--layer", "block_13_relu", "--image", small_run.posters[0])
    assert (code, errors.count("\n")) == (2, 1)
    assert "no layer 'block_13_relu' with maps in this model: did you mean block_13_" in errors
    (option,) = [word for word in errors.split() if word.startswith("--")]
    code, shown, _ = inspect(capsys, model, option, "--to", tmp_path)
    assert code == 0
    assert "block_13_expand_re" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--layer", "out_relu"], "expected --layer and --image together"),
        (["--image", "poster.jpg"], "expected --layer and --image together"),
        (["--layer", "out_relu", "--image", "none.jpg"], "no file none.jpg: expected a JPEG or PNG file (--image)"),
        (["--layer", "out_relu", "--image", "text.jpg"], "text.jpg: not an image: expected a JPEG or PNG file"),
        (["--layer", "out_relu", "--image", "empty.jpg"], "empty.jpg: empty: expected a JPEG or PNG file"),
    ],
)
def test_mistakes_are_one_line(
    small_run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    (tmp_path / "text.jpg").write_text("no poster")
    (tmp_path / "empty.jpg").touch()
    monkeypatch.chdir(tmp_path)
    code, shown, errors = inspect(capsys, small_run.run.model.path, *arguments)
    assert (code in (1, 2), shown, errors.count("\n")) == (True, "", 1)
    assert says in errors
    assert not (tmp_path / "inspection").exists()
