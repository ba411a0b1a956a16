from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.posters.task import PosterCounts
from tasks.registry.gate import Verdict, judge
from tasks.settings import RegistrySettings

COUNTS = PosterCounts(num_films=100, num_ok=95, failed={"http 404": 5}, outcomes={"new": 95, "failed": 5})
COMPARISON = {
    "id": "m1",
    "num_films": 80,
    "genres": ["Comedy", "Drama"],
    "lost_genres": [],
    "candidate_macro_f1": 0.5,
    "champion_macro_f1": 0.5,
}
FILMS = [(1, "a", "train"), (2, "a", "train"), (3, "b", "validation"), (4, "c", "test")]


def call(
    tmp_path: Path,
    comparison: dict[str, Any] | None = None,
    drama: tuple[float, int] = (0.4, 20),
    counts: PosterCounts = COUNTS,
    films: list[tuple[int, str, str]] = FILMS,
    difference: float = 0.001,
    format_mismatch: str | None = None,
) -> Verdict:
    genres = {"Comedy": {"f1": 0.6, "support": 30}, "Drama": {"f1": drama[0], "support": drama[1]}}
    metrics: dict[str, Any] = {"model": {"genres": genres}}
    if comparison:
        metrics["champion"] = comparison
    columns = zip(*films, strict=True)
    pq.write_table(pa.table(dict(zip(("imdb_id", "sha256", "split"), columns, strict=True))), tmp_path / "f.parquet")
    return judge(metrics, counts, tmp_path / "f.parquet", difference, RegistrySettings(), format_mismatch)


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_the_first_model_passes_without_a_champion(tmp_path: Path) -> None:
    verdict = call(tmp_path)
    assert verdict.allowed
    assert len(verdict.checks) == 5
    assert "there is no champion yet" in verdict.reasons
    assert "0 images in two splits" in verdict.reasons


@pytest.mark.parametrize(
    ("candidate", "allowed"), [(0.6, True), (0.5, True), (0.491, True), (0.489, False), (0.3, False)]
)
def test_no_worse_than_the_champion_by_more_than_noise(tmp_path: Path, candidate: float, allowed: bool) -> None:
    verdict = call(tmp_path, {**COMPARISON, "candidate_macro_f1": candidate})
    assert verdict.allowed == allowed
    assert (
        f"macro-F1 against the champion's: {candidate:.3f} against 0.500 of m1, on 80 test films and 2 genres"
        in verdict.reasons
    )


def test_a_champion_that_can_not_be_compared_with_stays(tmp_path: Path) -> None:
    nothing = {"num_films": 3, "genres": [], "candidate_macro_f1": None, "champion_macro_f1": None}
    verdict = call(tmp_path, {**COMPARISON, **nothing})
    assert not verdict.allowed
    assert "nothing to compare with m1: of 3 test films that it has not learned from" in verdict.reasons


def test_a_champion_of_another_format_stays(tmp_path: Path) -> None:
    verdict = call(tmp_path, format_mismatch="m1 is of format 9")
    assert failed(verdict) == ["macro-F1 against the champion's"]
    assert "not compared, m1 is of format 9: promote the candidate by hand if it is better" in verdict.reasons


def test_genres_that_are_lost_are_named(tmp_path: Path) -> None:
    assert (
        "2 genres, without War, Western (" in call(tmp_path, {**COMPARISON, "lost_genres": ["War", "Western"]}).reasons
    )


@pytest.mark.parametrize(("drama", "allowed"), [((0.0, 5), False), ((0.0, 4), True), ((0.01, 5), True)])
def test_no_genre_collapsed(tmp_path: Path, drama: tuple[float, int], allowed: bool) -> None:
    verdict = call(tmp_path, drama=drama)
    assert verdict.allowed == allowed
    if not allowed:
        assert verdict.reasons == "collapsed genres: no film correctly predicted as Drama"


@pytest.mark.parametrize(("num_ok", "allowed"), [(90, True), (89, False)])
def test_enough_posters(tmp_path: Path, num_ok: int, allowed: bool) -> None:
    verdict = call(tmp_path, counts=replace(COUNTS, num_ok=num_ok))
    assert verdict.allowed == allowed
    assert f"available posters: {num_ok} of 100" in verdict.reasons


@pytest.mark.parametrize(
    ("film", "found"),
    [
        ((5, "a", "test"), "0 films in two splits, 1 images in two splits"),
        ((4, "d", "validation"), "1 films in two splits, 0 images in two splits"),
    ],
)
def test_leakage(tmp_path: Path, film: tuple[int, str, str], found: str) -> None:
    assert call(tmp_path, films=[*FILMS, film]).reasons == f"leakage between splits: {found}"


@pytest.mark.parametrize(("difference", "allowed"), [(0.01, True), (0.011, False), (float("nan"), False)])
def test_exported_answers(tmp_path: Path, difference: float, allowed: bool) -> None:
    assert call(tmp_path, difference=difference).allowed == allowed


def test_all_that_failed_is_told(tmp_path: Path) -> None:
    verdict = call(tmp_path, drama=(0.0, 9), counts=replace(COUNTS, num_ok=50), difference=0.5)
    assert failed(verdict) == ["collapsed genres", "available posters", "exported predictions"]
    written = verdict.as_dict()
    assert written["allowed"] is False
    assert [check["name"] for check in written["checks"] if not check["passed"]] == failed(verdict)
    assert verdict.reasons.count("; ") == 2
