import pytest

from tasks.inspection.layers import LayerFigures, list_blocks, list_layers, name_block
from tasks.inspection.network import Network


def test_every_layer_is_in_one_block(tapped: Network) -> None:
    blocks = {block.name: block for block in list_blocks(tapped.backbone)}
    numbered = [f"block_{number}" for number in range(1, 17)]
    assert list(blocks)[:4] == ["pixels", "scale", "Conv1", "expanded_conv"]
    assert list(blocks)[4:21] == [*numbered, "Conv_1"]
    assert list(blocks)[-1] == "features"
    # A convolution of 3 x 3 x 3 x 16, and four numbers of batch normalisation for each of 16.
    assert blocks["Conv1"] == LayerFigures("Conv1", "3 layers", "48 x 32 x 16", 432 + 64)
    assert blocks["Conv_1"].shape == "3 x 2 x 1,280"
    layers = list_layers(tapped.backbone)
    assert sum(block.num_parameters for block in blocks.values()) == sum(layer.num_parameters for layer in layers)
    assert sum(layer.num_parameters for layer in layers) == tapped.backbone.count_params()
    assert LayerFigures("Conv1", "Conv2D", "48 x 32 x 16", 432) in layers


@pytest.mark.parametrize(
    ("layer", "block"),
    [
        ("Conv1_relu", "Conv1"),
        ("bn_Conv1", "Conv1"),
        ("expanded_conv_project_BN", "expanded_conv"),
        ("block_1_pad", "block_1"),
        ("block_13_expand_relu", "block_13"),
        ("Conv_1_bn", "Conv_1"),
        ("out_relu", "Conv_1"),
        ("features", "features"),
    ],
)
def test_block_of_a_layer(layer: str, block: str) -> None:
    assert name_block(layer) == block
