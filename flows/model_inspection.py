"""What `poster-genres inspect model` shows: the layers of a model as tables, and pictures of it."""

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from flows.tables import make_cell
from tasks.atomic import atomic_file
from tasks.errors import SettingsError
from tasks.inert import for_terminal
from tasks.inspection.layers import LayerFigures, list_blocks, list_layers, name_block
from tasks.inspection.network import Network
from tasks.model_folder import ModelFolder
from tasks.posters.images import NotAPosterError, check_image

NETWORK_PICTURE = "network.png"
_NAME_WIDTH = 18  # on the narrowest terminal: that of most blocks and layers
_LONGEST_STEM = 50  # characters of a poster's name in that of its picture


def choose_folder(model: ModelFolder, to: Path | None) -> Path:
    """Returns the folder of the pictures of a model; by default not its own, whose files its manifest lists."""
    return to or Path("inspection") / model.path.resolve().name


def list_tables(network: Network, *, every_layer: bool = False) -> Iterator[Table]:
    """Yields what is shown of a network in a terminal.

    Args:
        network: The network.
        every_layer: Whether each layer has a row, or each block of the backbone.
    """
    yield _make_backbone_table(network, list_layers(network.backbone) if every_layer else list_blocks(network.backbone))
    head = _make_layers_table("head")
    for layer in list_layers(network.head):
        head.add_row(make_cell(layer.name), layer.kind, layer.shape, _count(layer.num_parameters))
    yield head
    yield _make_summary(network)


def _make_backbone_table(network: Network, rows: list[LayerFigures]) -> Table:
    table = _make_layers_table("backbone")
    table.add_column("tap")
    names = {row.name for row in rows}
    features: dict[str, list[str]] = {}
    for tap in network.list_taps():
        features.setdefault(tap.layer if tap.layer in names else name_block(tap.layer), []).append(tap.statistic)
    for layer in rows:
        cells = (layer.shape, _count(layer.num_parameters), ", ".join(features.get(layer.name, [])))
        table.add_row(make_cell(layer.name), layer.kind, *cells)
    return table


def _make_layers_table(title: str) -> Table:
    table = Table()
    table.add_column(title, overflow="fold", min_width=_NAME_WIDTH)
    table.add_column("kind", overflow="fold")
    table.add_column("output", justify="right")
    table.add_column("parameters", justify="right")
    return table


def _make_summary(network: Network) -> Table:
    height, width = network.image_size
    frozen = network.num_parameters - network.num_trained
    taps = [f"{tap.layer}:{tap.statistic} ({tap.num_columns:,})" for tap in network.list_taps()]
    num_features = network.backbone.output.shape[1]
    table = Table(show_header=False)
    table.add_row("input", f"{height} x {width} x 3 pixels of 0-255")
    views = f"{network.num_views}, over which predictions are averaged" if network.num_views > 1 else "1"
    table.add_row("views", views)
    table.add_row("taps", make_cell("\n".join(taps) or "none"))
    num_last = num_features - sum(tap.num_columns for tap in network.list_taps())
    table.add_row("features", f"{num_features:,}, of which {num_last:,} are averages of the last layer")
    table.add_row("outputs", make_cell("\n".join(f"{name} ({columns})" for name, columns in network.outputs.items())))
    table.add_row("parameters", f"{network.num_parameters:,}: {network.num_trained:,} trained, {frozen:,} frozen")
    return table


def write_network(network: Network, model: ModelFolder, folder: Path) -> Path:
    """Writes `network.png` into a folder, created if needed, and returns its path.

    Args:
        network: The network.
        model: Its model, whose id is the title of the picture.
        folder: The folder.
    """
    from tasks.inspection.diagram import draw_network, save_figure

    path = folder / NETWORK_PICTURE
    with atomic_file(path) as partial:
        save_figure(draw_network(network, for_terminal(str(model.read_manifest()["id"]))), partial)
    return path


def read_poster(image: Path) -> bytes:
    """Returns the content of an image file.

    Raises:
        SettingsError: It is no poster that the model can look at.
    """
    if not image.is_file():
        raise SettingsError(f"no file {image}: expected a JPEG or PNG file (--image)")
    content = image.read_bytes()
    try:
        check_image(content)
    except NotAPosterError as error:
        raise SettingsError(f"{image}: {error.reason}: expected a JPEG or PNG file (--image)") from error
    return content


def write_maps(network: Network, layer: str, content: bytes, image: Path, folder: Path) -> Path:
    """Writes the maps of a layer for a poster into a folder, created if needed, and returns the path.

    Args:
        network: The network.
        layer: Name of the layer.
        content: The poster, as `read_poster` returns it.
        image: Its path, for the names of picture and file.
        folder: The folder.

    Raises:
        SettingsError: There is no such layer.
    """
    from tasks.inspection.feature_maps import check_layer, compute_maps, draw_maps

    check_layer(layer, network.maps)
    path = folder / f"{layer}-{image.stem[:_LONGEST_STEM]}.png"
    picture = draw_maps(compute_maps(network.backbone, layer, content), image.name)
    with atomic_file(path) as partial:
        picture.save(partial, "PNG")
    return path


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
