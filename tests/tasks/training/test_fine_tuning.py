import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

from tasks.features.backbone import Backbone
from tasks.features.cutting import build_tail, copy_backbone
from tasks.features.matrix import FeatureMatrix
from tasks.settings import GENRES_ALONE, TrainingSettings
from tasks.training.examples import Examples
from tasks.training.fine_tuning import fine_tune, join
from tasks.training.fitting import fit_head
from tasks.training.head import fold_calibration, run_head, take_logits, unfold_calibration
from tasks.training.thresholds import calibrate

SETTINGS = TrainingSettings(
    epochs=1, hidden_units=16, dropout=0.0, batch_size=32, fine_tune=8, fine_tune_learning_rate=1e-4
)


def make_examples(make_matrix, num_films: int, seed: int) -> Examples:
    """Films whose genres are where their maps are strong: in the upper half or not, in the first channels or not."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, (num_films, 2)).astype(np.uint8)
    maps = rng.normal(size=(num_films, 7, 7, 160))
    maps[:, :3] += 2 * targets[:, 0, np.newaxis, np.newaxis, np.newaxis]
    maps[..., :80] += targets[:, 1, np.newaxis, np.newaxis, np.newaxis]
    rows = np.hstack([maps.reshape(num_films, -1), rng.normal(size=(num_films, 576))])
    nothing = np.zeros(num_films)
    return Examples(list(range(num_films)), make_matrix(rows), targets, nothing.astype(np.int32), nothing)


@pytest.mark.backbone
def test_network_and_head_learn_together(make_matrix, backbone: Backbone) -> None:
    train, validation = make_examples(make_matrix, 256, 0), make_examples(make_matrix, 64, 1)
    tuned = copy_backbone(backbone)
    tail = build_tail(tuned)

    def see(examples: Examples) -> Examples:
        features = make_matrix(np.asarray(tail(examples.features.read().astype(np.float32))))
        return Examples(examples.imdb_ids, features, examples.genre_targets, examples.years, examples.scores)

    seen = [see(train), see(validation)]
    head = fit_head(*seen, ["a", "b"], SETTINGS, seed=0).head
    before = [weights.copy() for weights in (*head.get_weights(), tuned.network.get_layer("Conv_1").kernel.numpy())]
    at_first = f1_score(validation.genre_targets, run_head(head, seen[1].features)["genres"] > 0.5, average="macro")

    fitted = fine_tune(head, tuned, train, validation, ["a", "b"], SETTINGS, GENRES_ALONE, 0, at_first)
    assert len(fitted.history) == 8
    assert fitted.validation_macro_f1 > max(0.85, at_first + 0.1)
    after = [*head.get_weights(), tuned.network.get_layer("Conv_1").kernel.numpy()]
    assert not np.array_equal(before[-1], after[-1])
    # What is published is the two apart, the network and the head.
    apart = run_head(head, see(validation).features)["genres"]
    np.testing.assert_allclose(run_head(fitted.head, validation.features)["genres"], apart, atol=2e-2)


@pytest.mark.backbone
def test_what_tuning_makes_no_better_stays_as_it_was(make_matrix, backbone: Backbone) -> None:
    train = make_examples(make_matrix, 32, 0)
    tuned = copy_backbone(backbone)
    seen = np.asarray(build_tail(tuned)(train.features.read().astype(np.float32)))
    features = Examples(train.imdb_ids, make_matrix(seen), train.genre_targets, train.years, train.scores)
    head = fit_head(features, features, ["a", "b"], SETTINGS, seed=0).head
    before = [*head.get_weights(), *tuned.network.get_weights()]
    settings = SETTINGS.model_copy(update={"fine_tune": 1})
    fitted = fine_tune(head, tuned, train, train, ["a", "b"], settings, GENRES_ALONE, 0, macro_f1_before=1.0)
    assert (fitted.best_epoch, fitted.validation_macro_f1) == (0, 1.0)
    for one, other in zip(before, [*head.get_weights(), *tuned.network.get_weights()], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.backbone
def test_a_head_without_taps_takes_the_first_features(make_matrix, backbone: Backbone) -> None:
    features = keras.Input((1280,))
    head = keras.Model(features, {"genres": features})
    joined = join(backbone, head)
    rows = make_examples(make_matrix, 3, 0).features.read().astype(np.float32)
    np.testing.assert_allclose(joined(rows)["genres"], build_tail(backbone)(rows)[:, :1280])


def test_unfolding_undoes_folding(make_matrix) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 6))
    targets = (features[:, :2] + rng.normal(size=(200, 2)) > 0.5).astype(np.uint8)
    matrix: FeatureMatrix = make_matrix(features)
    examples = Examples(list(range(200)), matrix, targets, np.zeros(200, np.int32), np.zeros(200))
    head = fit_head(examples, examples, ["a", "b"], SETTINGS, seed=0).head
    before = run_head(take_logits(head), matrix)["genres"]
    calibration = calibrate(targets, before, "calibrated")
    fold_calibration(head, calibration)
    assert not np.allclose(run_head(take_logits(head), matrix)["genres"], before, atol=0.01)
    unfold_calibration(head, calibration)
    np.testing.assert_allclose(run_head(take_logits(head), matrix)["genres"], before, atol=1e-4)
