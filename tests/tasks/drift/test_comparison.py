from typing import Any

import numpy as np
import pytest
from drift_statistics import make_embeddings, make_statistics

from tasks.drift.comparison import Comparison
from tasks.drift.distributions import Distribution
from tasks.drift.embeddings import Embeddings
from tasks.drift.failures import Hosts
from tasks.drift.predictions import describe_predictions
from tasks.drift.samples import pair_samples
from tasks.drift.statistics import Predictions
from tasks.settings import DriftSettings


def compare(
    after: dict[str, Any],
    before: dict[str, Any] | None = None,
    new_films: Hosts | None = None,
    by_champion: Predictions | None = None,
    **settings: float,
) -> dict[str, Any]:
    """Compares the statistics with changes with themselves, or with other changes."""
    first, second = make_statistics(**(before or {})), make_statistics(**{"dataset": "4567", **after})
    comparison = Comparison(first, second, DriftSettings(**settings))
    samples = pair_samples(first.embeddings, second.embeddings)
    comparison.compare(samples, new_films or {}, by_champion or second.predictions)
    return comparison.as_dict()


def test_the_same_films_have_no_warnings() -> None:
    compared = compare({})
    assert compared["warnings"] == compared["not_compared"] == []
    names = [f"{figure['group']} {figure['name']}" for figure in compared["figures"]]
    assert names == [
        "films of the catalog",
        "films with a poster",
        "genre Drama",
        "genre Horror",
        "decade 1990s",
        "decade 2000s",
        "decade unknown",
        "poster bytes",
        "poster width",
        "poster height",
        "host a.test",
        "failures of a.test",
        "posters by their features",
        "confidence of the first genre",
        "predicted Drama",
        "predicted Horror",
        "predicted by the new model Drama",
        "predicted by the new model Horror",
    ]
    assert max(figure["change"] for figure in compared["figures"]) < 1e-6


CONFIDENCES = np.random.default_rng(0).random((1000, 2))


@pytest.mark.parametrize(
    ("after", "warned"),
    [
        ({"genres": {"Drama": 5000, "Horror": 500}}, ["genre Horror: 5.0%, before 10.0%;"]),
        ({"genres": {"Drama": 5000}}, ["genre Horror: 0.0%, before 10.0%;"]),
        ({"genres": {"Drama": 5000, "Horror": 1000, "War": 100}}, ["genre War: 1.0%, before 0.0%;"]),
        ({"num_catalog_films": 7000}, ["films of the catalog: 7,000, before 10,200;"]),
        (
            {"decades": {"1990s": 4990, "2000s": 5000, "2010s": 10}},
            [],  # ten films are noise
        ),
        ({"decades": {"1990s": 2000, "2000s": 8000}}, ["decade 1990s: 20.0%, before 49.9%", "decade 2000s: 80.0%"]),
        (
            {"sizes": {**make_statistics().sizes, "width": Distribution.of_sizes([300] * 2000 + [182] * 8000)}},
            ["poster width: 182, before 182 (medians); changed by 0.2,"],
        ),
        ({"hosts": {"a.test": {"ok": 7000, "http 404": 200, "timeout": 3000}}}, ["failures of a.test: 31.4%, before"]),
        (
            {"embeddings": Embeddings.encode("f", make_embeddings(shift=0.5))},
            ["posters by their features: (300 and 300 films); changed by"],
        ),
    ],
)
def test_what_changed_is_warned_of_and_nothing_else(after: dict[str, Any], warned: list[str]) -> None:
    warnings = compare(after)["warnings"]
    assert len(warnings) == len(warned)
    for line, start in zip(warnings, warned, strict=True):
        assert line.startswith(start)


def test_failures_of_new_films() -> None:
    new = {"a.test": {"ok": 70, "timeout": 30}}
    (warning,) = compare({}, new_films=new)["warnings"]
    assert warning.startswith("failures of new films of a.test: 30.0%, before 2.0% (timeout: 30.0%, before 0.0%)")


@pytest.mark.parametrize(
    ("setting", "value", "after"),
    [
        ("max_share_factor", 2.1, {"genres": {"Drama": 5000, "Horror": 500}}),
        ("max_films_change", 0.4, {"num_catalog_films": 7000}),
        ("max_failure_rise", 0.3, {"hosts": {"a.test": {"ok": 7000, "http 404": 200, "timeout": 3000}}}),
        ("max_embedding_distance", 0.9, {"embeddings": Embeddings.encode("f", make_embeddings(shift=0.5))}),
        ("noise_deviations", 8.0, {"genres": {"Drama": 5000, "Horror": 1000, "War": 40}}),
        (
            "max_size_distance",
            0.3,
            {"sizes": {**make_statistics().sizes, "width": Distribution.of_sizes([300] * 2000 + [182] * 8000)}},
        ),
    ],
)
def test_the_settings_name_the_bounds(setting: str, value: float, after: dict[str, Any]) -> None:
    (warning,) = compare(after)["warnings"]
    assert f"(drift.{setting})" in warning or setting == "noise_deviations"
    assert compare(after, **{setting: value})["warnings"] == []


def predict(num_first: int) -> Predictions:
    """Predictions for 1,000 films, for so many of them A with a confidence of 0.9, for the others none."""
    confidences = np.repeat([[0.9, 0.1], [0.2, 0.1]], [num_first, 1000 - num_first], 0)
    return describe_predictions(confidences, ["A", "B"], {"recipe": "default"})


def test_predictions_of_the_champion_for_other_films() -> None:
    before = {"predictions": predict(500)}
    confidence, predicted = compare(before, before, by_champion=predict(200))["warnings"]
    assert confidence.startswith("confidence of the first genre: 0.2, before 0.55 (medians); changed by 0.3,")
    assert confidence.endswith("(drift.max_confidence_distance)")
    assert predicted.startswith("predicted A: 20.0%, before 50.0%;")
    assert predicted.endswith("(drift.max_predicted_factor)")
    bounds = {"max_confidence_distance": 0.31, "max_predicted_factor": 2.6}
    assert compare(before, before, by_champion=predict(200), **bounds)["warnings"] == []


def test_predictions_of_the_new_model_may_differ_by_more() -> None:
    before = {"predictions": predict(500)}
    assert compare({"predictions": predict(200)}, before, by_champion=predict(500))["warnings"] == []
    (warning,) = compare({"predictions": predict(100)}, before, by_champion=predict(500))["warnings"]
    assert warning.startswith("predicted by the new model A: 10.0%, before 50.0%;")
    assert warning.endswith("(drift.max_retrained_factor)")


@pytest.mark.parametrize(
    ("before", "missing"),
    [
        ({"decades": None}, "decades: the champion lacks"),
        ({"sizes": {}}, "poster bytes: not known of the champion"),
        ({"hosts": None}, "hosts and failures: not known of the champion"),
        ({"predictions": None}, "predictions: not known of the champion"),
        ({"embeddings": None}, "features of the posters: the champion has none"),
        ({"embeddings": Embeddings.encode("g", make_embeddings())}, "features of the posters: the champion has none"),
        ({"embeddings": Embeddings.encode("f", make_embeddings()[:9])}, "features of the posters: fewer than 20 films"),
        (
            {"predictions": describe_predictions(CONFIDENCES, ["A", "B"], {"recipe": "seed"})},
            "predictions by the new model: its recipe is another",
        ),
        ({"dataset": "4567"}, "predictions by the new model: the films are the same"),
    ],
)
def test_what_the_champion_lacks_is_named(before: dict[str, Any], missing: str) -> None:
    compared = compare({}, before, by_champion=before.get("predictions"))
    assert compared["warnings"] == []
    assert compared["not_compared"][0].startswith(missing)


def test_without_the_champions_files_less_is_known() -> None:
    statistics = make_statistics()
    comparison = Comparison(statistics, make_statistics(dataset="4567"), DriftSettings())
    comparison.compare(None, None, None)
    assert "failures of new films: which films are new is not known" in comparison.missing
    assert "predictions by the champion: it has learned from all films, or from other features" in comparison.missing


def test_genres_that_an_older_champion_did_not_learn_are_not_new() -> None:
    before = {"has_all_genres": False, "genres": {"Drama": 5000}}
    assert compare({}, before)["warnings"] == []
    (warning,) = compare({"genres": {"Horror": 1000}}, before)["warnings"]
    assert warning.startswith("genre Drama: 0.0%, before 50.0%")
