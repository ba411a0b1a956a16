import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.catalog import task
from tasks.catalog.cleaning import FILMS, CleanedRows, clean
from tasks.catalog.task import read_catalog
from tasks.errors import CatalogError, SettingsError
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
    accounts = json.loads((tmp_path / "catalog" / "dropped.json").read_text())
    assert catalog.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert accounts == {
        "sha256": catalog.sha256,
        "corrections_sha256": None,
        "rows": 258,
        "films": 250,
        "dropped": catalog.dropped,
        "corrections": {},
    }
    assert catalog.num_rows == 258


def test_error_for_no_usable_film_counts_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text("imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n1,l,t,1,,p\nx,l,t,1,g,p\n")
    with pytest.raises(CatalogError, match=r"no row of .*films.csv is usable; dropped: id not digits: 1, no genre: 1"):
        read_catalog.fn(CatalogSettings(source=str(tmp_path / "films.csv")), tmp_path / "catalog")
    assert not (tmp_path / "catalog").exists()


def write_films(folder: Path, genres: list[str], more: str = "") -> CatalogSettings:
    rows = "".join(f"{number},l,t,1,{genre},http://x/{number}.jpg\n" for number, genre in enumerate(genres, start=1))
    (folder / "films.csv").write_text(f"imdbId,Imdb Link,Title,IMDB Score,Genre,Poster\n{rows}{more}")
    return CatalogSettings(source=str(folder / "films.csv"))


def test_every_row_is_accounted_for_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = write_films(tmp_path, ["Drama", "", "War"], "too,short\n\n" + "x\n" * 10 + '4,"a\nb",t,1,War\n')
    with caplog.at_level(logging.INFO, "tasks.catalog"):
        catalog = read_catalog.fn(settings, tmp_path / "catalog")
    assert (catalog.num_rows, catalog.num_films, sum(catalog.dropped.values())) == (15, 2, 13)
    messages = "\n".join(caplog.messages)
    assert "catalog: 15 rows = 2 films + 13 dropped: {'wrong number of fields': 12, " in messages
    assert "12 rows have a wrong number of fields: row 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, ..." in messages


def test_rows_that_do_not_add_up_are_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = write_films(tmp_path, ["Drama", "War"])

    def lose_a_row(iterate_tables: Callable[[], Iterable[pa.Table]], excluded_genres: Collection[str]) -> CleanedRows:
        return clean(lambda: [table.slice(1) for table in iterate_tables()], excluded_genres)

    monkeypatch.setattr(task, "clean", lose_a_row)
    with pytest.raises(RuntimeError, match="don't add up: 2 rows = 1 films \\+ 0 dropped"):
        read_catalog.fn(settings, tmp_path / "catalog")
    assert not (tmp_path / "catalog").exists()


def test_corrections_come_before_everything_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = write_films(tmp_path, ["Drama", "", "War", "Adult"])
    path = tmp_path / "corrections.csv"
    path.write_text("imdbId,genres,note\n2,Horror,had none\n3,Adult,\n4,Comedy,\n1,drama,\n77,War,\n")
    with caplog.at_level(logging.INFO, "tasks.catalog"):
        catalog = read_catalog.fn(settings.model_copy(update={"corrections": str(path)}), tmp_path / "catalog")
    films = pq.read_table(catalog.films_path).to_pylist()
    assert [(film["imdb_id"], film["genres"]) for film in films] == [(1, ["Drama"]), (2, ["Horror"]), (4, ["Comedy"])]
    assert catalog.corrections == {"films changed": 3, "genres as before": 1, "not in the catalog": 1}
    assert catalog.count()["corrections"] == catalog.corrections
    assert catalog.corrections_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads((tmp_path / "catalog" / "dropped.json").read_text())["corrections"] == catalog.corrections
    assert "catalog: corrections of films that the catalog does not have: imdbId 77" in caplog.messages


def test_wrong_corrections_leave_the_catalog_of_before(tmp_path: Path) -> None:
    settings = write_films(tmp_path, ["Drama", "War"])
    read_catalog.fn(settings, tmp_path / "catalog")
    before = {path.name: path.read_bytes() for path in (tmp_path / "catalog").iterdir()}
    (tmp_path / "corrections.csv").write_text("imdbId,genres\n1,Dramma\n")
    with pytest.raises(CatalogError, match=r"film 1 has the genre 'Dramma'; expected 'Drama'\?"):
        read_catalog.fn(
            settings.model_copy(update={"corrections": str(tmp_path / "corrections.csv")}), tmp_path / "catalog"
        )
    assert {path.name: path.read_bytes() for path in (tmp_path / "catalog").iterdir()} == before


def test_a_misspelt_excluded_genre_is_refused(tmp_path: Path) -> None:
    settings = write_films(tmp_path, ["Drama", "Adult"])
    with pytest.raises(SettingsError, match="excluded_genres has 'Adlt', .* did you mean 'Adult'"):
        read_catalog.fn(settings.model_copy(update={"excluded_genres": ("Adlt",)}), tmp_path / "catalog")


def test_an_unknown_excluded_genre_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = write_films(tmp_path, ["Drama", "Adult", "Krimi"])
    catalog = read_catalog.fn(settings.model_copy(update={"excluded_genres": ("Heimatfilm", "krimi")}), tmp_path / "c")
    assert catalog.num_films == 2
    assert [record.message for record in caplog.records if "excluded_genres" in record.message] == [
        "catalog: excluded_genres has 'Heimatfilm', a genre that neither IMDB nor the catalog has"
    ]


def test_the_limit_of_the_size_is_a_setting(tmp_path: Path) -> None:
    settings = write_films(tmp_path, ["Drama"]).model_copy(update={"max_bytes": 60})
    with pytest.raises(CatalogError, match=r"is larger than 60 bytes: .* \(catalog.max_bytes\)"):
        read_catalog.fn(settings, tmp_path / "catalog")


@pytest.mark.real_posters
def test_real_catalog(real_posters: Path, tmp_path: Path) -> None:
    catalog = read_catalog.fn(CatalogSettings(source=str(real_posters / "MovieGenre.csv")), tmp_path)
    counted = {reason: count for reason, count in catalog.dropped.items() if count}
    assert catalog.num_films + sum(counted.values()) == 8110
    assert counted == {"no genre": 40, "no poster address": 58, "genre Adult": 10, "repeated id": 30}
