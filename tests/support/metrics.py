"""The metrics of a run, as its evaluation would write them."""

from typing import Any


def _make_scores(macro_f1: float, **others: Any) -> dict[str, Any]:
    return {
        "macro_f1": macro_f1,
        "macro_f1_interval": [macro_f1 - 0.02, macro_f1 + 0.03],
        "micro_f1": macro_f1 + 0.1,
        "mean_batch_macro_f1": macro_f1 - 0.05,
        "labels_per_film": 2.345,
        **others,
    }


def _make_genre(f1: float, support: int) -> dict[str, Any]:
    return {
        "precision": f1 - 0.1,
        "recall": f1 + 0.1,
        "f1": f1,
        "support": support,
        "threshold": 0.25,
        "raw_calibration_error": 0.2,
        "calibration_error": 0.02,
        "brier": 0.12,
    }


def _make_rival(model_id: str, **others: Any) -> dict[str, Any]:
    return {
        "id": model_id,
        "num_films": 781,
        "genres": ["Drama", "Comedy"],
        "rival_macro_f1": 0.45123,
        "candidate_macro_f1": 0.462,
        "noise": 0.013,
        "lost_genres": [],
        "new_genres": [],
        "renamed_genres": {},
        **others,
    }


def make_metrics() -> dict[str, Any]:
    """Returns metrics of every section of the report, with names that would be markup."""
    genres = {"Comedy": _make_genre(0.6, 300), "*War*": _make_genre(0.7, 20)}
    error = {"imdb_id": 7, "title": "<b>Seven</b>", "genre": "*War*", "probability": 0.81234}
    return {
        "recipe": "default (altered)",
        "threshold": 0.5,
        "rule": {"order": "calibrated", "top_k": 3},
        "ranking": {"first_genre_right": {"calibrated": 0.593, "confidences": 0.471}},
        "num_films": {"train": 6244, "validation": 781, "test": 1782},
        "heads": ["genres", "decade"],
        "model": _make_scores(0.46, genres=genres),
        "decades": {
            "1980s": {"num_films": 19, "micro_f1": 0.1},
            "1990s": {"num_films": 20, "micro_f1": 0.45678},
            "2000s": {"num_films": 1743, "micro_f1": 0.4},
        },
        "operating_points": {
            "0.5": {"num_genres": 2, "precision": 0.523, "recall": 0.71, "films_with_genres": 0.9},
            "0.9": {"num_genres": 0, "precision": None, "recall": 0.0, "films_with_genres": 0.0},
        },
        "outputs": {
            "decade": {
                "accuracy": 0.5,
                "num_films": 1782,
                "within_one": 0.75,
                "majority": 2000,
                "majority_accuracy": 0.4,
            }
        },
        "embedding": {
            "num_queries": 1000,
            "num_nearest": 10,
            "precision": {"model": 0.8, "features": 0.7, "chance": 0.6},
        },
        "baselines": {
            "seed": _make_scores(0.47, improvement_interval=[-0.02, 0.01]),
            "predict_everything": _make_scores(0.2, improvement_interval=[0.2, 0.3]),
        },
        "verdicts": {"largest": 1},
        "catalog": {
            "dropped": {"no id": 1234, "no genre": 0},
            "doubtful": {"<none>": 0},
            "corrections": {"films changed": 2, "genres as before": 0, "not in the catalog": 1},
        },
        "drift": {"against": None},
        "label_errors": {"given": [error], "not_given": [{**error, "title": "Eight", "genre": "Comedy"}]},
        "rivals": [
            _make_rival("m2", lost_genres=["_A_", "B"], new_genres=["C"], renamed_genres={"Sci-Fi": "<SF>"}),
            _make_rival("m1", num_films=300),
        ],
    }
