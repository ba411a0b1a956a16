from pathlib import Path

import numpy as np
import pytest

from tasks.features.matrix import FeatureMatrix, FeatureViews, MatrixWriter

ROWS = np.arange(20, dtype=np.float16).reshape(5, 4)


def test_written_in_any_order_and_read_in_any_piece(tmp_path: Path) -> None:
    with MatrixWriter(tmp_path / "m.npy", (5, 4)) as writer:
        writer.write(np.array([4, 0]), ROWS[[4, 0]])
        writer.write(np.array([], np.int64), ROWS[:0])
        writer.write(np.array([1, 3]), np.asfortranarray(ROWS[[1, 3]]))
    matrix = FeatureMatrix(tmp_path / "m.npy")
    expected = ROWS.copy()
    expected[2] = 0
    assert (len(matrix), matrix.num_columns) == (5, 4)
    np.testing.assert_array_equal(matrix.read(), expected)
    np.testing.assert_array_equal(matrix.read(1, 3), expected[1:3])
    np.testing.assert_array_equal(matrix.read(3, 99), expected[3:])
    assert matrix.read(5).shape == (0, 4)
    first = matrix.take_columns(3)
    assert first.num_columns == 3
    np.testing.assert_array_equal(first.read(1, 3), expected[1:3, :3])
    assert matrix.take_columns(9).num_columns == matrix.take_columns(None).num_columns == 4
    # It is NumPy's own format.
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), expected)


def test_other_numbers_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", ROWS.astype(np.float32))
    with pytest.raises(ValueError, match="has values of float32, expected float16"):
        FeatureMatrix(tmp_path / "m.npy")


@pytest.mark.parametrize("rows_at_once", [1, 2, 5, 4096])
def test_rows_and_columns_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int) -> None:
    monkeypatch.setattr("tasks.features.matrix._ROWS_AT_ONCE", rows_at_once)
    values = np.arange(40, dtype=np.float16).reshape(10, 4)
    np.save(tmp_path / "features.npy", values)
    taken = FeatureMatrix(tmp_path / "features.npy").take_rows(np.array([1, 4, 5, 9])).take_columns(3)
    assert (len(taken), taken.num_columns) == (4, 3)
    np.testing.assert_array_equal(taken.read(), values[[1, 4, 5, 9], :3])
    np.testing.assert_array_equal(taken.read(1, 3), values[[4, 5], :3])
    assert taken.read(4, 9).shape == (0, 3)
    np.testing.assert_array_equal(taken.take_rows(np.array([0, 3])).read(), values[[1, 9], :3])


@pytest.fixture
def views(tmp_path: Path) -> FeatureViews:
    """Three views of ten posters: row r of view v is 100 v + r, in two columns."""
    for view in range(3):
        np.save(tmp_path / f"{view}.npy", np.repeat(100 * view + np.arange(10)[:, np.newaxis], 2, axis=1).astype("f2"))
    return FeatureViews([FeatureMatrix(tmp_path / f"{view}.npy") for view in range(3)])


def test_views_are_read_one_by_one(views: FeatureViews) -> None:
    assert (len(views), views.num_columns, views.num_views) == (10, 2, 3)
    assert views.read(2, 4, view=1).tolist() == [[102, 102], [103, 103]]
    taken = views.take_views(2).take_columns(1).take_rows(np.array([1, 9]))
    assert (len(taken), taken.num_columns, taken.num_views) == (2, 1, 2)
    assert taken.read(view=1).tolist() == [[101], [109]]
    assert views.take_views(None).num_views == 3


def test_each_row_is_of_a_view_that_is_drawn_for_it(views: FeatureViews) -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([views.read_mixed(5, 9, rng)[:, 0] for _ in range(300)]).astype(int)
    assert (drawn % 100 == np.arange(5, 9)).all()
    counts = np.array([np.bincount(column // 100, minlength=3) for column in drawn.T])
    assert counts.shape == (4, 3)
    assert (abs(counts - 100) < 40).all()  # five standard deviations
    assert views.take_views(1).read_mixed(0, 3, rng)[:, 0].tolist() == [0, 1, 2]
