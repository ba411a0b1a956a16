"""The statistics of a model's films, posters and predictions: `statistics.json`, which a later run compares with."""

import base64
import binascii
import zlib
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

from tasks import versions
from tasks.drift.distributions import Distribution
from tasks.drift.embeddings import Embeddings

# Ids of films left out that are kept, at most: some 200 KB. IMDB's ids take two or three bytes each, compressed.
MAX_LEFT_OUT = 100_000

_Counts = dict[str, NonNegativeInt]
_Results = Annotated[dict[str, PositiveInt], Field(min_length=1)]


class Predictions(BaseModel):
    """A model's predictions for its test films.

    Attributes:
        recipe: Settings of its head and outputs: another recipe predicts otherwise, whatever the films.
        num_films: Number of test films.
        predicted: Number of them for which each genre is predicted.
        top_confidence: Distribution of the highest confidence of each film.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    recipe: dict[str, Any]
    num_films: PositiveInt
    predicted: _Counts
    top_confidence: Distribution


class Statistics(BaseModel):
    """Statistics of the data of one model; None where it is not known.

    Attributes:
        version: Version of the format.
        dataset: Fingerprint of the data set.
        num_catalog_films: Number of films in the catalog, with or without a poster.
        num_films: Number of films of the data set.
        genres: Number of films of the data set by genre, most frequent first.
        has_all_genres: Whether `genres` has those of the catalog; otherwise only those of the model.
        decades: Number of films of the data set by decade of their year, such as `1990s`, or `unknown`.
        hosts: Number of films of the catalog by host of their poster's address and by result: `ok` or the reason why
            there is no poster.
        sizes: Distributions of the posters' `bytes`, and of `width` and `height` in pixels.
        predictions: The model's predictions.
        embeddings: Embeddings of a sample of the data set's films.
        left_out: Ids of the catalog's films that are not in the data set, as `encode_ids` returns them: most of them
            have no poster.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    version: int = versions.DRIFT
    dataset: str | None
    num_catalog_films: PositiveInt | None
    num_films: PositiveInt
    genres: _Counts
    has_all_genres: bool
    decades: _Counts | None
    hosts: dict[str, _Results] | None
    sizes: dict[str, Distribution]
    predictions: Predictions | None
    embeddings: Embeddings | None
    left_out: str | None

    @field_validator("version")
    @classmethod
    def _check_version(cls, version: int) -> int:
        if version != versions.DRIFT:
            raise ValueError(f"expected version {versions.DRIFT}")
        return version

    @field_validator("left_out")
    @classmethod
    def _check_ids(cls, left_out: str | None) -> str | None:
        if left_out is not None:
            decode_ids(left_out)
        return left_out


def encode_ids(imdb_ids: NDArray[np.int64]) -> str | None:
    """Returns ids as text: sorted, as differences, compressed, in Base64. None, if there are more than the maximum."""
    if len(imdb_ids) > MAX_LEFT_OUT:
        return None
    differences = np.diff(np.sort(imdb_ids), prepend=0).astype("<i8")
    return base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode()


def decode_ids(text: str) -> NDArray[np.int64]:
    """Returns the ids that `encode_ids` encoded, ascending.

    Raises:
        ValueError: If the text is damaged.
    """
    decompressor = zlib.decompressobj()
    try:
        content = decompressor.decompress(base64.b64decode(text, validate=True), MAX_LEFT_OUT * 8)
    except (zlib.error, binascii.Error) as error:
        raise ValueError(f"expected compressed ids. Received: {error}") from error
    if not decompressor.eof:
        raise ValueError(f"expected at most {MAX_LEFT_OUT:,} ids, whole")
    return np.cumsum(np.frombuffer(content, "<i8"))
