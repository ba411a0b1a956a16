"""Pictures for the documents: `make screenshots MODEL=artifacts/sample/models/<id>`, with the sample's model.

Of its report, of the page of `poster-genres web`, of a terminal, and of Prefect's dashboard after a run. The posters
are drawn: real posters belong to their owners.
"""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from served import find_free_port
from served_app import serve_app

from flows.predictions import make_terminal_table, predict_posters
from tasks.model_folder import ModelFolder
from tasks.prediction.predictor import Predictor
from tasks.serving.page import create_page
from tasks.serving.poster_model import PosterModel
from tasks.settings import PosterSettings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "images"
DATA = ROOT / "data" / "sample"  # of make demo
PREFECT = str(Path(sys.executable).with_name("prefect"))
HEIGHT = 700
# Width of the window, theme, and the section at whose heading the picture begins.
REPORT = {
    "report-verdict": (1100, "light", "verdict"),
    "report-posters": (1100, "dark", "posters"),
    "report-genres": (1100, "light", "genres"),
    "report-phone": (390, "dark", "verdict"),
}
PAGE = {"web-page": (1100, "light"), "web-page-phone": (390, "dark")}
START_SECONDS = 90


def main(model: ModelFolder) -> None:
    """Writes all pictures."""
    FOLDER.mkdir(exist_ok=True)
    posters = sorted((DATA / "site" / "posters").glob("*.jpg"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shoot_report(browser, model)
        shoot_page(browser, model, posters[40:42])
        shoot_terminal(browser, model, posters[2:6])
        shoot_dashboard(browser)
        browser.close()


def shoot_report(browser: Browser, model: ModelFolder) -> None:
    for name, (width, scheme, section) in REPORT.items():
        page = open_page(browser, model.html_report_path.resolve().as_uri(), width, scheme)
        page.evaluate(f"document.getElementById('{section}').scrollIntoView()")
        save(page, name)


def shoot_page(browser: Browser, model: ModelFolder, posters: list[Path]) -> None:
    with serve_app(create_page(PosterModel(model, DATA / "posters"), PosterSettings())) as host:
        for name, (width, scheme) in PAGE.items():
            page = open_page(browser, f"http://{host}/", width, scheme)
            page.set_input_files("#files", [str(poster) for poster in posters])
            for number in range(len(posters)):
                page.locator(".result").nth(number).locator(".genres button:enabled").first.wait_for()
            page.locator(".genres button").first.click()
            page.wait_for_load_state("networkidle")
            save(page, name)


def shoot_terminal(browser: Browser, model: ModelFolder, posters: list[Path]) -> None:
    predictor = Predictor.open(model.path.resolve())
    with contextlib.chdir(posters[0].parent):
        results = list(predict_posters(predictor, [poster.name for poster in posters], PosterSettings()))
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    console.print(make_terminal_table(results))
    # Rich's SVG would load its font from elsewhere.
    html = console.export_html(
        inline_styles=True,
        code_format='<body style="background:#17191c;color:#ececec;margin:16px"><pre style="font:15px/1.25 monospace">'
        "$ poster-genres predict champion *.jpg\n{code}</pre></body>",
    )
    page = open_page(browser, "about:blank", 800, "dark")
    page.set_content(html)
    page.set_viewport_size({"width": 540, "height": 270})
    save(page, "terminal")


def shoot_dashboard(browser: Browser) -> None:
    """Runs the demo once more under a server of its own, and looks at the run."""
    with prefect_server() as address:
        environment = {**os.environ, "PREFECT_API_URL": f"{address}/api"}
        subprocess.run([sys.executable, "-m", "flows", "demo"], cwd=ROOT, env=environment, check=True)
        runs = requests.post(f"{address}/api/flow_runs/filter", json={}, timeout=30).json()
        run = next(run for run in runs if run["parent_task_run_id"])  # train, which demo has started
        page = open_page(browser, f"{address}/runs/flow-run/{run['id']}", 1100, "light")
        page.get_by_text("Completed").first.wait_for()
        page.wait_for_timeout(3000)  # the graph is drawn
        save(page, "dashboard")


@contextlib.contextmanager
def prefect_server() -> Iterator[str]:
    """Runs a Prefect server with a database of its own; yields its address."""
    with tempfile.TemporaryDirectory() as home:
        port = str(find_free_port())
        address = f"http://127.0.0.1:{port}"
        command = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", port]
        environment = {**os.environ, "PREFECT_HOME": home, "PREFECT_API_URL": f"{address}/api"}
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as server:
            try:
                deadline = time.monotonic() + START_SECONDS
                while not is_healthy(address):
                    if time.monotonic() > deadline or server.poll() is not None:
                        sys.exit(f"no Prefect server at {address}: expected one within {START_SECONDS} s")
                    time.sleep(0.5)
                yield address
            finally:
                server.terminate()


def is_healthy(address: str) -> bool:
    try:
        return requests.get(f"{address}/api/health", timeout=5).ok
    except requests.ConnectionError:
        return False


def open_page(browser: Browser, address: str, width: int, scheme: Any) -> Page:
    page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    page.goto(address)
    return page


def save(page: Page, name: str) -> None:
    """Writes a picture in few colours, since a document is read by many, and closes the page."""
    path = FOLDER / f"{name}.png"
    page.wait_for_timeout(500)  # pictures that come into view are decoded then
    page.screenshot(path=path)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(128).save(path, optimize=True)
    page.close()


if __name__ == "__main__":
    main(ModelFolder(Path(sys.argv[1])))
