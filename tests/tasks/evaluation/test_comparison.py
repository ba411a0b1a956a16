from tasks.evaluation.comparison import summarise


def scored(recipe: str, seed: int, macro_f1: float) -> dict[str, object]:
    return {
        "recipe": recipe,
        "seed": seed,
        "validation_macro_f1": 0.5,
        "macro_f1": macro_f1,
        "micro_f1": macro_f1 + 0.1,
        "mean_batch_macro_f1": 0.25,
    }


def test_worked_by_hand() -> None:
    # Better by 0.1 with seed 0, by 0.3 with seed 1, whatever the order of the lines.
    table = summarise([scored("b", 0, 0.6), scored("a", 1, 0.1), scored("b", 1, 0.4), scored("a", 0, 0.5)])
    assert table["recipe"].tolist() == ["b", "a"]
    assert table["test macro-F1"].tolist() == ["0.500 ± 0.141", "0.300 ± 0.283"]
    assert table["test micro-F1"].tolist() == ["0.600 ± 0.141", "0.400 ± 0.283"]
    assert table["validation macro-F1"].tolist() == ["0.500 ± 0.000"] * 2
    assert table["b improves by, test"].tolist() == ["", "0.200 ± 0.141"]


def test_one_seed_has_no_spread() -> None:
    assert summarise([scored("a", 0, 0.5)])["test macro-F1"].tolist() == ["0.500"]
