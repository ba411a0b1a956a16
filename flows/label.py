"""Label posters with a published model."""

import csv
import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.watching import report_failure
from tasks.atomic import atomic_folder, remove_partials
from tasks.catalog.reading import read_rows
from tasks.errors import RegistryError, SettingsError
from tasks.posters.fetching import Fetched, fetch_posters
from tasks.posters.images import NotAPosterError, check_image
from tasks.registry.models import find_model
from tasks.settings import PosterSettings

logger = logging.getLogger(__name__)

_SUFFIXES = (".jpg", ".jpeg", ".png")
_BATCH_SIZE = 64
_SCHEMES = ("http://", "https://")
_ROWS_PER_GROUP = 1024

LABELS = pa.schema(
    [
        pa.field("id", pa.string()),  # imdbId, where the CSV has one
        pa.field("image", pa.string(), nullable=False),
        pa.field("labels", pa.list_(pa.string()), nullable=False),  # best first
        pa.field("confidences", pa.list_(pa.float32()), nullable=False),  # of the labels
        pa.field("decade", pa.string()),  # the likeliest, if the model tells it
        pa.field("score", pa.float32()),  # IMDB's, in points, if the model tells it
        pa.field("error", pa.string()),  # why there are none
    ]
)


@dataclass(frozen=True)
class Answer:
    """What a model says of one image: labels with confidences, best first, and more; or why it could not be asked."""

    image: str
    labels: list[str] = dataclasses.field(default_factory=list)
    confidences: list[float] = dataclasses.field(default_factory=list)
    decade: str | None = None
    score: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Labelled:
    """What labelling gave: the folder with `labels.parquet` and `labels.csv`, and how many images came out how."""

    folder: Path
    num_labelled: int
    errors: dict[str, int]


@flow(name="label", on_failure=[report_failure], on_crashed=[report_failure], on_cancellation=[report_failure])
def label(source: str, output_dir: Path, model: str = "champion", artifacts_dir: Path = Path("artifacts")) -> Labelled:
    """Labels a folder or a catalog of posters, into `labels.parquet` (schema `LABELS`) and `labels.csv`.

    Args:
        source: a folder of JPEG and PNG files, one such file or its address, or a CSV with a column `Poster` of files
            and addresses, such as MovieGenre.csv.
        output_dir: appears whole or not at all; one that an earlier run wrote is replaced.
        model: id of a published model, `champion`, or a model's folder.
        artifacts_dir: where published models are.
    """
    folder = check_inputs(source, output_dir, model, artifacts_dir)
    remove_partials(output_dir.parent, output_dir.name)  # of one that was killed
    return label_posters(folder, list_posters(source), output_dir)


def check_inputs(source: str, output_dir: Path, model: str, artifacts_dir: Path) -> Path:
    """Returns the folder of the model, if `label` can do with what it is given, as far as a glance tells.

    Raises:
        SettingsError: if there is no such source, or the output would replace what is somebody else's.
        RegistryError: if there is no such model.
    """
    folder = find_model(model, artifacts_dir).path
    if output_dir.exists() and (
        not output_dir.is_dir() or {path.name for path in output_dir.iterdir()} - {"labels.parquet", "labels.csv"}
    ):
        raise SettingsError(f"{output_dir} has other files: expected a folder that is new, empty, or of an earlier run")
    if not source.startswith(_SCHEMES) and not Path(source).exists():
        raise SettingsError(f"nothing at {source}: expected a folder of images, an image, or a CSV")
    return folder


@task(name="label posters", cache_policy=NO_CACHE)
def label_posters(model_folder: Path, posters: pa.Table, output_dir: Path) -> Labelled:
    """Labels posters and writes what the model says of each, in their order; the answers are not held in memory.

    Args:
        model_folder: of a published model.
        posters: strings `id`, which may be null, and `image`.
        output_dir: appears whole or not at all.
    """
    errors: Counter[str] = Counter()
    ids, images = posters["id"].to_pylist(), posters["image"].to_pylist()
    with (
        atomic_folder(output_dir) as partial,
        pq.ParquetWriter(partial / "labels.parquet", LABELS) as parquet,
        (partial / "labels.csv").open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(LABELS.names)
        rows: list[dict[str, Any]] = []
        for number, answer in enumerate(label_images(model_folder, images)):
            errors.update([answer.error] if answer.error else [])
            rows.append({"id": ids[number], **vars(answer)})
            confidences = "|".join(f"{value:.4f}" for value in answer.confidences)
            said = ["|".join(answer.labels), confidences, answer.decade, answer.score]
            table.writerow([ids[number], answer.image, *said, answer.error])
            if len(rows) == _ROWS_PER_GROUP or number + 1 == len(images):
                parquet.write_table(pa.Table.from_pylist(rows, schema=LABELS))
                rows.clear()
                failed = dict(errors.most_common()) or "none"
                logger.info("label: %d of %d images; failed: %s", number + 1, len(images), failed)
    return Labelled(output_dir, len(images) - errors.total(), dict(errors.most_common()))


def list_posters(source: str) -> pa.Table:
    """Returns the images of a folder, or those that a CSV names in its column `Poster`: strings `id` and `image`.

    Raises:
        SettingsError: if there are none.
        CatalogError: if the CSV can't be read or has no such column.
    """
    if not _is_csv(source):
        images = list_images([source])
        return pa.table({"id": pa.nulls(len(images), pa.string()), "image": images})
    rows, _ = read_rows(source, required=["Poster"], optional=["imdbId"])
    if not any(pc.utf8_trim_whitespace(rows["Poster"]).to_pylist()):
        raise SettingsError(f"{source} names no poster: expected files or addresses in its column Poster")
    ids = rows["imdbId"] if "imdbId" in rows.column_names else pa.nulls(rows.num_rows, pa.string())
    return pa.table({"id": pc.utf8_trim_whitespace(ids), "image": pc.utf8_trim_whitespace(rows["Poster"])})


def _is_csv(source: str) -> bool:
    return urlsplit(source).path.lower().endswith(".csv")


def list_images(sources: Sequence[str]) -> list[str]:
    """Returns files and addresses as given, and of each folder the JPEG and PNG files below it, by name.

    Raises:
        SettingsError: if a source is neither file, folder nor http(s) address, or a folder has no images.
    """
    images: list[str] = []
    for source in sources:
        path = Path(source)
        if source.startswith(_SCHEMES) or path.is_file():
            images.append(source)
        elif path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES)
            if not found:
                raise SettingsError(f"no images in {source}: expected files ending in {', '.join(_SUFFIXES)}")
            images += found
        else:
            raise SettingsError(f"no image at {source}: expected a file, a folder or an http(s) address")
    return images


def label_images(model_folder: Path, images: Sequence[str]) -> Iterator[Answer]:
    """Yields the model's answer about each image, in order.

    Args:
        model_folder: of a published model.
        images: files and http(s) addresses; what is empty is answered with an error.

    Raises:
        RegistryError: if there is no model in the folder.
    """
    # Takes seconds; whoever gives a wrong file name should not wait for it.
    from tasks.export.labels import TopLabels
    from tasks.training.outputs import DECADE, SCORE

    run, columns = _load_classifier(model_folder)
    decades = [name for name in columns if name.startswith(f"{DECADE} ")]
    genres = [name for name in columns if name not in decades and name != SCORE]
    top_k = json.loads((model_folder / "settings.json").read_text("utf-8"))["export"]["top_k"]
    top_labels = TopLabels(genres, min(top_k, len(genres)))

    def ask(posters: Sequence[bytes]) -> list[dict[str, Any]]:
        numbers = run(posters)
        answer = top_labels(numbers[:, : len(genres)])
        labels, best = answer["labels"].numpy().tolist(), answer["confidences"].numpy().tolist()
        replies: list[dict[str, Any]] = [
            {"labels": [label.decode() for label in names], "confidences": scores}
            for names, scores in zip(labels, best, strict=True)
        ]
        for reply, row in zip(replies, numbers, strict=True):
            if decades:
                likeliest = int(row[len(genres) :][: len(decades)].argmax())
                reply["decade"] = decades[likeliest].removeprefix(f"{DECADE} ")
            if SCORE in columns:
                reply["score"] = float(row[-1])
        return replies

    for image, reply in ask_about(images, ask):
        yield Answer(image, **reply)


def _load_classifier(model_folder: Path) -> tuple[Callable[[Sequence[bytes]], NDArray[np.float32]], list[str]]:
    """Returns what gives numbers for JPEG or PNG files, and the names of their columns."""
    import tensorflow as tf

    from tasks.export.edge import read_columns
    from tasks.features.litert import LiteRTNetwork
    from tasks.training.outputs import DECADE, SCORE

    lite, saved_model = model_folder / "classifier.tflite", model_folder / "saved_model"
    if lite.is_file():
        # Its answers are the SavedModel's (the export compared them), in about a quarter of the time.
        genres = json.loads((model_folder / "labels.json").read_text("utf-8"))
        return LiteRTNetwork(lite.read_bytes()).run_posters, read_columns(lite) or genres
    if not saved_model.is_dir():
        raise RegistryError(f"{model_folder} has neither {lite.name} nor {saved_model.name}: publish it anew")
    logger.info("%s has no %s: its SavedModel is asked, which is slower", model_folder, lite.name)
    loaded = tf.saved_model.load(str(saved_model))
    signature = loaded.signatures["probabilities"]

    def run(posters: Sequence[bytes]) -> NDArray[np.float32]:
        answer = signature(image_bytes=tf.constant(posters))
        parts = [answer["confidences"], answer.get("decade_probabilities"), answer.get("score")]
        return np.column_stack([part.numpy() for part in parts if part is not None])

    shapes = signature.structured_outputs
    # Not an empty batch, on which models of earlier versions fail where the CPU has AVX-512.
    named = signature(image_bytes=tf.io.encode_png(tf.zeros([1, 1, 3], tf.uint8))[tf.newaxis])
    decades = [name.decode() for name in named["decades"].numpy()] if "decades" in shapes else []
    genres = [name.decode() for name in named["genres"].numpy()]
    return run, [*genres, *(f"{DECADE} {decade}" for decade in decades), *([SCORE] if "score" in shapes else [])]


Ask = Callable[[Sequence[bytes]], list[dict[str, Any]]]


def ask_about(images: Sequence[str], ask: Ask) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each image with what a model replies about it, in order; or with the `error` for which there is no reply.

    Args:
        images: files and http(s) addresses; what is empty is answered with an error.
        ask: gives a reply for each of some JPEG or PNG files.
    """
    import tensorflow as tf

    def ask_each(posters: Sequence[bytes]) -> list[dict[str, Any]]:
        try:
            return ask(posters)
        except tf.errors.InvalidArgumentError as error:
            if len(posters) == 1:
                return [{"error": f"broken image: {error.message}"}]
            # One that passed the check and yet can't be decoded must not cost the others their replies.
            return [reply for poster in posters for reply in ask_each([poster])]

    batches = [images[start : start + _BATCH_SIZE] for start in range(0, len(images), _BATCH_SIZE)]
    with ThreadPoolExecutor(1, "images") as reader:
        reading = reader.submit(_read_images, images[:_BATCH_SIZE])
        for batch, following in zip_longest(batches, batches[1:]):
            contents = reading.result()
            if following:
                reading = reader.submit(_read_images, following)  # while the model is asked about these
            posters = [content for content in contents if isinstance(content, bytes)]
            replies = iter(ask_each(posters) if posters else [])
            for image, content in zip(batch, contents, strict=True):
                yield image, {"error": content} if isinstance(content, str) else next(replies)


def _read_images(images: Sequence[str]) -> list[bytes | str]:
    """Returns for each image its bytes, if it decodes, or why there are none."""
    addresses = [image for image in images if image.startswith(_SCHEMES)]
    settings = PosterSettings(min_side_pixels=1)
    fetched = iter(fetch_posters([(address, None) for address in addresses], settings, settings.connections))
    return [_take(next(fetched)) if image.startswith(_SCHEMES) else _read_file(image) for image in images]


def _take(fetched: Fetched) -> bytes | str:
    return fetched.content if fetched.content is not None else str(fetched.reason)


def _read_file(image: str) -> bytes | str:
    if not image:
        return "no poster address"
    try:
        content = Path(image).read_bytes()
        check_image(content)
    except OSError as error:
        return str(error.strerror)
    except NotAPosterError as error:
        return error.reason
    return content
