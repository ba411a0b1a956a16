"""Screenshots of a report for the documents: `make screenshots REPORT=artifacts/sample/models/<id>/report.html`.

Of the sample, whose posters are drawn: real posters belong to their owners.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
# Width of the window, theme, and the section at whose heading the picture begins.
SHOTS = {
    "report-verdict": (1100, "light", "verdict"),
    "report-posters": (1100, "dark", "posters"),
    "report-genres": (1100, "light", "genres"),
    "report-phone": (390, "dark", "verdict"),
}
HEIGHT = 700


def main(report: Path) -> None:
    """Writes the pictures, in few colours: a document is read by many."""
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (width, scheme, section) in SHOTS.items():
            page: Any = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
            page.goto(report.resolve().as_uri())
            page.evaluate(f"document.getElementById('{section}').scrollIntoView()")
            path = FOLDER / f"{name}.png"
            page.wait_for_timeout(200)  # pictures that come into view are decoded then
            page.screenshot(path=path)
            with Image.open(path) as picture:
                picture.convert("RGB").quantize(128).save(path, optimize=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
