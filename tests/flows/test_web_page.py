"""The page of `poster-genres web` in Chromium: `make pages`, which needs Debian's `chromium`."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from opened_page import DESKTOP, PHONE, OpenedPage
from PIL import Image

from tasks.sample.server import serve

pytestmark = [pytest.mark.pages, pytest.mark.backbone]

# Makes a file in the page, as the system gives it to a page on which something is dropped or pasted.
HAND_OVER = """([kind, name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  const event = kind === "paste" ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
    : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.getElementById("drop").dispatchEvent(event);
}"""


def hand_over(page: Any, kind: str, name: str, content_type: str, content: bytes) -> None:
    page.evaluate(HAND_OVER, [kind, name, content_type, base64.b64encode(content).decode()])


def wait_for_evidence(page: Any, number: int = 0) -> Any:
    """Returns the answer of this number, the last one first, once its genres can be pressed."""
    answer = page.locator(".result").nth(number)
    answer.locator(".genres button:enabled").first.wait_for(timeout=60_000)
    return answer


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_dropped_poster_is_answered_for_everyone(
    small_run, web_address: str, browser: Any, viewport: dict[str, int], scheme: str
) -> None:
    opened = OpenedPage(browser, f"{web_address}/", viewport, scheme)
    page = opened.page
    assert not opened.list_violations()
    hand_over(page, "drop", "mine.jpg", "image/jpeg", small_run.posters[0].read_bytes())
    answer = wait_for_evidence(page)
    assert answer.locator("h2").text_content() == "mine.jpg"
    assert page.locator("#status").text_content().startswith("mine.jpg: ")
    page.locator(".programs").evaluate("details => details.open = true")
    assert not opened.list_violations()
    page.wait_for_load_state("networkidle")
    assert page.locator(".similar img").count() == 6
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= viewport["width"]
    assert not opened.problems
    page.close()


def test_a_heat_map_lies_on_the_poster_while_its_genre_is_pressed(small_run, web_address: str, browser: Any) -> None:
    opened = OpenedPage(browser, f"{web_address}/", DESKTOP, "light")
    page = opened.page
    page.set_input_files("#files", [str(path) for path in small_run.posters[:2]])
    wait_for_evidence(page, 1)
    answer = wait_for_evidence(page, 0)
    button, canvas = answer.locator(".genres button").first, answer.locator("canvas")
    assert not canvas.is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert canvas.is_visible()
    assert button.get_attribute("aria-pressed") == "true"
    pixels = canvas.evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    )
    heat = np.array(pixels).reshape(9, 6, 4)
    assert len(np.unique(heat[..., 3])) > 5
    assert page.locator("#status").text_content().startswith("Most evidence for ")
    page.keyboard.press("Enter")
    assert not canvas.is_visible()
    assert not opened.list_violations()
    assert not opened.problems
    page.close()


def test_what_is_pasted_may_be_of_any_format_that_the_browser_shows(small_run, web_address: str, browser: Any) -> None:
    opened = OpenedPage(browser, f"{web_address}/", DESKTOP, "light")
    page, file = opened.page, io.BytesIO()
    with Image.open(small_run.posters[0]) as poster:
        poster.save(file, "WEBP")
    hand_over(page, "paste", "poster.webp", "image/webp", file.getvalue())
    assert wait_for_evidence(page).locator(".genres li").count() >= 1
    assert not opened.problems
    page.close()


def test_an_address_is_fetched_by_the_server(small_run, web_address: str, browser: Any) -> None:
    opened = OpenedPage(browser, f"{web_address}/", PHONE, "dark")
    page = opened.page
    with serve(small_run.data_dir / "site") as site:
        page.fill("#address", f"{site}/posters/{small_run.posters[4].name}")
        page.keyboard.press("Enter")
        answer = wait_for_evidence(page)
    assert answer.locator("figure img").evaluate("image => image.naturalWidth") == 182
    assert not opened.problems
    page.close()


def test_what_is_no_poster_is_unsure_or_an_error_that_says_so(small_run, web_address: str, browser: Any) -> None:
    opened = OpenedPage(browser, f"{web_address}/", DESKTOP, "dark")
    page, file = opened.page, io.BytesIO()
    # Black and white, two pixels each.
    stripes = np.tile((np.arange(182) // 2 % 2 * 255).astype(np.uint8)[np.newaxis, :, np.newaxis], (268, 1, 3))
    Image.fromarray(stripes).save(file, "PNG")
    hand_over(page, "drop", "stripes.png", "image/png", file.getvalue())
    assert wait_for_evidence(page).locator(".unsure").text_content().startswith("Unsure: unlike the posters")
    assert not opened.list_violations()
    assert not opened.problems
    hand_over(page, "drop", "notes.txt", "text/plain", b"hello")
    problem = page.locator(".result").first.locator(".problem")
    problem.wait_for()
    assert problem.text_content() == "no poster: this browser can't read the file; expected an image"
    hand_over(page, "drop", "broken.jpg", "image/jpeg", small_run.posters[0].read_bytes()[:500])
    problem = page.locator(".result").first.locator(".problem")
    problem.wait_for()
    assert problem.text_content() == "no poster: broken image; expected a whole JPEG or PNG file"
    # Chromium itself reports the refused request; nothing else is wrong.
    assert [text for text in opened.problems if "422" not in text] == []
    page.close()


def test_a_file_of_another_format_than_its_name_says_is_converted(small_run, web_address: str, browser: Any) -> None:
    opened = OpenedPage(browser, f"{web_address}/", DESKTOP, "light")
    page, file = opened.page, io.BytesIO()
    with Image.open(small_run.posters[0]) as poster:
        poster.save(file, "WEBP")
    hand_over(page, "drop", "saved.jpg", "image/jpeg", file.getvalue())
    assert wait_for_evidence(page).locator(".problem").is_hidden()
    page.close()


def test_an_answer_that_is_no_json_is_named(small_run, web_address: str, browser: Any) -> None:
    opened = OpenedPage(browser, f"{web_address}/", DESKTOP, "light")
    page = opened.page
    page.route("**/api/posters", lambda route: route.fulfill(status=503, body="Service Unavailable"))
    page.set_input_files("#files", str(small_run.posters[0]))
    problem = page.locator(".problem:visible")
    problem.wait_for()
    assert problem.text_content() == "the server is busy or failed (503): try again, or see its terminal"
    page.close()


def test_a_server_that_is_gone_is_named(small_run, web_address: str, browser: Any) -> None:
    opened = OpenedPage(browser, f"{web_address}/", DESKTOP, "light")
    page = opened.page
    page.route("**/api/posters", lambda route: route.abort())
    page.set_input_files("#files", str(small_run.posters[0]))
    problem = page.locator(".problem:visible")
    problem.wait_for()
    assert problem.text_content() == "no response: is poster-genres web still running?"
    page.close()
