"""Films and images stay in their splits, whatever becomes of the catalog, the posters, `data/` and the settings."""

import random
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_rows import make_row, write_ledger

from tasks.catalog.cleaning import FILMS
from tasks.dataset.lost_splits import SplitsBackup
from tasks.dataset.task import _assign_splits, write_dataset
from tasks.errors import DatasetError
from tasks.model_folder import ModelFolder
from tasks.settings import DatasetSettings, Settings


def publish(folder: Path, films_path: Path, used: Settings) -> ModelFolder:
    """Publishes a model of a data set, as far as splits are concerned."""
    folder.mkdir(parents=True)
    model = ModelFolder(folder)
    shutil.copy2(films_path, model.films_path)
    model.settings_path.write_text(used.model_dump_json())
    model.write_manifest({"id": folder.name})
    return model


def write_work(work: Path, images: Mapping[int, str]) -> None:
    """Writes catalog and posters of films with these images."""
    films = [
        {
            "imdb_id": film,
            "title": "T",
            "year": 1990,
            "score": 5.0,
            "genres": [["Drama", "Comedy"][film % 2]],
            "poster_url": "u",
        }
        for film in images
    ]
    work.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(films, schema=FILMS), work / "films.parquet")
    rows = [make_row(film, image.encode(), "u", format="jpeg") for film, image in images.items()]
    write_ledger(work / "posters", rows, num_parts=2)


def split(work: Path, used: Settings, models: list[ModelFolder]) -> pd.DataFrame:
    """Returns the films of the data set that a run writes."""
    dataset = write_dataset.fn(
        catalog_path=work / "films.parquet",
        posters_dir=work / "posters",
        splits_dir=work / "splits",
        folder=work / "shards",
        settings=used.dataset.model_copy(update={"min_posters_per_genre": 1}),
        seed=used.seed,
        models=models,
        with_shards=False,
    )
    films: pd.DataFrame = pq.read_table(dataset.films_path).to_pandas()
    return films


def by_split(films: pd.DataFrame, column: str) -> dict[str, set[object]]:
    return {name: set(rows[column]) for name, rows in films.groupby("split")}


def test_a_grown_catalog_and_a_new_data_dir(tmp_path: Path) -> None:
    images = {film: f"image {film - film % 7 // 6}" for film in range(782)}  # one of seven shows that of the one before
    write_work(tmp_path / "data", {film: images[film] for film in range(730)})
    split(tmp_path / "data", Settings(), [])
    champion = publish(tmp_path / "m1", tmp_path / "data" / "shards" / "films.parquet", Settings())
    before = pq.read_table(champion.films_path).to_pandas()
    shutil.rmtree(tmp_path / "data")

    write_work(tmp_path / "data", images)
    after = split(tmp_path / "data", Settings(), [champion])
    assert (len(before), len(after)) == (730, 782)
    for column in ("imdb_id", "sha256"):
        was, now = by_split(before, column), by_split(after, column)
        assert all(was[name] <= now[name] for name in was)
        assert not (was["train"] | was["validation"]) & now["test"]
        assert not was["test"] & (now["train"] | now["validation"])
    # Another seed is another split, and a champion of another seed is no reason to keep one.
    other = split(tmp_path / "data", Settings(seed=1), [champion])
    assert len(by_split(before, "imdb_id")["train"] & by_split(other, "imdb_id")["test"]) > 30


def test_other_fractions_move_no_film(tmp_path: Path) -> None:
    images = {film: f"image {film}" for film in range(240)}
    write_work(tmp_path / "data", {film: images[film] for film in range(200)})
    first = split(tmp_path / "data", Settings(), []).set_index("imdb_id")["split"]
    shutil.rmtree(tmp_path / "data" / "posters")
    write_work(tmp_path / "grown", images)
    shutil.move(tmp_path / "data" / "splits", tmp_path / "grown" / "splits")
    more_test = Settings(dataset=DatasetSettings(test_fraction=0.2, new_test_fraction=0))
    later = split(tmp_path / "grown", more_test, []).set_index("imdb_id")["split"]
    assert (later[first.index] == first).all()
    # A fifth of 240 images are 48, of which there were 20; then 24 for validation, of which there were 20.
    new = later.drop(first.index).value_counts().to_dict()
    assert new == {"test": 28, "train": 8, "validation": 4}
    again = split(tmp_path / "grown", Settings(), []).set_index("imdb_id")["split"]
    assert (again == later).all()


class History:
    """A data folder, a registry, and a world of films whose posters and catalog change."""

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.random = work, random.Random(seed)
        self.images = {film: f"image {film}" for film in range(60)}
        self.num_images = 60
        self.models: list[ModelFolder] = []
        self.splits_of: dict[tuple[str, object], set[str]] = {}
        self.num_runs = 0

    def run(self, used: Settings) -> None:
        """Splits the films of this week's catalog, publishes a model, and records the splits."""
        gone = self.random.choice([0, 0, 5, 30])
        present = sorted(self.random.sample(sorted(self.images), len(self.images) - gone))
        films = pd.DataFrame({"imdb_id": present, "sha256": [self.images[film] for film in present], "title": "T"})
        targets = np.array([[film % 2, film % 3 == 0] for film in present], np.uint8)
        self.random.shuffle(self.models)  # any of them is the champion
        backup = SplitsBackup(self.models, self.work / "shards")
        try:
            films = _assign_splits(films, targets, self.work / "splits", used.dataset, used.seed, backup)
        except DatasetError:  # a split would be empty
            return
        self.num_runs += 1
        for film, image, name in zip(films["imdb_id"], films["sha256"], films["split"], strict=True):
            self.splits_of.setdefault(("film", film), set()).add(name)
            self.splits_of.setdefault(("image", image), set()).add(name)
        films.to_parquet(self.work / "films.parquet")
        self.models.append(publish(self.work / "models" / str(self.num_runs), self.work / "films.parquet", used))

    def grow(self) -> None:
        for film in range(len(self.images), len(self.images) + self.random.randint(1, 20)):
            self.images[film] = self.draw_image()

    def change_images(self) -> None:
        for film in self.random.sample(sorted(self.images), 6):
            self.images[film] = self.draw_image()

    def draw_image(self) -> str:
        """Returns a new image, or one that some film shows or has shown."""
        if self.random.random() < 0.3:
            return f"image {self.random.randrange(self.num_images)}"
        self.num_images += 1
        return f"image {self.num_images - 1}"

    def delete_data(self) -> None:
        shutil.rmtree(self.work / "splits", ignore_errors=True)


NUM_HISTORIES = 8  # some seconds
EVENTS = ("grow", "change_images", "delete_data")


@settings(max_examples=NUM_HISTORIES, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), min_size=2, max_size=7), st.integers(0, 2**31 - 1))
def test_any_history(events: list[str], seed: int) -> None:
    with tempfile.TemporaryDirectory() as work:
        history = History(Path(work), seed)
        for event in ["grow", *events]:
            fractions = DatasetSettings(test_fraction=history.random.choice([0.1, 0.15]))
            history.run(Settings(dataset=fractions))
            getattr(history, event)()
        history.run(Settings())
        assert history.num_runs > 0
        assert {name for name, splits in history.splits_of.items() if len(splits) > 1} == set()
