"""How often the gate is wrong about a candidate's macro-F1, by the number of test films: `make gate`.

Candidate and champions are heads of the recipe `fast`, trained with several seeds on the real posters of one split.
A draw is a sample of its test films, with replacement. For each drawn film the predictions of the models are dealt
anew, so that all are truly equal; a worse candidate has those of a worse model, or of another film, for the share of
films that makes its true macro-F1 lower by 0.03. `gate.md` is the table.

    python gate.py [--draws N]
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import FAST_FEATURES, HERE, split_real_posters
from numpy.typing import NDArray

import flows  # noqa: F401  (sets what Prefect and TensorFlow read when they are imported)
from tasks.evaluation.differences import Paired, find_differences
from tasks.features.backbone import load_backbone
from tasks.features.extraction import make_feature_extractor
from tasks.features.joining import join_features
from tasks.features.task import extract_planned, plan_extraction
from tasks.outputs.calibration import THRESHOLD
from tasks.outputs.genres import GenresOutput
from tasks.registry.gate import find_margin
from tasks.settings import RegistrySettings, TrainingSettings
from tasks.training.examples import Examples, TrainingData, read_examples
from tasks.training.fitting import fit_head
from tasks.training.head import build_logits_model, predict
from tasks.training.thresholds import calibrate

NUM_SEEDS = 8
NUM_FILMS = (300, 500, 782)
NUM_RIVALS = (1, 5)
WORSE_BY = 0.03
WORSE_MODELS = {
    "trained for 3 epochs": TrainingSettings(recipe="fast", epochs=3),
    "the article's recipe": TrainingSettings(recipe="seed"),
}
OTHER_FILMS = "other films' predictions"

Decisions = NDArray[np.bool_]


def main(num_draws: int) -> None:
    """Trains the heads, counts the gate's errors, and writes the table."""
    with tempfile.TemporaryDirectory() as folder:
        targets, equal, worse = _predict(Path(folder))
    rng = np.random.default_rng(0)
    worse[OTHER_FILMS] = equal[0][rng.permutation(len(targets))]
    rows = []
    for num_films in NUM_FILMS:
        for num_rivals in NUM_RIVALS:
            draw = Draw(targets, equal, num_films, num_rivals, rng)
            row = {
                "test films": num_films,
                "champions": num_rivals,
                "equal, refused": np.mean([not draw.judge(None) for _ in range(num_draws)]),
            }
            for name, decisions in worse.items():
                row[f"0.03 worse ({name}), passed"] = np.mean([draw.judge(decisions) for _ in range(num_draws)])
            rows.append(row)
            print(row, flush=True)
    table = pd.DataFrame(rows)
    (HERE / "gate.json").write_text(json.dumps(table.to_dict("records"), indent=2) + "\n", "utf-8")
    shares = {name: table[name].map("{:.1%}".format) for name in table.columns[2:]}
    (HERE / "gate.md").write_text(table.assign(**shares).to_markdown(index=False) + "\n", "utf-8")


class Draw:
    """Samples of the test films, with a candidate and its rivals.

    Args:
        targets: Targets of the test split.
        equal: Predictions of models of equal quality.
        num_films: Size of a sample.
        num_rivals: Number of rivals.
        rng: Source of the samples.
    """

    def __init__(
        self,
        targets: NDArray[np.bool_],
        equal: Sequence[Decisions],
        num_films: int,
        num_rivals: int,
        rng: np.random.Generator,
    ) -> None:
        self._targets, self._equal, self._rng = targets, np.stack(equal), rng
        self._num_films, self._num_models = num_films, num_rivals + 1

    def judge(self, worse: Decisions | None) -> bool:
        """Returns whether the candidate of a new draw passes.

        Args:
            worse: Predictions that the candidate has for a share of the films; None: it is equal to its rivals.
        """
        chosen = self._equal[self._rng.permutation(len(self._equal))[: self._num_models]]
        films = self._rng.integers(len(self._targets), size=self._num_films)
        order = np.argsort(self._rng.random((self._num_films, self._num_models)), axis=1)
        candidate, *rivals = (chosen[order[:, place], films] for place in range(self._num_models))
        if worse is not None:
            is_worse = self._rng.random(self._num_films) < _find_share(self._targets, chosen, worse)
            candidate = np.where(is_worse[:, np.newaxis], worse[films], candidate)
        differences = find_differences([Paired(self._targets[films], candidate, rival) for rival in rivals])
        settings = RegistrySettings()
        return all(
            difference.value >= -find_margin(difference.noise, difference.standard_error, settings)
            for difference in differences
        )


def _find_share(targets: NDArray[np.bool_], models: NDArray[np.bool_], worse: Decisions) -> float:
    """Returns the share of films whose predictions are to be those of the worse model, for a fall by `WORSE_BY`."""
    found, wrong = (targets & models).sum(axis=1).mean(axis=0), (targets & worse).sum(axis=0)
    predicted, predicted_wrong = models.sum(axis=1).mean(axis=0), worse.sum(axis=0)

    def macro_f1(share: float) -> float:
        both = 2 * (found + share * (wrong - found))
        return float(np.mean(both / (targets.sum(axis=0) + predicted + share * (predicted_wrong - predicted))))

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if macro_f1(0) - macro_f1(middle) < WORSE_BY else (low, middle)
    return high


def _predict(work: Path) -> tuple[NDArray[np.bool_], list[Decisions], dict[str, Decisions]]:
    """Returns targets of the test split, and the predictions of equal and of worse models for it."""
    dataset = split_real_posters(work)
    backbone = load_backbone(FAST_FEATURES)
    extractor = make_feature_extractor(backbone, FAST_FEATURES)
    for plan in plan_extraction(dataset, work / "features", int(backbone.tapped.output.shape[1])):
        extract_planned(plan, work / "features", extractor)
    join_features(dataset, work / "features")
    train, validation, test = (
        read_examples(dataset, work / "features", split) for split in ("train", "validation", "test")
    )
    data = TrainingData(train, validation, dataset.genres)
    num_last = int(backbone.network.output.shape[1])

    def decide(settings: TrainingSettings, seed: int) -> Decisions:
        columns = None if settings.taps else num_last
        known = TrainingData(data.train.take_features(columns), data.validation.take_features(columns), data.genres)
        logits_model = build_logits_model(fit_head(known, settings, seed).head)

        def predict_logits(examples: Examples) -> NDArray[np.float32]:
            return predict(logits_model, examples.take_features(columns).features)[GenresOutput.name]

        calibration = calibrate(validation.genre_targets, predict_logits(validation), settings.thresholds)
        confidences = 1 / (1 + np.exp(-calibration.fold(predict_logits(test))))
        print(f"    {settings.name}, seed {seed}", flush=True)
        return np.asarray(confidences > THRESHOLD)

    equal = [decide(TrainingSettings(recipe="fast"), seed) for seed in range(NUM_SEEDS)]
    worse = {name: decide(settings, 0) for name, settings in WORSE_MODELS.items()}
    return test.genre_targets.astype(bool), equal, worse


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=200, help="Number of draws of each figure.")
    main(parser.parse_args().draws)
