"""What each part of the recipes adds, on the validation split of the real posters: `make ablation`.

Each line is the recipe `fast` with one thing changed, or `default` or a step on the way to it, over the same three
seeds and splits. Macro-F1 is that of decisions whose thresholds were found on other films of the validation split
(`cross_validate`). The test split is not looked at. `ablation.md` is the table, `ablation.json` has every seed.

    python ablation.py [LINE...]

measures the recipe `fast` and the lines that are named, all if none is, and keeps what was measured of the others.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import FAST_FEATURES, HERE, put_real_posters
from sklearn.metrics import average_precision_score

import flows  # noqa: F401  (sets what Prefect and TensorFlow read when they are imported)
from tasks.dataset.task import Dataset, write_dataset
from tasks.features.backbone import load_backbone
from tasks.features.extraction import make_feature_extractor
from tasks.features.joining import join_features
from tasks.features.matrix import FeatureMatrix, FeatureViews
from tasks.features.task import extract_planned, plan_extraction
from tasks.features.views import WHOLE_POSTERS, Views
from tasks.settings import DatasetSettings, FeatureSettings, TrainingSettings
from tasks.training.examples import Examples, TrainingData, read_examples
from tasks.training.fitting import fit_heads
from tasks.training.head import build_logits_model, predict
from tasks.training.thresholds import cross_validate

SEEDS = (0, 1, 2)

DEFAULT = "**the recipe `fast`**"

# One thing changed, by the name of its line.
VARIANTS: dict[str, dict[str, Any]] = {
    "the last layer alone": {"taps": False},
    "1,024 hidden units": {"hidden_units": 1024},
    "256 hidden units": {"hidden_units": 256},
    "features as they are": {"standardise": False},
    "no dropout": {"dropout": 0.0},
    "dropout 0.3": {"dropout": 0.3},
    "dropout 0.7": {"dropout": 0.7},
    "constant learning rate": {"schedule": "constant"},
    "learning rate 1e-4": {"learning_rate": 1e-4},
    "learning rate 1e-3": {"learning_rate": 1e-3},
    "10 epochs": {"epochs": 10},
    "30 epochs": {"epochs": 30},
    "batches of 128": {"batch_size": 128},
    "batches of 512": {"batch_size": 512},
    "thresholds: none": {"thresholds": "none"},
    "thresholds: empirical": {"thresholds": "empirical"},
    "double soft-F1": {"loss": "double_soft_f1"},
    "soft-F1 and cross-entropy": {"loss": "mixed_soft_f1"},
    "sigmoid-F1, slope 0.5": {"loss": "sigmoid_f1"},
    "asymmetric loss": {"loss": "asymmetric"},
    "cross-entropy": {"loss": "binary_crossentropy"},
    "cross-entropy, thresholds: none": {"loss": "binary_crossentropy", "thresholds": "none"},
    "`seed`": {"recipe": "seed"},
    "`seed`, thresholds: calibrated": {"recipe": "seed", "thresholds": "calibrated"},
    "`seed_bce`": {"recipe": "seed_bce"},
    "`seed_bce`, thresholds: calibrated": {"recipe": "seed_bce", "thresholds": "calibrated"},
    "three heads, logits averaged": {"num_heads": 3},
}
_DEFAULT_FEATURES = {name: getattr(FeatureSettings(), name) for name in ("image_size", "taps")}
_MIXED = {"loss": "mixed_soft_f1", "epochs": 30}
# Other features, views and changes of `fast`, by the name of the line. Those with the same features come together, with
# more and more views.
FEATURES: dict[str, tuple[dict[str, Any], Views, dict[str, Any]]] = {
    "poster and a mirrored crop": ({}, Views(2, 2), {}),
    "posters at 384 x 256, and `block_6_expand_relu`": (_DEFAULT_FEATURES, WHOLE_POSTERS, {}),
    "… and a mixture with cross-entropy, 30 epochs": (_DEFAULT_FEATURES, WHOLE_POSTERS, _MIXED),
    "… and a mirrored crop in training": (_DEFAULT_FEATURES, Views(2, 1), _MIXED),
    "… and in prediction": (_DEFAULT_FEATURES, Views(2, 2), _MIXED),
    "… and three heads: **`default`**": (_DEFAULT_FEATURES, Views(2, 2), {"recipe": "default"}),
    "`default`, soft-F1 alone": (_DEFAULT_FEATURES, Views(2, 2), {"recipe": "default", "loss": "soft_f1"}),
    "`default`, four views": (_DEFAULT_FEATURES, Views(4, 4), {"recipe": "default"}),
    "`default`, six views, two in prediction": (_DEFAULT_FEATURES, Views(6, 2), {"recipe": "default"}),
    "**`best`**": (_DEFAULT_FEATURES, Views(6, 2), {"recipe": "best"}),
}
BALANCED = "films of rare genres more often"
NAMES = (DEFAULT, *VARIANTS, *FEATURES, BALANCED)


def main(names: Sequence[str]) -> None:
    """Measures the recipe `fast` and the lines that are named, and writes the table."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        sys.exit(f"no line {unknown[0]!r}: expected some of {', '.join(NAMES)}")
    path = HERE / "ablation.json"
    rows = {row["recipe"]: row for row in json.loads(path.read_text("utf-8"))} if names else {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        catalog_path = put_real_posters(work)
        datasets = {seed: _split(catalog_path, work, seed) for seed in SEEDS}
        source = _extract(datasets, work, {}, WHOLE_POSTERS)
        rows[DEFAULT] = _measure(DEFAULT, source, TrainingSettings(recipe="fast"))
        for name, changes in VARIANTS.items():
            if not names or name in names:
                rows[name] = _measure(name, source, TrainingSettings.model_validate({"recipe": "fast", **changes}))
        for name, (features, views, changes) in FEATURES.items():
            if not names or name in names:
                settings = TrainingSettings.model_validate({"recipe": "fast", **changes})
                rows[name] = _measure(name, _extract(datasets, work, features, views), settings)
        if not names or BALANCED in names:
            rows[BALANCED] = _measure(BALANCED, _balance(work, source), TrainingSettings(recipe="fast"))
    ordered = [rows[name] for name in NAMES if name in rows]
    path.write_text(json.dumps(ordered, indent=2) + "\n", "utf-8")
    table = _render(ordered)
    (HERE / "ablation.md").write_text(table, "utf-8")
    print(table)


Source = Callable[[int], tuple[Examples, Examples, Dataset]]


def _measure(name: str, read: Source, settings: TrainingSettings) -> dict[str, Any]:
    macro_f1, precision, seconds = [], [], []
    for seed in SEEDS:
        train, validation, dataset = read(seed)
        start = time.perf_counter()
        head = fit_heads(TrainingData(train, validation, dataset.genres), settings, seed).head
        seconds.append(time.perf_counter() - start)
        logits = predict(build_logits_model(head), validation.features)["genres"]
        macro_f1.append(cross_validate(validation.genre_targets, logits, settings.thresholds))
        precision.append(float(average_precision_score(validation.genre_targets, logits, average="macro")))
    return _row(name, macro_f1, precision, seconds)


def _row(name: str, macro_f1: list[float], precision: list[float], seconds: list[float]) -> dict[str, Any]:
    row = {"recipe": name, "macro_f1": macro_f1, "average_precision": precision, "seconds": seconds}
    print(f"{name}: {np.mean(macro_f1):.4f}, {np.mean(precision):.4f}, {np.mean(seconds):.0f} s", flush=True)
    return row


def _render(rows: Sequence[dict[str, Any]]) -> str:
    def describe(values: Sequence[float]) -> str:
        return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"

    lines = [
        {
            "recipe": row["recipe"],
            "macro-F1": describe(row["macro_f1"]),
            "less that of `fast`": describe(np.subtract(row["macro_f1"], rows[0]["macro_f1"]).tolist()),
            "average precision": describe(row["average_precision"]),
            "s": f"{np.median(row['seconds']):.0f}",
        }
        for row in rows
    ]
    return f"{pd.DataFrame(lines).to_markdown(index=False)}\n"


def _split(catalog_path: Path, work: Path, seed: int) -> Dataset:
    return write_dataset.fn(
        catalog_path=catalog_path,
        posters_dir=work / "posters",
        splits_dir=work / "splits",
        folder=work / f"dataset-{seed}",
        settings=DatasetSettings(min_posters_per_genre=400),
        seed=seed,
        # One set of shards has the images of all: another seed is another split of the same films.
        with_shards=seed == SEEDS[0],
    )


def _extract(datasets: dict[int, Dataset], work: Path, features: dict[str, Any], views: Views) -> Source:
    settings = FAST_FEATURES.model_copy(update=features)
    backbone = load_backbone(settings)
    folder, extractor = work / "features" / backbone.feature_key.folder_name, make_feature_extractor(backbone, settings)
    # The films of training with one seed are those of validation with another.
    for plan in plan_extraction(datasets[SEEDS[0]], folder, views=Views(views.train, views.train)):
        extract_planned(plan, folder, extractor)

    def read(seed: int) -> tuple[Examples, Examples, Dataset]:
        dataset = datasets[seed]
        join_features(dataset, folder, views)
        train, validation = (
            read_examples(dataset, folder, split, views.count(split)) for split in ("train", "validation")
        )
        return train, validation, dataset

    return read


def _balance(work: Path, source: Source) -> Source:
    """Draws as many films, each as likely as its rarest genre is rare."""

    def read(seed: int) -> tuple[Examples, Examples, Dataset]:
        train, validation, dataset = source(seed)
        weights = (train.genre_targets / train.genre_targets.sum(axis=0)).max(axis=1)
        weights[weights == 0] = weights[weights > 0].min()
        rows = np.random.default_rng(seed).choice(len(train), len(train), p=weights / weights.sum())
        np.save(work / "drawn.npy", train.features.read()[rows])
        drawn = FeatureViews([FeatureMatrix(work / "drawn.npy")])
        return replace(train, features=drawn, genre_targets=train.genre_targets[rows]), validation, dataset

    return read


if __name__ == "__main__":
    main(sys.argv[1:])
