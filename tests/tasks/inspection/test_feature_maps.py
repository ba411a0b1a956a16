import io

import numpy as np
import pytest
from PIL import Image

from tasks.errors import SettingsError
from tasks.inspection.feature_maps import GAP, MAX_CHANNELS, FeatureMaps, check_layer, compute_maps, draw_maps
from tasks.inspection.network import Network
from tasks.posters.images import NotAPosterError


def encode(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def make_poster() -> bytes:
    return encode(np.random.default_rng(0).integers(0, 256, (96, 64, 3)).astype(np.uint8))


def make_maps(values: np.ndarray) -> FeatureMaps:
    return FeatureMaps("layer", np.full((96, 64, 3), 200, np.float32), values.astype(np.float32))


def test_maps_are_those_of_the_layer_and_of_the_poster(tapped: Network) -> None:
    poster = make_poster()
    pixels = compute_maps(tapped.backbone, "pixels", poster)
    assert pixels.values.shape == (96, 64, 3)
    np.testing.assert_allclose(pixels.values, np.asarray(Image.open(io.BytesIO(poster))), atol=1e-3)
    scaled = compute_maps(tapped.backbone, "scale", poster)
    np.testing.assert_allclose(scaled.values, pixels.values / 127.5 - 1, atol=1e-5)
    tap = compute_maps(tapped.backbone, "block_13_expand_relu", poster)
    assert tap.values.shape == (6, 4, 192)
    # Their averages are the features of that tap, the last ones.
    features = np.asarray(tapped.backbone(pixels.values[np.newaxis], training=False))[0]
    np.testing.assert_allclose(tap.values.mean(axis=(0, 1)), features[-192:], atol=1e-4)


def test_the_most_active_channels_come_first() -> None:
    values = np.zeros((2, 2, 100))
    values[..., 7] = 1
    values[0, 0, 3] = -8  # 2 on average
    values[0, 0, 5] = 3  # 0.75
    assert make_maps(values).rank_channels()[:4] == [3, 7, 5, 0]
    assert len(make_maps(values).rank_channels()) == MAX_CHANNELS


def test_poster_and_maps_are_drawn_in_the_order_of_the_channels() -> None:
    values = np.zeros((6, 4, 10))
    values[..., 4] = 6
    values[..., 2] = 3
    picture = draw_maps(make_maps(values), "poster.jpg")
    # Eight maps of 88 x 132 pixels in a row, and below them two.
    assert picture.width == 64 + 3 * GAP + 8 * (88 + GAP) + GAP
    pixels = np.asarray(picture).astype(int)
    assert (pixels[72:168, GAP : GAP + 64] == 200).all()
    tops = [72 + 16, 72 + 16 + 132 + 16 + GAP]
    middles = [pixels[tops[0] + 66, 64 + 3 * GAP + column * (88 + GAP) + 44].sum() for column in range(8)]
    assert middles[0] > middles[1] > middles[2] == middles[7]
    last_row = pixels[tops[1] + 66]
    assert last_row[64 + 3 * GAP + 96 + 44].sum() == middles[2]
    assert (last_row[64 + 3 * GAP + 2 * 96 :] == pixels[0, 0]).all()


def test_maps_of_two_layers_differ_and_those_of_one_do_not(tapped: Network) -> None:
    poster = make_poster()
    one, again, other = (
        draw_maps(compute_maps(tapped.backbone, layer, poster), "poster")
        for layer in ("block_3_expand_relu", "block_3_expand_relu", "block_3_depthwise_relu")
    )
    assert one.tobytes() == again.tobytes()
    assert one.size != other.size or one.tobytes() != other.tobytes()


def test_negative_values_are_blue_and_others_red() -> None:
    values = np.zeros((6, 4, 2))
    values[..., 0], values[..., 1] = -2, 1.9
    pixels = np.asarray(draw_maps(make_maps(values), "poster")).astype(int)
    blue, red = (pixels[72 + 16 + 66, 64 + 3 * GAP + column * (88 + GAP) + 44] for column in range(2))
    assert blue[2] > blue[0]
    assert red[0] > red[2]


def test_a_layer_that_is_none_is_answered_with_similar_names(tapped: Network) -> None:
    check_layer("block_6_expand_relu", tapped.maps)
    with pytest.raises(SettingsError) as raised:
        check_layer("block_6_expand_rlu", tapped.maps)
    assert "no layer 'block_6_expand_rlu' with maps in this model: did you mean block_6_expand_relu" in str(
        raised.value
    )
    assert str(raised.value).endswith("poster-genres inspect model MODEL --all-layers lists all")
    with pytest.raises(SettingsError, match=r"no layer 'zzz' with maps in this model: poster-genres inspect"):
        check_layer("zzz", tapped.maps)


def test_what_is_no_poster_is_refused(tapped: Network) -> None:
    with pytest.raises(NotAPosterError):
        compute_maps(tapped.backbone, "Conv1_relu", make_poster()[:200])
