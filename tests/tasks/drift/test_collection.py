import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from ledger_rows import make_row

from tasks.drift.collection import Names, collect, describe_predictions
from tasks.drift.embeddings import project
from tasks.drift.statistics import decode_ids
from tasks.posters.segments import LEDGER

FEATURES = np.random.default_rng(0).random((3, 70)).astype(np.float16)


def test_predictions_are_those_over_one_half() -> None:
    found = describe_predictions(np.array([[0.9, 0.5], [0.2, 0.51], [0.1, 0.3]]), ["A", "B"], {"recipe": "seed"})
    assert (found.recipe, found.num_films, found.predicted) == ({"recipe": "seed"}, 3, {"A": 1, "B": 1})
    assert found.top_confidence.median == pytest.approx(0.51)
    assert (found.top_confidence.bins, found.top_confidence.counts) == ((15, 25, 45), (1, 1, 1))


def test_statistics_are_of_the_data_set_and_results_of_the_catalog() -> None:
    catalog = pa.table(
        {
            "imdb_id": pa.array([1, 2, 3, 4, 5], pa.int64()),
            "genres": [["A"], ["A", "B"], ["B"], ["C"], ["A"]],
            "poster_url": [f"http://a.test/{number}.jpg" for number in range(5)],
        }
    )
    rows = [make_row(film, b"x" * film * 100, width=100, height=200) for film in (1, 2, 3, 4)] + [make_row(5, None)]
    films = pd.DataFrame({"imdb_id": [3, 1, 2], "year": [1999, 2001, 0], "row": [0, 1, 2]})
    collected = collect(
        catalog=catalog,
        ledger_rows=pa.Table.from_pylist(rows, schema=LEDGER),
        films=films,
        read_features=lambda sample: FEATURES[sample["row"].to_numpy()],
        predictions=describe_predictions(np.array([[0.9]]), ["A"], {}),
        names=Names("0123", "f"),
    )
    found = collected.statistics
    assert (found.dataset, found.num_catalog_films, found.num_films, found.has_all_genres) == ("0123", 5, 3, True)
    assert found.genres == {"A": 2, "B": 2}
    assert found.decades == {"unknown": 1, "1990s": 1, "2000s": 1}
    assert found.hosts == {"a.test": {"ok": 4, "http 404": 1}}
    assert {name: (sizes.num_values, sizes.median) for name, sizes in found.sizes.items()} == {
        "bytes": (3, 200),
        "width": (3, 100),
        "height": (3, 200),
    }
    # Film 4 has a poster, but is not in the data set.
    assert found.left_out is not None
    assert decode_ids(found.left_out).tolist() == [4, 5]
    assert found.embeddings is not None
    assert found.embeddings.features == "f"
    np.testing.assert_allclose(found.embeddings.decode(), project(FEATURES), atol=1e-2)
    assert collected.results["result"].tolist() == ["ok"] * 4 + ["http 404"]
