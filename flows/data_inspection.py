"""What `poster-genres inspect data` shows: the data of earlier runs as tables, and its contact sheet."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from flows.configuration import check_data_dir
from flows.tables import make_cell
from tasks.atomic import atomic_file
from tasks.dataset.splits import SPLITS
from tasks.inert import for_terminal
from tasks.inspection.data import DatasetFigures, PosterFigures, inspect_dataset, inspect_posters
from tasks.locking import locked
from tasks.settings import Settings

CONTACT_SHEET = "contact-sheet.png"

_NUM_SHARED = 5  # posters of several films that are listed; those that cross splits all are
_QUANTILES = {"smallest": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "largest": 1.0}


@dataclass(frozen=True)
class DataInspection:
    """What was found in a `data_dir`.

    Attributes:
        posters: The posters of the catalog's films.
        dataset: The films of the data set; None if there is none yet.
        contact_sheet: Path of the contact sheet, or why there is none.
    """

    posters: PosterFigures
    dataset: DatasetFigures | None
    contact_sheet: str


def inspect_data(settings: Settings, to: Path | None = None) -> DataInspection:
    """Reads the figures of the data of earlier runs, and writes a contact sheet.

    Args:
        settings: Settings with the `data_dir`, and `evaluation.thumbnails`: without them there is no contact sheet.
        to: Folder of the contact sheet, created if needed; None: `inspection` in the `data_dir`.

    Raises:
        SettingsError: There is no such `data_dir`.
        DatasetError: There is no catalog in it, or a file is damaged.
        RepairedError: A file of the posters was damaged.
        LockedError: A run works in the folder.
    """
    check_data_dir(settings)
    workspace = settings.workspace
    # A run changes the files meanwhile, and readers mend damaged ones of the posters.
    with locked(settings.data_dir, "an inspection", settings.wait_seconds):
        posters = inspect_posters(workspace)
        dataset = inspect_dataset(workspace.folder("shards"))
        if not settings.evaluation.thumbnails:
            return DataInspection(posters, dataset, "none: evaluation.thumbnails is false")
        if dataset is None:
            return DataInspection(posters, dataset, "none: there is no data set yet, which poster-genres run writes")
        path = (to or workspace.folder("inspection")) / CONTACT_SHEET
        _write_contact_sheet(path, dataset, workspace.folder("posters"))
    return DataInspection(posters, dataset, str(path))


def _write_contact_sheet(path: Path, dataset: DatasetFigures, posters_dir: Path) -> None:
    from tasks.inspection.contact_sheet import choose_posters, draw_contact_sheet

    chosen = choose_posters(dataset.films, dataset.genres)
    counts = {genre.genre: sum(genre.num_films.values()) for genre in dataset.balance}
    with atomic_file(path) as partial:
        draw_contact_sheet(posters_dir, chosen, counts).save(partial, "PNG")


def list_tables(inspection: DataInspection) -> Iterator[Table]:
    """Yields the tables of an inspection, for a terminal."""
    yield _make_posters_table(inspection.posters)
    if inspection.posters.num_downloaded:
        yield _make_sizes_table(inspection.posters)
    if inspection.dataset:
        yield _make_genres_table(inspection.dataset)
        yield _make_left_out_table(inspection.dataset)
        yield _make_shared_table(inspection.dataset)


def _make_posters_table(posters: PosterFigures) -> Table:
    table = Table("posters")
    table.add_column("films", justify="right")
    table.add_column("share", justify="right")
    failures = {f"failed: {reason}": count for reason, count in posters.failures.items()}
    rows = {"downloaded": posters.num_downloaded, **failures, "not requested yet": posters.num_missing}
    for name, count in rows.items():
        table.add_row(make_cell(name), f"{count:,}", _share(count, posters.num_films))
    table.add_section()
    table.add_row("films of the catalog", f"{posters.num_films:,}", "")
    return table


def _make_sizes_table(posters: PosterFigures) -> Table:
    images = posters.images
    values = {
        "width": (images["width"], "{:,.0f}"),
        "height": (images["height"], "{:,.0f}"),
        "width / height": (images["width"] / images["height"], "{:.2f}"),
        "kilobytes": (images["num_bytes"] / 1000, "{:,.1f}"),
    }
    table = Table("images")
    for name in _QUANTILES:
        table.add_column(name, justify="right")
    for name, (column, form) in values.items():
        table.add_row(name, *(form.format(column.quantile(share)) for share in _QUANTILES.values()))
    return table


def _make_genres_table(dataset: DatasetFigures) -> Table:
    worst = max(dataset.balance, key=lambda genre: genre.deviation)
    caption = f"largest deviation: {worst.genre}, {_points(worst.deviation)} points"
    table = Table("genre", caption=for_terminal(caption), caption_justify="left")
    for name in ("films", *SPLITS, "deviation"):
        table.add_column(name, justify="right")
    for genre in dataset.balance:
        shares = [f"{genre.shares[split]:.1%}" for split in SPLITS]
        style = "bold" if genre is worst else ""
        cells = [f"{sum(genre.num_films.values()):,}", *shares, _points(genre.deviation)]
        table.add_row(make_cell(genre.genre), *cells, style=style)
    table.add_section()
    num_films = sum(dataset.num_films.values())
    table.add_row("all films", f"{num_films:,}", *(_share(dataset.num_films[split], num_films) for split in SPLITS), "")
    return table


def _make_left_out_table(dataset: DatasetFigures) -> Table:
    kept = {"negative": "kept without labels", "drop": "left out"}.get(dataset.without_genre, "")
    table = Table("too rare to be learned")
    table.add_column("films", justify="right")
    for genre, count in dataset.dropped_genres.items():
        table.add_row(make_cell(genre), f"{count:,}")
    table.add_section()
    table.add_row(f"films without a learned genre{f' ({kept})' * bool(kept)}", f"{dataset.num_films_without_genre:,}")
    return table


def _make_shared_table(dataset: DatasetFigures) -> Table:
    shared = dataset.shared_posters
    table = Table("films that share one poster", "split")
    for poster in shared[: max(_NUM_SHARED, dataset.num_crossing)]:
        style = "red" if len(poster.splits) > 1 else ""
        table.add_row(make_cell("\n".join(poster.titles)), ", ".join(poster.splits), style=style, end_section=True)
    num_films = sum(len(poster.titles) for poster in shared)
    table.add_row(f"all: {len(shared):,} posters of {num_films:,} films", "")
    table.add_row("posters in several splits", f"{dataset.num_crossing:,}")
    return table


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else ""


def _points(deviation: float) -> str:
    return f"{100 * deviation:.2f}"
