"""The site of the documents, as `make docs` built it: strict, whole, and nothing from another host. `make pages`."""

import re
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opened_page import DESKTOP, PHONE, OpenedPage

pytestmark = pytest.mark.pages

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "build" / "site"
START = SITE / "docs" / "index.html"
PAGES = ["docs/index", "README", "docs/guides/serve", "docs/settings", "docs/modules/tasks/outputs/losses/index"]
# Attributes that a browser loads by itself. Links to other hosts are for people to follow.
LOADED = {"script": "src", "link": "href", "img": "src", "source": "src", "iframe": "src", "object": "data"}


class Resources(HTMLParser):
    """Collects what a page loads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if address := dict(attrs).get(LOADED.get(tag, "")):
            self.addresses.append(address)


@pytest.fixture(scope="module")
def pages() -> list[Path]:
    assert START.is_file(), "no site: run `make docs`"
    return sorted(SITE.rglob("*.html"))


def test_nothing_is_loaded_from_another_host(pages: list[Path]) -> None:
    loaded = {(page, address) for page in pages for address in Resources(page).addresses}
    assert len(loaded) > len(pages)
    assert {(page, address) for page, address in loaded if re.match(r"(\w+:)?//", address)} == set()
    for style in SITE.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\s]*", style.read_text("utf-8")) == [], style


def test_every_module_has_a_page(pages: list[Path]) -> None:
    modules = [path for package in ("tasks", "flows") for path in (ROOT / package).rglob("*.py")]
    names = {path.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__init__") for path in modules}
    found = {page.parent.relative_to(SITE / "docs/modules").as_posix() for page in pages if "modules" in page.parts}
    assert names - found == {"flows/cli", "flows/__main__"}  # the page of the commands


@pytest.mark.parametrize("link", ["none.md", "other.md#nowhere", "#nowhere"])
def test_a_broken_link_is_an_error(tmp_path: Path, link: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text("# Other\n\n## Somewhere\n")
    index = tmp_path / "docs" / "index.md"
    builder = [str(ROOT / ".docs-venv" / "bin" / "sphinx-build"), "--quiet", "--fail-on-warning", "--fresh-env"]
    builder += ["--define", "extensions=myst_parser", "--conf-dir", str(ROOT / "docs"), str(tmp_path)]

    def build(link: str) -> subprocess.CompletedProcess[str]:
        index.write_text(f"# Start\n\n[a link]({link})\n\n```{{toctree}}\nother\n```\n")
        return subprocess.run(
            [*builder, str(tmp_path / "site")], capture_output=True, text=True, timeout=120, check=False
        )

    assert build("other.md#somewhere").returncode == 0
    broken = build(link)
    assert broken.returncode != 0
    assert "docs/index.md:3: WARNING: " in broken.stderr


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """Serves the site; yields its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=SITE)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_pages_are_whole_and_everyone_can_read_them(
    browser: Any, host: str, name: str, viewport: dict[str, int], scheme: str
) -> None:
    opened = OpenedPage(browser, f"{host}{name}.html", viewport, scheme)
    page = opened.page
    broken = page.evaluate(
        "Promise.all([...document.images].map(image => image.decode().then(() => null, () => image.src)))"
    )
    assert not [address for address in broken if address]
    # Wide tables, code and diagrams are scrolled by themselves.
    assert page.evaluate("document.scrollingElement.scrollWidth") <= viewport["width"]
    assert not opened.list_violations()
    assert not opened.problems
    page.close()


def test_the_front_door_leads_to_the_start(browser: Any) -> None:
    opened = OpenedPage(browser, (SITE / "index.html").as_uri(), DESKTOP, "light", own=SITE.as_uri())
    opened.page.wait_for_url(START.as_uri())
    assert not opened.problems
    opened.page.close()


def test_the_search_finds(browser: Any, host: str) -> None:
    # From disk it finds, too, but a browser does not let it read the lines to show.
    opened = OpenedPage(browser, f"{host}search.html?q=MacroSoftF1", DESKTOP, "light")
    page = opened.page
    page.wait_for_selector("#search-results li a")
    page.wait_for_load_state("networkidle")
    assert "losses" in page.inner_text("#search-results")
    assert not opened.problems
    page.close()
