from pathlib import Path

import pytest

from flows.label import label_images, list_images
from tasks.errors import SettingsError


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
    together = list(label_images(small_run.run.published.folder, images))
    assert [answer.image for answer in together] == images
    (alone,) = label_images(small_run.run.published.folder, images[66:67])
    assert alone.labels == together[66].labels
    assert alone.confidences == pytest.approx(together[66].confidences, abs=1e-5)


@pytest.mark.backbone
@pytest.mark.real_posters
def test_real_posters_get_genre_names(small_run, real_posters: Path) -> None:
    images = [str(path) for path in sorted((real_posters / "posters").iterdir())[:8]]
    for answer in label_images(small_run.run.published.folder, images):
        assert answer.error is None
        assert set(answer.labels) <= set(small_run.run.metrics["vocabulary"])
        assert all(0 <= confidence <= 1 for confidence in answer.confidences)
