"""The stage on films, posters, features and a head on disk, as the earlier stages leave them."""

import json
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ledger_rows import make_row, write_ledger

from tasks.catalog.cleaning import FILMS
from tasks.dataset.films import FILMS_SCHEMA
from tasks.dataset.task import Dataset
from tasks.drift.task import Drift, measure_drift
from tasks.model_folder import ModelFolder
from tasks.outputs.genres import GenresOutput
from tasks.settings import DriftSettings, TrainingSettings
from tasks.training.embedding import make_embed
from tasks.training.head import HIDDEN
from tasks.training.task import TrainedHead

NUM_FILMS = 2000
NUM_FEATURES = 70
GENRES = ["Comedy", "Drama"]


@dataclass(frozen=True)
class Films:
    """A catalog: every film has a poster, but those in `failed`; of `horror` the third genre, which is not learned."""

    ids: np.ndarray
    horror: np.ndarray
    failed: np.ndarray
    features: np.ndarray

    @classmethod
    def make(cls) -> "Films":
        random = np.random.default_rng(0)
        ids = np.arange(1, NUM_FILMS + 1)
        features = random.random((NUM_FILMS, NUM_FEATURES))
        return cls(ids, random.random(NUM_FILMS) < 0.2, random.random(NUM_FILMS) < 0.02, features)

    def write(self, folder: Path, name: str) -> Dataset:
        """Writes what earlier stages write, to a folder of its own."""
        work = folder / name
        work.mkdir()
        genres = [["Comedy", "Horror"] if horror else ["Drama"] for horror in self.horror]
        catalog = {
            "imdb_id": self.ids,
            "title": [""] * len(self.ids),
            "year": self.ids % 40 + 1980,
            "score": [5.0] * len(self.ids),
            "genres": genres,
            "poster_url": [f"http://127.0.0.1:{len(name)}/{film}.jpg" for film in self.ids],
        }
        pq.write_table(pa.table(catalog, FILMS), work / "catalog.parquet")
        posters = [f"{film} {film % 10 * 'x'}".encode() for film in self.ids]
        write_ledger(
            work / "posters",
            [
                make_row(int(film), None if failed else poster, width=182, height=268)
                for film, failed, poster in zip(self.ids, self.failed, posters, strict=True)
            ],
            num_parts=2,
        )
        kept = np.flatnonzero(~self.failed)
        splits = np.array(["train", "train", "validation", "test"])[self.ids[kept] % 4]
        films = {
            "imdb_id": self.ids[kept],
            "title": [""] * len(kept),
            "year": self.ids[kept] % 40 + 1980,
            "score": [5.0] * len(kept),
            "sha256": [str(film) for film in self.ids[kept]],
            "split": splits,
            "targets": [[1, 0] if horror else [0, 1] for horror in self.horror[kept]],
        }
        pq.write_table(pa.table(films, FILMS_SCHEMA), work / "films.parquet")
        fingerprint = f"{len(name):08x}{len(kept):08x}"
        joined = folder / "features" / f"gathered-{fingerprint}"
        joined.mkdir(parents=True, exist_ok=True)
        for split in ("train", "validation", "test"):
            np.save(joined / f"{split}.npy", self.features[kept][splits == split].astype(np.float16))
        return Dataset(work, GENRES, {}, fingerprint)


@pytest.fixture
def trained(tmp_path: Path) -> TrainedHead:
    keras.utils.set_random_seed(0)
    features = keras.Input((NUM_FEATURES,), name="features")
    hidden = keras.layers.Dense(8, "relu", name=HIDDEN)(features)
    confidences = GenresOutput(GENRES).build(hidden)
    folder = tmp_path / "head"
    folder.mkdir()
    keras.Model(features, {GenresOutput.name: confidences}).save(folder / "head.keras")
    output = GenresOutput(GENRES)
    return TrainedHead(folder, tmp_path / "features", TrainingSettings(), 1, [output], 1, 1, 0.5, 1.0)


@dataclass(frozen=True)
class Work:
    folder: Path
    trained: TrainedHead

    def measure(self, films: Films, name: str, champion: ModelFolder | None) -> Drift:
        dataset = films.write(self.folder, name)
        return measure_drift.fn(
            dataset=dataset,
            catalog_path=dataset.folder / "catalog.parquet",
            posters_dir=dataset.folder / "posters",
            trained=self.trained,
            champion=champion,
            settings=DriftSettings(),
        )

    def publish(self, drift: Drift | None, name: str) -> ModelFolder:
        """Returns a champion, with statistics or without."""
        model = ModelFolder(self.folder / "m1")
        model.path.mkdir()
        shutil.copy(self.folder / name / "films.parquet", model.films_path)
        model.labels_path.write_text(json.dumps(GENRES))
        if drift:
            drift.write_statistics(model)
        shutil.copy(self.trained.head_path, model.head_path)
        model.write_manifest({"id": "m1", "features": "features"})
        return model


@pytest.fixture
def work(tmp_path: Path, trained: TrainedHead) -> Work:
    return Work(tmp_path, trained)


@pytest.fixture
def champion(work: Work) -> ModelFolder:
    return work.publish(work.measure(Films.make(), "first", None), "first")


def test_without_a_champion_there_are_statistics_alone(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    drift = work.measure(Films.make(), "first", None)
    assert drift.comparison == {"against": None, "warnings": [], "not_compared": [], "figures": []}
    statistics = drift.statistics
    assert statistics.num_catalog_films == NUM_FILMS
    assert statistics.num_films == NUM_FILMS - Films.make().failed.sum()
    assert set(statistics.genres) == {"Comedy", "Drama", "Horror"}
    assert statistics.hosts == {"127.0.0.1": {"ok": statistics.num_films, "http 404": NUM_FILMS - statistics.num_films}}
    assert statistics.predictions is not None
    assert statistics.predictions.num_films == pytest.approx(NUM_FILMS * 0.98 / 4, rel=0.05)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_same_films_have_no_warning_and_no_change(work: Work, champion: ModelFolder) -> None:
    drift = work.measure(Films.make(), "other port and fingerprint", champion)
    assert drift.comparison["against"] == "m1"
    assert drift.comparison["warnings"] == drift.comparison["not_compared"] == []
    assert max(figure["change"] for figure in drift.comparison["figures"]) < 1e-6
    again = work.measure(Films.make(), "another fingerprint", champion)
    assert again.comparison == drift.comparison
    # "again" has the fingerprint of "first": see `Films.write`.
    same = work.measure(Films.make(), "again", champion)
    assert same.comparison["not_compared"] == [
        "predictions by the new model: the films are the same, only the training differs"
    ]


def test_each_change_is_logged_as_one_warning(
    work: Work, champion: ModelFolder, caplog: pytest.LogCaptureFixture
) -> None:
    films = Films.make()
    random = np.random.default_rng(1)
    grey = np.where(random.random((NUM_FILMS, 1)) < 0.5, films.features.mean(axis=1, keepdims=True), films.features)
    changed = replace(films, horror=films.horror & (random.random(NUM_FILMS) < 0.5), features=grey)
    changed = replace(changed, failed=random.random(NUM_FILMS) < 0.3)
    drift = work.measure(changed, "changed", champion)
    warnings = drift.comparison["warnings"]
    found = {line.partition(":")[0] for line in warnings}
    assert {"genre Horror", "failures of 127.0.0.1", "posters by their features", "films with a poster"} <= found
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert logged == [f"drift against m1: {line}" for line in warnings]


def test_films_that_the_champion_lacked_are_known(work: Work, champion: ModelFolder) -> None:
    films = Films.make()
    more = np.arange(NUM_FILMS + 1, NUM_FILMS + 101)
    grown = Films(
        np.concatenate([films.ids, more]),
        np.concatenate([films.horror, films.horror[:100]]),
        # Those that failed before are not new.
        np.concatenate([films.failed, more % 3 == 0]),
        np.concatenate([films.features, films.features[:100]]),
    )
    (warning,) = work.measure(grown, "grown", champion).comparison["warnings"]
    assert warning.startswith("failures of new films of 127.0.0.1: 34.0%, before")


def test_a_champion_of_an_earlier_version_is_compared_by_its_films_and_its_index(work: Work) -> None:
    films = Films.make()
    work.measure(films, "first", None)
    champion = work.publish(None, "first")
    compared = work.measure(films, "second", champion).comparison
    assert compared["warnings"] == []
    assert compared["not_compared"][0] == (
        "m1 has no statistics.json, it was published by an earlier version: its films and genres are compared"
    )
    assert {figure["group"] for figure in compared["figures"]} == {"films", "genre", "decade"}
    assert [figure["name"] for figure in compared["figures"] if figure["group"] == "genre"] == GENRES

    add_index(work, champion, films)
    other = replace(films, features=films.features**4, horror=np.zeros(NUM_FILMS, bool))
    compared = work.measure(other, "third", champion).comparison
    found = [line.partition(":")[0] for line in compared["warnings"]]
    assert found == ["genre Comedy", "posters by their champion's embedding, training films"]
    assert work.measure(films, "fourth", champion).comparison["warnings"] == []

    champion.head_path.write_bytes(b"no head")
    compared = work.measure(films, "fifth time", champion).comparison
    assert any(line.startswith("features of the posters: the champion has none") for line in compared["not_compared"])
    assert {figure["group"] for figure in compared["figures"]} == {"films", "genre", "decade"}


def add_index(work: Work, champion: ModelFolder, films: Films) -> None:
    is_train = (films.ids % 4 < 2) & ~films.failed
    vectors = make_embed(keras.saving.load_model(champion.head_path))(films.features[is_train].astype(np.float32))
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel()), 8)
    pq.write_table(pa.table({"imdb_id": films.ids[is_train], "embedding": column}), champion.index_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "statistics.json can't be read"),
        (b'{"version": 99}', "statistics.json can't be read"),
        (b" " * 10_000_001, "statistics.json can't be read (10,000,001 bytes, expected at most 10,000,000)"),
    ],
)
def test_damaged_statistics_stop_no_run(work: Work, champion: ModelFolder, content: bytes, problem: str) -> None:
    champion.statistics_path.write_bytes(content)
    compared = work.measure(Films.make(), "second", champion).comparison
    assert problem in compared["not_compared"][0]
    assert compared["figures"]
    champion.films_path.write_bytes(b"PAR1")
    compared = work.measure(Films.make(), "third", champion).comparison
    assert compared["figures"] == compared["warnings"] == []
    assert "and neither can its films" in compared["not_compared"][0]


def test_fingerprint_tells_statistics_and_bounds_apart(work: Work, champion: ModelFolder) -> None:
    drift = work.measure(Films.make(), "second", champion)
    assert drift.fingerprint == replace(drift).fingerprint
    assert drift.fingerprint != replace(drift, comparison={**drift.comparison, "warnings": ["x"]}).fingerprint
    fewer = drift.statistics.model_copy(update={"num_films": 1})
    assert drift.fingerprint != replace(drift, statistics=fewer).fingerprint
