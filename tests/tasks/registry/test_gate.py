from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tasks.model_folder import ModelFolder
from tasks.posters.task import PosterCounts
from tasks.registry.gate import Findings, Verdict, describe_circumstances, find_margin, judge
from tasks.settings import GATE_CHECKS, RegistrySettings

COUNTS = PosterCounts(num_films=100, num_ok=95, failed={"http 404": 5}, outcomes={"new": 95, "failed": 5})
RIVAL: dict[str, Any] = {
    "id": "m1",
    "data_films": 4,
    "test_films": 1,
    "num_films": 400,
    "genres": ["Comedy", "Drama"],
    "lost_genres": [],
    "new_genres": [],
    "renamed_genres": {},
    "candidate_macro_f1": 0.5,
    "rival_macro_f1": 0.5,
    "standard_error": 0.005,
    "noise": 0.008,
}
FILMS = [(1, "a", "train"), (2, "a", "train"), (3, "b", "validation"), (4, "c", "test")]
SETTINGS = RegistrySettings()


def call(
    tmp_path: Path,
    rivals: Sequence[dict[str, Any]] = (),
    drama: tuple[float, int] = (0.4, 20),
    improvement: tuple[float, float] = (0.1, 0.2),
    counts: PosterCounts = COUNTS,
    films: list[tuple[int, str, str]] = FILMS,
    difference: float = 0.001,
    format_mismatch: str | None = None,
    settings: RegistrySettings = SETTINGS,
) -> Verdict:
    genres = {"Comedy": {"f1": 0.6, "support": 30}, "Drama": {"f1": drama[0], "support": drama[1]}}
    metrics: dict[str, Any] = {
        "model": {"genres": genres, "macro_f1": 0.5},
        "baselines": {"predict_everything": {"macro_f1": 0.3, "improvement_interval": list(improvement)}},
        "rivals": list(rivals),
    }
    columns = zip(*films, strict=True)
    pq.write_table(pa.table(dict(zip(("imdb_id", "sha256", "split"), columns, strict=True))), tmp_path / "f.parquet")
    findings = Findings(metrics, counts, tmp_path / "f.parquet", difference, format_mismatch)
    return judge(findings, settings, {"champion": None})


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_the_first_model_passes_over_the_floor(tmp_path: Path) -> None:
    verdict = call(tmp_path)
    assert verdict.allowed
    assert "champions: there is no champion yet" in verdict.reasons
    assert "floor: macro-F1 0.500 against 0.300 of every genre for every film" in verdict.reasons
    assert "0 images in two splits" in verdict.reasons
    assert verdict.rivals == []
    assert "collapsed genres: none, of 2 checked" in verdict.reasons
    assert verdict.circumstances == {"champion": None}


@pytest.mark.parametrize(
    ("improvement", "passed"), [((0.001, 0.2), True), ((0.0, 0.2), False), ((-0.01, 0.3), False), ((-0.3, -0.1), False)]
)
def test_a_model_like_predict_everything_is_refused(
    tmp_path: Path, improvement: tuple[float, float], passed: bool
) -> None:
    """The first one, too."""
    verdict = call(tmp_path, improvement=improvement)
    assert verdict.allowed == passed
    assert failed(verdict) == ([] if passed else ["floor"])


@pytest.mark.parametrize(
    ("candidate", "allowed"), [(0.6, True), (0.5, True), (0.491, True), (0.49, True), (0.489, False), (0.3, False)]
)
def test_no_worse_than_the_champion_by_more_than_noise(tmp_path: Path, candidate: float, allowed: bool) -> None:
    verdict = call(tmp_path, [{**RIVAL, "candidate_macro_f1": candidate}])
    assert verdict.allowed == allowed
    assert failed(verdict) == ([] if allowed else ["champions"])
    assert (
        f"champions: macro-F1 {candidate:.3f} against 0.500 of m1 on 400 test films and 2 genres (may be lower by "
        "0.010)" in verdict.reasons
    )


def test_a_verdict_is_written_whole(tmp_path: Path) -> None:
    earlier = {**RIVAL, "id": "m0", "num_films": 10}
    verdict = call(tmp_path, [RIVAL, earlier])
    written = verdict.as_dict()
    assert set(written) == {"allowed", "reasons", "checks", "rivals", "comparisons", "circumstances"}
    assert written["rivals"] == ["m1"]  # m0 has learned from most of the films
    assert [rival["id"] for rival in written["comparisons"]] == ["m1", "m0"]
    assert (written["allowed"], written["circumstances"]) == (True, {"champion": None})
    assert [check["name"] for check in written["checks"]] == [check.name for check in verdict.checks]


def test_small_falls_do_not_add_up(tmp_path: Path) -> None:
    """Each is within the noise of the model before it; the first of them is out of reach after three."""
    earlier = [{**RIVAL, "id": f"m{number}", "rival_macro_f1": 0.5 + 0.008 * number} for number in (1, 2, 3)]
    assert call(tmp_path, earlier[:1]).allowed
    verdict = call(tmp_path, earlier)
    assert failed(verdict) == ["champions"]
    assert "of m1" not in verdict.reasons  # only those that it is worse than are named
    assert "0.516 of m2" in verdict.reasons
    assert "0.524 of m3" in verdict.reasons


@pytest.mark.parametrize(
    ("noise", "standard_error", "margin"),
    [
        (0.0, 0.0, 0.01),  # two trainings differ on any number of films
        (0.008, 0.005, 0.01),
        (0.012, 0.006, 0.012),  # within the noise
        (0.02, 0.01, 0.03 - 0.01645),  # as far as a true fall of 0.03 is still found
        (0.05, 0.02, 0.0),  # it can't be found: no fall is allowed
    ],
)
def test_margin_is_worked_by_hand(noise: float, standard_error: float, margin: float) -> None:
    assert find_margin(noise, standard_error, SETTINGS) == pytest.approx(margin)


def test_few_films_judge_nothing(tmp_path: Path) -> None:
    rival = {**RIVAL, "num_films": 299, "candidate_macro_f1": 0.1}
    verdict = call(tmp_path, [rival])
    assert failed(verdict) == ["films to judge by"]
    assert verdict.reasons == "films to judge by: 299 test films that m1 has not learned from (at least 300)"
    assert verdict.rivals == []
    assert call(tmp_path, [{**RIVAL, "num_films": 300}]).rivals == ["m1"]


def test_few_films_may_be_allowed_by_name(tmp_path: Path) -> None:
    settings = RegistrySettings(allow=("films to judge by",))
    verdict = call(tmp_path, [{**RIVAL, "num_films": 20}], settings=settings)
    assert verdict.allowed
    assert "films to judge by: 20 test films that m1 has not learned from (at least 300) (allowed" in verdict.reasons


def test_an_earlier_champion_that_knows_the_films_does_not_count(tmp_path: Path) -> None:
    verdict = call(tmp_path, [RIVAL, {**RIVAL, "id": "m0", "num_films": 50, "rival_macro_f1": 0.9}])
    assert verdict.allowed
    assert verdict.rivals == ["m1"]


def test_no_shared_genre(tmp_path: Path) -> None:
    nothing = {"genres": [], "candidate_macro_f1": None, "rival_macro_f1": None, "noise": None, "standard_error": None}
    verdict = call(tmp_path, [{**RIVAL, **nothing}])
    assert failed(verdict) == ["champions"]
    assert "nothing to compare with m1: no genre of both models" in verdict.reasons


def test_a_champion_of_another_format_stays(tmp_path: Path) -> None:
    verdict = call(tmp_path, format_mismatch="m1 is of format 9")
    assert failed(verdict) == ["champion's format"]
    assert "not compared, m1 is of format 9: promote the candidate by hand" in verdict.reasons


def test_lost_genres_refuse_and_are_named(tmp_path: Path) -> None:
    lost = {
        "lost_genres": ["War", "Sci-Fi"],
        "new_genres": ["Science Fiction"],
        "renamed_genres": {"Sci-Fi": "Science Fiction"},
    }
    verdict = call(tmp_path, [{**RIVAL, **lost}])
    assert failed(verdict) == ["lost genres"]
    assert verdict.reasons == ("lost genres: without War, Sci-Fi (now Science Fiction?) of m1; new are Science Fiction")
    assert call(tmp_path, [{**RIVAL, **lost}], settings=RegistrySettings(allow=("lost genres",))).allowed


def test_new_genres_are_told(tmp_path: Path) -> None:
    verdict = call(tmp_path, [{**RIVAL, "new_genres": ["War", "Western"]}])
    assert verdict.allowed
    assert "lost genres: none of m1; new are War, Western" in verdict.reasons


@pytest.mark.parametrize(
    ("data_films", "test_films", "names"),
    [
        (4, 1, []),
        (5, 1, ["fewer films"]),  # 4 of 5 are too few
        (4, 2, ["fewer test films"]),
        (3, 0, []),
    ],
)
def test_fewer_films_refuse(tmp_path: Path, data_films: int, test_films: int, names: list[str]) -> None:
    rival = {**RIVAL, "data_films": data_films, "test_films": test_films}
    assert failed(call(tmp_path, [rival])) == names
    lenient = RegistrySettings(max_film_loss=0.2, max_test_film_loss=0.5)
    assert call(tmp_path, [rival], settings=lenient).allowed


@pytest.mark.parametrize(("drama", "allowed"), [((0.0, 5), False), ((0.0, 4), True), ((0.01, 5), True)])
def test_no_genre_collapsed(tmp_path: Path, drama: tuple[float, int], allowed: bool) -> None:
    verdict = call(tmp_path, drama=drama)
    assert verdict.allowed == allowed
    if not allowed:
        assert verdict.reasons == "collapsed genres: no film correctly predicted as Drama"


def test_metrics_without_rivals_are_those_of_a_first_model(tmp_path: Path) -> None:
    films = tmp_path / "films.parquet"
    pq.write_table(pa.table({"imdb_id": [1], "sha256": ["a"], "split": ["train"]}), films)
    metrics = {
        "model": {"genres": {"A": {"f1": 0.0, "support": 9}, "B": {"f1": 0.0, "support": 9}}, "macro_f1": 0.0},
        "baselines": {"predict_everything": {"macro_f1": 0.3, "improvement_interval": [0.1, 0.2]}},
    }
    verdict = judge(Findings(metrics, COUNTS, films, 0.0), SETTINGS, {})
    assert "no film correctly predicted as A, B" in verdict.reasons
    assert "champions: there is no champion yet" in [check.describe() for check in verdict.checks]


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


def test_leaks_and_wrong_exports_can_not_be_allowed() -> None:
    for name in ("leakage between splits", "exported predictions", "champion's format", "anything"):
        with pytest.raises(ValidationError):
            RegistrySettings.model_validate({"allow": [name]})


@pytest.mark.parametrize("name", GATE_CHECKS)
def test_each_check_that_may_be_allowed_exists(tmp_path: Path, name: str) -> None:
    assert name in [check.name for check in call(tmp_path, [RIVAL]).checks]


def test_all_that_failed_is_told(tmp_path: Path) -> None:
    verdict = call(tmp_path, drama=(0.0, 9), counts=replace(COUNTS, num_ok=50), difference=0.5)
    assert failed(verdict) == ["collapsed genres", "available posters", "exported predictions"]
    written = verdict.as_dict()
    assert written["allowed"] is False
    assert written["reasons"] == verdict.reasons
    assert [check["name"] for check in written["checks"] if not check["passed"]] == failed(verdict)
    assert verdict.reasons.count("; ") == 2


def test_only_what_is_not_allowed_is_a_reason(tmp_path: Path) -> None:
    settings = RegistrySettings(allow=("collapsed genres",))
    verdict = call(tmp_path, drama=(0.0, 9), difference=0.5, settings=settings)
    assert failed(verdict) == ["collapsed genres", "exported predictions"]
    assert verdict.reasons.startswith("exported predictions: ")
    assert "; " not in verdict.reasons


def test_circumstances_change_with_all_that_a_verdict_depends_on() -> None:
    champion, other = (ModelFolder(Path(name)) for name in ("m1", "m0"))

    def describe(**changes: Any) -> dict[str, Any]:
        arguments = {
            "champion": champion,
            "rivals": [champion],
            "counts": COUNTS,
            "settings": SETTINGS,
            "format_mismatch": None,
        }
        return describe_circumstances(**{**arguments, **changes})

    same = describe(counts=replace(COUNTS, num_ok=96), settings=RegistrySettings(publish_to="s3://models"))
    assert same == describe()
    changes: list[dict[str, Any]] = [
        {"champion": other},
        {"rivals": [champion, other]},
        {"counts": replace(COUNTS, num_ok=89)},
        {"settings": RegistrySettings(allow=("floor",))},
        {"format_mismatch": "m1 is of format 9"},
    ]
    for change in changes:
        assert describe(**change) != describe()
    assert describe(counts=replace(COUNTS, num_ok=90)) == describe()  # just enough
    assert set(describe()) == {"version", "champion", "rivals", "enough_posters", "settings", "format_mismatch"}
