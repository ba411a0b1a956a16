import numpy as np
import pandas as pd
import pyarrow as pa
from ledger_rows import make_row

from tasks.drift.collection import Names, collect
from tasks.drift.embeddings import project
from tasks.drift.predictions import describe_predictions
from tasks.drift.statistics import decode_ids
from tasks.posters.segments import LEDGER

FEATURES = np.random.default_rng(0).random((3, 70)).astype(np.float16)


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
