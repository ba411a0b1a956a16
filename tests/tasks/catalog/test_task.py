import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.catalog.cleaning import FILMS
from tasks.catalog.task import read_catalog
from tasks.errors import CatalogError
from tasks.sample.site import write_catalog
from tasks.settings import CatalogSettings


def test_sample_catalog(tmp_path: Path) -> None:
    films = [[str(index), "Title (1999)", "5.0", "Drama"] for index in range(100, 350)]
    (tmp_path / "sample.json").write_text(json.dumps({"films": films}))
    source = write_catalog(tmp_path, "http://127.0.0.1:1")
    catalog = read_catalog.fn(CatalogSettings(source=str(source)), tmp_path / "catalog")
    assert catalog.num_films == 250
    counted = {reason: count for reason, count in catalog.dropped.items() if count}
    assert counted == {"no genre": 2, "no poster address": 2, "genre Adult": 2, "repeated id": 2}
    assert pq.read_schema(catalog.films_path).equals(FILMS)
    assert json.loads((tmp_path / "catalog" / "dropped.json").read_text()) == catalog.dropped


def test_error_for_no_usable_film_counts_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text("imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n1,l,t,1,,p\nx,l,t,1,g,p\n")
    with pytest.raises(CatalogError, match=r"no row of .*films.csv is usable; dropped: id not digits: 1, no genre: 1"):
        read_catalog.fn(CatalogSettings(source=str(tmp_path / "films.csv")), tmp_path / "catalog")
    assert not (tmp_path / "catalog").exists()


@pytest.mark.real_posters
def test_real_catalog(real_posters: Path, tmp_path: Path) -> None:
    catalog = read_catalog.fn(CatalogSettings(source=str(real_posters / "MovieGenre.csv")), tmp_path)
    counted = {reason: count for reason, count in catalog.dropped.items() if count}
    assert catalog.num_films + sum(counted.values()) == 8110
    assert counted == {"no genre": 40, "no poster address": 58, "genre Adult": 10, "repeated id": 30}
