"""What a person is shown of a poster: genres, similar films, and whether it is like the posters that were learned."""

import io
import struct
import time
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel, Field

from tasks.features.pictures import make_thumbnail, open_picture
from tasks.model_folder import ModelFolder
from tasks.outputs.calibration import THRESHOLD
from tasks.posters.images import parse_image
from tasks.posters.ledger import read_poster
from tasks.prediction.explanation import Explanation
from tasks.prediction.predictor import Predictor
from tasks.prediction.similarity import find_similar

_NUM_SIMILAR = 6
_QUALITY = 90  # of a JPEG file that is made smaller
_THUMBNAIL_SIZE = (182, 268)  # width and height of IMDB's
_ORIENTATION = 0x0112  # EXIF tag
# What makes a picture upright, by the value of the tag (EXIF 2.32, 4.6.4).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's, of EXIF data that is broken.
_EXIF_ERRORS = (SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, OSError, struct.error)
_UNLIKE = "unlike the posters that the model learned from: the genres may mean nothing"


class Genre(BaseModel):
    """A genre that the model names."""

    name: str
    probability: float = Field(description="Calibrated probability, 0-1.")
    is_predicted: bool = Field(description="False if no genre is over its threshold, and this is the nearest.")


class SimilarFilm(BaseModel):
    """A training film with a similar poster."""

    imdb_id: int
    title: str
    year: int | None
    genres: list[str]
    similarity: float = Field(description="Cosine of the embeddings, -1 to 1.")


class Answer(BaseModel):
    """What the model says of a poster."""

    genres: list[Genre]
    others: dict[str, Any] = Field(description="Further outputs of the model: decade, score.")
    unsure: str | None = Field(description="Why the genres may mean nothing; null if the picture is like a poster.")
    novelty: float | None = Field(
        description="Distance from the training posters by its bound: unsure over 1. Null of a model that has none."
    )
    similar: list[SimilarFilm] = Field(description="The nearest training films, the nearest first.")
    seconds: float


class PosterModel:
    """A published model, and what it was trained on as far as it is here.

    Args:
        model: The model.
        posters_dir: Folder of the poster parts, for pictures of the training films; None: there are no pictures.
    """

    def __init__(self, model: ModelFolder, posters_dir: Path | None = None) -> None:
        self.model = model
        self._predictor = Predictor.open(model.path)
        self._posters_dir = posters_dir
        self.read_thumbnail = lru_cache(maxsize=512)(self._read_thumbnail)

    @property
    def has_pictures(self) -> bool:
        """Whether there are posters of the training films."""
        return self._posters_dir is not None

    def answer(self, content: bytes) -> Answer:
        """Returns what the model says of a JPEG or PNG file; a photograph is turned upright first.

        Raises:
            NotAPosterError: It cannot be decoded.
        """
        start = time.perf_counter()
        content = turn_upright(content)
        (prediction,) = self._predictor.predict([content])
        # The index, and the bound of the novelty, are of posters of this size: a sharper picture is unlike them.
        embedded = self._predictor.embed([shrink(content, self._poster_size)])
        novelty = None if embedded.novelty is None else float(embedded.novelty[0])
        index = self.model.index_path
        (similar,) = find_similar(index, embedded.embeddings, _NUM_SIMILAR) if index.is_file() else ([],)
        return Answer(
            genres=[
                Genre(name=name, probability=share, is_predicted=confidence > THRESHOLD)
                for name, share, confidence in zip(
                    prediction.labels, prediction.shares, prediction.confidences, strict=True
                )
            ],
            others=dict(prediction.others),
            unsure=_UNLIKE if novelty is not None and novelty > 1 else None,
            novelty=novelty,
            similar=[SimilarFilm(**film) for film in similar],
            seconds=time.perf_counter() - start,
        )

    def explain(self, content: bytes, labels: list[str]) -> Explanation:
        """Returns where the evidence for some genres is; raises as `answer`, and `RegistryError` without LiteRT."""
        return self._predictor.explain(turn_upright(content), labels)

    def warm_up(self) -> None:
        """Answers a blank poster, so that the first answer does not wait for the graphs."""
        self.answer(_write_jpeg(Image.new("RGB", _THUMBNAIL_SIZE)))

    @cached_property
    def _poster_size(self) -> tuple[int, int] | None:
        """Median width and height of the training posters; None of a model of an earlier version."""
        size = self.model.read_manifest().get("export_check", {}).get("novelty", {}).get("poster_size")
        return (size[0], size[1]) if size else None

    def _read_thumbnail(self, imdb_id: int) -> bytes | None:
        content = read_poster(self._posters_dir, imdb_id) if self._posters_dir else None
        return shrink(content, _THUMBNAIL_SIZE) if content else None


def turn_upright(content: bytes) -> bytes:
    """Returns a JPEG or PNG file without the turn that its EXIF data asks for, as cameras write it.

    Raises:
        NotAPosterError: It is no such file, or too large; only one that is turned is read to its end.
    """
    parse_image(content)
    turn = _TURNS.get(_read_orientation(content))
    if turn is None:
        return content
    # By the model's own decoder: Pillow's conversions of 16 bits and of CMYK are others.
    return _write_jpeg(open_picture(content).transpose(turn))


def _read_orientation(content: bytes) -> Any:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            return image.getexif().get(_ORIENTATION)
    except _EXIF_ERRORS:
        return None  # the model reads no EXIF data, and decodes the picture all the same


def shrink(content: bytes, size: tuple[int, int] | None) -> bytes:
    """Returns a JPEG or PNG file that fits into a width and a height; one that does already as it is."""
    image = parse_image(content)
    if size is None or (image.width <= size[0] and image.height <= size[1]):
        return content
    return _write_jpeg(make_thumbnail(content, size))


def _write_jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
