from drift_statistics import make_statistics

from tasks.drift.comparison import Comparison
from tasks.drift.report import describe_drift, list_rows, render_drift
from tasks.settings import DriftSettings

NOTHING = {"against": None, "warnings": [], "not_compared": [], "figures": []}


def compare(**changes: object) -> dict[str, object]:
    comparison = Comparison(make_statistics(), make_statistics(**changes), DriftSettings())
    comparison.compare(None, {}, None)
    return {"against": "m1", **comparison.as_dict()}


def test_without_a_champion() -> None:
    assert describe_drift(NOTHING) == "no champion to compare with"
    assert render_drift(NOTHING).endswith("There is no champion to compare with.")
    assert list_rows(NOTHING) == []


def test_warnings_are_first_in_the_report_and_in_the_table() -> None:
    drift = compare(genres={"Drama": 5000, "Horror": 500, "W|ar\n<b>": 2})
    rows = list_rows(drift)
    assert rows[0] == {
        "figure": "genre Horror",
        "before": "10.0%",
        "now": "5.0%",
        "change": "5.0 points",
        "noise": "1.5 points",
        "bound": "2.0 points",
        "warning": "yes",
    }
    assert [row["warning"] for row in rows[1:]] == [""] * (len(rows) - 1)
    assert rows[1]["figure"] == "genre W|ar\n<b>"
    assert describe_drift(drift) == "against m1: 1 warning"
    report = render_drift(drift)
    assert "Against m1: 1 warning. " in report
    assert "\n- genre Horror: 5.0%, before 10.0%; changed by 5.0 points, noise 1.5 points, bound 2.0 points" in report
    assert "\n- features of the posters: the champion has none" in report
    assert "| genre W\\|ar \\<b\\> " in report
    assert "<b>" not in report
    assert "figures that are nearest to a warning, of 13:" in report


def test_no_and_several_warnings_are_counted() -> None:
    assert describe_drift(compare()) == "against m1: no warning"
    assert describe_drift(compare(num_catalog_films=1, num_films=1)).endswith("warnings")
