"""The web application: its pages, what every answer says to the browser, and what goes wrong in words."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, abort, render_template, request
from werkzeug.exceptions import HTTPException

import mailnotary
from mailnotary.config.settings import Settings
from mailnotary.dkim import evidence
from mailnotary.history.database import SlowStoreError
from mailnotary.history.keeper import location_of
from mailnotary.history.search import RESULTS
from mailnotary.history.store import DAY, Search, Store, StoreError
from mailnotary.history.story import evidence_of, our_reason, totals_of
from mailnotary.history.uses import Uses
from mailnotary.reports.summary import cost
from mailnotary.web import display
from mailnotary.web.access import Access
from mailnotary.web.comparison import Comparison
from mailnotary.web.incoming import TOP_SOURCES, ReportDirectory
from mailnotary.web.keys import KeyPage
from mailnotary.web.overview import ACTIONS, PERIODS, overview
from mailnotary.web.search import ACTIONS as ACTION_WORDS
from mailnotary.web.search import message_id, wanted

log = logging.getLogger(__name__)

SECONDS: Final = 3.0  # for all questions of one page to the store
PAGE_ROWS: Final = 50
HEADERS: Final = {
    # Only what this page serves itself: a style sheet and an icon. No script, no frame, nothing of another host.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_STATIC_AGE: Final = 86400  # seconds


@dataclass(frozen=True, slots=True)
class Page:
    """One entry of the navigation: where it leads, what it is called, and what makes it. To add one, add it in
    `pages`."""

    path: str
    title: str
    view: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages are made of."""

    settings: Settings
    access: Access = field(default_factory=Access)
    what_if: Path | None = None
    reports: Path | None = None
    clock: Callable[[], float] = time.time

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The store, opened for one request, which may ask it for `SECONDS`. Raises StoreError."""
        opened = self.open_store(SECONDS)
        try:
            yield opened
        finally:
            opened.close()

    def open_store(self, seconds: float | None = None) -> Store:
        """The store, for reading. Raises StoreError."""
        location = location_of(self.settings.history, self.settings.state_dir)
        return Store.open(location, read_only=True, seconds=seconds)


def create_app(site: Site) -> Flask:
    """The application, for any WSGI server."""
    app = Flask(__name__)
    app.jinja_env.filters.update(display.FILTERS)
    app.jinja_env.globals.update(share=display.share, plural=display.plural, version=mailnotary.__version__)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    shown = pages(site)
    _guard(app, site)
    _failures(app)
    for page in shown:
        app.add_url_rule(page.path, page.path, page.view)
    app.add_url_rule("/message/<name>", "message", lambda name: _message(site, name))

    @app.context_processor
    def _everywhere() -> dict[str, Any]:
        user = request.environ.get("mailnotary.user")
        return {"pages": shown, "now": site.clock(), "user": user}

    return app


def pages(site: Site) -> list[Page]:
    """The navigation."""
    keys = KeyPage(site.settings)
    shown = [
        Page("/", "Overview", lambda: _overview(site)),
        Page("/messages", "Messages", lambda: _messages(site)),
        Page("/keys", "Keys", lambda: _keys(keys)),
        Page("/disagreements", "Disagreements", lambda: _disagreements(site)),
    ]
    if site.settings.history.replay_networks:
        shown.append(Page("/replays", "Replays", lambda: _replays(site)))
    if site.what_if is not None:
        comparison = Comparison(site.what_if, site.open_store, site.clock)
        shown.append(Page("/what-if", "What if", lambda: _what_if(comparison)))
    if site.reports is not None:
        directory = ReportDirectory(site.reports, site.clock)
        shown.append(Page("/reports", "Reports", lambda: _reports(directory)))
    return shown


# --- pages ----------------------------------------------------------------------------------------------------------


def _overview(site: Site) -> str:
    period = PERIODS.get(request.args.get("period", "day"))
    if period is None:
        abort(404, "There is no such period: day, week or month.")
    with site.store() as store:
        shown = overview(store, period, site.clock())
    return render_template("overview.html", shown=shown, periods=PERIODS.values(), actions=ACTIONS)


def _messages(site: Site) -> Any:
    asked = wanted(request.args)
    messages: list[dict[str, Any]] = []
    if not asked.problem:
        with site.store() as store:
            messages = list(store.newest(asked.search, PAGE_ROWS + 1))
    page = render_template(
        "messages.html",
        asked=asked,
        messages=messages[:PAGE_ROWS],
        older=asked.address(before=messages[PAGE_ROWS - 1]["id"]) if len(messages) > PAGE_ROWS else "",
        results=RESULTS,
        actions=ACTION_WORDS,
        words=ACTIONS,
    )
    return page, 400 if asked.problem else 200


def _message(site: Site, name: str) -> str:
    try:
        number, host = message_id(name)
    except ValueError as error:
        abort(404, f"{error}.")
    with site.store() as store:
        message = store.one(number, host)
    if message is None:
        abort(404, "There is no such message: what is too old has been removed.")
    return render_template("message.html", message=message, words=ACTIONS, evidence=_evidence)


def _evidence(dkim: dict[str, Any]) -> str:
    """What a signature of a message leaves open, in words; "" where there is nothing to say."""
    found = evidence_of(dkim)
    return "" if found is None else evidence.text(found)


def _keys(keys: KeyPage) -> str:
    found = keys.keys()
    rows = found.rows
    if domain := request.args.get("domain", "").strip().lower()[:255]:
        rows = [row for row in rows if domain in row.domain]
    number = request.args.get("page", "1")
    place = int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 1
    start = max(place - 1, 0) * PAGE_ROWS
    return render_template(
        "keys.html",
        rows=rows[start : start + PAGE_ROWS],
        domain=domain,
        place=place,
        more=len(rows) > start + PAGE_ROWS,
        total=len(rows),
        urgent=sum(row.urgent for row in found.rows),
        due=sum(row.due for row in found.rows),
        problem=found.problem,
        source=found.source,
        faults=found.faults,
    )


def _replays(site: Site) -> str:
    networks = site.settings.history.replay_networks
    with site.store() as store:
        replays = Uses(store.database).replays(networks, PAGE_ROWS)
    return render_template("replays.html", replays=replays, networks=networks)


def _disagreements(site: Site) -> str:
    asked = wanted(request.args)
    search = Search(differs=True, before=asked.search.before)
    with site.store() as store:
        agreement = store.agreement(0, site.clock() + DAY)
        messages = list(store.newest(search, PAGE_ROWS + 1))
    return render_template(
        "disagreements.html",
        totals=totals_of(agreement),
        messages=messages[:PAGE_ROWS],
        older=messages[PAGE_ROWS - 1]["id"] if len(messages) > PAGE_ROWS else "",
        our_reason=our_reason,
    )


def _what_if(comparison: Comparison) -> str:
    return render_template("what_if.html", file=comparison.file.name, found=comparison.findings(), words=ACTIONS)


def _reports(directory: ReportDirectory) -> str:
    return render_template("reports.html", found=directory.found(), cost=cost, sources=TOP_SOURCES)


# --- every request --------------------------------------------------------------------------------------------------


def _guard(app: Flask, site: Site) -> None:
    access = site.access

    @app.before_request
    def _check() -> tuple[str, int] | None:
        header = access.user_header
        user = request.headers.get(header) if header else None
        refused = access.refusal(request.method, request.headers.get("Host", ""), request.remote_addr or "", user)
        if refused is not None:
            return _failed(*refused)
        request.environ["mailnotary.user"] = user
        return None

    @app.after_request
    def _headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        fixed = request.endpoint == "static" and response.status_code in (200, 304)
        response.headers["Cache-Control"] = f"private, max-age={_STATIC_AGE}" if fixed else "no-store"
        return response


def _failures(app: Flask) -> None:
    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> tuple[str, int]:
        code = error.code or 500
        return _failed(code, error.description or error.name)

    @app.errorhandler(SlowStoreError)
    def _slow(_: SlowStoreError) -> tuple[str, int]:
        text = (
            f"The store took longer than {SECONDS:.0f} seconds for this. Ask for less: one domain, one client, one day."
        )
        return _failed(503, text)

    @app.errorhandler(StoreError)
    def _store(error: StoreError) -> tuple[str, int]:
        return _failed(503, str(error))

    @app.errorhandler(Exception)
    def _defect(error: Exception) -> tuple[str, int]:
        log.error("a page has failed", exc_info=error)
        return _failed(500, "mailnotary itself failed: its log says how.")


def _failed(code: int, text: str) -> tuple[str, int]:
    return render_template("error.html", code=code, text=text), code
