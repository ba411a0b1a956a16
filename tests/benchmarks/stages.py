"""Features and training beside the article's way and Keras's own."""

import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from measuring import EPOCHS, FAST_FEATURES, REAL_POSTERS, Results, compare, rate, split_real_posters, take_turns

from tasks.dataset.task import Dataset
from tasks.features.backbone import Backbone, load_backbone
from tasks.features.extraction import extract_with_tensorflow, make_feature_extractor
from tasks.features.image_size import IMAGE_SIZE
from tasks.features.joining import join_features
from tasks.features.preprocessing import decode_poster, prepare_poster
from tasks.features.task import extract_planned, plan_extraction
from tasks.outputs.genres import GenresOutput
from tasks.outputs.losses import MacroSoftF1
from tasks.outputs.metrics import make_macro_f1
from tasks.settings import FeatureSettings, RecipeName, TrainingSettings
from tasks.training.examples import Examples, TrainingData, read_examples
from tasks.training.fitting import fit_head
from tasks.training.head import build_head, build_logits_model, fit_scaler, predict
from tasks.training.optimizer import FusedAdam
from tasks.training.thresholds import cross_validate

NUM_POSTERS = 512  # of the pairs that are run over and over
NUM_ARTICLE = 1024  # that the article's way is shown ...
NUM_ARTICLE_VALIDATION = 128  # ... and validated on
SEEDS = (0, 1, 2)


def measure(work: Path) -> Results:
    """All of it, from posters on disk to trained heads."""
    settings = FAST_FEATURES
    backbone = load_backbone(settings)
    paths = sorted((REAL_POSTERS / "posters").iterdir())
    results: Results = {"features": compare("posters/s", _pair_features(backbone, settings, paths[:NUM_POSTERS]))}

    dataset = split_real_posters(work)
    folder = work / "features" / backbone.feature_key.folder_name
    start = time.perf_counter()
    extractor = make_feature_extractor(backbone, settings)
    for plan in plan_extraction(dataset, folder):
        extract_planned(plan, folder, extractor)
    feature_seconds = time.perf_counter() - start
    join_features(dataset, folder)
    train, validation = (read_examples(dataset, folder, split) for split in ("train", "validation"))
    recipes: tuple[RecipeName, ...] = ("fast", "seed")
    trained = {recipe: [_fit(train, validation, dataset, recipe, seed) for seed in SEEDS] for recipe in recipes}
    keras_fit = [_fit_by_keras(train, validation, dataset, seed, epochs=5) for seed in SEEDS]
    epochs = {recipe: TrainingSettings(recipe=recipe).epochs for recipe in trained}
    results[f"training, {epochs['fast']} epochs, {len(train):,} posters"] = compare(
        "runs/hour",
        {
            "recipe fast": [3600 / seconds for seconds, _ in trained["fast"]],
            f"Keras's fit, scaled from 5 to {epochs['fast']} epochs": [
                3600 / (seconds / 5 * epochs["fast"]) for seconds in keras_fit
            ],
        },
    )
    num_timed = NUM_ARTICLE + NUM_ARTICLE_VALIDATION
    article = [_time_article_epoch(backbone, dataset, paths[:num_timed]) for _ in SEEDS]
    # Both ways look at the validation split after each epoch.
    num_posters = len(train) + len(validation)
    scaled = f"the article's way, an epoch of {num_timed:,} posters scaled to {EPOCHS} of {num_posters:,}"
    ours = [feature_seconds + seconds for seconds, _ in trained["seed"]]
    theirs = [seconds / num_timed * num_posters * EPOCHS for seconds in article]
    results["posters to a trained head, seed recipe"] = compare(
        "runs/hour",
        {"poster-genres": [3600 / seconds for seconds in ours], scaled: [3600 / seconds for seconds in theirs]},
    )
    all_posters = dataset.num_films.values()
    results["seconds"] = compare("s", {f"features of {sum(all_posters):,} posters": [feature_seconds]})
    for recipe, runs in trained.items():
        results[f"seconds, {recipe}"] = compare("s", {f"{epochs[recipe]} epochs": [seconds for seconds, _ in runs]})
        results[f"validation macro-F1, {recipe}"] = compare("", {"three seeds": [score for _, score in runs]})
    results["the article's way"] = compare("posters/s", {"an epoch": [num_timed / seconds for seconds in article]})
    return results


def _pair_features(backbone: Backbone, settings: FeatureSettings, paths: list[Path]) -> dict[str, list[float]]:
    posters = [path.read_bytes() for path in paths]
    extractor = make_feature_extractor(backbone, settings)
    prepared = (
        tf.data.Dataset.from_tensor_slices(tf.constant(posters))
        .map(prepare_poster, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(settings.batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    ways = {
        "LiteRT, decoding included": lambda: rate(len(posters), lambda: extractor(posters, [0])),
        "plain tf.function": lambda: rate(
            len(posters),
            lambda: extract_with_tensorflow(posters, [0], backbone=backbone, batch_size=settings.batch_size),
        ),
        "Keras predict": lambda: rate(len(posters), lambda: backbone.tapped.predict(prepared, verbose=0)),
    }
    for way in ways.values():
        way()  # traces graphs
    return take_turns(ways)


def _fit(train: Examples, validation: Examples, dataset: Dataset, recipe: RecipeName, seed: int) -> tuple[float, float]:
    settings = TrainingSettings(recipe=recipe)
    start = time.perf_counter()
    fitted = fit_head(TrainingData(train, validation, dataset.genres), settings, seed)
    seconds = time.perf_counter() - start
    raw_logits = predict(build_logits_model(fitted.head), validation.features)[GenresOutput.name]
    macro_f1 = cross_validate(validation.genre_targets, raw_logits, settings.thresholds)
    print(f"    {recipe}, seed {seed}: {seconds:.1f} s, macro-F1 {macro_f1:.3f}", flush=True)
    return seconds, macro_f1


def _fit_by_keras(train: Examples, validation: Examples, dataset: Dataset, seed: int, epochs: int) -> float:
    """Returns the seconds of Keras's `fit`, tuned: several steps in one graph, and the same fused optimizer."""
    settings = TrainingSettings(recipe="fast")
    features, validation_features = (split.features.read().astype(np.float32) for split in (train, validation))
    start = time.perf_counter()
    genres = GenresOutput(dataset.genres)
    head = build_head([genres], settings, features.shape[1], fit_scaler(train.features), seed)
    head.compile(
        FusedAdam(3e-4),
        {genres.name: genres.loss},
        metrics={genres.name: [make_macro_f1(len(dataset.genres))]},
        steps_per_execution=25,
        jit_compile=False,
    )
    head.fit(
        features,
        {genres.name: train.genre_targets},
        batch_size=settings.batch_size,
        epochs=epochs,
        validation_data=(validation_features, {genres.name: validation.genre_targets}),
        verbose=0,
    )
    return time.perf_counter() - start


def _time_article_epoch(backbone: Backbone, dataset: Dataset, paths: list[Path]) -> float:
    """Returns the seconds of the second of two epochs: pictures are cached by then, and the graph is traced.

    As the article describes it: JPEG files read, decoded and resized by tf.data, pixels divided by 255 and cached, the
    frozen network inside the model, 1024 ReLU and sigmoid, Adam 1e-5, batches of 256.
    """
    num_genres = len(dataset.genres)

    def prepare(path: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = tf.image.resize(decode_poster(tf.io.read_file(path)), (IMAGE_SIZE, IMAGE_SIZE))
        return pixels / 255.0, targets

    targets = np.random.default_rng(0).integers(0, 2, (len(paths), num_genres)).astype(np.float32)
    prepared = tf.data.Dataset.from_tensor_slices(([str(path) for path in paths], targets)).map(
        prepare, num_parallel_calls=tf.data.AUTOTUNE
    )
    validation = prepared.take(NUM_ARTICLE_VALIDATION).cache().batch(256).prefetch(tf.data.AUTOTUNE)
    train = prepared.skip(NUM_ARTICLE_VALIDATION).cache().shuffle(1024).batch(256).prefetch(tf.data.AUTOTUNE)
    pixels = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
    hidden = backbone.network(keras.layers.Rescaling(255.0)(pixels), training=False)
    hidden = keras.layers.Dense(1024, activation="relu")(hidden)
    model = keras.Model(pixels, keras.layers.Dense(num_genres, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.Adam(1e-5), MacroSoftF1(), metrics=[make_macro_f1(num_genres)], jit_compile=False)
    model.fit(train, epochs=1, validation_data=validation, verbose=0)
    start = time.perf_counter()
    model.fit(train, epochs=1, validation_data=validation, verbose=0)
    seconds = time.perf_counter() - start
    print(f"    the article's way: {len(paths) / seconds:.0f} posters/s", flush=True)
    return seconds
