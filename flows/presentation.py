"""What a run shows in Prefect's dashboard: tables, the report, and links."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.exceptions import PrefectException

from tasks.catalog.task import Catalog
from tasks.errors import one_line
from tasks.inert import for_markdown
from tasks.model_folder import ModelFolder
from tasks.posters.task import PosterCounts

logger = logging.getLogger(__name__)


@contextmanager
def shown_if_possible(what: str) -> Iterator[None]:
    """Turns an error of Prefect's server into a warning: a dashboard that lacks a table is no reason to end a run.

    Args:
        what: What the block, or the function that this decorates, shows.
    """
    try:
        yield
    except (httpx.HTTPError, PrefectException) as problem:
        logger.warning("Prefect's server does not answer, the dashboard lacks %s: %s", what, one_line(problem))


@shown_if_possible("the counts")
def show_counts(catalog: Catalog, counts: PosterCounts) -> None:
    """Shows the numbers of films and posters, and of those left out by reason."""
    rows = [
        ("catalog", "films", catalog.num_films),
        *(
            ("catalog", f"{kind}: {what}", count)
            for kind, counts in catalog.count().items()
            for what, count in counts.items()
        ),
        *(("posters", f"requested now: {outcome}", count) for outcome, count in counts.outcomes.items()),
        *(("posters", f"failed: {reason}", count) for reason, count in counts.failed.items()),
        ("posters", "available", counts.num_ok),
    ]
    create_table_artifact(
        [{"stage": stage, "what": for_markdown(what), "count": count} for stage, what, count in rows],
        key="counts",
        description="Films and posters of this run",
    )


@shown_if_possible("the figures of the model")
def show_evaluation(model: ModelFolder, metrics: Mapping[str, Any]) -> None:
    """Shows the figures of a new model beside those of the baselines, and its report.

    Args:
        model: The published model.
        metrics: Content of the model's `metrics.json`.
    """
    # Imports the library of the charts, which a run without a new model does not need.
    from tasks.drift.report import describe_drift, list_rows
    from tasks.evaluation.report import compare_recipes, render_report

    rows = [
        {"model": row["recipe"], "macro-F1": round(row["macro-F1"], 4), "micro-F1": round(row["micro-F1"], 4)}
        for row in compare_recipes(metrics).to_dict("records")
    ]
    create_table_artifact(
        rows, key="metrics", description=f"Test split, model {model.id}. {for_markdown(model.gate_reasons)}"
    )
    create_markdown_artifact(
        render_report(metrics, with_charts=False), key="report", description=f"Report of {model.id}"
    )
    if "drift" in metrics:
        description = for_markdown(describe_drift(metrics["drift"]))
        figures = [{**row, "figure": for_markdown(row["figure"])} for row in list_rows(metrics["drift"])]
        create_table_artifact(figures, key="drift", description=description)
    report = model.best_report_path.resolve()
    create_link_artifact(report.as_uri(), link_text=f"{report.name}, with charts", key="report-file")


@shown_if_possible("the model")
def show_model(model: ModelFolder, rank: str) -> None:
    """Shows the model that the run ended with, its folder, and each check of the gate with its finding.

    Args:
        model: The published model.
        rank: Whether it is the champion, and why not.
    """
    create_link_artifact(model.path.resolve().as_uri(), link_text=model.id, key="model", description=for_markdown(rank))
    outcomes = {(True, False): "passed", (False, True): "failed, allowed by registry.allow", (False, False): "failed"}
    # Those that failed come first.
    checks = sorted(model.read_manifest()["gate"]["checks"], key=lambda check: bool(check["passed"]))
    create_table_artifact(
        [
            {
                "check": check["name"],
                "result": outcomes[check["passed"], not check["passed"] and check.get("is_allowed", False)],
                "found": for_markdown(check["found"]),
            }
            for check in checks
        ],
        key="gate",
        description=for_markdown(rank),
    )
