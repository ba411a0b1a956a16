"""What a run shows in Prefect's dashboard: tables, the report, and links."""

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tasks.catalog.task import Catalog
from tasks.evaluation.report import compare_recipes, render_report
from tasks.evaluation.task import Evaluation
from tasks.posters.task import PosterCounts
from tasks.registry.task import Published


def show_counts(catalog: Catalog, counts: PosterCounts) -> None:
    """Shows how many rows and posters there are, and how many were lost on the way and why."""
    rows = [
        *(("catalog", f"dropped: {reason}", count) for reason, count in catalog.dropped.items()),
        ("catalog", "films", catalog.num_films),
        ("posters", "asked for in this run", counts.num_asked),
        *(("posters", f"failed: {reason}", count) for reason, count in counts.failed.items()),
        ("posters", "there", counts.num_ok),
    ]
    create_table_artifact(
        [{"stage": stage, "what": what, "count": count} for stage, what, count in rows],
        key="counts",
        description="Films and posters of this run",
    )


def show_model(published: Published, evaluation: Evaluation) -> None:
    """Shows the figures beside the baselines', the report, and where the model is."""
    table = compare_recipes(evaluation.metrics).round(4)
    create_table_artifact(
        [{str(name): value for name, value in row.items()} for row in table.to_dict("records")],
        key="metrics",
        description=f"Test split, model {published.id}",
    )
    create_markdown_artifact(
        render_report(evaluation.metrics, with_charts=False), key="report", description=f"Report of {published.id}"
    )
    create_link_artifact(
        published.folder.resolve().as_uri(), link_text=published.id, key="model", description="The published model"
    )
