from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.features.backbone import Backbone, probe_pictures, tap_network
from tasks.features.cutting import build_tail, copy_backbone, cut_trunk, load_tuned, save_tuned

pytestmark = pytest.mark.backbone

PIXELS = probe_pictures()[:2]


@pytest.mark.parametrize(
    "taps",
    [
        (),
        ("block_13_expand_relu", "block_16_expand_relu"),
        ("block_16_depthwise_relu", "block_3_expand_relu", "block_16_expand_relu", "block_15_depthwise_relu"),
    ],
)
def test_both_pieces_together_are_the_whole(backbone: Backbone, taps: tuple[str, ...]) -> None:
    whole = replace(backbone, taps=taps, tapped=tap_network(backbone.network, taps))
    trunk, tail = cut_trunk(whole), build_tail(whole)
    rows = trunk.tapped(PIXELS, training=False)
    assert rows.shape[1] == tail.input.shape[1] >= 7 * 7 * 160
    np.testing.assert_allclose(tail(rows), whole.tapped(PIXELS), atol=1e-4)


def test_only_the_convolutions_of_the_last_block_can_be_trained(backbone: Backbone) -> None:
    tuned = copy_backbone(backbone)
    tail = build_tail(tuned)
    assert sorted(variable.path for variable in tail.trainable_variables) == [
        "Conv_1/kernel",
        "block_16_depthwise/kernel",
        "block_16_expand/kernel",
        "block_16_project/kernel",
    ]
    statistics = [variable.numpy() for variable in tail.non_trainable_variables]
    rows = cut_trunk(tuned).tapped(PIXELS)
    np.testing.assert_allclose(tail(rows, training=True), tail(rows, training=False))
    for before, after in zip(statistics, tail.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(before, after)


def test_tuned_weights_are_written_and_read_and_the_backbone_stays_as_it_was(
    backbone: Backbone, tmp_path: Path
) -> None:
    before = np.asarray(backbone.tapped(PIXELS))
    changed = copy_backbone(backbone)
    for variable in build_tail(changed).trainable_variables:
        variable.assign(variable * 1.1)
    save_tuned(changed, tmp_path / "backbone.npz")
    tuned = load_tuned(backbone, tmp_path / "backbone.npz")
    np.testing.assert_array_equal(tuned.tapped(PIXELS), changed.tapped(PIXELS))
    assert (tuned.source, tuned.taps) == (f"{backbone.source}, tuned", backbone.taps)
    assert tuned.fingerprint != backbone.fingerprint
    assert not tuned.network.trainable_variables
    save_tuned(backbone, tmp_path / "same.npz")
    same = load_tuned(backbone, tmp_path / "same.npz")
    assert (same.source, same.fingerprint) == (backbone.source, backbone.fingerprint)
    np.testing.assert_array_equal(backbone.tapped(PIXELS), before)
    assert not np.allclose(before, tuned.tapped(PIXELS), atol=0.01)
