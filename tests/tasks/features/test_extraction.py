import numpy as np
import pytest
import tensorflow as tf

from tasks.errors import BackboneError
from tasks.features.backbone import Backbone
from tasks.features.extraction import make_feature_extractor
from tasks.features.litert import LiteRTNetwork
from tasks.features.preprocessing import cut_view, prepare_poster
from tasks.sample.drawing import draw_poster
from tasks.settings import FeatureSettings

POSTERS = [draw_poster("A (1999)", ["Drama"], np.random.default_rng(seed)) for seed in range(37)]


@pytest.fixture(scope="module")
def expected(backbone: Backbone) -> list[tf.Tensor]:
    """Features of the whole posters and of a view of each, by the network itself."""
    pixels = tf.stack([prepare_poster(tf.constant(poster)) for poster in POSTERS])
    return [backbone.tapped(view, training=False) for view in (pixels, cut_view(pixels, 3))]


@pytest.mark.backbone
@pytest.mark.parametrize(
    "settings", [FeatureSettings(engine="litert"), FeatureSettings(engine="tensorflow", batch_size=3)]
)
def test_features_are_the_networks_by_either_engine(
    backbone: Backbone, expected: list[tf.Tensor], settings: FeatureSettings
) -> None:
    extracted: list[int] = []
    extract = make_feature_extractor(backbone, settings, extracted.append)
    features = extract(POSTERS, [0, 3])
    assert (sum(extracted), max(extracted) < 37) == (37, True)  # while it runs
    assert (features.shape, features.dtype) == ((37, 2, 1280 + 576 + 960), np.float32)
    np.testing.assert_allclose(features[:, 0], expected[0], atol=1e-3)
    np.testing.assert_allclose(features[:, 1], expected[1], atol=1e-3)
    assert extract([], [0, 3]).shape == (0, 2, 2816)
    with pytest.raises(tf.errors.InvalidArgumentError):
        extract([*POSTERS[:20], b"no image"], [0])


@pytest.mark.backbone
def test_an_engine_that_differs_is_not_used(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    run = LiteRTNetwork.predict_pixels
    monkeypatch.setattr(LiteRTNetwork, "predict_pixels", lambda network, pixels: run(network, pixels) + 0.002)
    with pytest.raises(BackboneError, match=r"differ from TensorFlow's by up to 0.002.*features.engine=tensorflow"):
        make_feature_extractor(backbone, FeatureSettings(engine="litert"))
