import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from tasks.features.backbone import tap_network
from tasks.inspection.diagram import draw_network, save_figure
from tasks.inspection.network import Network
from tasks.settings import TAPS


def list_texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


@pytest.fixture(params=["tapped", "plain", "many taps"])
def network(request: pytest.FixtureRequest) -> Network:
    if request.param != "many taps":
        found: Network = request.getfixturevalue(request.param)
        return found
    # Every inner layer, twice: more than there are rows of blocks.
    plain = request.getfixturevalue("plain")
    taps = (*(f"{tap}:mean+std" for tap in TAPS), "out_relu:std")
    return replace(plain, backbone=tap_network(plain.backbone, taps))


def test_blocks_taps_head_and_outputs_are_named(tapped: Network) -> None:
    texts = list_texts(draw_network(tapped, "the model"))
    assert {"the model", "2 views of a poster", "block_6_expand_relu", "block_13_expand_relu", "out_relu"} <= set(texts)
    assert texts[texts.index("mean, std") + 1] == "2 x 96"
    assert [text for text in texts if text.startswith("block_") and text.count("_") == 1] == [
        f"block_{number}" for number in range(1, 17)
    ]
    assert {"1,664 features", "2 x hidden", "logits", "embedding", "average of 2 views, decisions"} <= set(texts)
    assert texts[texts.index("labels") :][:12] == [
        "labels", "3 columns", "confidences", "3 columns", "calibrated", "3 columns",
        "decade", "1 column", "decade_confidence", "1 column", "score", "1 column",
    ]  # fmt: skip


def test_a_network_without_taps_and_views(plain: Network) -> None:
    texts = list_texts(draw_network(plain, "the model"))
    assert {"poster", "out_relu", "1,280 features", "hidden", "logits", "decisions"} <= set(texts)


def test_nothing_overlaps_and_nothing_is_cut(network: Network) -> None:
    figure = draw_network(network, "a name as long as that of a folder may be " * 6)
    figure.draw_without_rendering()
    boxes = [patch.get_window_extent() for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) > 20
    # Boxes of one stack touch.
    inner = [box.padded(-2) for box in boxes]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(inner, 2))
    texts = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    for place in (*boxes, *texts):
        assert figure.bbox.x0 <= place.x0 < place.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= place.y0 < place.y1 <= figure.bbox.y1
    assert not any(one.overlaps(other) for one, other in itertools.combinations(texts, 2))


def test_the_picture_is_a_png_of_the_figures_size(plain: Network, tmp_path: Path) -> None:
    figure = draw_network(plain, "the model")
    save_figure(figure, tmp_path / "network.partial")
    with Image.open(tmp_path / "network.partial") as picture:
        assert picture.format == "PNG"
        assert picture.size == pytest.approx(figure.bbox.size, abs=1)
