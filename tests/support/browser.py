"""Debian's Chromium, driven by Playwright. Playwright's own browsers are never fetched.

Ubuntu has browsers only as snaps, so tests/conftest.py leaves out there what needs one. test_web_pages.py asks for the
same pages everywhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

CHROMIUM = "/usr/bin/chromium"
_ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
CONTRASTS = (Path(__file__).parent / "contrast.js").read_text()


@contextmanager
def browser() -> Iterator[Browser]:
    """A running Chromium. It needs no sandbox of its own: it sees nothing but our pages, and the tests run as root."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        try:
            yield running
        finally:
            running.close()


@dataclass
class Watched:
    """A tab, and what it did that a page must not do: `complaints` of its console, requests to `elsewhere`."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        """Opens one of our pages."""
        self.page.goto(self.base + path)

    def contrasts(self) -> list[dict[str, Any]]:
        """The texts of the page whose contrast is below what WCAG 2.2 asks for at level AA (1.4.3)."""
        found: list[dict[str, Any]] = self.page.evaluate(CONTRASTS)
        return found

    def assert_quiet(self) -> None:
        """Nothing went wrong, nothing was asked of others, and no dialog came up."""
        assert self.complaints == []
        assert self.elsewhere == []


@contextmanager
def tab(running: Browser, base: str, *, width: int = 1280, scheme: Any = "light", **more: Any) -> Iterator[Watched]:
    """A tab of its own."""
    context = running.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
    watched = Watched(context.new_page(), base)

    def note(message: ConsoleMessage) -> None:
        watched.complaints.append(f"{message.type}: {message.text}")

    def look(request: Request) -> None:
        if not request.url.startswith(base + "/"):
            watched.elsewhere.append(request.url)

    watched.page.on("console", note)
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    watched.page.on("dialog", lambda dialog: watched.complaints.append(f"a dialog: {dialog.message}"))
    watched.page.on("request", look)
    try:
        yield watched
    finally:
        context.close()
