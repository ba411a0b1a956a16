"""Check all files of a data folder, and mend what can be mended without a run."""

from tasks.checking import FileCheck, check_result
from tasks.dataset.checking import check_dataset, check_splits
from tasks.dataset.lost_splits import SplitsBackup
from tasks.features.checking import check_features
from tasks.locking import locked
from tasks.posters.checking import check_posters
from tasks.registry.models import rank_models
from tasks.settings import Settings


def check_data(settings: Settings) -> list[FileCheck]:
    """Checks the files of all stages.

    What is damaged and can be made again is removed, for the next run to make. Lost splits are restored from the
    films of published models or of the data set, which are therefore checked after the splits.

    Args:
        settings: Settings with the `data_dir`, and the `artifacts_dir` of the champion.

    Raises:
        LockedError: If a run works in the folder.
    """
    workspace = settings.workspace
    with locked(settings.data_dir, "a check of its files", settings.wait_seconds):
        workspace.clear_leftovers()
        backup = SplitsBackup(rank_models(settings.artifacts_dir), workspace.folder("shards"))
        checks = check_posters(workspace.folder("posters"))
        checks += check_splits(workspace.folder("splits"), settings.dataset, backup)
        for folder in (workspace.folder("shards"), *sorted(workspace.folder("comparison").glob("seed-*/"))):
            checks += check_dataset(folder)
        checks += check_features(workspace.folder("features"))
        trained = sorted(workspace.folder("training").glob("[!.]*/"))
        results = [*trained, workspace.folder("evaluation"), workspace.folder("export")]
        checks += [check_result(folder) for folder in results if folder.is_dir()]
    return checks
