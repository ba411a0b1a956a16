"""Features and training beside the article's way and Keras's own."""

import hashlib
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from measuring import EPOCHS, REAL_POSTERS, ROOT, Results, as_downloaded, compare, rate, take_turns

from tasks.catalog.task import read_catalog
from tasks.dataset.task import Dataset, write_dataset
from tasks.features.backbone import Backbone, load_backbone
from tasks.features.cache import cache_dir
from tasks.features.embedding import embed_with_tensorflow, make_embedder
from tasks.features.preprocessing import IMAGE_SIZE, decode_poster, prepare_poster
from tasks.features.task import embed_part, plan_embedding
from tasks.posters import ledger
from tasks.settings import CatalogSettings, DatasetSettings, FeatureSettings, TrainingSettings
from tasks.training.examples import Examples, read_examples
from tasks.training.fitting import fit_head
from tasks.training.head import build_head, measure_moments
from tasks.training.losses import MacroSoftF1
from tasks.training.metrics import MacroF1

NUM_POSTERS = 512  # of the pairs that are run over and over
NUM_ARTICLE = 1024  # that the article's way is shown ...
NUM_ARTICLE_VALIDATION = 128  # ... and validated on
SEEDS = (0, 1, 2)


def measure(work: Path) -> Results:
    """All of it, from posters on disk to trained heads."""
    settings = FeatureSettings(wheel_dir=ROOT / "data" / "backbone")
    backbone = load_backbone(settings)
    paths = sorted((REAL_POSTERS / "posters").iterdir())
    results: Results = {"features": compare("posters/s", _pair_features(backbone, settings, paths[:NUM_POSTERS]))}

    dataset = _make_dataset(work)
    folder = cache_dir(work / "features", backbone.fingerprint)
    start = time.perf_counter()
    embed = make_embedder(backbone, settings)
    for plan in plan_embedding(work / "posters", folder):
        embed_part.fn(plan, folder, embed)
    feature_seconds = time.perf_counter() - start
    train, validation = (read_examples(dataset, folder, split) for split in ("train", "validation"))
    trained = {
        recipe: [_fit(train, validation, dataset, recipe, seed) for seed in SEEDS] for recipe in ("default", "seed")
    }
    keras_fit = [_fit_by_keras(train, validation, dataset, seed, epochs=5) for seed in SEEDS]
    results[f"training, {EPOCHS} epochs, {len(train):,} posters"] = compare(
        "runs/hour",
        {
            "default recipe": [3600 / seconds for seconds, _ in trained["default"]],
            f"Keras's fit, scaled from 5 to {EPOCHS} epochs": [3600 / (seconds / 5 * EPOCHS) for seconds in keras_fit],
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
        results[f"seconds, {recipe}"] = compare("s", {f"{EPOCHS} epochs": [seconds for seconds, _ in runs]})
        results[f"validation macro-F1, {recipe}"] = compare("", {"three seeds": [score for _, score in runs]})
    results["the article's way"] = compare("posters/s", {"an epoch": [num_timed / seconds for seconds in article]})
    return results


def _pair_features(backbone: Backbone, settings: FeatureSettings, paths: list[Path]) -> dict[str, list[float]]:
    posters = [path.read_bytes() for path in paths]
    embed = make_embedder(backbone, settings)
    prepared = (
        tf.data.Dataset.from_tensor_slices(tf.constant(posters))
        .map(prepare_poster, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(settings.batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    ways = {
        "LiteRT, decoding included": lambda: rate(len(posters), lambda: embed(posters)),
        "plain tf.function": lambda: rate(
            len(posters), lambda: embed_with_tensorflow(backbone, posters, settings.batch_size)
        ),
        "Keras predict": lambda: rate(len(posters), lambda: backbone.network.predict(prepared, verbose=0)),
    }
    for way in ways.values():
        way()  # traces graphs
    return take_turns(ways)


def _make_dataset(work: Path) -> Dataset:
    """Puts the real posters into a ledger, as if they had been downloaded, and makes the data set."""
    catalog = read_catalog.fn(CatalogSettings(source=str(REAL_POSTERS / "MovieGenre.csv")), work / "catalog")
    rows: dict[int, list[dict[str, Any]]] = {part: [] for part in range(8)}
    for path in (REAL_POSTERS / "posters").iterdir():
        imdb_id, content = int(path.stem), path.read_bytes()
        row = as_downloaded(imdb_id, path.name, hashlib.sha256(content).hexdigest(), content)
        rows[ledger.part_of(imdb_id, len(rows))].append(row)
    for part, of_part in rows.items():
        ledger.update_part(ledger.part_path(work / "posters", part), of_part)
    folders = (work / "posters", work / "splits", work / "shards")
    return write_dataset.fn(catalog.films_path, *folders, DatasetSettings(min_posters_per_genre=400), 0)


def _fit(train: Examples, validation: Examples, dataset: Dataset, recipe: Any, seed: int) -> tuple[float, float]:
    settings = TrainingSettings(recipe=recipe, patience=None)
    start = time.perf_counter()
    fitted = fit_head(train, validation, dataset.vocabulary, settings, seed)
    seconds = time.perf_counter() - start
    print(f"    {recipe}, seed {seed}: {seconds:.1f} s, macro-F1 {fitted.validation_macro_f1:.3f}", flush=True)
    return seconds, fitted.validation_macro_f1


def _fit_by_keras(train: Examples, validation: Examples, dataset: Dataset, seed: int, epochs: int) -> float:
    settings = TrainingSettings()
    features, of_validation = (split.features.read().astype(np.float32) for split in (train, validation))
    start = time.perf_counter()
    num_genres = len(dataset.vocabulary)
    head = build_head(num_genres, settings, features.shape[1], measure_moments(train.features), seed)
    head.compile(keras.optimizers.Adam(3e-4), MacroSoftF1(), metrics=[MacroF1(num_genres)], jit_compile=False)
    head.fit(
        features,
        train.genre_targets,
        batch_size=settings.batch_size,
        epochs=epochs,
        validation_data=(of_validation, validation.genre_targets),
        verbose=0,
    )
    return time.perf_counter() - start


def _time_article_epoch(backbone: Backbone, dataset: Dataset, paths: list[Path]) -> float:
    """Returns the seconds of the second of two epochs: pictures are cached by then, and the graph is traced.

    As the article describes it: JPEG files read, decoded and resized by tf.data, pixels divided by 255 and cached, the
    frozen network inside the model, 1024 ReLU and sigmoid, Adam 1e-5, batches of 256.
    """
    num_genres = len(dataset.vocabulary)

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
    model.compile(keras.optimizers.Adam(1e-5), MacroSoftF1(), metrics=[MacroF1(num_genres)], jit_compile=False)
    model.fit(train, epochs=1, validation_data=validation, verbose=0)
    start = time.perf_counter()
    model.fit(train, epochs=1, validation_data=validation, verbose=0)
    seconds = time.perf_counter() - start
    print(f"    the article's way: {len(paths) / seconds:.0f} posters/s", flush=True)
    return seconds
