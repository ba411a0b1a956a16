"""A sample of films' features, small enough to be kept with a model, and the distance between two samples."""

import base64
import hashlib
import struct
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator

# Of 2,000 films and 64 columns a model keeps 340 KB; a comparison takes a third of a second.
SAMPLE_SIZE = 2000
NUM_COLUMNS = 64
_NUM_PERMUTATIONS = 200
# Fewer films say nothing of a distribution.
MIN_SAMPLE_SIZE = 20


class Embeddings(BaseModel):
    """Embeddings of a sample of films.

    Attributes:
        features: Name of the features' folder, which names backbone, layers and preprocessing; embeddings of other
            features can't be compared.
        values: float16, little-endian, shape `(num_films, NUM_COLUMNS)`, in Base64.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    features: str
    values: str

    @field_validator("values")
    @classmethod
    def _check_values(cls, values: str) -> str:
        if not np.isfinite(_decode(values)).all():
            raise ValueError("expected finite numbers")
        return values

    @classmethod
    def encode(cls, features: str, embeddings: NDArray[np.float32]) -> Self:
        """Returns the record of embeddings, shape `(num_films, NUM_COLUMNS)`."""
        return cls(features=features, values=base64.b64encode(embeddings.astype("<f2").tobytes()).decode())

    def decode(self) -> NDArray[np.float32]:
        """Returns the embeddings, shape `(num_films, NUM_COLUMNS)`."""
        return _decode(self.values)


def _decode(values: str) -> NDArray[np.float32]:
    decoded = np.frombuffer(base64.b64decode(values, validate=True), "<f2")
    return decoded.astype(np.float32).reshape(-1, NUM_COLUMNS)


def choose_sample(imdb_ids: Sequence[int], size: int = SAMPLE_SIZE) -> NDArray[np.int64]:
    """Returns the rows of a sample of films, ascending.

    Those with the lowest hashes of their ids: two catalogs that share films have the same ones in their samples, so
    that the same catalog has no distance to itself, and a few new films change little.
    """
    hashes = [hashlib.blake2b(struct.pack("<q", imdb_id), digest_size=8).digest() for imdb_id in imdb_ids]
    order = np.argsort(np.frombuffer(b"".join(hashes), ">u8"), kind="stable")
    return np.sort(order[:size])


def project(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Returns a random projection of features, shape `(num_films, NUM_COLUMNS)`: distances stay about as they are.

    By a fixed matrix of signs (Achlioptas 2003, "Database-friendly random projections"). Its bits are those of a bit
    generator, whose stream NumPy promises not to change.

    Args:
        features: Shape `(num_films, num_features)`.
    """
    num_bits = features.shape[1] * NUM_COLUMNS
    raw = np.random.PCG64(0).random_raw(-(-num_bits // 64)).astype("<u8")
    bits = np.unpackbits(raw.view(np.uint8))[:num_bits].reshape(features.shape[1], NUM_COLUMNS)
    signs = bits.astype(np.float32) * 2 - 1
    projected: NDArray[np.float32] = features.astype(np.float32) @ signs / np.float32(np.sqrt(NUM_COLUMNS))
    return projected


def measure_energy(before: NDArray[np.float32], after: NDArray[np.float32], deviations: float) -> tuple[float, float]:
    """Returns the distance between two samples, and its noise.

    The distance is the energy coefficient, in [0, 1], 0 for equal distributions: the energy distance (Szekely and Rizzo
    2013, "Energy statistics") over twice the mean distance between films of the two samples. It equals MMD (Gretton et
    al. 2012, "A Kernel Two-Sample Test") with the distance as kernel, and needs no bandwidth.

    Args:
        before: Embeddings of one sample, shape `(num_films, size)`.
        after: Embeddings of the other.
        deviations: Deviation above the mean that is noise, in standard deviations.

    Returns:
        The distance; and its mean and so many of its standard deviations over random divisions of all films into two
        samples.
    """
    films = np.vstack([before, after])
    # Only differences count; float32 then keeps the small ones.
    films = films - films.mean(axis=0)
    squares = np.square(films).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, np.newaxis] + squares - 2 * films @ films.T, 0))
    np.fill_diagonal(distances, 0)
    num_before, num_after = len(before), len(after)
    weights = np.full((len(films), 1 + _NUM_PERMUTATIONS), -1 / num_after, np.float32)
    weights[:num_before, 0] = 1 / num_before
    random = np.random.default_rng(0)
    for column in range(1, 1 + _NUM_PERMUTATIONS):
        weights[random.permutation(len(films))[:num_before], column] = 1 / num_before
    energies = -np.einsum("fc,fc->c", weights, distances @ weights, dtype=np.float64)
    energies = np.maximum(energies, 0) / (2 * float(distances[:num_before, num_before:].mean(dtype=np.float64)) or 1.0)
    permuted = energies[1:]
    return float(energies[0]), float(permuted.mean() + deviations * permuted.std())
