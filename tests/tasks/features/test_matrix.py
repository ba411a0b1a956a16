from pathlib import Path

import numpy as np
import pytest

from tasks.features.matrix import FeatureMatrix, MatrixWriter

ROWS = np.arange(20, dtype=np.float16).reshape(5, 4)


def test_written_in_any_order_and_read_in_any_piece(tmp_path: Path) -> None:
    writer = MatrixWriter(tmp_path / "m.npy", (5, 4))
    writer.write([4, 0], ROWS[[4, 0]])
    writer.write([], ROWS[:0])
    writer.write([1, 3], np.asfortranarray(ROWS[[1, 3]]))
    writer.close()
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
