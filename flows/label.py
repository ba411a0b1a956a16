"""Label posters with a published model."""

from pathlib import Path

from prefect import flow

from flows.watching import crashed_when_interrupted, report_failure
from tasks.atomic import remove_partials
from tasks.errors import SettingsError
from tasks.prediction.images import SCHEMES
from tasks.prediction.labelling import FILES, Labelled, list_posters
from tasks.prediction.task import label_posters
from tasks.registry.models import find_model


@flow(name="label", on_failure=[report_failure], on_crashed=[report_failure], on_cancellation=[report_failure])
def label(source: str, output_dir: Path, model: str = "champion", artifacts_dir: Path = Path("artifacts")) -> Labelled:
    """Labels a folder or a catalog of posters, into `labels.parquet` and `labels.csv`.

    Args:
        source: Folder of JPEG and PNG files, such a file or its address, or a CSV with a column `Poster` of files and
            addresses, such as MovieGenre.csv.
        output_dir: Folder that appears whole or not at all; one that an earlier run wrote is replaced.
        model: Id of a published model, `champion`, or a model's folder.
        artifacts_dir: Folder of the published models.
    """
    folder = check_inputs(source, output_dir, model, artifacts_dir)
    remove_partials(output_dir.parent, output_dir.name)  # of a killed run
    with crashed_when_interrupted():
        return label_posters(folder, list_posters(source), output_dir)


def check_inputs(source: str, output_dir: Path, model: str, artifacts_dir: Path) -> Path:
    """Returns the folder of the model, if source and output folder can be used.

    Raises:
        SettingsError: There is no such source, or the output would replace other files.
        RegistryError: There is no such model.
    """
    folder = find_model(model, artifacts_dir).path
    if output_dir.exists() and (
        not output_dir.is_dir() or {path.name for path in output_dir.iterdir()}.difference(FILES)
    ):
        raise SettingsError(f"{output_dir} has other files: expected a folder that is new, empty, or of an earlier run")
    if not source.startswith(SCHEMES) and not Path(source).exists():
        raise SettingsError(f"nothing at {source}: expected a folder of images, an image, or a CSV")
    return folder
