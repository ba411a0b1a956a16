import numpy as np
import pytest

from tasks.errors import BackboneError
from tasks.features import extraction
from tasks.features.backbone import FINGERPRINT
from tasks.features.extractors import ExtractorKey, find_extractor, keep_extractor
from tasks.features.litert import LiteRTNetwork
from tasks.sample.drawing import draw_poster
from tasks.settings import FeatureSettings

pytestmark = pytest.mark.backbone


def test_a_process_makes_one_extractor_and_checks_its_weights(
    wheel_settings: FeatureSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = []

    class Network(LiteRTNetwork):
        def __init__(self, model: bytes, num_cores: int | None = None) -> None:
            cores.append(num_cores)
            super().__init__(model, num_cores)

    monkeypatch.setattr(extraction, "LiteRTNetwork", Network)
    settings = wheel_settings.model_copy(update={"engine": "litert"})
    key = ExtractorKey(FINGERPRINT, settings, num_neighbours=1000)
    extractor = find_extractor(key)
    assert find_extractor(ExtractorKey(FINGERPRINT, settings, num_neighbours=1000)) is extractor
    assert cores == [1]
    poster = draw_poster("A (1999)", ["Drama"], np.random.default_rng(0))
    assert extractor([poster], [0]).shape[:2] == (1, 1)
    with pytest.raises(BackboneError, match=f"has the fingerprint {FINGERPRINT}, expected the run's, 0123"):
        find_extractor(ExtractorKey("0123", settings))


def test_an_extractor_that_is_kept_is_found_within_the_block(wheel_settings: FeatureSettings) -> None:
    key = ExtractorKey(FINGERPRINT, wheel_settings, num_neighbours=7)
    with keep_extractor(key, len):  # type: ignore[arg-type]
        assert find_extractor(key) is len
    assert find_extractor(key) is not len
