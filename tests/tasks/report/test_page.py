"""The page of figures that are written here; that of a run is in `tests/flows/test_train.py`."""

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ledger_rows import make_row, write_ledger
from matplotlib.figure import Figure
from metrics import make_metrics
from PIL import Image

from tasks.catalog.cleaning import FILMS
from tasks.dataset.films import FILMS_SCHEMA
from tasks.dataset.task import Dataset
from tasks.evaluation.charts import _save, draw_precision_recall
from tasks.evaluation.predictions import write_predictions
from tasks.evaluation.task import Evaluation
from tasks.model_folder import ModelFolder
from tasks.report.page import Report, _read_chart, collect_report, count_failures, find_confusions
from tasks.settings import Settings

HOSTILE = '<script>alert("1")</script> & \x1b[31m'
VOID = {"meta", "img", "input", "link", "br", "path", "use"}


class Page(HTMLParser):
    """The elements of a page; fails where they are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, tag: str, name: str) -> list[str]:
        return [value for found, attributes in self.elements if found == tag and (value := attributes.get(name))]


@pytest.fixture
def manifest() -> dict[str, Any]:
    check = {"name": "floor", "passed": True, "found": "macro-F1 0.46 against 0.2", "is_allowed": False}
    return {
        "id": "m3",
        "created": "2026-11-27T10:15:40+00:00",
        "inputs_fingerprint": "89ab",
        "inputs": {"packages": {"keras": "3.15"}},
        "backbone": {"source": "wheel", "fingerprint": "4567"},
        "gate": {"checks": [check, {**check, "name": "collapsed genres", "passed": False, "is_allowed": True}]},
        "provenance": {"catalog_sha256": "0123", "git": {"revision": None}},
    }


def collect(folder: Path, *, with_posters: bool = True, **changes: Any) -> Report:
    """Writes what the stages before have written, and collects it."""
    errors = {
        "given": [{"imdb_id": 2, "title": "Second", "genre": "*War*", "probability": 0.01}],
        "not_given": [{"imdb_id": 1, "title": HOSTILE, "genre": "Comedy", "probability": 0.87}],
    }
    metrics = {**make_metrics(), "vocabulary": ["Comedy", "*War*"], "label_errors": errors, **changes}
    evaluation = folder / "evaluation"
    evaluation.mkdir()
    (evaluation / "metrics.json").write_text(json.dumps(metrics))
    targets = np.array([[1, 0], [0, 1], [1, 1]], np.uint8)
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.4]], np.float32)
    write_predictions(evaluation / "predictions.parquet", [1, 2, 3], targets, probabilities > 0.25, probabilities)
    figure = Figure()
    figure.subplots().plot([0, 1], [0, 1], label="line")
    _save(figure, evaluation, "history", dpi=50)
    titles = {1: HOSTILE, 2: "Second", 3: "Third"}
    films = [
        {"imdb_id": number, "title": title, "year": 0, "score": 0, "sha256": "", "split": "test", "targets": [0, 1]}
        for number, title in titles.items()
    ]
    pq.write_table(pa.Table.from_pylist(films, schema=FILMS_SCHEMA), evaluation / "films.parquet")
    genres = {1: ["Comedy"], 2: ["*War*", "Film-Noir"], 3: ["Comedy", "*War*"], 4: ["Drama"]}
    catalog = [
        {"imdb_id": number, "title": "", "year": None, "score": None, "genres": names, "poster_url": "http://x/"}
        for number, names in genres.items()
    ]
    pq.write_table(pa.Table.from_pylist(catalog, schema=FILMS), folder / "catalog.parquet")
    file = io.BytesIO()
    Image.new("RGB", (20, 30)).save(file, "JPEG")
    write_ledger(folder / "posters", [*(make_row(number, file.getvalue()) for number in (1, 2, 3)), make_row(4, None)])
    return collect_report(
        Evaluation(evaluation, metrics),
        Dataset(evaluation, ["Comedy", "*War*"], {}, "0123"),
        catalog_path=folder / "catalog.parquet",
        posters_dir=folder / "posters",
        with_posters=with_posters,
    )


def test_the_page_is_whole_and_asks_nobody_for_anything(tmp_path: Path, manifest: dict[str, Any]) -> None:
    text = replace(collect(tmp_path), seconds={"features": 12.34}).render(manifest, "m3", Settings())
    page = Page(text)
    # Three kinds of films, and two label errors; each has its poster.
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == len(page.attributes("li", "data-genres")) + 2
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in images)
    assert all(image["alt"] for image in images)
    read_by_browsers = {"src", "srcset", "href", "xlink:href", "style", "action", "poster", "data"}
    values = [
        str(value) for _, attributes in page.elements for name, value in attributes.items() if name in read_by_browsers
    ]
    assert len(values) > len(images)
    assert not [value for value in values if "//" in value.partition(";base64,")[0]]
    assert not page.attributes("link", "href")
    assert not page.attributes("script", "src")
    (policy,) = [value for value in page.attributes("meta", "content") if "default-src" in value]
    assert policy.startswith("default-src 'none'; img-src data:;")
    ids = [str(attributes["id"]) for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in page.attributes("a", "href")} <= set(ids)
    assert "features: 12.3 s" in page.text


def test_titles_of_others_do_nothing(tmp_path: Path, manifest: dict[str, Any]) -> None:
    text = collect(tmp_path).render(manifest, "m3", Settings())
    assert text.count("<script>") == 1  # the page's own
    assert "\x1b" not in text
    page = Page(text)
    assert '<script>alert("1")</script> & \N{REPLACEMENT CHARACTER}[31m' in page.text
    assert "Poster of " + HOSTILE.replace("\x1b", "\N{REPLACEMENT CHARACTER}") in page.attributes("img", "alt")


def test_label_errors_know_all_genres_of_their_film(tmp_path: Path, manifest: dict[str, Any]) -> None:
    page = Page(collect(tmp_path).render(manifest, "m3", Settings()))
    boxes = [attributes for tag, attributes in page.elements if tag == "input"]
    # Probable ones first. A genre that is not learned stays in a correction.
    assert [(box["data-id"], box["data-genre"], box.get("data-given"), box["data-genres-before"]) for box in boxes] == [
        ("1", "Comedy", "", "Comedy"),
        ("2", "*War*", "yes", "*War*|Film-Noir"),
    ]


def test_without_thumbnails_there_is_no_picture(tmp_path: Path, manifest: dict[str, Any]) -> None:
    text = collect(tmp_path, with_posters=False).render(manifest, "m3", Settings())
    assert not Page(text).attributes("img", "src")
    assert "data:image" not in text
    assert "Second" in text


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (0.012, "No more than noise: macro-F1 is 0.012 higher than that of m2 on 781 films"),
        (0.0, "Macro-F1 is the same as that of m2"),
        (
            0.02,
            "Yes: macro-F1 is 0.020 higher\nthan that of m2, which is more than the noise of 0.013 on these 781 films",
        ),
        (-0.02, "No: macro-F1 is 0.020 lower"),
    ],
)
def test_the_verdict_says_whether_it_is_more_than_noise(
    tmp_path: Path, manifest: dict[str, Any], difference: float, words: str
) -> None:
    rivals = [{**make_metrics()["rivals"][0], "rival_macro_f1": 0.4, "candidate_macro_f1": 0.4 + difference}]
    text = Page(collect(tmp_path, rivals=rivals).render(manifest, "m2", Settings())).text
    assert words in text
    assert "It did not become champion when it was published; that was m2." in text
    assert "passed floor: macro-F1 0.46" in text
    assert "allowed to fail collapsed genres" in text


def test_the_first_model_has_nothing_before_it(tmp_path: Path, manifest: dict[str, Any]) -> None:
    text = Page(collect(tmp_path, rivals=[]).render(manifest, "m3", Settings())).text
    assert "There is no model before it." in text
    assert "It became champion when it was published." in text


def test_a_champion_that_can_not_be_compared_with_is_named(tmp_path: Path, manifest: dict[str, Any]) -> None:
    unknown = {"genres": [], "rival_macro_f1": None, "candidate_macro_f1": None, "noise": None}
    rivals = [{**rival, **unknown} for rival in make_metrics()["rivals"]]
    text = Page(collect(tmp_path, rivals=rivals).render(manifest, None, Settings())).text
    assert "It can't be compared with m2: " in text
    assert "that was" not in text
    assert "there was none." in text
    assert "nan" not in text
    assert "None" not in text.partition("The run")[0]


def test_charts_keep_other_peoples_genres(tmp_path: Path, manifest: dict[str, Any]) -> None:
    genres = ["$\\foo$", 'id="x', "</svg><script>"]
    targets = np.array([[1, 0, 1], [0, 1, 0]], np.uint8)
    (tmp_path / "charts").mkdir()
    draw_precision_recall(tmp_path, targets, targets.astype(np.float32), genres)
    chart = _read_chart(ModelFolder(tmp_path), "precision_recall")
    assert chart is not None
    assert chart.count("<svg") == chart.count("</svg>") == 1
    assert "<script" not in chart
    texts = Page(f"<figure>{chart}</figure>").text
    assert all(genre in texts for genre in genres)
    assert not re.search(r'<svg [^>]*(width|height)="', chart)
    assert 'id="precision_recall-figure_1"' in chart


def test_confusions_are_worked_by_hand() -> None:
    targets = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]]) == 1
    predicted = np.array([[0, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1]]) == 1
    # The first genre is missed in three films, of which two are wrongly called the second, one of them the third, too.
    assert find_confusions(targets, predicted, ["a", "b", "c"]) == [
        {"genre": "a", "taken_for": "b", "num_films": 2, "share": pytest.approx(2 / 3)},
        {"genre": "a", "taken_for": "c", "num_films": 1, "share": pytest.approx(1 / 3)},
    ]


def test_failures_are_counted_by_host_and_reason() -> None:
    failed = [
        *(("http://a.org/1", "http 404"), ("HTTP://A.org/2", "http 404"), ("https://user:p@ss@b.org:8/3", "http 404")),
        *(("http://a.org/4", "timeout"), ("http://[", "bad address"), ("http://gone.org/", "timeout")),
    ]
    rows = pa.Table.from_pylist(
        [
            {"imdb_id": number, "url": url, "status": "failed", "reason": reason}
            for number, (url, reason) in enumerate(failed)
        ]
        + [{"imdb_id": 9, "url": "http://c.org/5", "status": "ok", "reason": None}]
    )
    # The sixth is of a film that the catalog no longer has.
    imdb_ids = pa.chunked_array([[0, 1, 2, 3, 4, 9]])
    assert count_failures(rows, imdb_ids) == [
        {"host": "a.org", "reason": "http 404", "films": 2},
        {"host": "a.org", "reason": "timeout", "films": 1},
        {"host": "b.org", "reason": "http 404", "films": 1},
        {"host": "other hosts", "reason": "bad address", "films": 1},
    ]
    assert count_failures(rows.slice(6), imdb_ids) == []
