import pytest

from tasks.drift.failures import compare_hosts, compare_new_films
from tasks.drift.figures import Figure
from tasks.settings import DriftSettings

SETTINGS = DriftSettings()
BEFORE = {"a.test": {"ok": 980, "http 404": 20}, "b.test": {"ok": 990, "timeout": 10}}


def find_warnings(after: dict[str, dict[str, int]]) -> list[str]:
    return [figure.describe() for figure in compare_hosts(BEFORE, after, SETTINGS) if figure.exceeds]


def test_the_same_hosts_have_no_warnings() -> None:
    assert find_warnings(BEFORE) == []
    figures = list(compare_hosts(BEFORE, BEFORE, SETTINGS))
    assert [(figure.group, figure.name, figure.after) for figure in figures] == [
        ("host", "a.test", 0.5),
        ("host", "b.test", 0.5),
        ("failures of", "a.test", 0.02),
        ("failures of", "b.test", 0.01),
    ]


def test_a_host_that_fails_is_named_with_its_reasons() -> None:
    (warning,) = find_warnings({**BEFORE, "b.test": {"ok": 690, "timeout": 10, "http 503": 280, "http 404": 20}})
    assert warning.startswith(
        "failures of b.test: 31.0%, before 1.0% "
        "(http 503: 28.0%, before 0.0%, http 404: 2.0%, before 0.0%, timeout: 1.0%, before 1.0%)"
    )


def test_a_host_that_recovers_is_no_warning() -> None:
    after = {**BEFORE, "a.test": {"ok": 1000}}
    assert [figure for figure in compare_hosts(after, BEFORE, SETTINGS) if figure.exceeds] == []
    failed = {**BEFORE, "a.test": {"ok": 500, "timeout": 500}}
    assert [figure for figure in compare_hosts(failed, BEFORE, SETTINGS) if figure.exceeds] == []


def test_a_reason_that_replaces_another_is_named() -> None:
    before = {"a.test": {"ok": 800, "http 404": 200}}
    after = {"a.test": {"ok": 800, "http 404": 50, "not an image": 150}}
    (figure,) = (figure for figure in compare_hosts(before, after, SETTINGS) if figure.exceeds)
    assert figure.name == "a.test by not an image"
    assert (figure.before, figure.after) == (0, 0.15)


def test_a_new_host_is_compared_with_all_others() -> None:
    after = {**BEFORE, "c.test": {"ok": 70, "timeout": 30}}
    warnings = find_warnings(after)
    assert [warning.partition(":")[0] for warning in warnings] == ["host c.test", "failures of c.test"]
    # 30 of 2,000 failed before; 10 of them by a timeout.
    assert "30.0%, before 1.5% (timeout: 30.0%, before 0.5%)" in warnings[1]


def test_a_host_that_is_gone() -> None:
    warnings = find_warnings({"a.test": {"ok": 980, "http 404": 20}})
    assert [warning.partition(":")[0] for warning in warnings] == ["host a.test", "host b.test"]


@pytest.mark.parametrize(("num_failed", "num_warnings"), [(2, 0), (30, 1)])
def test_new_films_of_a_host_are_few_among_all(num_failed: int, num_warnings: int) -> None:
    new = {"a.test": {"ok": 100 - num_failed, "timeout": num_failed}}
    after = {**BEFORE, "a.test": {"ok": 1080 - num_failed, "http 404": 20, "timeout": num_failed}}
    assert find_warnings(after) == []
    warnings: list[Figure] = [figure for figure in compare_new_films(BEFORE, after, new, SETTINGS) if figure.exceeds]
    assert len(warnings) == num_warnings
    assert all(figure.group == "failures of new films of" and figure.name == "a.test" for figure in warnings)


def test_a_host_whose_films_are_all_new_is_compared_once() -> None:
    after = {**BEFORE, "c.test": {"ok": 70, "timeout": 30}}
    assert list(compare_new_films(BEFORE, after, {"c.test": after["c.test"]}, SETTINGS)) == []
