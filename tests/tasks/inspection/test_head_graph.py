from tasks.inspection.head_graph import HeadBox, list_head_boxes
from tasks.inspection.network import Network


def test_layers_of_averaged_heads_are_one_box(tapped: Network) -> None:
    boxes = list_head_boxes(tapped.head)
    assert boxes[0] == HeadBox("hidden", 2, "4", depth=1, column=0, inputs=[], is_trained=True)
    assert boxes[0].label == "2 x hidden"
    by_name = {box.name: box for box in boxes}
    assert list(by_name) == ["hidden", "heads", "embedding", "score_deviations", "decade", "logits", "score"]
    assert by_name["heads"].inputs == by_name["embedding"].inputs == ["hidden"]
    assert by_name["score"].inputs == ["score_deviations"]
    assert not by_name["heads"].is_trained
    assert len({(box.depth, box.column) for box in boxes}) == len(boxes)
    # Nothing is below an output's last layer.
    assert by_name["score"].column == by_name["score_deviations"].column


def test_layers_of_one_head(plain: Network) -> None:
    boxes = list_head_boxes(plain.head)
    assert [(box.name.rstrip("_0123456789"), box.depth, box.column) for box in boxes] == [
        ("dropout", 1, 0),
        ("hidden", 2, 0),
        ("dropout", 3, 0),
        ("embedding", 3, 1),
        ("logits", 4, 0),
    ]
