"""The report of a run in Chromium: `make pages`, which needs Debian's `chromium`."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from opened_page import DESKTOP, PHONE, OpenedPage

from tasks.catalog.corrections import Correction, read_corrections
from tasks.catalog.reading import read_rows

pytestmark = [pytest.mark.pages, pytest.mark.backbone]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_is_broken_and_everyone_can_read_it(
    small_run, browser: Any, viewport: dict[str, int], scheme: str
) -> None:
    opened = OpenedPage(browser, small_run.run.model.html_report_path.as_uri(), viewport, scheme)
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    broken = page.evaluate(
        "Promise.all([...document.images].map(image => image.decode().then(() => null, () => image.alt)))"
    )
    assert len(broken) > 20
    assert not [alt for alt in broken if alt]
    # Wide tables are scrolled by themselves.
    assert page.evaluate("document.scrollingElement.scrollWidth") <= viewport["width"]
    assert not opened.list_violations()
    assert not opened.problems
    page.close()


def test_posters_are_filtered_by_genre(small_run, browser: Any) -> None:
    opened = OpenedPage(browser, small_run.run.model.html_report_path.as_uri(), DESKTOP, "light")
    page = opened.page
    films = page.locator("[data-genres]")
    assert page.locator("#num-shown").text_content() == f"{films.count()} films"
    genre = small_run.run.metrics["vocabulary"][0]
    page.select_option("#genre", genre)
    shown = [film.get_attribute("data-genres").split("|") for film in films.all() if film.is_visible()]
    assert 0 < len(shown) < films.count()
    assert all(genre in genres for genres in shown)
    assert page.locator("#num-shown").text_content() == f"{len(shown)} films"
    assert not opened.problems
    page.close()


def test_what_is_ticked_is_saved_as_corrections_that_the_catalog_takes(small_run, browser: Any, tmp_path: Path) -> None:
    opened = OpenedPage(browser, small_run.run.model.html_report_path.as_uri(), PHONE, "dark")
    page = opened.page
    boxes = page.locator("input[data-id]")
    ticked = []
    for box in [boxes.first, boxes.nth(1), boxes.last]:
        box.focus()
        page.keyboard.press("Space")  # reachable without a mouse
        ticked.append({name: box.get_attribute(f"data-{name}") for name in ("id", "genre", "given")})
    with page.expect_download() as download:
        page.click("#save")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "corrections.csv"
    corrections = read_corrections(str(path), (), 1_000_000)
    for tick in ticked:
        genres = corrections.genres[int(tick["id"])].split("|")
        assert (tick["genre"] in genres) == (not tick["given"]), tick
    assert len(pd.read_csv(path)) == len({tick["id"] for tick in ticked})
    correction = Correction(corrections)
    correction.apply(read_rows(str(small_run.data_dir / "site" / "MovieGenre.csv")).table)
    counts, missing_ids = correction.count()
    assert (counts["films changed"], missing_ids) == (len(corrections.genres), [])
    assert not opened.problems
    page.close()
