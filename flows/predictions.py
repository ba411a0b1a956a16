"""Predictions of `poster-genres predict`: their progress, their table in a terminal, and annotated posters."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.console import Console, RenderableType
from rich.progress import track
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.tables import make_cell
from tasks.atomic import atomic_file
from tasks.errors import SettingsError
from tasks.outputs.calibration import THRESHOLD
from tasks.prediction.explanation import Explanation
from tasks.prediction.images import SCHEMES, ImageResult, process_images
from tasks.prediction.predictor import Prediction, Predictor
from tasks.settings import PosterSettings

_BAR_WIDTH = 20
_LONGEST_STEM = 200  # bytes: file systems take 255, of which some are for a number and the ending
_LONG = 200  # images, which take seconds


def predict_posters(
    predictor: Predictor,
    images: Sequence[str],
    settings: PosterSettings,
    annotated: Path | None = None,
    *,
    with_evidence: bool = False,
) -> Iterator[ImageResult[Prediction]]:
    """Yields the prediction for each image; a long list has a progress bar on a terminal's standard error.

    Args:
        predictor: The model.
        images: Files and http(s) addresses.
        settings: Settings of the downloads.
        annotated: Folder to write for the posters with their genres; None: they are not drawn.
        with_evidence: Whether heat maps of the evidence are beside them.

    Raises:
        SettingsError: One of the images is in that folder, where it could be replaced.
    """
    if annotated:
        folder = annotated.resolve()
        for image in images:
            if not image.startswith(SCHEMES) and Path(image).resolve().parent == folder:
                raise SettingsError(f"--annotate {annotated}: {image} is in it; expected another folder")
        predict = partial(_predict_and_keep, predictor)
        explain = predictor.explain if with_evidence else None
        results = annotate_results(process_images(images, predict, settings), annotated, explain)
    else:
        results = process_images(images, predictor.predict, settings)
    console = Console(stderr=True)
    hidden = len(images) < _LONG or not console.is_terminal
    return iter(track(results, "posters", len(images), console=console, transient=True, disable=hidden))


def _predict_and_keep(predictor: Predictor, contents: Sequence[bytes]) -> list[tuple[Prediction, bytes]]:
    return list(zip(predictor.predict(contents), contents, strict=True))


def make_terminal_table(results: Sequence[ImageResult[Prediction]]) -> Table:
    """Returns a table of a line for each predicted genre, with a bar of its probability.

    Paths are folded, not cut: the rows of two images never look the same.
    """
    found = [result.result for result in results if result.result]
    others = list(dict.fromkeys(name for prediction in found for name in prediction.others))
    # A model of version 0.1.0 has confidences alone.
    measure = "probability" if any(prediction.calibrated for prediction in found) else "confidence"
    table = Table()
    for title in ("image", "genre", measure, "", *others):
        table.add_column(title, overflow="fold")
    for result in results:
        if not result.result:
            table.add_row(make_cell(result.image), make_cell(str(result.error), "red"), end_section=True)
            continue
        # Thresholds for a precision may leave no genre.
        rows: list[tuple[RenderableType, ...]] = list(_list_rows(result.result)) or [(make_cell("none", "dim"), "", "")]
        values = [_describe(result.result.others.get(name)) for name in others]
        for number, row in enumerate(rows):
            first = number == 0
            table.add_row(
                make_cell(result.image) if first else "", *row, *(values if first else ()), end_section=row is rows[-1]
            )
    return table


def _list_rows(prediction: Prediction) -> Iterator[tuple[Text, ProgressBar, str]]:
    for label, share, confidence in zip(prediction.labels, prediction.shares, prediction.confidences, strict=True):
        style = "bold" if confidence > THRESHOLD else "dim"
        yield make_cell(label, style), ProgressBar(total=1, completed=share, width=_BAR_WIDTH), f"{share:.0%}"


def annotate_results(
    results: Iterable[ImageResult[tuple[Prediction, bytes]]],
    folder: Path,
    explain: Callable[[bytes, Sequence[str]], Explanation] | None = None,
) -> Iterator[ImageResult[Prediction]]:
    """Yields the results, and writes each poster with its genres into a folder, as PNG.

    A file is named by its image; where several have one name, the later ones get a number.

    Args:
        results: Predictions, each with its JPEG or PNG file.
        folder: Folder to write, created if needed.
        explain: Function from an image and genres to where the evidence for them is, which is drawn, too.
    """
    # Imports matplotlib, for its font.
    from tasks.prediction.annotation import annotate

    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    next_number: Counter[str] = Counter()
    for result in results:
        if result.result is None:
            yield ImageResult(result.image, error=result.error)
            continue
        prediction, content = result.result
        stem = _make_stem(result.image)
        name = stem
        while name.casefold() in taken:
            next_number[stem] += 1
            name = f"{stem}-{next_number[stem] + 1}"
        taken.add(name.casefold())
        with atomic_file(folder / f"{name}.png") as path:
            annotate(content, prediction, explain and explain(content, prediction.labels)).save(path, "PNG")
        yield ImageResult(result.image, prediction)


def _make_stem(image: str) -> str:
    """Returns the name of an image without its ending, of an address the last part of its path."""
    path = unquote(urlsplit(image).path) if image.startswith(SCHEMES) else image
    # The server's name for it may be anything.
    stem = re.sub(r"[^\w .()-]", "_", Path(path).stem)
    stem = stem.encode()[:_LONGEST_STEM].decode(errors="ignore").strip(" .")
    return stem or "poster"


def _describe(value: str | float | None) -> str:
    return f"{value:.1f}" if isinstance(value, float) else value or ""
