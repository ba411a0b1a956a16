"""The card of a model, for people who find it: what it is for, where it fails, how it was made, how to use it.

In the format of the Hugging Face Hub: Markdown below metadata in YAML
(https://huggingface.co/docs/hub/model-cards). What changes later, such as which model is champion, is not in it.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from tasks.evaluation.report import compare_recipes, describe_recipe, list_decades, list_genres, render_table
from tasks.inert import for_markdown
from tasks.settings import Settings

_NUM_WEAKEST = 3

_USE = """With TensorFlow and nothing else:

```python
import pathlib
import tensorflow as tf

predict = tf.saved_model.load("saved_model").signatures["serving_default"]
prediction = predict(image_bytes=tf.constant([pathlib.Path("poster.jpg").read_bytes()]))
genres = [name.decode() for name in prediction["labels"][0].numpy() if name]
print(dict(zip(genres, prediction["calibrated"][0].numpy())))  # genres and their probabilities
```

`labels` are the genres whose confidence is over 0.5, at least the first. `calibrated` are probabilities; `confidences`
are scaled for the decision, and are none. Loading a SavedModel runs its graph: load only what you trust."""

_INTENDED_USE = """First guesses at genres for collections of posters, which a person looks through; search and sorting;
similar posters, by the signature `embedding`. Not intended as a fact about a film, nor for pictures that are no
posters: every picture gets at least one genre."""

_LIMITS = """- A poster is an advertisement. It shows what people are to expect, which need not be the film.
- The genres are those of IMDB in the catalog, errors included."""

_RIGHTS = """The posters belong to their owners; none is part of the model{thumbnails}. The pipeline is under the MIT
licence, the weights of MobileNetV2 under Apache 2.0. Who publishes the model decides on its licence."""

_THUMBNAILS = ", but `report.html` beside it has thumbnails of some (`evaluation.thumbnails`)"


def render_model_card(manifest: Mapping[str, Any], metrics: Mapping[str, Any], settings: Settings) -> str:
    """Returns the card.

    Args:
        manifest: The model's manifest; the list of its files is not needed.
        metrics: Content of its `metrics.json`.
        settings: Settings of its run.
    """
    genres = ", ".join(map(for_markdown, manifest["genres"]))
    lite = "\n\n`classifier.tflite` is the same model for LiteRT: pixels in, a row of numbers out."
    onnx = "\n\n`classifier.onnx` is the same model for ONNX Runtime, for any number of posters at a time."
    sections = {
        "Use": _USE + lite * settings.export.tflite + onnx * settings.export.onnx,
        "Intended use": _INTENDED_USE,
        "Limits": _describe_limits(metrics, settings),
        "Training data": _describe_data(manifest, metrics),
        "Figures": _describe_figures(metrics),
        "How it was made": _describe_making(manifest, settings),
        "Rights": _RIGHTS.format(thumbnails=_THUMBNAILS * settings.evaluation.thumbnails),
    }
    parts = [
        f"---\n{_render_metadata(manifest, metrics)}---\n\n# Film genres from posters\n",
        f"Names the genres of a film from its poster: {genres}. Model `{manifest['id']}`.\n",
        *(f"## {title}\n\n{text}\n" for title, text in sections.items()),
    ]
    return "\n".join(parts)


def _render_metadata(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    model, provenance = metrics["model"], manifest["provenance"]
    result = {
        "task": {"type": "image-classification", "name": "Genres of films from their posters (multi-label)"},
        "dataset": {
            "type": "film-posters",
            "name": f"Film posters, catalog {str(provenance['catalog_sha256'])[:12]}",
            "split": "test",
        },
        "metrics": [
            {"type": "f1", "name": name, "value": round(model[key], 4)}
            for key, name in (("macro_f1", "macro-F1"), ("micro_f1", "micro-F1"))
        ],
    }
    metadata = {
        "library_name": "tensorflow",
        "pipeline_tag": "image-classification",
        "tags": ["film-posters", "multi-label-classification", "mobilenet_v2", "litert"],
        "model-index": [{"name": manifest["id"], "results": [result]}],
    }
    return yaml.safe_dump(metadata, sort_keys=False)


def _describe_limits(metrics: Mapping[str, Any], settings: Settings) -> str:
    genres = list_genres(metrics["model"])
    weakest = genres.iloc[::-1].head(_NUM_WEAKEST)
    names = ", ".join(
        f"{for_markdown(genre)} ({f1:.2f})" for genre, f1 in zip(weakest["genre"], weakest["F1"], strict=True)
    )
    lines = [
        _LIMITS,
        f"- Genres with fewer than {settings.dataset.min_posters_per_genre:,} posters were not learned.",
        f"- The genres with the lowest F1 score on test films: {names}.",
    ]
    if "label_errors" in metrics:
        lines.insert(1, "- `label_errors.csv` lists likely errors among them.")
    decades = list_decades(metrics["decades"])
    if len(decades) > 1:
        worst = decades.sort_values("micro-F1", kind="stable").iloc[0]
        lines.append(
            f"- Of the decades in the table below, it does worst on the {worst['decade']}: micro-F1 "
            f"{worst['micro-F1']:.2f}, over all {metrics['model']['micro_f1']:.2f}."
        )
    return "\n".join(lines)


def _describe_data(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    films, provenance = metrics["num_films"], manifest["provenance"]
    corrections = metrics.get("catalog", {}).get("corrections", {})
    corrected = (
        f" The genres of {corrections['films changed']:,} films were corrected."
        if corrections.get("films changed")
        else ""
    )
    return (
        f"{films['train']:,} films to learn from, {films['validation']:,} for calibration and thresholds, and "
        f"{films['test']:,} for the figures, each with its poster. Films of one image are in one split. The "
        f"catalog's sha256 is `{provenance['catalog_sha256']}`.{corrected}"
    )


def _describe_figures(metrics: Mapping[str, Any]) -> str:
    tables = [
        compare_recipes(metrics, in_full=True),
        list_genres(metrics["model"])[["genre", "precision", "recall", "F1", "films", "threshold"]],
    ]
    decades = list_decades(metrics["decades"])
    if len(decades):
        tables.append(decades)
    about = "On the test split, of the decisions that the model makes; intervals are of 95%, over the films."
    return "\n\n".join([about, *map(render_table, tables)])


def _describe_making(manifest: Mapping[str, Any], settings: Settings) -> str:
    height, width = settings.features.image_size
    version, git = manifest["inputs"]["packages"]["poster-genres"], manifest["provenance"]["git"]["revision"]
    revision = f", revision `{git}`" if git else ""
    views = "one view" if manifest["num_views"] == 1 else f"{manifest['num_views']} views"
    return (
        f"By poster-genres {version}{revision}, {describe_recipe(manifest['recipe'])}: a head on a frozen MobileNetV2, "
        f"which sees posters at {height} x {width} pixels in {views}. `settings.json` has all settings, "
        "`versions.json` the packages, `manifest.json` the hashes of all files."
    )
