"""A page in Chromium, with what went wrong in it."""

from typing import Any

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class OpenedPage:
    """A page, and what went wrong in it.

    Args:
        browser: Playwright's browser.
        address: Address of the page.
        viewport: Width and height.
        scheme: light or dark.
        own: Start of the addresses that it may load; None: its server's, or of a file its own alone.

    Attributes:
        page: Playwright's page.
        problems: Messages of the console but for plain logs, errors of the script, and requests for anything
            else than what is its own and what is in it.
    """

    def __init__(
        self, browser: Any, address: str, viewport: dict[str, int], scheme: str, own: str | None = None
    ) -> None:
        self.page = browser.new_page(viewport=viewport, color_scheme=scheme)
        self.problems: list[str] = []
        # Of a server everything, of a file itself alone.
        own = own or (address[: address.index("/", len("http://")) + 1] if address.startswith("http://") else address)
        allowed = (own, "data:", f"blob:{own}" if own.startswith("http://") else "blob:")
        self.page.on("console", lambda message: message.type != "log" and self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on(
            "request",
            lambda request: request.url.startswith(allowed) or self.problems.append(f"requested {request.url[:100]}"),
        )
        self.page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url[:100]}"))
        self.page.goto(address)

    def list_violations(self) -> list[tuple[str, list[Any]]]:
        """Returns what axe-core finds: the rule, and the first places."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [(violation["id"], [node["target"] for node in violation["nodes"]][:3]) for violation in found]
