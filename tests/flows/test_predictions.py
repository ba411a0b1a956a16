import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from flows.predictions import annotate_results, make_terminal_table, predict_posters
from tasks.errors import SettingsError
from tasks.model_folder import ModelFolder
from tasks.prediction.images import ImageResult
from tasks.prediction.predictor import Prediction, Predictor
from tasks.sample.drawing import draw_poster
from tasks.settings import PosterSettings

PREDICTION = Prediction(["Comedy", "Drama"], [0.9, 0.4], [0.75, 0.2], {"decade": "1990s", "score": 6.54})


def show(results: Sequence[ImageResult[Prediction]], width: int = 100) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(make_terminal_table(results))
    return file.getvalue().splitlines()


def test_a_line_for_each_genre_with_a_bar() -> None:
    lines = show([ImageResult("a.jpg", PREDICTION), ImageResult("b.jpg", error="broken image")])
    header, first, second, error = [line for line in lines if any(letter.isalpha() for letter in line)]
    assert header.replace("┃", " ").split() == ["image", "genre", "probability", "decade", "score"]
    cells = [cell.strip() for cell in first.strip("│").split("│")]
    assert (cells[0], cells[1], *cells[3:]) == ("a.jpg", "Comedy", "75%", "1990s", "6.5")
    assert cells[2].count("━") == 15  # of 20
    cells = [cell.strip() for cell in second.strip("│").split("│")]
    assert (cells[0], cells[1], *cells[3:]) == ("", "Drama", "20%", "", "")
    assert cells[2].count("━") == 4
    assert [cell.strip() for cell in error.strip("│").split("│")][:2] == ["b.jpg", "broken image"]


def test_long_paths_are_never_cut() -> None:
    paths = [f"/a/very/long/{'x' * 90}/{number}.jpg" for number in (1, 2)]
    lines = show([ImageResult(path, PREDICTION) for path in paths], width=60)
    folded = "".join(line.split("│")[1].strip() for line in lines if line.startswith("│"))
    assert folded == "".join(paths)
    assert all(len(line) <= 60 for line in lines)


def test_no_genre_and_no_calibration() -> None:
    lines = show([ImageResult("a.jpg", Prediction([], [])), ImageResult("b.jpg", Prediction(["War"], [0.6]))])
    assert "confidence" in lines[1]
    text = "\n".join(lines)
    assert "a.jpg │ none" in text
    assert "b.jpg │ War" in text
    assert "60%" in text


def test_the_folder_of_the_images_is_not_written_to(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    for folder in (tmp_path, tmp_path / ".." / tmp_path.name):
        with pytest.raises(SettingsError, match=r"a\.png is in it; expected another folder"):
            predict_posters(Predictor(ModelFolder(tmp_path)), ["http://x/", str(image)], PosterSettings(), folder)


def test_annotated_posters_have_names_of_their_own(tmp_path: Path) -> None:
    content = draw_poster("T", ["Drama"], np.random.default_rng(0))
    images = [
        *("a/1.jpg", "b/1.jpg", "1-2.jpg", "c/1.JPG", "https://x.org/%2e%2e/%2Fetc%2Fpasswd?x=1", "http://x.org/"),
        "d/caf\u00e9 (1).png",
        "e/" + "\u6f22" * 80 + ".jpg",
    ]
    results = [ImageResult(image, (PREDICTION, content)) for image in images]
    results.insert(1, ImageResult("broken.jpg", error="broken image"))
    yielded = list(annotate_results(results, tmp_path / "new" / "folder"))
    assert [result.image for result in yielded] == [images[0], "broken.jpg", *images[1:]]
    assert yielded[0].result is PREDICTION
    assert yielded[1].error == "broken image"
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == sorted(
        [
            "\u6f22" * 66 + ".png",
            "1.png",
            "1-2.png",
            "1-2-2.png",
            "1-3.png",
            "passwd.png",
            "poster.png",
            "caf\u00e9 (1).png",
        ]
    )
    with Image.open(tmp_path / "new" / "folder" / "1-3.png") as picture:
        assert picture.format == "PNG"
