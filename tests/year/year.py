"""A year of weekly refreshes, on a small catalog: one line a week, and an error as soon as something goes wrong.

    python tests/year/year.py [--weeks 30] [--folder /tmp/...]

The catalog grows by some films a week. One week it shrinks, one week its server is down, one week its genres are
shuffled, and from one week on another version of the preprocessing is installed. Every week these have to hold: no film
moves between the splits, the champion and the store's champion are whole, old models are removed and no others, the
disk does not fill up, and no model of a week in which something is wrong becomes champion.
"""

import argparse
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
from prefect.testing.utilities import prefect_test_harness

from flows.train import Run, train
from tasks import versions
from tasks.errors import PosterGenresError
from tasks.model_folder import ModelFolder
from tasks.registry.models import find_champion, list_models, read_champion_id
from tasks.registry.pulling import pull_model
from tasks.registry.retention import PROTECTED_CHAMPIONS
from tasks.registry.stores import Store
from tasks.sample.server import serve
from tasks.sample.site import make_site, write_catalog
from tasks.settings import (
    CatalogSettings,
    DatasetSettings,
    EvaluationSettings,
    ExportSettings,
    FeatureSettings,
    PosterSettings,
    RegistrySettings,
    RetentionSettings,
    Settings,
    TrainingSettings,
)

ROOT = Path(__file__).resolve().parents[2]

FIRST_FILMS = 150
FILMS_A_WEEK = 2
SHRUNK_BY = 30
KEEP_MODELS = 3
# Posters, shards, features and one head of 200 films; megabytes.
MAX_DATA_MB = 20
# The sample is far too small for the gate's usual bounds: differences between models of it are large.
GATE: dict[str, Any] = {"min_films_to_judge": 20, "max_macro_f1_drop": 0.05, "max_true_drop": 0.2}

COLUMNS = {
    "week": 4,
    "event": 11,
    "films": 5,
    "test": 4,
    "data MB": 7,
    "artifacts MB": 12,
    "models": 6,
    "champion": 22,
    "store's champion": 22,
    "verdict": 60,
}

# The weeks in which no model may become champion.
REFUSED = ("shrunk", "outage", "bad")


@dataclass(frozen=True)
class Week:
    """What happens in a week.

    Attributes:
        number: Number of the week, from 1.
        num_films: Number of films in the catalog.
        event: `shrunk`, `outage`, `bad`, or nothing.
        version: How often a new version of the preprocessing was installed until then.
    """

    number: int
    num_films: int
    event: str = ""
    version: int = 0


def plan_year(num_weeks: int) -> list[Week]:
    """Returns the weeks, with an event in about every fifth."""
    shares = {"shrunk": 0.3, "outage": 0.45, "bad": 0.6, "new version": 0.75}
    events = {1 + int(num_weeks * share): event for event, share in shares.items()}
    new_version = 1 + int(num_weeks * shares["new version"])
    weeks = []
    for number in range(1, num_weeks + 1):
        event = events.get(number, "")
        num_films = FIRST_FILMS + FILMS_A_WEEK * number - SHRUNK_BY * (event == "shrunk")
        weeks.append(Week(number, num_films, event, int(number >= new_version)))
    return weeks


class Year:
    """The folders of a year, and what was seen in them so far.

    Args:
        folder: Folder of everything.
        features: Settings of the backbone.
        num_films: Number of films that are drawn.
    """

    def __init__(self, folder: Path, features: FeatureSettings, num_films: int) -> None:
        self.folder = folder
        self.store = folder / "store"
        self._site = folder / "site"
        self._port = 0
        make_site(folder / "sample", num_films)
        self._site.mkdir()
        (self._site / "posters").symlink_to(folder / "sample" / "posters")
        self._films: list[list[str]] = json.loads((folder / "sample" / "sample.json").read_text("utf-8"))["films"]
        self._splits: dict[int, str] = {}
        self._features = features

    @property
    def settings(self) -> Settings:
        return Settings(
            data_dir=self.folder / "data",
            artifacts_dir=self.folder / "artifacts",
            catalog=CatalogSettings(source=f"http://127.0.0.1:{self._port}/MovieGenre.csv"),
            posters=PosterSettings(posters_per_part=50, allow_private_hosts=("127.0.0.1",), backoff_seconds=0.05),
            dataset=DatasetSettings(min_posters_per_genre=15, test_fraction=0.2),
            features=self._features,
            # Enough for the genres to be learned a little.
            training=TrainingSettings(recipe="fast", epochs=20, batch_size=32, hidden_units=64, learning_rate=2e-3),
            evaluation=EvaluationSettings(baselines=(), label_error_folds=None),
            export=ExportSettings(tflite=False, index=False),
            registry=RegistrySettings(publish_to=str(self.store), keep_models=KEEP_MODELS, **GATE),
            retention=RetentionSettings(keep_days=0),
        )

    def run(self, week: Week) -> dict[str, Any]:
        """Runs the pipeline, checks what has to hold, and returns the line of the table, by `COLUMNS`."""
        is_up = week.event != "outage"
        before = read_champion_id(self.settings.artifacts_dir)
        with (
            serve(self._site, self._port) if is_up else nullcontext() as base_url,
            mock.patch.object(versions, "PREPROCESSING", versions.PREPROCESSING + week.version),
        ):
            if base_url:
                self._port = int(base_url.rpartition(":")[2])
                self._write_catalog(week, base_url)
            try:
                verdict = describe(train(self.settings))
            except PosterGenresError as error:
                verdict = f"failed: {error}"
        self.check()
        champion = read_champion_id(self.settings.artifacts_dir)
        assert week.event not in REFUSED or champion == before, f"{champion} became champion in a week of {week.event}"
        return {"week": week.number, "event": week.event, **self._measure(), "verdict": verdict}

    def check(self) -> None:
        """Checks what has to hold after every week.

        Raises:
            AssertionError: If something does not.
        """
        settings = self.settings
        models = list_models(settings.artifacts_dir)
        for model in models:
            model.verify()
            self._check_splits(model)
        most = KEEP_MODELS + 1 + PROTECTED_CHAMPIONS
        assert len(models) <= most, f"{len(models)} models, expected at most {most}"
        gone = self._read_champions() - {model.id for model in models}
        assert not gone, f"models of the last champions are gone: {gone}"
        champion = find_champion(settings.artifacts_dir)
        if champion:
            champion.verify()
            stored = Store(str(self.store)).read_champion()
            assert stored, "the store has no champion"
            assert stored["id"] == champion.id, f"the store has {stored['id']}, expected {champion.id}"
            shutil.rmtree(self.folder / "pulled", ignore_errors=True)
            assert pull_model("champion", str(self.store), self.folder / "pulled").id == champion.id
        assert not list(self.folder.rglob("*.partial")), "something was left half-written"
        largest = max((_size(model.path) for model in models), default=0)
        bound = largest * most + 1e6
        assert _size(settings.artifacts_dir) <= bound, f"artifacts has over {bound / 1e6:.0f} MB"
        assert _size(settings.data_dir) <= MAX_DATA_MB * 1e6, f"data has over {MAX_DATA_MB} MB"

    def _write_catalog(self, week: Week, base_url: str) -> None:
        films = self._films[: week.num_films]
        if week.event == "bad":
            order = np.random.default_rng(week.number).permutation(len(films))
            films = [[*film[:3], films[other][3]] for film, other in zip(films, order, strict=True)]
        (self._site / "sample.json").write_text(json.dumps({"films": films}), "utf-8")
        write_catalog(self._site, base_url)

    def _read_champions(self) -> set[str]:
        """Returns the ids of the champion and of the last ones before it whose models were published."""
        path = self.settings.artifacts_dir / "champion.json"
        if not path.exists():
            return set()
        champion = json.loads(path.read_text("utf-8"))
        before = [earlier["id"] for earlier in champion["before"] if earlier["id"] != champion["id"]]
        return {champion["id"], *list(dict.fromkeys(reversed(before)))[:PROTECTED_CHAMPIONS]}

    def _check_splits(self, model: ModelFolder) -> None:
        films = pq.read_table(model.films_path, columns=["imdb_id", "split"]).to_pydict()
        for imdb_id, split in zip(films["imdb_id"], films["split"], strict=True):
            known = self._splits.setdefault(imdb_id, split)
            assert known == split, f"film {imdb_id} moved from {known} to {split} in {model.id}"

    def _measure(self) -> dict[str, Any]:
        settings = self.settings
        models = list_models(settings.artifacts_dir)
        stored = Store(str(self.store)).read_champion()
        films = pq.read_table(models[-1].films_path, columns=["split"])["split"].to_pylist() if models else []
        return {
            "films": len(films),
            "test": films.count("test"),
            "data MB": f"{_size(settings.data_dir) / 1e6:.1f}",
            "artifacts MB": f"{_size(settings.artifacts_dir) / 1e6:.1f}",
            "models": len(models),
            "champion": read_champion_id(settings.artifacts_dir) or "none",
            "store's champion": stored["id"] if stored else "none",
        }


def describe(run: Run) -> str:
    if not run.is_new:
        return "up to date"
    return f"{'champion' if run.is_champion else 'refused'}: {run.model.gate_reasons}"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def format_line(values: Iterable[Any]) -> str:
    """Returns a line of the table; the last column is shortened."""
    cells = [str(value)[:width].ljust(width) for value, width in zip(values, COLUMNS.values(), strict=True)]
    return "  ".join(cells).rstrip()


def run_year(year: Year, weeks: Sequence[Week]) -> list[dict[str, Any]]:
    """Runs all weeks, and prints the table as it grows."""
    print(format_line(COLUMNS), flush=True)
    lines = []
    for week in weeks:
        lines.append(year.run(week))
        print(format_line(lines[-1][name] for name in COLUMNS), flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="new folder, which is kept; by default a temporary one")
    arguments = parser.parse_args()
    weeks = plan_year(arguments.weeks)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="year-"))
    folder.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.CRITICAL)  # the table alone, which has the errors of runs
    features = FeatureSettings(source="wheel", wheel_dir=ROOT / "data" / "backbone", engine="tensorflow")
    start = time.monotonic()
    with prefect_test_harness(server_startup_timeout=120):
        run_year(Year(folder, features, max(week.num_films for week in weeks)), weeks)
    print(f"{len(weeks)} weeks in {time.monotonic() - start:.0f} s: everything held", flush=True)
    if not arguments.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
