"""What a run shows in Prefect's dashboard: tables, the report, and links."""

from collections.abc import Mapping
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tasks.catalog.task import Catalog
from tasks.posters.task import PosterCounts
from tasks.registry.task import Published


def show_counts(catalog: Catalog, counts: PosterCounts) -> None:
    """Shows how many rows and posters there are, and how many were lost on the way and why."""
    rows = [
        *(("catalog", f"dropped: {reason}", count) for reason, count in catalog.dropped.items()),
        ("catalog", "films", catalog.num_films),
        *(("catalog", f"doubtful: {what}", count) for what, count in catalog.count_doubts().items()),
        *(("posters", f"requested now: {outcome}", count) for outcome, count in counts.outcomes.items()),
        *(("posters", f"failed: {reason}", count) for reason, count in counts.failed.items()),
        ("posters", "available", counts.num_ok),
    ]
    create_table_artifact(
        [{"stage": stage, "what": what, "count": count} for stage, what, count in rows],
        key="counts",
        description="Films and posters of this run",
    )


def show_evaluation(published: Published, metrics: Mapping[str, Any]) -> None:
    """Shows the figures of a new model beside the baselines' and the champion's, and its report."""
    # Brings the charts' library, which a run that finds nothing new does without.
    from tasks.evaluation.report import compare_recipes, render_report

    rows = [
        {"model": row["recipe"], "macro-F1": round(row["macro-F1"], 4), "micro-F1": round(row["micro-F1"], 4)}
        for row in compare_recipes(metrics).to_dict("records")
    ]
    champion = metrics.get("champion")
    if champion and champion["genres"]:
        on = f"on the {champion['num_films']:,} test films it has not learned from"
        rows += [
            {"model": f"champion {champion['id']}, {on}", "macro-F1": round(champion["champion_macro_f1"], 4)},
            {"model": "this model on the same films", "macro-F1": round(champion["candidate_macro_f1"], 4)},
        ]
    create_table_artifact(rows, key="metrics", description=f"Test split, model {published.id}. {published.reasons}")
    create_markdown_artifact(
        render_report(metrics, with_charts=False), key="report", description=f"Report of {published.id}"
    )
    report = published.folder.resolve() / "report.md"
    create_link_artifact(report.as_uri(), link_text="report.md, with charts", key="report-file")


def show_model(published: Published) -> None:
    """Shows which model the run ended with, and where it is."""
    rank = "the champion" if published.is_champion else "not the champion"
    create_link_artifact(
        published.folder.resolve().as_uri(),
        link_text=published.id,
        key="model",
        description=f"{rank}: {published.reasons}",
    )
