"""The page in a real browser, served as the command serves it."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect

from mailnotary.history.keeper import FILE
from mailnotary.history.store import Numbering, Store
from mailnotary.history.story import row_of, story_of
from mailnotary.history.uses import Use, Uses
from mailnotary.keys.histories import KeyHistory, KeyId, save
from mailnotary.session.comparison import Comparison
from support.browser import browser, tab
from support.hostile import HOSTILE, hostile
from support.incoming import report
from support.messages import refused, verified

PAGES = (
    "/",
    "/?period=month",
    "/messages",
    "/messages?q=bank.example",
    "/keys",
    "/disagreements",
    "/replays",
    "/what-if",
    "/reports",
)
NAMES = ("Overview", "Messages", "Keys", "Disagreements", "Replays", "What if", "Reports")


def fill(directory: Path) -> None:
    """A history, a keystore and what the daemon saw of its keys."""
    (directory / "history").mkdir()
    now, number = time.time(), Numbering()
    other = Comparison("old.example", "dmarc", "pass", "fail", "their reason")
    records: list[Any] = [verified(f"V{place}") for place in range(120)]
    records += [replace(refused(f"R{place}"), compared=(other,)) for place in range(9)]
    records += [hostile(text, f"H{place}{text}") for place, text in enumerate(HOSTILE)]
    rows = [
        (row_of(record, now - 600 * place), story_of(record, str)) for place, record in enumerate(reversed(records))
    ]
    store = Store.open(str(directory / FILE), host="mx1")
    store.add([(number(row), row, story) for row, story in rows])
    uses = [Use(f"{place}", f"192.0.{net}.0/24", text, text) for place, text in enumerate(HOSTILE) for net in range(4)]
    Uses(store.database).add(uses, int(now))
    store.close()
    keys = "{selector: rsa2026, file: keys/a.pem}, {selector: next, file: keys/b.pem, state: auto}"
    (directory / "keystore.yaml").write_text(f"domains: {{example.org: {{keys: [{keys}]}}}}\n")
    (directory / "reports").mkdir()
    (directory / "reports/1.xml").write_bytes(report("1"))
    (directory / "reports/2.xml").write_bytes(report("2", org=HOSTILE[-1], source=HOSTILE[-1]))
    wrong = KeyHistory(bad_looks=2, last_look=now, result="mismatch", reason=f"DNS serves {HOSTILE[0]}")
    save(directory, {KeyId("example.org", "rsa2026", "f"): wrong})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("web")
    fill(directory)
    config, new = directory / "mailnotary.yaml", directory / "new.yaml"
    settings = {"state_dir": str(directory), "keystore": str(directory / "keystore.yaml")}
    config.write_text(json.dumps(settings | {"history": {"replay_networks": 2}}))
    new.write_text("dmarc: {mode: enforce, reject: reject}\n")
    command = [sys.executable, "-m", "mailnotary", "web", "--listen", "127.0.0.1:0", "-c", str(config)]
    with subprocess.Popen(
        [*command, "--what-if", str(new), "--reports", str(directory / "reports")], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline().split()[-1].rstrip("/")
        finally:
            running.terminate()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_and_can_be_read(chromium: Browser, base: str, width: int, scheme: str) -> None:
    with tab(chromium, base, width=width, scheme=scheme) as opened:
        for path in PAGES:
            opened.go(path)
            expect(opened.page.get_by_role("main")).to_be_visible()
            assert opened.page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert opened.contrasts() == [], path
        opened.assert_quiet()


def test_it_works_without_javascript(chromium: Browser, base: str) -> None:
    with tab(chromium, base, java_script_enabled=False) as opened:
        opened.go("/")
        for name in NAMES:
            opened.page.get_by_role("navigation", name="Pages").get_by_role("link", name=name, exact=True).click()
            expect(
                opened.page.get_by_role("link", name=name, exact=True).and_(opened.page.locator("[aria-current]"))
            ).to_be_visible()
        opened.assert_quiet()


def test_a_message_is_found_and_told(chromium: Browser, base: str) -> None:
    with tab(chromium, base) as opened:
        page = opened.page
        opened.go("/")
        page.get_by_role("searchbox").fill("R3")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="R3", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("R3")
        expect(page.get_by_text("Email rejected per DMARC policy for bank.example: nothing passed")).to_be_visible()
        page.get_by_role("link", name="198.51.100.7").click()
        expect(page.get_by_label("Queue id, domain or client").last).to_have_value("198.51.100.7")
        page.get_by_label("Result").select_option("dmarc=fail")
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_role("link", name=re.compile(r"^R\d$"))).to_have_count(9)
        opened.assert_quiet()


def test_older_messages_are_on_the_next_pages(chromium: Browser, base: str) -> None:
    with tab(chromium, base) as opened:
        opened.go("/messages?q=example.org")
        seen = opened.page.locator("td.id a").all_inner_texts()
        while (older := opened.page.get_by_role("link", name="Older messages")).count():
            opened.go(older.get_attribute("href") or "")
            seen += opened.page.locator("td.id a").all_inner_texts()
        assert len(seen) == len(set(seen)) == 120
        opened.assert_quiet()


@pytest.mark.parametrize("place", range(len(HOSTILE)))
def test_hostile_text_does_nothing(chromium: Browser, base: str, place: int) -> None:
    with tab(chromium, base, width=390) as opened:
        opened.go(f"/messages?q={quote(HOSTILE[place])}")
        opened.go(f"/keys?domain={quote(HOSTILE[place])}")
        opened.go("/messages?result=dkim%3Dfail")
        titles = set()
        for link in [one.get_attribute("href") for one in opened.page.locator("td.id a").all()]:
            opened.go(link or "")
            titles.add(opened.page.title())
            assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
            assert (
                opened.page.evaluate("document.querySelectorAll('main img, main script, main [onclick]').length") == 0
            )
        assert len(titles) == len(HOSTILE)
        assert "owned" not in titles
        opened.assert_quiet()


def test_the_keyboard_reaches_everything_in_the_order_of_reading(chromium: Browser, base: str) -> None:
    with tab(chromium, base) as opened:
        opened.go("/messages")
        reached = []
        for _ in range(18):
            opened.page.keyboard.press("Tab")
            focused = "document.activeElement"
            reached.append(opened.page.evaluate(f"{focused}.id || {focused}.textContent.trim()"))
            assert opened.page.evaluate(f"getComputedStyle({focused}).outlineStyle") != "none"
        fields = ["q", "result", "action", "from"]
        expected = ["Skip to the content", "mailnotary", *NAMES, "find", "Find", *fields]
        assert reached[: len(expected)] == expected
        opened.go("/messages")
        opened.page.keyboard.press("Tab")
        opened.page.keyboard.press("Enter")
        assert opened.page.evaluate("document.activeElement.id") == "content"


def test_a_screen_reader_is_told_what_is_what(chromium: Browser, base: str) -> None:
    with tab(chromium, base, width=390) as opened:
        page = opened.page
        opened.go("/")
        for role in ("banner", "main", "contentinfo"):
            expect(page.get_by_role(role)).to_have_count(1)
        expect(page.get_by_role("img", name=re.compile("messages in 24 hours, as bars over time"))).to_be_visible()
        expect(page.get_by_role("img", name=re.compile(r"^DMARC: .* passed$"))).to_be_visible()
        opened.go("/messages")
        expect(page.get_by_role("table")).to_have_count(1)
        assert page.get_by_role("row").count() == 51
        assert page.get_by_role("columnheader").count() == 8
        for field in ("Queue id, domain or client", "Result", "Outcome", "From (UTC)", "Until (UTC)"):
            assert page.get_by_label(field, exact=True).count() >= 1
        assert page.locator("html").get_attribute("lang") == "en"


def test_another_site_cannot_read_it(chromium: Browser, base: str) -> None:
    with tab(chromium, base) as opened:
        opened.page.route(
            "http://evil.example/", lambda route: route.fulfill(body="<p>evil</p>", content_type="text/html")
        )
        opened.page.goto("http://evil.example/")
        script = f"""async () => {{ try {{ return await (await fetch("{base}/messages")).text(); }}
        catch (error) {{ return String(error); }} }}"""
        assert "TypeError" in opened.page.evaluate(script)
        frame = f"""() => new Promise((done) => {{ const frame = document.createElement("iframe");
        frame.src = "{base}/messages"; frame.onload = () => done(frame.contentDocument === null);
        document.body.append(frame); }})"""
        assert opened.page.evaluate(frame)
