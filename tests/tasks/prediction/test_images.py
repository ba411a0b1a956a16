import io
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import SettingsError
from tasks.posters.images import NotAPosterError
from tasks.prediction import images as images_module
from tasks.prediction.images import list_images, process_images
from tasks.sample.drawing import draw_poster
from tasks.sample.server import serve
from tasks.settings import PosterSettings

LOOPBACK = PosterSettings(allow_private_hosts=("127.0.0.1",))


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


def give_stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), "ascii"))


def test_patterns_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.jpg", "a.txt", "deep/er/c.jpg", "[x].jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert list_images([f"{tmp_path}/*.jpg"]) == [str(tmp_path / name) for name in ("[x].jpg", "b.jpg")]
    assert list_images([f"{tmp_path}/**/*.jpg"]) == [
        str(tmp_path / name) for name in ("[x].jpg", "b.jpg", "deep/er/c.jpg")
    ]
    # A file whose name looks like a pattern.
    assert list_images([str(tmp_path / "[x].jpg")]) == [str(tmp_path / "[x].jpg")]
    give_stdin(monkeypatch, f"\ufeff  {tmp_path / 'a.txt'}\r\n\n-\nhttps://x/1.jpg\n{tmp_path / 'deep'}".encode())
    assert list_images(["-"]) == [str(tmp_path / "a.txt"), "https://x/1.jpg", str(tmp_path / "deep/er/c.jpg")]
    with pytest.raises(SettingsError, match=r"standard input is empty: expected"):
        list_images(["-"])
    give_stdin(monkeypatch, b"\xff.jpg\n")
    with pytest.raises(SettingsError, match=r"no image at \udcff\.jpg: expected a file, a folder, a pattern or"):
        list_images(["-"])


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"the name of an image is empty"):
        list_images([""])
    with pytest.raises(SettingsError, match=r"no image at .*none\.jpg"):
        list_images([str(tmp_path / "none.jpg")])
    with pytest.raises(SettingsError, match=r"no images in .*expected files ending in .jpg"):
        list_images([str(tmp_path)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven posters, and a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(7):
        (folder / f"{number}.jpg").write_bytes(draw_poster("T", ["Drama"], np.random.default_rng(number)))
    (folder / "none.txt").write_text("no image")
    return folder


def test_results_come_in_order_over_several_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "_BATCH_SIZE", 3)
    sizes: list[int] = []

    def process(contents: object) -> list[int]:
        sizes.append(len(contents))
        return [len(content) for content in contents]

    paths = [folder / f"{number}.jpg" for number in range(7)]
    with serve(folder) as base_url:
        images = [*map(str, paths[:3]), str(folder / "none.txt"), "", f"{base_url}/3.jpg", f"{base_url}/8.jpg"]
        images += [str(folder / "gone.jpg"), *map(str, paths[4:])]
        results = list(process_images(images, process, LOOPBACK))
    assert [result.image for result in results] == images
    errors = (
        [None] * 3 + ["not an image", "no poster address", None, "http 404", "No such file or directory"] + [None] * 3
    )
    assert [result.error for result in results] == errors
    assert [result.result for result in results if not result.error] == [path.stat().st_size for path in paths]
    assert sizes == [3, 1, 1, 2]


def test_an_image_that_fails_later_costs_its_own_result_alone(folder: Path) -> None:
    broken = (folder / "2.jpg").read_bytes()

    def process(contents: object) -> list[int]:
        if broken in contents:
            raise NotAPosterError("broken image")
        return [len(content) for content in contents]

    results = list(process_images([str(folder / f"{number}.jpg") for number in range(4)], process, LOOPBACK))
    assert [result.error for result in results] == [None, None, "broken image", None]
    assert [result.result is None for result in results] == [False, False, True, False]
