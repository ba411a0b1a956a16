"""The feature extractors of this process: one for each backbone and its settings, made when a task first needs it.

A task gets the plain `ExtractorKey`, in whatever process it runs. Loading and checking the network takes seconds, which
a worker spends once for all its shards.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import joblib

from tasks.errors import BackboneError
from tasks.features.backbone import load_backbone
from tasks.features.extraction import FeatureExtractor, make_feature_extractor
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


_extractors: dict[ExtractorKey, FeatureExtractor] = {}
_lock = threading.Lock()


@contextmanager
def keep_extractor(key: ExtractorKey, extractor: FeatureExtractor) -> Iterator[None]:
    """Gives the tasks of this process an extractor that was made for them, within the block."""
    _extractors[key] = extractor
    try:
        yield
    finally:
        _extractors.pop(key, None)


def find_extractor(key: ExtractorKey) -> FeatureExtractor:
    """Returns the extractor of this process, which is made if there is none yet; the last one made is kept.

    Raises:
        BackboneError: This machine has other weights than the flow's.
    """
    with _lock:
        if key not in _extractors:
            _extractors.clear()
            _extractors[key] = _make_extractor(key)
        return _extractors[key]


def _make_extractor(key: ExtractorKey) -> FeatureExtractor:
    backbone = load_backbone(key.settings)
    if backbone.fingerprint != key.fingerprint:
        raise BackboneError(
            f"the worker's backbone has the fingerprint {backbone.fingerprint}, expected the run's, {key.fingerprint}: "
            "give all machines the same weights (features.source, wheel_dir, hub_handle)"
        )
    num_cores = max(1, joblib.cpu_count() // key.num_neighbours)
    return make_feature_extractor(backbone, key.settings, num_cores=num_cores)
