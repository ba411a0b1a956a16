import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from flows.label import LABELS, label, label_images, list_images, list_posters
from tasks.errors import CatalogError, RegistryError, SettingsError
from tasks.sample.server import serve


def test_files_folders_and_addresses(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "deep/c.jpeg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sources = [str(tmp_path / "notes.txt"), str(tmp_path), "http://x/1.jpg"]
    assert list_images(sources) == [
        str(tmp_path / "notes.txt"),
        *(str(tmp_path / name) for name in ("a.png", "b.JPG", "deep/c.jpeg")),
        "http://x/1.jpg",
    ]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no image at .*none\.jpg"):
        list_images([str(tmp_path / "none.jpg")])
    with pytest.raises(SettingsError, match=r"no images in .*expected files ending in .jpg"):
        list_images([str(tmp_path)])


@pytest.mark.backbone
def test_answers_come_in_order_over_several_batches(small_run) -> None:
    images = [str(path) for path in small_run.posters[:70]]
    together = list(label_images(small_run.run.model.path, images))
    assert [answer.image for answer in together] == images
    (alone,) = label_images(small_run.run.model.path, images[66:67])
    assert alone.labels == together[66].labels
    assert alone.confidences == pytest.approx(together[66].confidences, abs=1e-5)


@pytest.mark.backbone
def test_answers_are_the_saved_models(small_run) -> None:
    posters = small_run.posters[:20]
    folder = small_run.run.model.path
    model = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    expected = model(image_bytes=tf.constant([poster.read_bytes() for poster in posters]))
    answers = list(label_images(folder, [str(poster) for poster in posters]))
    np.testing.assert_allclose([answer.confidences for answer in answers], expected["confidences"], atol=1e-4)
    first = [labels[0].decode() for labels in expected["labels"].numpy()]
    assert [answer.labels[0] for answer in answers] == first


@pytest.mark.backbone
def test_a_lite_model_of_before_they_named_their_columns_is_asked_all_the_same(small_run, tmp_path: Path) -> None:
    folder, image = small_run.run.model.path, str(small_run.posters[0])
    for name in ("labels.json", "settings.json"):
        shutil.copy2(folder / name, tmp_path)
    lite = (folder / "classifier.tflite").read_bytes()
    (tmp_path / "classifier.tflite").write_bytes(lite[: lite.rindex(b"PK\x03\x04")])
    assert list(label_images(tmp_path, [image])) == list(label_images(folder, [image]))


@pytest.mark.backbone
def test_a_model_without_its_lite_form_says_so(small_run, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"has neither classifier.tflite nor saved_model: publish it anew"):
        list(label_images(tmp_path, [str(small_run.posters[0])]))


@pytest.mark.backbone
@pytest.mark.real_posters
def test_real_posters_get_genre_names(small_run, real_posters: Path) -> None:
    images = [str(path) for path in sorted((real_posters / "posters").iterdir())[:8]]
    for answer in label_images(small_run.run.model.path, images):
        assert answer.error is None
        assert set(answer.labels) <= set(small_run.run.metrics["vocabulary"])
        assert all(0 <= confidence <= 1 for confidence in answer.confidences)


def test_posters_of_a_csv_with_and_without_ids(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Poster,imdbId,Title\nhttp://x/1.jpg,7,One\n,8,Two\n")
    assert list_posters(str(tmp_path / "a.csv")).to_pylist() == [
        {"id": "7", "image": "http://x/1.jpg"},
        {"id": "8", "image": ""},
    ]
    (tmp_path / "b.CSV").write_text("Title,Poster\nOne,p.jpg\n")
    assert list_posters(str(tmp_path / "b.CSV")).to_pylist() == [{"id": None, "image": "p.jpg"}]


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("Title,Image\nOne,p.jpg\n", CatalogError, "lacks the column Poster: expected Poster, found 'Title,Image'"),
        ("Poster\n\n", SettingsError, "names no poster"),
        ("", CatalogError, "is empty: expected a CSV file with the columns Poster"),
    ],
)
def test_csv_files_without_posters(tmp_path: Path, text: str, error: type[Exception], says: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(error, match=says):
        list_posters(str(tmp_path / "a.csv"))


@pytest.mark.backbone
def test_label_writes_a_row_for_every_row(small_run, tmp_path: Path) -> None:
    good = small_run.posters[:3]
    with serve(small_run.data_dir / "site") as base_url:
        images = [str(good[0]), f"{base_url}/posters/{good[1].name}", "", f"{base_url}/posters/none.jpg", str(good[2])]
        rows = "".join(f"{number},{image}\n" for number, image in enumerate(images))
        (tmp_path / "posters.csv").write_text(f"imdbId,Poster\n{rows}")
        output_dir = tmp_path / "labels"
        # Twice: what an earlier run wrote is replaced.
        for _ in range(2):
            labelled = label(str(tmp_path / "posters.csv"), output_dir, "champion", small_run.artifacts_dir)
    assert (labelled.num_labelled, labelled.errors) == (3, {"no poster address": 1, "http 404": 1})
    table = pq.read_table(output_dir / "labels.parquet")
    assert table.schema.equals(LABELS)
    found = table.to_pylist()
    assert [(row["id"], row["image"]) for row in found] == [(str(number), image) for number, image in enumerate(images)]
    assert [row["error"] for row in found] == [None, None, "no poster address", "http 404", None]
    direct = list(label_images(small_run.run.model.path, [str(path) for path in good]))
    assert [row["labels"] for row in found if not row["error"]] == [answer.labels for answer in direct]
    with (output_dir / "labels.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["labels"] for line in lines] == ["|".join(row["labels"]) for row in found]
    assert [line["error"] for line in lines] == ["", "", "no poster address", "http 404", ""]
    assert [float(value) for value in lines[0]["confidences"].split("|")] == pytest.approx(
        direct[0].confidences, abs=1e-4
    )


@pytest.mark.backbone
def test_label_replaces_nothing_of_others(small_run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SettingsError, match="has other files"):
        label(str(small_run.posters[0]), tmp_path, "champion", small_run.artifacts_dir)
    with pytest.raises(RegistryError, match="no model 'none'"):
        label(str(small_run.posters[0]), tmp_path / "labels", "none", small_run.artifacts_dir)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
