"""The page of `poster-genres web`, as its script requests it over a real socket; in Chromium: test_web_page.py."""

import base64
import io
import os
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import requests
from PIL import Image

from flows.cli import main
from tasks.prediction.predictor import Predictor
from tasks.sample.server import serve
from tasks.serving.page import MAX_POSTER_BYTES

pytestmark = pytest.mark.backbone


def post(url: str, content: bytes, content_type: str = "image/jpeg") -> requests.Response:
    return requests.post(url, data=content, headers={"Content-Type": content_type}, timeout=60)


def make_stripes() -> np.ndarray:
    """Black and white, two pixels each."""
    return np.tile((np.arange(182) // 2 % 2 * 255).astype(np.uint8)[np.newaxis, :, np.newaxis], (268, 1, 3))


def encode(pixels: np.ndarray, file_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def test_a_poster_has_the_genres_of_predict_and_its_film_among_the_similar(small_run, web_address: str) -> None:
    poster = small_run.posters[0]
    answer = post(f"{web_address}/api/posters", poster.read_bytes()).json()
    (prediction,) = Predictor.open(small_run.run.model.path).predict([poster.read_bytes()])
    assert [genre["name"] for genre in answer["genres"]] == prediction.labels
    assert [genre["probability"] for genre in answer["genres"]] == pytest.approx(prediction.calibrated)
    assert [genre["is_predicted"] for genre in answer["genres"]] == [value > 0.5 for value in prediction.confidences]
    similarities = [film["similarity"] for film in answer["similar"]]
    assert len(similarities) == 6
    assert similarities == sorted(similarities, reverse=True)
    assert answer["seconds"] > 0


def test_training_films_are_found_again_with_their_pictures(small_run, web_address: str) -> None:
    found = 0
    for poster in small_run.posters[:12]:
        nearest = post(f"{web_address}/api/posters", poster.read_bytes()).json()["similar"][0]
        if nearest["imdb_id"] == int(poster.stem):
            assert nearest["similarity"] > 0.999
            picture = requests.get(f"{web_address}/api/films/{poster.stem}/poster", timeout=60)
            assert picture.headers["Content-Type"] == "image/jpeg"
            assert Image.open(io.BytesIO(picture.content)).size == (182, 268)
            found += 1
    assert found >= 6  # eight in ten films are training films
    missing = requests.get(f"{web_address}/api/films/7/poster", timeout=60)
    assert (missing.status_code, missing.json()["error"][:23]) == (404, "no poster of film 7 her")
    assert missing.json()["error"].endswith("expected a film with a poster")


def test_most_posters_are_like_those_that_were_learned_and_stripes_are_not(small_run, web_address: str) -> None:
    films = pq.read_table(small_run.run.model.films_path, columns=["imdb_id", "split"]).to_pylist()
    tested = [film["imdb_id"] for film in films if film["split"] == "test"]
    posters = [small_run.data_dir / "site" / "posters" / f"{imdb_id}.jpg" for imdb_id in tested]
    answers = [post(f"{web_address}/api/posters", path.read_bytes()).json() for path in posters]
    assert len(answers) > 15
    assert sum(answer["unsure"] is not None for answer in answers) <= 3
    answer = post(f"{web_address}/api/posters", encode(make_stripes())).json()
    assert answer["novelty"] > 1
    assert "unlike" in answer["unsure"]
    assert answer["genres"]


def test_a_photograph_is_turned_upright(small_run, web_address: str) -> None:
    with Image.open(small_run.posters[3]) as poster:
        upright, turned = np.asarray(poster), np.asarray(poster.rotate(90, expand=True))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    answers = [
        post(f"{web_address}/api/posters", content).json()["genres"]
        for content in (
            encode(upright, "JPEG", quality=95),
            encode(turned, "JPEG", quality=95, exif=exif),
            encode(turned, "JPEG", quality=95),
        )
    ]
    first = [{genre["name"]: genre["probability"] for genre in answer} for answer in answers]
    assert first[0].keys() == first[1].keys()
    assert list(first[0].values()) == pytest.approx(list(first[1].values()), abs=0.1)
    assert first[0] != first[2]


def test_the_evidence_is_where_something_is_to_be_seen(small_run, web_address: str) -> None:
    # A plain wall but for one part, in the bottom right corner.
    pixels = np.full((270, 180, 3), 128, np.uint8)
    pixels[180:240, 120:180] = np.random.default_rng(0).integers(0, 256, (60, 60, 3))
    genre = small_run.run.metrics["vocabulary"][0]
    answer = post(f"{web_address}/api/evidence?genre={genre}", encode(pixels), "image/png").json()
    assert answer["genres"] == [genre]
    evidence = np.abs(np.array(answer["evidence"]))
    assert evidence.shape == (1, 9, 6)
    assert evidence[0, 6:8, 4:].mean() > 5 * evidence[0, :5, :3].mean()


def test_the_poster_of_an_address_is_answered_and_sent_back(small_run, web_address: str) -> None:
    poster = small_run.posters[5]
    with serve(small_run.data_dir / "site") as site:
        wanted = f"{site}/posters/{poster.name}"
        answer = requests.post(f"{web_address}/api/addresses", json={"address": wanted}, timeout=60).json()
        missing = requests.post(f"{web_address}/api/addresses", json={"address": f"{wanted}x"}, timeout=60)
    assert base64.b64decode(answer["image"].partition(",")[2]) == poster.read_bytes()
    assert answer["genres"] == post(f"{web_address}/api/posters", poster.read_bytes()).json()["genres"]
    assert missing.status_code == 422
    assert missing.json()["error"].startswith(
        "no poster at this address: http 404; expected that of a JPEG or PNG file"
    )


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("http://169.254.169.254/latest", "private address"),
        ("http://localhost:1/a.jpg", "private address"),
        ("file:///etc/passwd", "address not http(s)"),
        ("http://user:secret@example.org/a.jpg", "address with credentials"),
        ("no address", "bad address"),
    ],
)
def test_addresses_keep_to_the_rules_of_the_downloads(web_address: str, wanted: str, reason: str) -> None:
    answer = requests.post(f"{web_address}/api/addresses", json={"address": wanted}, timeout=60)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(f"no poster at this address: {reason}; expected that of")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "no poster: empty; expected a JPEG or PNG file"),
        (b"hello", "no poster: not an image; expected a JPEG or PNG file"),
        (b"GIF89a" + bytes(50), "no poster: format gif; expected a JPEG or PNG file"),
        (encode(np.zeros((90, 60, 3), np.uint8))[:80], "no poster: broken image; expected a whole JPEG or PNG file"),
    ],
    ids=["empty", "text", "gif", "broken"],
)
@pytest.mark.parametrize("path", ["posters", "evidence?genre=Drama"])
def test_what_is_no_poster_is_refused_in_one_line(web_address: str, path: str, content: bytes, error: str) -> None:
    answer = post(f"{web_address}/api/{path}", content)
    assert (answer.status_code, answer.json()) == (422, {"error": error})


def test_large_files_and_unknown_genres_are_refused(web_address: str) -> None:
    assert post(f"{web_address}/api/posters", bytes(MAX_POSTER_BYTES + 1)).status_code == 413
    answer = post(f"{web_address}/api/evidence?genre=Polka", b"x")
    assert (answer.status_code, answer.json()["error"][:26]) == (422, "no genre 'Polka': expected")
    assert post(f"{web_address}/api/evidence", b"x").json() == {"error": "query.genre: Field required"}


def test_other_pages_of_the_browser_can_neither_read_nor_make_it_download(web_address: str) -> None:
    # A name that another page's owner lets point to this machine.
    elsewhere = requests.get(web_address, headers={"Host": "elsewhere.example"}, timeout=60)
    assert elsewhere.status_code == 400
    # What a browser sends to another host without asking it first.
    for headers in ({"Content-Type": "text/plain"}, {}):
        body = b'{"address": "http://127.0.0.1:1/a.jpg"}'
        assert requests.post(f"{web_address}/api/addresses", data=body, headers=headers, timeout=60).status_code == 422
    for headers in ({"Origin": "https://elsewhere.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert requests.post(f"{web_address}/api/posters", data=b"x", headers=headers, timeout=60).status_code == 403
    own = requests.post(f"{web_address}/api/posters", data=b"x", headers={"Origin": web_address}, timeout=60)
    assert own.status_code == 422  # no poster
    page = requests.get(web_address, timeout=60)
    assert "access-control-allow-origin" not in page.headers
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")


def test_the_page_its_files_and_the_description_are_sent(small_run, web_address: str) -> None:
    page = requests.get(web_address, timeout=60).text
    assert small_run.run.model.id in page
    for name, content_type in {"page.js": "text/javascript", "page.css": "text/css"}.items():
        asset = requests.get(f"{web_address}/{name}", timeout=60)
        assert asset.headers["Content-Type"].startswith(content_type)
    assert requests.get(f"{web_address}/poster_model.py", timeout=60).status_code == 404
    paths = requests.get(f"{web_address}/openapi.json", timeout=60).json()["paths"]
    assert {"/api/posters", "/api/addresses", "/api/evidence", "/v1/models/{model}:predict"} <= set(paths)
    assert all(operation["description"] for path in paths.values() for operation in path.values())


def test_programs_may_use_the_format_of_tensorflow_serving(small_run, web_address: str) -> None:
    content = base64.b64encode(small_run.posters[0].read_bytes()).decode()
    body = {"instances": [{"image_bytes": {"b64": content}}], "signature_name": "embedding"}
    answer = requests.post(f"{web_address}/v1/models/genres:predict", json=body, timeout=60).json()
    assert sorted(answer["predictions"][0]) == ["embedding", "error", "novelty"]


def test_the_command_serves_until_it_is_interrupted(small_run) -> None:
    command = [sys.executable, "-m", "flows", "web", str(small_run.run.model.path), "--port", "0", "--data", "nowhere"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + process.communicate(timeout=60)[1]
        answer = post(f"{found[0]}/api/posters", small_run.posters[0].read_bytes())
        assert answer.ok
        assert requests.get(f"{found[0]}/api/films/{small_run.posters[0].stem}/poster", timeout=60).status_code == 404
        process.send_signal(signal.SIGINT)
        shown, errors = process.communicate(timeout=60)
    assert (process.returncode, shown) == (0, "stopped\n")
    assert "Traceback" not in errors
    assert "interrupted" not in errors


def test_a_port_that_is_taken_is_an_error_in_one_line(small_run, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit) as stopped:
            main(["web", str(small_run.run.model.path), "--port", port])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        f"poster-genres: something listens on port {port} already: choose another with --port\n"
    )
