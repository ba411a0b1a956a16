"""Files of release 006bde9 are taken over: see tests/fixtures/release_006bde9/make_fixture.py."""

import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from flows.train import Run, train
from tasks.dataset.records import parse_example
from tasks.errors import RegistryError
from tasks.hashing import hash_file
from tasks.model_folder import ModelFolder
from tasks.prediction.predictor import Predictor
from tasks.prediction.similarity import find_similar_posters
from tasks.registry.models import find_champion, find_model, list_models, promote, read_champion_id
from tasks.registry.pulling import pull_model
from tasks.settings import Settings

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "release_006bde9" / "release_006bde9.tar.xz"
ARTIFACTS = Path("artifacts")
FILMS = Path("data/shards/films.parquet")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def snapshot(pattern: str) -> dict[str, tuple[str, int]]:
    """Returns hash and time of change of the files: the archive's are of 1970, so one that is rewritten differs."""
    files = sorted(path for path in Path().glob(pattern) if path.is_file())
    return {path.as_posix(): (hash_file(path), path.stat().st_mtime_ns) for path in files}


def read_rows(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    return list(pq.read_table(path, columns=columns).to_pylist())


def count_features() -> int:
    return sum(pq.read_metadata(path).num_rows for path in Path("data/features").rglob("*-*.parquet"))


def change_group(settings: Settings, group: str, **changes: object) -> Settings:
    return settings.model_copy(update={group: getattr(settings, group).model_copy(update=changes)})


@dataclass(frozen=True)
class TakenOver:
    """The release's tree after two runs of this version.

    Attributes:
        same: with the release's own settings.
        compared: the run that made a model and compared it with the release's champion: `same`, or one whose settings
            of the evaluation differ.
        champion_id: of the release.
        before: hashes of the release's files.
        films: rows of its `films.parquet`.
        num_features: images whose features it has.
    """

    settings: Settings
    same: Run
    compared: Run
    champion_id: str
    before: dict[str, tuple[str, int]]
    films: list[dict[str, Any]]
    num_features: int

    @property
    def champion(self) -> Path:
        return find_model(self.champion_id, ARTIFACTS).path


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The release's tree as it left it, which is the working directory: the paths in it are relative."""
    folder = tmp_path_factory.mktemp("release")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def taken_over(release: Path, prefect_server: None) -> TakenOver:
    given = read_json(Path("settings.json"))
    # The recipe that has the features of the release's default.
    settings = Settings.model_validate({**given, "training": {**given["training"], "recipe": "fast"}})
    champion_id = read_champion_id(ARTIFACTS)
    assert champion_id is not None
    before, films, num_features = snapshot("*/**/*"), read_rows(FILMS, ["imdb_id", "sha256", "split"]), count_features()
    same = train(settings)
    compared = same if same.is_new else train(change_group(settings, "evaluation", baselines=()))
    return TakenOver(settings, same, compared, champion_id, before, films, num_features)


@pytest.mark.parametrize(
    ("what", "pattern", "num_files"),
    [
        ("no poster is downloaded again, not even one that failed", "data/posters/part-*.parquet", 4),
        ("the file of splits stays beside that of this version", "data/splits/seed-0-*.parquet", 1),
        ("features are not computed again", "data/features/*/part-*.parquet", 4),
        ("the published model stays as it is", "artifacts/models/{id}/**/*", 20),
    ],
)
def test_files_are_kept(taken_over: TakenOver, what: str, pattern: str, num_files: int) -> None:
    kept = snapshot(pattern.format(id=taken_over.champion_id))
    assert len(kept) == num_files, what
    assert kept == {name: taken_over.before.get(name) for name in kept}, what


def test_records_are_written_once_more_to_shards_with_the_films_of_few_poster_parts(taken_over: TakenOver) -> None:
    """The shard of a film was the hash of another text."""
    shards = snapshot("data/shards/*.tfrecord")
    assert len(shards) == 8
    ids = [int(parse_example(record)["imdb_id"].numpy()) for name in shards for record in tf.data.TFRecordDataset(name)]
    assert sorted(ids) == sorted(film["imdb_id"] for film in taken_over.films)


def test_films_keep_their_order_and_split(taken_over: TakenOver) -> None:
    assert len(taken_over.films) == 43
    assert read_rows(FILMS, ["imdb_id", "sha256", "split"]) == taken_over.films


def test_no_image_has_its_features_twice(taken_over: TakenOver) -> None:
    assert taken_over.num_features == len({film["sha256"] for film in taken_over.films})
    assert count_features() == taken_over.num_features


def test_the_champion_is_recognised_or_compared_with(taken_over: TakenOver) -> None:
    if not taken_over.same.is_new:
        assert taken_over.same.model.id == taken_over.champion_id
    assert taken_over.compared.is_new
    (comparison,) = taken_over.compared.metrics["rivals"]
    assert comparison["id"] == taken_over.champion_id
    assert comparison["num_films"] == sum(film["split"] == "test" for film in taken_over.films)
    assert comparison["genres"]
    # The release measured it on the same films.
    genres = read_json(taken_over.champion / "metrics.json")["model"]["genres"]
    measured = np.mean([genres[genre]["f1"] for genre in comparison["genres"]])
    assert comparison["rival_macro_f1"] == pytest.approx(measured)
    assert 0 <= comparison["candidate_macro_f1"] <= 1


def test_drift_is_measured_by_what_the_champion_has(taken_over: TakenOver) -> None:
    drift = taken_over.compared.metrics["drift"]
    assert drift["against"] == taken_over.champion_id
    assert drift["warnings"] == []
    assert {row["group"] for row in drift["figures"]} == {"films", "genre", "decade", "posters"}
    assert max(row["change"] for row in drift["figures"]) < 1e-3  # the same films, and the champion's own embedding
    assert "has no statistics.json, it was published by an earlier version" in drift["not_compared"][0]


def test_its_model_is_found_listed_and_whole(taken_over: TakenOver) -> None:
    ids = [model.id for model in list_models(ARTIFACTS)]
    assert {taken_over.champion_id, taken_over.compared.model.id} == set(ids)
    assert ModelFolder(taken_over.champion).verify()["id"] == taken_over.champion_id


@pytest.mark.parametrize("engine", ["lite", "tensorflow"])
def test_its_model_predicts_what_it_predicted(taken_over: TakenOver, tmp_path: Path, engine: str) -> None:
    folder = taken_over.champion
    if engine == "tensorflow":
        # As a model that was published with export.tflite=false.
        folder = Path(shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.tflite")))
    expected = read_json(Path("predictions.json"))
    predictions = Predictor.open(folder).predict([Path(image).read_bytes() for image in expected])
    for image, prediction in zip(expected, predictions, strict=True):
        # It predicted the three best genres, and now those of them that are over 0.5, at least the first.
        named = max(sum(confidence > 0.5 for confidence in expected[image]["confidences"]), 1)
        assert prediction.labels == expected[image]["labels"][:named]
        np.testing.assert_allclose(prediction.confidences, expected[image]["confidences"][:named], atol=2e-3)
        assert prediction.calibrated == []
    with pytest.raises(RegistryError, match=r"has no operating_points.json, it was published by an earlier version"):
        Predictor.open(folder, 0.8)


def test_its_similarity_index_is_read(taken_over: TakenOver, tmp_path: Path) -> None:
    (first, *_) = [film for film in taken_over.films if film["split"] == "train"]
    image = tmp_path / "poster.jpg"
    (content,) = (
        row["content"]
        for part in sorted(Path("data/posters").glob("part-*.parquet"))
        for row in read_rows(part, ["imdb_id", "content"])
        if row["imdb_id"] == first["imdb_id"]
    )
    image.write_bytes(content)
    (found,) = find_similar_posters(taken_over.champion, [str(image)], 1, taken_over.settings.posters)
    assert found.result is not None
    assert found.result[0]["similarity"] == pytest.approx(1, abs=2e-3)


def test_its_store_can_be_pulled_from(taken_over: TakenOver, tmp_path: Path) -> None:
    pulled = pull_model(taken_over.champion_id, "store", tmp_path / "pulled")
    assert pulled.id == taken_over.champion_id
    assert ModelFolder(tmp_path / "pulled").verify() == ModelFolder(taken_over.champion).verify()
    assert pull_model("champion", "store", tmp_path / "champion").id == read_champion_id(ARTIFACTS)


def test_a_champion_of_another_format_stops_no_run(
    taken_over: TakenOver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data", "artifacts", "backbone", "MovieGenre.csv"):
        (shutil.copytree if Path(name).is_dir() else shutil.copy)(name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    promote(ARTIFACTS, taken_over.champion_id, "by hand")
    path = taken_over.champion / "manifest.json"
    path.write_text(json.dumps({**read_json(path), "format": 999}), "utf-8")

    settings = change_group(taken_over.settings, "registry", publish_to=None)
    run = train(change_group(settings, "evaluation", baselines=(), label_error_folds=None))
    assert run.is_new
    assert not run.is_champion
    assert taken_over.champion_id not in [rival["id"] for rival in run.metrics.get("rivals", [])]
    assert f"not compared, {taken_over.champion_id} is of format 999" in run.rank
    assert "promote the candidate by hand" in run.rank
    warnings = [
        line["message"]
        for log in sorted(Path("data/logs").iterdir())[-1:]
        for line in map(json.loads, log.read_text("utf-8").splitlines())
        if line["level"] == "WARNING"
    ]
    assert any(f"{taken_over.champion_id} is of format 999" in message for message in warnings)
    champion = find_champion(ARTIFACTS)
    assert champion is not None
    assert champion.id == taken_over.champion_id

    # And by hand it goes on.
    promote(ARTIFACTS, run.model.id, "by hand")
    assert read_champion_id(ARTIFACTS) == run.model.id
