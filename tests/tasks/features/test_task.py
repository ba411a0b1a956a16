import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from broken_pictures import draw_png_without_its_last_rows

from tasks.dataset.records import write_records
from tasks.dataset.shards import locate_films, shard_name
from tasks.dataset.task import Dataset
from tasks.features import cache
from tasks.features.backbone import Backbone
from tasks.features.extraction import FeatureExtractor, make_feature_extractor
from tasks.features.task import Extraction, ExtractionPlan, discard_damaged, extract_planned, plan_extraction
from tasks.features.views import Views
from tasks.sample.drawing import draw_poster
from tasks.settings import FeatureSettings

pytestmark = pytest.mark.backbone


POSTERS = [draw_poster("A (1999)", ["Drama"], np.random.default_rng(seed)) for seed in range(5)]
BROKEN = len(POSTERS)
POSTERS.append(draw_png_without_its_last_rows())
HASHES = [hashlib.sha256(poster).hexdigest() for poster in POSTERS]
SHARDS = (shard_name("test", 0, 1), shard_name("train", 0, 2), shard_name("train", 1, 2))


@pytest.fixture(scope="module")
def extractor(backbone: Backbone) -> FeatureExtractor:
    return make_feature_extractor(backbone, FeatureSettings())


def make_dataset(folder: Path, films: Mapping[int, int]) -> Dataset:
    """Writes the shards of films, each with the number of its poster; those with ids over 100 are in the test split."""
    folder.mkdir(exist_ok=True)
    ids = list(films)
    splits = ["test" if imdb_id > 100 else "train" for imdb_id in ids]
    hashes = [HASHES[number] for number in films.values()]
    pd.DataFrame({"imdb_id": ids, "sha256": hashes, "split": splits}).to_parquet(folder / "films.parquet")
    shards = locate_films(np.array(ids), pa.array(splits), SHARDS)
    text = {"title": "T", "year": 1999, "score": 6.0, "format": "jpeg", "genres": [], "targets": []}
    records = [
        {**text, "imdb_id": imdb_id, "sha256": sha256, "content": POSTERS[number], "shard": SHARDS[shard]}
        for (imdb_id, number), sha256, shard in zip(films.items(), hashes, shards, strict=True)
    ]
    write_records(folder, records, SHARDS)
    return Dataset(folder, [], {}, "fingerprint", SHARDS)


def read_features(folder: Path) -> dict[str, np.ndarray]:
    return {
        sha256: row
        for path in cache.list_files(folder)
        for names, rows in cache.iterate_features(path)
        for sha256, row in zip(names, rows, strict=True)
    }


# Of the films of the train split, 1 and 2 are in the first shard, 3 and 9 in the second.
FILMS = {1: 0, 2: 0, 3: 1, 9: 0, 101: 2}


def test_each_image_is_extracted_once_from_one_shard(extractor: FeatureExtractor, tmp_path: Path) -> None:
    dataset, folder = make_dataset(tmp_path / "shards", FILMS), tmp_path / "features"
    assert locate_films(np.array([1, 2, 3, 9]), pa.array(["train"] * 4), SHARDS).tolist() == [1, 1, 2, 2]
    plans = plan_extraction(dataset, folder)
    # The first poster is shown by two films of one shard, and by one of another.
    assert plans == [
        ExtractionPlan.of(dataset.folder / SHARDS[0], [HASHES[2]]),
        ExtractionPlan.of(dataset.folder / SHARDS[1], [HASHES[0]]),
        ExtractionPlan.of(dataset.folder / SHARDS[2], [HASHES[1]]),
    ]
    extracted: Counter[bytes] = Counter()

    def count_and_extract(images: Sequence[bytes], views: Sequence[int]) -> np.ndarray:
        extracted.update(images)
        return extractor(images, views)

    for plan in plans:
        extract_planned(plan, folder, count_and_extract)
    assert extracted == dict.fromkeys(POSTERS[:3], 1)
    found = read_features(folder)
    assert found.keys() == set(HASHES[:3])
    np.testing.assert_allclose([found[sha256] for sha256 in HASHES[:3]], extractor(POSTERS[:3], [0])[:, 0], atol=5e-3)
    assert plan_extraction(dataset, folder) == []


def test_new_images_are_extracted_into_new_files(extractor: FeatureExtractor, tmp_path: Path) -> None:
    folder = tmp_path / "features"
    for plan in plan_extraction(make_dataset(tmp_path / "shards", FILMS), folder):
        extract_planned(plan, folder, extractor)
    before = {path: path.stat().st_mtime_ns for path in cache.list_files(folder)}
    dataset = make_dataset(tmp_path / "shards", {**FILMS, 5: 3, 6: 1})
    (plan,) = plan_extraction(dataset, folder)
    assert plan.hashes == {HASHES[3]}
    extract_planned(plan, folder, extractor)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (new,) = set(cache.list_files(folder)) - before.keys()
    assert (new.name, pq.read_metadata(new).num_rows) == (cache.name_file([HASHES[3]]), 1)


def test_another_split_of_the_same_films_needs_nothing(extractor: FeatureExtractor, tmp_path: Path) -> None:
    dataset, folder = make_dataset(tmp_path / "shards", FILMS), tmp_path / "features"
    for plan in plan_extraction(dataset, folder):
        extract_planned(plan, folder, extractor)
    without_shards = replace(dataset, shard_names=())
    assert plan_extraction(without_shards, folder) == []
    with pytest.raises(ValueError, match="was written without shards"):
        plan_extraction(without_shards, tmp_path / "none")


def test_a_damaged_shard_is_removed_and_leaves_no_features(
    extractor: FeatureExtractor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset, folder = make_dataset(tmp_path / "shards", FILMS), tmp_path / "features"
    plan, *_ = plan_extraction(dataset, folder)
    plan.shard.write_bytes(plan.shard.read_bytes()[:-1])
    extraction = discard_damaged(plan, extract_planned(plan, folder, extractor))
    assert extraction.damage.startswith(f"{plan.shard} is damaged (truncated record")
    assert caplog.messages == [f"{extraction.damage}: it is written again"]
    assert not plan.shard.exists()
    assert not folder.exists()


def test_an_image_that_cannot_be_decoded_costs_no_other_its_features(
    extractor: FeatureExtractor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    films = {1: BROKEN, 2: 0, 101: 2}
    dataset, folder = make_dataset(tmp_path / "shards", films), tmp_path / "features"
    of_test, of_train = plan_extraction(dataset, folder)
    assert extract_planned(of_train, folder, extractor) == Extraction(undecodable=(HASHES[BROKEN],))
    assert extract_planned(of_test, folder, extractor) == Extraction()
    assert caplog.messages == ["features: 1 of 2 images can't be decoded"]
    found = read_features(folder)
    assert found.keys() == {HASHES[0], HASHES[2]}
    np.testing.assert_allclose([found[HASHES[0]]], extractor(POSTERS[:1], [0])[:, 0], atol=5e-3)


def test_a_shard_of_undecodable_images_alone_leaves_no_features(extractor: FeatureExtractor, tmp_path: Path) -> None:
    (plan,) = plan_extraction(make_dataset(tmp_path / "shards", {1: BROKEN}), tmp_path / "features")
    extraction = extract_planned(plan, tmp_path / "features", extractor)
    assert extraction == Extraction(undecodable=(HASHES[BROKEN],))
    assert not (tmp_path / "features").exists()


def test_another_failure_of_the_extractor_is_not_taken_for_an_image_s(tmp_path: Path) -> None:
    def fail(images: Sequence[bytes], views: Sequence[int]) -> np.ndarray:
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    (plan,) = plan_extraction(make_dataset(tmp_path / "shards", {1: 0}), tmp_path / "features")
    with pytest.raises(tf.errors.ResourceExhaustedError, match="out of memory"):
        extract_planned(plan, tmp_path / "features", fail)


@pytest.mark.real_posters
def test_real_posters(extractor: FeatureExtractor, real_posters: Path) -> None:
    posters = [path.read_bytes() for path in sorted((real_posters / "posters").iterdir())[:16]]
    features = extractor(posters, [0])[:, 0]
    # Averages of ReLU6 layers: none below 0 or over 6, few of them 0, and no two posters alike.
    assert features.min() >= 0
    assert features.max() <= 6
    assert 0.1 < features.mean() < 1.0
    assert len(np.unique(features.round(3), axis=0)) == 16


def test_images_are_extracted_in_the_views_that_they_lack(extractor: FeatureExtractor, tmp_path: Path) -> None:
    dataset, folder = make_dataset(tmp_path / "shards", FILMS), tmp_path / "features"
    for plan in plan_extraction(dataset, folder):
        extract_planned(plan, folder, extractor)
    views = Views(train=4, predicted=2)
    plans = plan_extraction(dataset, folder, views=views)
    assert [(plan.hashes, plan.views) for plan in plans] == [
        ({HASHES[2]}, (1,)),
        ({HASHES[0]}, (1, 2, 3)),
        ({HASHES[1]}, (1, 2, 3)),
    ]
    before = read_features(folder)
    for plan in plans:
        extract_planned(plan, folder, extractor)
    assert plan_extraction(dataset, folder, views=views) == []
    assert {sha256: row.tolist() for sha256, row in before.items()} == {
        sha256: row.tolist() for sha256, row in read_features(folder).items()
    }
    found = [read_features(cache.view_folder(folder, view)) for view in range(4)]
    assert [sorted(of_view) for of_view in found[1:]] == [sorted(HASHES[:3]), *[sorted(HASHES[:2])] * 2]
    expected = extractor(POSTERS[:1], range(4))[0]
    np.testing.assert_allclose([of_view[HASHES[0]] for of_view in found], expected, atol=5e-3)
    # A new data set, in which a test film shows the image of a training film.
    both = make_dataset(tmp_path / "shards", {**FILMS, 102: 0})
    assert plan_extraction(both, folder, views=views) == []
