"""Peak memory of every stage at 4,000, 40,000 and 400,000 posters: the real ones, repeated under new ids and hashes.

Each stage runs in a process of its own, whose peak resident size is read when it ends.

    python memory.py STAGE FOLDER
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import FAST_FEATURES, REAL_POSTERS, Results, as_downloaded, read_peak, script_environment

import flows  # noqa: F401  (sets what Prefect and TensorFlow read when they are imported)
from tasks.posters import ledger
from tasks.posters.segments import Part

SIZES = (4_000, 40_000, 400_000)
POSTERS_PER_PART = 1000
VOCABULARY = ("Action", "Comedy", "Drama", "Horror")
NUM_FEATURES = 1280 + 576 + 960  # of the last layer and of the two taps
FINGERPRINT = "benchmark"


def measure(work: Path) -> Results:
    """Returns for each stage the peaks, in GiB, by number of posters."""
    peaks: Results = {stage: {} for stage in STAGES}
    for size in SIZES:
        folder = work / str(size)
        _make_input(folder, size)
        for stage, of_stage in peaks.items():
            command = [sys.executable, __file__, stage, str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=script_environment())
            of_stage[f"{size:,}"] = float(done.stdout.split()[-1])
            print(f"    {stage}, {size:,} posters: {of_stage[f'{size:,}']:.2f} GiB", flush=True)
        shutil.rmtree(folder)
    return peaks


def _make_input(folder: Path, size: int) -> None:
    """Writes films, poster parts and features of `size` posters."""
    from tasks.features.cache import FeatureKey, write_features

    rng = np.random.default_rng(0)
    posters = [path.read_bytes() for path in sorted((REAL_POSTERS / "posters").iterdir())]
    ids = np.arange(1, size + 1)
    genres = [[VOCABULARY[number] for number in rng.permutation(4)[: rng.integers(1, 3)]] for _ in range(size)]
    films = {"imdb_id": ids, "title": [f"Film {imdb_id} (1999)" for imdb_id in ids]}
    addresses = [f"http://127.0.0.1:9/posters/of/the/usual/length/{imdb_id}.jpg" for imdb_id in ids]
    folder.mkdir()
    films |= {"year": pa.array([1999] * size, pa.int16()), "score": pa.array([6.5] * size, pa.float32())}
    films |= {"genres": genres, "poster_url": addresses}
    pq.write_table(pa.table(films), folder / "films.parquet")
    num_parts = ledger.choose_num_parts(folder / "posters", size, POSTERS_PER_PART)
    parts: list[list[int]] = [[] for _ in range(num_parts)]
    for imdb_id in ids.tolist():
        parts[ledger.assign_part(imdb_id, num_parts)].append(imdb_id)
    features_folder = folder / "features" / FeatureKey(FINGERPRINT, ()).folder_name
    for part, of_part in enumerate(parts):
        contents = [posters[imdb_id % len(posters)] for imdb_id in of_part]
        hashes = [hashlib.sha256(str(imdb_id).encode()).hexdigest() for imdb_id in of_part]
        rows = [
            as_downloaded(imdb_id, addresses[imdb_id - 1], sha256, content)
            for imdb_id, sha256, content in zip(of_part, hashes, contents, strict=True)
        ]
        Part(folder / "posters", part, num_parts).append(rows)
        write_features(features_folder, hashes, rng.random((len(of_part), NUM_FEATURES), np.float32))


def _plan_downloads(folder: Path) -> None:
    from tasks.posters.task import plan_downloads
    from tasks.settings import PosterSettings

    # As for a first run, of which nothing is there.
    assert plan_downloads(_read_films(folder), folder / "none", PosterSettings())


def _count_posters(folder: Path) -> None:
    from tasks.posters.task import count_posters, plan_downloads
    from tasks.settings import PosterSettings

    plan_downloads(_read_films(folder), folder / "posters", PosterSettings())
    count_posters(_read_films(folder), folder / "posters", {})


def _read_films(folder: Path) -> pa.Table:
    return pq.read_table(folder / "films.parquet", columns=["imdb_id", "poster_url"])


def _dataset(folder: Path) -> None:
    from tasks.dataset.task import write_dataset
    from tasks.settings import DatasetSettings

    write_dataset.fn(
        catalog_path=folder / "films.parquet",
        posters_dir=folder / "posters",
        splits_dir=folder / "splits",
        folder=folder / "shards",
        settings=DatasetSettings(min_posters_per_genre=10),
        seed=0,
    )


def _features(folder: Path) -> None:
    from tasks.dataset.task import read_dataset
    from tasks.features.backbone import load_backbone
    from tasks.features.extraction import make_feature_extractor
    from tasks.features.task import extract_planned, plan_extraction

    settings = FAST_FEATURES
    # No image has features: all are planned, and two shards extracted, each of which takes what every other would.
    plans = plan_extraction(read_dataset(folder / "shards"), folder / "none")
    extractor = make_feature_extractor(load_backbone(settings), settings)
    for plan in plans[:2]:
        extract_planned(plan, folder / "extracted", extractor)


def _training(folder: Path) -> None:
    import keras

    from tasks.dataset.task import read_dataset
    from tasks.evaluation.task import evaluate
    from tasks.export.index import write_index
    from tasks.features.cache import FeatureKey
    from tasks.features.joining import join_features
    from tasks.settings import TrainingSettings
    from tasks.training.task import cross_fit_heads, train_head

    dataset = read_dataset(folder / "shards")
    features = folder / "features" / FeatureKey(FINGERPRINT, ()).folder_name
    join_features(dataset, features)
    trained = train_head.fn(dataset, features, folder / "training", TrainingSettings(recipe="fast", epochs=2), 0)
    cross_fitted = cross_fit_heads.fn(
        dataset, features, folder / "training", TrainingSettings(recipe="fast", epochs=1), 2, 0
    )
    evaluate.fn(*(dataset, folder / "posters", trained, [], None, 5, folder / "evaluation"), cross_fitted=cross_fitted)
    write_index(dataset, features, keras.saving.load_model(trained.head_path), folder / "index.parquet")


STAGES: dict[str, Callable[[Path], None]] = {
    "plan of all downloads": _plan_downloads,
    "plan of none, and count": _count_posters,
    "dataset": _dataset,
    "features": _features,
    "training and evaluation": _training,
}

if __name__ == "__main__":
    STAGES[sys.argv[1]](Path(sys.argv[2]))
    print(read_peak())
