import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import requests

from tasks.posters.images import ImageInfo, check_image
from tasks.sample.drawing import LOOKS, draw_poster
from tasks.sample.server import serve
from tasks.sample.site import make_site, write_catalog


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "site"
    make_site(folder, num_films=120)
    return folder


@pytest.mark.parametrize("genre", LOOKS)
def test_posters_have_the_published_size_and_depend_on_the_seed_alone(genre: str) -> None:
    posters = [draw_poster("Étoile (1999)", [genre], np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert check_image(posters[0]) == ImageInfo("jpeg", 182, 268)
    assert posters[0] == posters[1] != posters[2]


def test_site_is_drawn_once(site: Path) -> None:
    before = (site / "sample.json").stat().st_mtime_ns
    make_site(site, num_films=120)
    assert (site / "sample.json").stat().st_mtime_ns == before
    make_site(site.with_name("again"), num_films=120)
    for path in sorted((site / "posters").iterdir()):
        assert path.read_bytes() == (site.with_name("again") / "posters" / path.name).read_bytes()


def test_some_films_have_no_poster_and_some_share_an_image(site: Path) -> None:
    posters = list((site / "posters").iterdir())
    assert len(posters) == 118
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in posters}) == 116


def test_catalog_has_the_defects_of_the_published_one(site: Path) -> None:
    path = write_catalog(site, "http://127.0.0.1:1")
    content = path.read_bytes()
    with pytest.raises(UnicodeDecodeError):
        content.decode("utf-8")
    rows = list(csv.DictReader(content.decode("iso-8859-1").splitlines()))
    assert list(rows[0]) == ["imdbId", "Imdb Link", "Title", "IMDB Score", "Genre", "Poster"]
    ids = [row["imdbId"] for row in rows]
    assert sum(not row["Genre"] for row in rows) == 1
    assert sum(not row["Poster"] for row in rows) == 1
    assert sum("Adult" in row["Genre"] for row in rows) == 1
    assert len(ids) - len(set(ids)) == 1


def test_server_serves_on_loopback_and_keeps_its_port(site: Path) -> None:
    with serve(site) as base_url:
        assert base_url.startswith("http://127.0.0.1:")
        assert requests.get(f"{base_url}/posters/100000.jpg", timeout=5).content[:2] == b"\xff\xd8"
        assert requests.get(f"{base_url}/posters/100059.jpg", timeout=5).status_code == 404
        port = int(base_url.rpartition(":")[2])
        with serve(site, port) as another:
            assert another != base_url
    with serve(site, port) as again:
        assert again == base_url
        about = requests.get(f"{again}/sample.json", timeout=5).json()
    assert about == json.loads((site / "sample.json").read_text("utf-8"))
