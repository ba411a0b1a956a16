"""The circumstances of a verdict of the gate, and a new verdict of a known model when they have changed."""

from dataclasses import dataclass
from typing import Any, Self

from flows.extraction import extract_features
from tasks.dataset.task import Dataset
from tasks.model_folder import ModelFolder
from tasks.posters.task import PosterCounts
from tasks.registry.champions import list_rivals, was_champion
from tasks.registry.gate import Findings, describe_circumstances, judge
from tasks.registry.models import describe_format_mismatch, find_champion, read_champion_id
from tasks.registry.task import record_verdict
from tasks.settings import Settings


@dataclass(frozen=True)
class Circumstances:
    """What a candidate is judged by.

    Attributes:
        models: Present and earlier champions that it is compared with.
        format_mismatch: Reason why it can't be compared with the present champion; None if it can.
        values: As `describe_circumstances` returns them.
    """

    models: list[ModelFolder]
    format_mismatch: str | None
    values: dict[str, Any]

    @classmethod
    def read(cls, counts: PosterCounts, settings: Settings, store_champion_id: str | None) -> Self:
        """Returns those of this moment.

        Args:
            counts: Counts of the posters of this run.
            settings: Settings of the run.
            store_champion_id: Id of the champion of the store that the run pushes to; None: there is none.

        Raises:
            RegistryError: if the champion's folder is gone.
        """
        champion = find_champion(settings.artifacts_dir)
        mismatch = describe_format_mismatch(champion) if champion else None
        models = list_rivals(settings.artifacts_dir, [store_champion_id] if store_champion_id else [])
        values = describe_circumstances(champion, models, counts, settings.registry, mismatch)
        return cls(models, mismatch, values)


def judge_again(
    model: ModelFolder, dataset: Dataset, counts: PosterCounts, settings: Settings, store_champion_id: str | None
) -> bool:
    """Judges a known model that is not the champion, if its verdict was made in other circumstances.

    A model that has been champion is not judged again: a person made another one champion in its place.

    Args:
        model: The model.
        dataset: The data set that it was made of.
        counts: Counts of the posters of this run.
        settings: Settings of the run.
        store_champion_id: As in `Circumstances.read`.

    Returns:
        Whether it was judged.
    """
    if model.id == read_champion_id(settings.artifacts_dir) or was_champion(settings.artifacts_dir, model.id):
        return False
    circumstances = Circumstances.read(counts, settings, store_champion_id)
    manifest = model.read_manifest()
    gate = manifest["gate"]
    if not gate["allowed"] and gate.get("circumstances") == circumstances.values:
        return False
    # These import TensorFlow, which takes seconds.
    from tasks.evaluation.rivals import Rivals, compare_again
    from tasks.export.task import Export
    from tasks.features.backbone import load_backbone
    from tasks.features.joining import join_features

    features = extract_features(dataset, load_backbone(settings.features), settings)
    join_features(dataset, features, settings.views)
    posters_dir = settings.workspace.folder("posters")
    rivals = Rivals(circumstances.models, settings.registry.min_films_to_judge_genre, posters_dir)
    findings = Findings(
        metrics={**model.read_metrics(), "rivals": compare_again(model, rivals, dataset, features)},
        counts=counts,
        dataset_films_path=dataset.films_path,
        export_difference=Export(model.path, manifest["outputs"], manifest["export_check"]).largest_difference,
        format_mismatch=circumstances.format_mismatch,
    )
    record_verdict(model, judge(findings, settings.registry, circumstances.values), settings.artifacts_dir)
    return True
