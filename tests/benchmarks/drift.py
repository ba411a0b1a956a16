"""How well drift is found, and how often it is found where there is none, on the films of a run.

    python drift.py DATA_DIR [PART...] [--resamples 20]

DATA_DIR is that of a finished run of `poster-genres run` on real posters. Reads it, and writes nothing.

- False warnings: the films of the catalog are divided at random into two halves, one the champion's and one the new
  model's; each trains a head of its own on its training films, and predicts its test films. Halves have no film in
  common and are the smallest samples, so that they differ by more than two catalogs of a week. And bootstrap resamples
  of all films against the catalog itself.
- Drift that is made: half of each genre, grey posters, a host that fails. The warnings that name it are counted.
- Time and memory of the statistics of 200,000 films, which are the catalog's, again and again under new ids.
"""

import argparse
import io
import itertools
import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from measuring import FAST_FEATURES
from numpy.typing import NDArray
from PIL import Image

import flows  # noqa: F401  (sets what Prefect and TensorFlow read when they are imported)
from tasks.dataset.splits import SPLITS
from tasks.dataset.task import read_dataset
from tasks.drift.collection import Collected, Names, collect
from tasks.drift.comparison import Comparison
from tasks.drift.counts import count_hosts
from tasks.drift.predictions import describe_predictions
from tasks.drift.samples import number_rows, pair_samples
from tasks.drift.statistics import Predictions
from tasks.features.backbone import load_backbone
from tasks.features.extraction import make_feature_extractor
from tasks.features.joining import open_features
from tasks.features.matrix import FeatureMatrix, FeatureViews
from tasks.outputs.genres import GenresOutput
from tasks.posters import ledger, segments
from tasks.settings import DriftSettings, TrainingSettings
from tasks.training.examples import Examples, TrainingData
from tasks.training.fitting import fit_head
from tasks.training.head import build_logits_model, fold_calibration, predict
from tasks.training.thresholds import calibrate
from tasks.workspace import Workspace

SETTINGS = DriftSettings()
NUM_HOSTS = 4  # that the posters are given to, by their ids


@dataclass(frozen=True)
class Data:
    """Films, posters, features and targets of a run; the features and targets in the order of the films.

    `head` predicts the test films.
    """

    catalog: pa.Table
    rows: pa.Table
    films: pd.DataFrame
    features: NDArray[np.float16]
    targets: NDArray[np.uint8]
    genres: list[str]
    head: keras.Model
    work: Path

    def take(self, film_rows: NDArray[np.int64], catalog_rows: NDArray[np.int64]) -> "Data":
        return replace(
            self,
            catalog=self.catalog.take(catalog_rows),
            films=self.films.iloc[film_rows].reset_index(drop=True),
            features=self.features[film_rows],
            targets=self.targets[film_rows],
        )

    def keep(self, imdb_ids: NDArray[np.int64]) -> "Data":
        """Returns the data of the films with these ids."""
        (films,) = np.nonzero(self.films["imdb_id"].isin(imdb_ids))
        (catalog,) = np.nonzero(np.isin(self.catalog["imdb_id"].to_numpy(), imdb_ids))
        return self.take(films, catalog)

    def predict(self, head: keras.Model) -> Predictions:
        (test,) = np.nonzero(self.films["split"] == "test")
        confidences = predict(head, as_matrix(self.features[test], self.work))[GenresOutput.name]
        return describe_predictions(confidences, self.genres, {})

    def collect(self, name: str) -> Collected:
        return collect(
            catalog=self.catalog,
            ledger_rows=self.rows,
            films=self.films.assign(row=np.arange(len(self.films))),
            read_features=lambda films: self.features[films["row"].to_numpy()],
            predictions=self.predict(self.head),
            names=Names(name, "features"),
        )


def read_data(data_dir: Path, work: Path) -> Data:
    workspace = Workspace(data_dir)
    dataset = read_dataset(workspace.folder("shards"))
    (features_folder,) = (path.parent for path in workspace.folder("features").glob("*/gathered-*"))
    table = pq.read_table(dataset.films_path)
    films = number_rows(table.select(["imdb_id", "sha256", "year", "score", "split"]))
    targets = np.array(table["targets"].to_pylist(), np.uint8)
    features = np.empty((len(films), open_features(dataset, features_folder, "train").num_columns), np.float16)
    for split in SPLITS:
        features[films["split"] == split] = open_features(dataset, features_folder, split).read()
    catalog = pq.read_table(workspace.folder("catalog") / "films.parquet")
    hosts = [f"http://host{imdb_id % NUM_HOSTS}.test/{imdb_id}.jpg" for imdb_id in catalog["imdb_id"].to_pylist()]
    catalog = catalog.select(["imdb_id", "genres"]).append_column("poster_url", pa.array(hosts))
    rows = ledger.find_current(ledger.read_rows(segments.list_parts(workspace.folder("posters"))))
    (head_path,) = (
        path.parent / "head.keras"
        for path in workspace.folder("training").glob("fast-*/training.json")
        if json.loads(path.read_text("utf-8"))["inputs"]["dataset"] == dataset.fingerprint
    )
    return Data(catalog, rows, films, features, targets, dataset.genres, keras.saving.load_model(head_path), work)


def as_matrix(features: NDArray[np.float16], work: Path) -> FeatureViews:
    path = work / f"{time.monotonic_ns()}.npy"
    np.save(path, features)
    return FeatureViews([FeatureMatrix(path)])


def train(data: Data, work: Path) -> keras.Model:
    """Returns a head of the recipe `fast`, calibrated, as the training stage makes it."""

    def take(split: str) -> Examples:
        (rows,) = np.nonzero(data.films["split"] == split)
        films = data.films.iloc[rows].reset_index(drop=True)
        return Examples(films, as_matrix(data.features[rows], work), data.targets[rows])

    training = TrainingData(take("train"), take("validation"), data.genres)
    settings = TrainingSettings(recipe="fast")
    fitted = fit_head(training, settings, seed=0)
    logits = predict(build_logits_model(fitted.head), training.validation.features)[GenresOutput.name]
    fold_calibration(fitted.head, calibrate(training.validation.genre_targets, logits, settings.thresholds))
    for path in work.glob("*.npy"):
        path.unlink()
    return fitted.head


def compare(before: Collected, after: Collected, by_champion: Predictions | None = None) -> Comparison:
    """Compares two catalogs; without `by_champion`, both have the same head."""
    comparison = Comparison(before.statistics, after.statistics, SETTINGS)
    new = after.results[~after.results["imdb_id"].isin(before.results["imdb_id"])]
    samples = pair_samples(before.statistics.embeddings, after.statistics.embeddings)
    comparison.compare(samples, count_hosts(new), by_champion or after.statistics.predictions)
    return comparison


# False warnings


def divide(data: Data, number: int) -> Iterator[Comparison]:
    """Yields the comparisons of the halves of so many divisions, each with a head of its own."""
    ids = data.catalog["imdb_id"].to_numpy()
    for seed in range(number):
        is_first = np.random.default_rng(seed).permutation(len(ids)) < len(ids) // 2
        first, second = data.keep(ids[is_first]), data.keep(ids[~is_first])
        first, second = (replace(half, head=train(half, data.work)) for half in (first, second))
        yield compare(first.collect("first"), second.collect("second"), second.predict(first.head))


def resample(data: Data, number: int) -> Iterator[Comparison]:
    """Yields the comparisons of the catalog with so many bootstrap resamples of it.

    A film that is drawn again gets an id of its own.
    """
    original = data.collect("original")
    ids = data.catalog["imdb_id"].to_numpy()
    row_of_film = pd.Series(np.arange(len(data.films)), index=data.films["imdb_id"])
    for seed in range(number):
        drawn = np.sort(np.random.default_rng(seed).integers(len(ids), size=len(ids)))
        again = pd.Series(drawn).groupby(drawn).cumcount().to_numpy()
        new_ids = ids[drawn] + again * 100_000_000
        ledger_rows = pd.Series(np.arange(data.rows.num_rows), index=data.rows["imdb_id"].to_numpy())[ids[drawn]]
        has_poster = pd.Series(ids[drawn]).isin(data.films["imdb_id"]).to_numpy()
        sample = data.take(row_of_film[ids[drawn][has_poster]].to_numpy(), drawn)
        sample = replace(
            sample,
            catalog=sample.catalog.set_column(0, "imdb_id", pa.array(new_ids)),
            rows=data.rows.take(ledger_rows.to_numpy()).set_column(0, "imdb_id", pa.array(new_ids)),
            films=sample.films.assign(imdb_id=new_ids[has_poster]),
        )
        yield compare(original, sample.collect("resample"))


def report_false_warnings(title: str, comparisons: Iterator[Comparison]) -> None:
    warnings: list[list[str]] = []
    nearest: dict[str, list[float]] = {}
    changes: dict[str, list[float]] = {}
    for comparison in comparisons:
        warnings.append(comparison.as_dict()["warnings"])
        for figure in comparison.figures:
            nearest.setdefault(figure.group, []).append(figure.nearness)
            changes.setdefault(figure.group, []).append(figure.change)
    number = sum(map(bool, warnings))
    print(f"\n{title}: {number} of {len(warnings)} with a warning, {len(comparison.figures)} figures each")
    for line in itertools.chain.from_iterable(warnings):
        print("   ", line)
    for group, values in nearest.items():
        print(
            f"    {group:28} nearest to a warning {max(values):.2f} of the limit, "
            f"largest change {max(changes[group]):.4f}"
        )


# Drift that is made


def report(title: str, comparison: Comparison, name: str = "") -> None:
    warnings = comparison.as_dict()["warnings"]
    found = "flagged" if any(name in line for line in warnings) else "NOT FLAGGED"
    print(f"{title}: {found}, {len(warnings)} warnings")
    for line in warnings:
        print("   ", line)


def halve_genres(data: Data, original: Collected) -> None:
    """Of each genre half of the films lose it, or are gone."""
    lists = data.catalog["genres"].to_pylist()
    genres = Counter(genre for names in lists for genre in names)
    for way in ("lose it", "are gone"):
        flagged, others = [], 0
        for genre, number in genres.most_common():
            with_genre = np.array([genre in names for names in lists])
            is_hit = with_genre & (np.random.default_rng(0).random(len(lists)) < 0.5)
            if way == "lose it":
                changed = [
                    [name for name in names if name != genre or not hit]
                    for names, hit in zip(lists, is_hit, strict=True)
                ]
                column = pa.array(changed, data.catalog["genres"].type)
                after = replace(data, catalog=data.catalog.set_column(1, "genres", column))
            else:
                after = data.keep(data.catalog["imdb_id"].to_numpy()[~is_hit])
            warnings = compare(original, after.collect("halved")).as_dict()["warnings"]
            found = [line for line in warnings if line.startswith(f"genre {genre}:")]
            others += len(warnings) - len(found)
            flagged.append(f"{genre} ({number:,})" if found else f"NOT {genre} ({number:,})")
            if genre == "Horror":
                print("   ", *warnings, sep="\n    ")
        missed = sum(name.startswith("NOT") for name in flagged)
        counts = f"{len(flagged) - missed} of {len(flagged)} genres flagged, {others} other warnings"
        print(f"half of the films of a genre {way}: {counts}: {', '.join(flagged)}")


def turn_grey(data: Data, original: Collected, posters_dir: Path) -> None:
    """Posters of some films are replaced by grey ones, of which the features are those of the backbone."""
    grey = {}
    ids = data.films["imdb_id"].tolist()
    for imdb_id, content in ledger.iterate_posters(posters_dir, set(ids)):
        stream = io.BytesIO()
        Image.open(io.BytesIO(content)).convert("L").convert("RGB").save(stream, "JPEG", quality=85)
        grey[imdb_id] = stream.getvalue()
    extractor = make_feature_extractor(load_backbone(FAST_FEATURES), FAST_FEATURES)
    pieces = [[grey[imdb_id] for imdb_id in ids[start : start + 512]] for start in range(0, len(ids), 512)]
    features = np.concatenate([extractor(piece, [0])[:, 0].astype(np.float16) for piece in pieces])
    sizes = pd.Series({imdb_id: len(content) for imdb_id, content in grey.items()})
    for share in (0.1, 0.2, 0.3, 1.0):
        is_grey = np.random.default_rng(0).random(len(ids)) < share
        grey_ids = np.array(ids)[is_grey]
        row_ids = data.rows["imdb_id"].to_numpy()
        num_bytes = pd.Series(data.rows["num_bytes"].to_pandas().to_numpy(), index=row_ids)
        num_bytes[grey_ids] = sizes[grey_ids]
        position = data.rows.schema.get_field_index("num_bytes")
        after = replace(
            data,
            features=np.where(is_grey[:, np.newaxis], features, data.features),
            rows=data.rows.set_column(
                position, "num_bytes", pa.array(num_bytes.to_numpy(), pa.int32(), from_pandas=True)
            ),
        )
        comparison = compare(original, after.collect("grey"))
        (figure,) = (figure for figure in comparison.figures if figure.group == "posters")
        report(f"{share:.0%} grey (distance {figure.change:.5f}, noise {figure.noise:.5f})", comparison, "posters by")


def fail_host(data: Data, original: Collected) -> None:
    """Of one host's films, or of its new ones alone, 30% get no poster."""
    ids = data.catalog["imdb_id"].to_numpy()
    is_lost = (ids % NUM_HOSTS == 1) & (np.random.default_rng(0).random(len(ids)) < 0.3)
    report(
        "a host fails for 30%", compare(original, fail(data, ids[is_lost]).collect("failed")), "failures of host1.test"
    )
    is_new = np.random.default_rng(1).random(len(ids)) < 0.05
    before = data.keep(ids[~is_new]).collect("before")
    lost = fail(data, ids[is_lost & is_new]).collect("failed")
    title = f"a host fails for 30% of its {int((is_new & (ids % NUM_HOSTS == 1)).sum())} new films"
    report(title, compare(before, lost), "failures of new films of host1.test")
    report("5% new films of the same kind", compare(before, data.collect("after")))


def fail(data: Data, imdb_ids: NDArray[np.int64]) -> Data:
    """Returns the data without the posters of some films."""
    is_lost = pc.is_in(data.rows["imdb_id"], pa.array(imdb_ids))
    columns = {"status": "failed", "reason": "timeout"}
    rows = data.rows
    for name, value in columns.items():
        position = rows.schema.get_field_index(name)
        column = pc.if_else(is_lost, pa.scalar(value), rows[name])
        rows = rows.set_column(position, name, column)
    (films,) = np.nonzero(~data.films["imdb_id"].isin(imdb_ids))
    kept = data.take(films, np.arange(data.catalog.num_rows))
    return replace(kept, rows=rows)


def measure_cost(data: Data, num_films: int) -> None:
    """Prints time and memory of the statistics of so many films, and of their comparison."""
    copies = -(-num_films // data.catalog.num_rows)

    def repeat(table: pa.Table) -> pa.Table:
        tables = [
            table.set_column(0, "imdb_id", pa.array(table["imdb_id"].to_numpy() + copy * 100_000_000))
            for copy in range(copies)
        ]
        return pa.concat_tables(tables).combine_chunks()

    films = pd.concat(
        [
            data.films.assign(imdb_id=data.films["imdb_id"] + copy * 100_000_000, row=np.arange(len(data.films)))
            for copy in range(copies)
        ]
    )
    (test,) = np.nonzero(data.films["split"] == "test")
    confidences = predict(data.head, as_matrix(np.tile(data.features[test], (copies, 1)), data.work))[GenresOutput.name]
    catalog, rows = repeat(data.catalog), repeat(data.rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu_start = time.perf_counter(), time.process_time()
    collected = collect(
        catalog=catalog,
        ledger_rows=rows,
        films=films,
        read_features=lambda sample: data.features[sample["row"].to_numpy()],
        predictions=describe_predictions(confidences, data.genres, {}),
        names=Names("large", "features"),
    )
    middle, cpu_middle = time.perf_counter(), time.process_time()
    compare(collected, collected)
    end, cpu_end = time.perf_counter(), time.process_time()
    size = len(collected.statistics.model_dump_json())
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    times = f"statistics {middle - start:.1f} s, comparison {end - middle:.1f} s"
    cpu_times = f"of a core {cpu_middle - cpu_start:.1f} s and {cpu_end - cpu_middle:.1f} s"
    sizes = f"peak memory +{grown:.0f} MB, statistics.json {size / 1e3:.0f} KB"
    print(f"\n{catalog.num_rows:,} films: {times}, {cpu_times}, {sizes}")


PARTS = ("genres", "hosts", "grey", "cost", "bootstrap", "halves")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"Parts to run, by default all: {', '.join(PARTS)}.")
    parser.add_argument("--resamples", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        data = read_data(arguments.data_dir, Path(work))
        original = data.collect("original")
        report("the same films", compare(original, data.collect("the same")))
        runs: dict[str, Callable[[], None]] = {
            "genres": lambda: halve_genres(data, original),
            "hosts": lambda: fail_host(data, original),
            "grey": lambda: turn_grey(data, original, Workspace(arguments.data_dir).folder("posters")),
            "cost": lambda: measure_cost(data, 200_000),
            "bootstrap": lambda: report_false_warnings("bootstrap resamples", resample(data, arguments.resamples)),
            "halves": lambda: report_false_warnings("random halves", divide(data, arguments.resamples)),
        }
        for part in arguments.parts or PARTS:
            runs[part]()


if __name__ == "__main__":
    main()
