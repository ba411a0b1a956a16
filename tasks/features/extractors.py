"""The feature extractor of this process: that of the backbone and settings which its tasks have."""

from dataclasses import dataclass

from tasks.errors import BackboneError
from tasks.features.backbone import load_backbone
from tasks.features.extraction import FeatureExtractor, make_feature_extractor
from tasks.kept import Kept, count_cores
from tasks.settings import FeatureSettings


@dataclass(frozen=True)
class ExtractorKey:
    """What decides an extractor.

    Attributes:
        fingerprint: Fingerprint of the backbone's weights.
        settings: Settings of the backbone, with absolute paths.
        num_neighbours: Number of processes that extract features on one machine, which share its cores.
    """

    fingerprint: str
    settings: FeatureSettings
    num_neighbours: int = 1


def _make_extractor(key: ExtractorKey) -> FeatureExtractor:
    backbone = load_backbone(key.settings)
    if backbone.fingerprint != key.fingerprint:
        raise BackboneError(
            f"the worker's backbone has the fingerprint {backbone.fingerprint}, expected the run's, {key.fingerprint}: "
            "give all machines the same weights (features.source, wheel_dir, hub_handle)"
        )
    num_cores = count_cores(key.num_neighbours)
    return make_feature_extractor(backbone, key.settings, num_cores=num_cores)


_extractors = Kept(_make_extractor)
keep_extractor = _extractors.keep


def find_extractor(key: ExtractorKey) -> FeatureExtractor:
    """Returns the extractor of this process; see `Kept.find`.

    Raises:
        BackboneError: This machine has other weights than the flow's.
    """
    return _extractors.find(key)
