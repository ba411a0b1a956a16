import base64

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.drift.embeddings import NUM_COLUMNS, Embeddings, choose_sample, measure_energy, project


def as_column(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)[:, np.newaxis]


@pytest.mark.parametrize(
    ("before", "after", "distance"),
    [
        ([0, 1], [0, 1], 0.0),
        ([0, 0], [1, 1], 1.0),
        # Between: 1 on average; within the first: (0 + 2 + 2 + 0) / 4 = 1, the second: 0. (2 - 1) / 2.
        ([0, 2], [1, 1], 0.5),
        # Between: (0 + 3) / 2; within the first: 0, the second: (0 + 3 + 3 + 0) / 4 = 1.5. (3 - 1.5) / 3.
        ([0], [0, 3], 0.5),
    ],
)
def test_energy_coefficient_by_hand(before: list[float], after: list[float], distance: float) -> None:
    found, _ = measure_energy(as_column(before), as_column(after), 4)
    assert found == pytest.approx(distance, abs=1e-6)


def test_distance_is_over_its_noise_only_where_the_distributions_differ() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 300, 8)).astype(np.float32)
    distance, noise = measure_energy(first, second, 4)
    assert 0 < distance < noise
    shifted, shifted_noise = measure_energy(first, second + np.float32(0.2), 4)
    assert shifted > shifted_noise
    # A third of the films is of another kind; the mean is the same.
    wider = second * np.where(np.arange(300) % 3 == 0, 3, 1).astype(np.float32)[:, np.newaxis]
    spread, spread_noise = measure_energy(first, wider, 4)
    assert spread > spread_noise


def test_noise_grows_with_the_deviations_and_falls_with_the_films() -> None:
    films = np.random.default_rng(0).normal(size=(800, 8)).astype(np.float32)
    _, of_many = measure_energy(films[:400], films[400:], 4)
    _, of_few = measure_energy(films[:40], films[40:80], 4)
    _, of_two_deviations = measure_energy(films[:400], films[400:], 2)
    assert of_two_deviations < of_many < of_few / 5


def test_catalogs_that_share_films_share_their_samples() -> None:
    ids = list(range(1000, 3000))
    sample = choose_sample(ids, 100)
    assert len(sample) == len(set(sample)) == 100
    assert (np.diff(sample) > 0).all()
    grown = [*ids, *range(5000, 5100)]
    kept = {ids[row] for row in sample} & {grown[row] for row in choose_sample(grown, 100)}
    assert 85 <= len(kept) < 100
    # The order of the films does not matter, and the sample is not the first or the last ones.
    turned = {ids[::-1][row] for row in choose_sample(ids[::-1], 100)}
    assert turned == {ids[row] for row in sample}
    assert 0.4 < np.mean(sample) / 2000 < 0.6
    assert choose_sample([7, 5]).tolist() == [0, 1]


def test_projection_keeps_distances_and_never_changes() -> None:
    features = np.random.default_rng(0).random((50, 2816), np.float32)
    projected = project(features)
    assert projected.shape == (50, NUM_COLUMNS)
    true, found = (np.linalg.norm(of[:25] - of[25:], axis=1) for of in (features, projected))
    assert np.mean(found / true) == pytest.approx(1, abs=0.05)
    # Statistics that are published must be comparable with those of later versions.
    signs = project(np.eye(1, 2816)) * np.sqrt(NUM_COLUMNS)
    assert np.packbits(signs[0] > 0).tobytes().hex() == PINNED


PINNED = "5f82c2d9cfeb0fa3"


def test_embeddings_are_kept_as_text() -> None:
    values = np.arange(3 * NUM_COLUMNS, dtype=np.float32).reshape(3, NUM_COLUMNS) / 8
    kept = Embeddings.model_validate_json(Embeddings.encode("f", values).model_dump_json())
    np.testing.assert_array_equal(kept.decode(), values)
    assert kept.features == "f"


@pytest.mark.parametrize("content", [b"\0" * 6, np.full(NUM_COLUMNS, np.nan, "<f2").tobytes()])
def test_damaged_embeddings_are_refused(content: bytes) -> None:
    with pytest.raises(ValidationError):
        Embeddings(features="f", values=base64.b64encode(content).decode())
    with pytest.raises(ValidationError):
        Embeddings(features="f", values="not base64!")
