"""The comparison with the champion in words: a section of the report, and rows of a table."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tasks.drift.figures import Figure
from tasks.inert import for_markdown

# Rows in the report; metrics.json has all.
_NUM_SHOWN = 20

_ABOUT = """A change is a warning if it is over its bound, one of the settings `drift.*`, and over its noise, by which
two samples of the same films would hardly differ."""


def render_drift(drift: Mapping[str, Any]) -> str:
    """Returns the section of the report.

    Args:
        drift: Value of `drift` in the model's `metrics.json`.
    """
    title = "\n## Drift: films, posters and predictions beside the champion's\n"
    if drift["against"] is None:
        return f"{title}\nThere is no champion to compare with."
    warnings = [f"- {for_markdown(line)}" for line in drift["warnings"]]
    parts = [title, f"Against {drift['against']}: {_count_warnings(drift)}. {_ABOUT}\n", *warnings]
    rows = [{**row, "figure": for_markdown(row["figure"])} for row in list_rows(drift)[:_NUM_SHOWN]]
    if rows:
        parts.append(f"\nThe {len(rows)} figures that are nearest to a warning, of {len(drift['figures'])}:\n")
        parts.append(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))
    if drift["not_compared"]:
        parts += ["\nNot compared:\n", *(f"- {for_markdown(line)}" for line in drift["not_compared"])]
    return "\n".join(parts)


def list_rows(drift: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns the figures as rows of a table, those that are nearest to a warning or over it first."""
    figures = [Figure(**{name: value for name, value in row.items() if name != "exceeds"}) for row in drift["figures"]]
    figures.sort(key=lambda figure: -figure.nearness)
    return [
        {
            "figure": f"{figure.group} {figure.name}",
            "before": figure.show(figure.before),
            "now": figure.show(figure.after),
            "change": figure.show_change(figure.change),
            "noise": figure.show_change(figure.noise),
            "bound": figure.show_change(figure.bound),
            "warning": "yes" if figure.exceeds else "",
        }
        for figure in figures
    ]


def describe_drift(drift: Mapping[str, Any]) -> str:
    """Returns the comparison in a line."""
    if drift["against"] is None:
        return "no champion to compare with"
    return f"against {drift['against']}: {_count_warnings(drift)}"


def _count_warnings(drift: Mapping[str, Any]) -> str:
    number = len(drift["warnings"])
    return "no warning" if not number else "1 warning" if number == 1 else f"{number} warnings"
