import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.drift.counts import (
    count_decades,
    count_genres,
    count_hosts,
    count_targets,
    describe_sizes,
    join_results,
    sum_failures,
)

CATALOG = pa.table(
    {
        "imdb_id": pa.array([1, 2, 3, 4], pa.int64()),
        "genres": [["Drama", "War"], ["Drama"], ["Comedy"], ["War"]],
        "poster_url": [
            "http://Images.test:8080/1.jpg?a=http://other.test/",
            "https://user:secret@images.test/2.jpg",
            "http://[::1]:80/3.jpg",
            "4.jpg",
        ],
    }
)
LEDGER = pa.table(
    {
        "imdb_id": pa.array([3, 2, 1, 9], pa.int64()),
        "status": ["failed", "ok", "failed", "ok"],
        "reason": ["timeout", None, "http 404", None],
        "num_bytes": pa.array([None, 1024, None, 1], pa.int32()),
        "width": pa.array([None, None, None, 1], pa.int32()),
        "height": pa.array([None, 256, None, 1], pa.int32()),
    }
)


def test_genres_of_the_data_set_are_counted() -> None:
    assert list(count_genres(CATALOG, [1, 2, 3, 9]).items()) == [("Drama", 2), ("Comedy", 1), ("War", 1)]
    assert count_targets(np.array([[1, 0], [1, 1]], np.uint8), ["Comedy", "War"]) == {"Comedy": 2, "War": 1}


def test_decades() -> None:
    assert list(count_decades([1999, 0, 1990, 2000, 1989]).items()) == [
        ("unknown", 1),
        ("1980s", 1),
        ("1990s", 2),
        ("2000s", 1),
    ]


def test_results_by_host_without_port_and_user_name() -> None:
    results = join_results(CATALOG, LEDGER)
    assert results.to_dict("list") == {
        "imdb_id": [1, 2, 3, 4],
        "host": ["images.test", "images.test", "[::1]", "unknown"],
        "result": ["http 404", "ok", "timeout", "not requested"],
    }
    counted = count_hosts(results)
    assert counted == {
        "images.test": {"http 404": 1, "ok": 1},
        "[::1]": {"timeout": 1},
        "unknown": {"not requested": 1},
    }
    assert [sum_failures(of_host) for of_host in counted.values()] == [1, 1, 1]
    assert count_hosts(results.iloc[:0]) == {}


def test_rare_hosts_and_reasons_are_counted_together() -> None:
    hosts = ["big.test"] * 100 + [f"host{number}.test" for number in range(100)]
    reasons = [f"reason {number}" for number in range(100)] + ["ok"] * 100
    counted = count_hosts(pd.DataFrame({"host": hosts, "result": reasons}))
    assert len(counted) == 51
    assert sum(counted["others"].values()) == 51
    assert len(counted["big.test"]) == 31
    assert sum(counted["big.test"].values()) == 100
    long = pd.DataFrame({"host": ["x" * 5000], "result": ["ok"]})
    assert [len(host) for host in count_hosts(long)] == [100]


def test_sizes_of_the_posters_of_the_data_set() -> None:
    sizes = describe_sizes(LEDGER, [2, 3])
    assert {name: (found.bins, found.counts, found.median) for name, found in sizes.items()} == {
        "bytes": ((80,), (1,), 1024.0),
        "height": ((64,), (1,), 256.0),
    }
