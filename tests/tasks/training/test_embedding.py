import numpy as np
import pytest

from tasks.training.embedding import embed_pieces


def test_pieces_are_all_the_posters_in_order(make_matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.training.embedding._ROWS_AT_ONCE", 4)
    features = np.arange(20).reshape(10, 2)
    pieces = list(embed_pieces(lambda rows: rows + 1, make_matrix(features)))
    assert [len(piece) for piece in pieces] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(pieces), features + 1)
