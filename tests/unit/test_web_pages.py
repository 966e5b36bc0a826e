"""The pages, as the application answers them."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailnotary.arc import ArcResult, ArcSet
from mailnotary.authres import Passage
from mailnotary.config.history import HistorySettings
from mailnotary.config.settings import Settings
from mailnotary.dkim.evidence import Evidence
from mailnotary.dkim2 import Dkim2Result
from mailnotary.history.keeper import FILE
from mailnotary.history.store import Numbering, Store
from mailnotary.history.story import row_of, story_of
from mailnotary.history.uses import Use, Uses
from mailnotary.session.comparison import Comparison
from mailnotary.session.outcome import MessageMode
from mailnotary.session.policy import InsertHeader
from mailnotary.status import ArcStatus, Dkim2Status
from mailnotary.web import application
from mailnotary.web.access import Access
from mailnotary.web.application import HEADERS, Site, create_app
from mailnotary.web.search import FIELDS
from support.hostile import HOSTILE, hostile
from support.messages import refused, verified

NOW = 1_780_000_000.0  # 2026-05-28 20:26:40
NUMBER = Numbering()
PAGES = ("/", "/?period=week", "/?period=month", "/messages", "/keys", "/disagreements", "/replays", "/what-if")


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        self.text += "" if tag in ("a", "bdi", "strong") else " "

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] != "title":
            self.text += data


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "history").mkdir()
    opened = Store.open(str(tmp_path / FILE), host="mx1")
    yield opened
    opened.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    what_if = tmp_path / "new.yaml"
    what_if.write_text("dmarc: {mode: enforce, reject: reject}\n")
    history = HistorySettings(replay_networks=2)
    chosen = Settings(state_dir=tmp_path, keystore=tmp_path / "keystore.yaml", history=history)
    return Site(chosen, what_if=what_if, clock=lambda: NOW)


@pytest.fixture
def client(site: Site, store: Store) -> FlaskClient:
    return create_app(site).test_client()


def add(store: Store, *records: Any, at: float = NOW) -> None:
    store.add([(NUMBER(row_of(record, at)), row_of(record, at), story_of(record, str)) for record in records])


def text(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return " ".join(Elements(answer.text).text.split())


@pytest.mark.parametrize("path", [*PAGES, "/nothing", "/message/1@mx", "/static/style.css"])
def test_every_answer_forbids_scripts_frames_and_other_hosts(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        answer.get_data()
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert "script" not in answer.headers["Content-Security-Policy"]
    assert "Set-Cookie" not in answer.headers
    assert "no-store" in answer.headers["Cache-Control"] or path.startswith("/static/")


@pytest.mark.parametrize("path", PAGES)
def test_every_page_works_without_script_style_attributes_and_other_hosts(
    client: FlaskClient, store: Store, path: str
) -> None:
    add(store, verified(), refused())
    elements = Elements(client.get(path).text).elements
    assert not [tag for tag, _ in elements if tag in ("script", "iframe", "object", "style", "base")]
    for tag, attributes in elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        for name in ("href", "src", "action"):
            assert (attributes.get(name) or "/").startswith(("/", "#")), attributes


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_but_reading_is_possible(client: FlaskClient, method: str) -> None:
    answer = client.open("/messages", method=method)
    assert answer.status_code == 405
    assert client.head("/messages").status_code == 200


def test_another_name_is_not_answered(client: FlaskClient) -> None:
    answer = client.get("/messages", headers={"Host": "evil.example"})
    assert answer.status_code == 421
    assert "evil.example" in answer.text


def test_a_user_is_shown_if_a_proxy_names_one_and_ignored_otherwise(site: Site, store: Store) -> None:
    add(store, verified())
    plain = create_app(site).test_client().get("/", headers={"X-User": "alice"})
    assert "alice" not in plain.text
    access = Access(frozenset(("localhost",)), (ip_network("127.0.0.1"),), "X-User")
    client = create_app(replace(site, access=access)).test_client()
    assert "alice" in client.get("/", headers={"X-User": "alice"}).text
    assert client.get("/").status_code == 403
    other = {"REMOTE_ADDR": "192.0.2.1"}
    assert client.get("/", headers={"X-User": "alice"}, environ_base=other).status_code == 403


def test_the_overview_counts_and_names_the_domains_that_fail(client: FlaskClient, store: Store) -> None:
    add(store, *(verified(f"V{number}") for number in range(7)))
    add(store, verified("S", mode=MessageMode.SIGN))
    add(store, *(refused(f"R{number}") for number in range(2)), at=NOW - 3 * 3600)
    add(store, refused("OLD", domain="old.example"), at=NOW - 3 * 86400)
    day = text(client, "/")
    assert "Messages 10 Checked 9 Of our own 1 Refused 2 Put off 0 Held 0" in day
    assert "DMARC 77.8 % passed pass 7 77.8 % fail 2 22.2 %" in day
    assert "bank.example 2 nothing passed from 198.51.100.7" in day
    assert "old.example" not in day
    month = text(client, "/?period=month")
    assert "Messages 11 " in month
    assert "old.example 1 " in month


def test_each_bar_says_what_it_is(client: FlaskClient, store: Store) -> None:
    add(store, verified("A"), verified("B"), refused("C"))
    assert re.search(r"<title>\d{4}-\d\d-\d\d \d\d:00: 2 came through, 1 refused</title>", client.get("/").text)


def test_a_period_that_there_is_not(client: FlaskClient) -> None:
    assert "There is no such period" in text(client, "/?period=year", 404)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["C", "B", "A"]),
        ("q=B", ["B"]),
        ("q=bank.example", ["C", "B"]),
        ("q=BANK.example", ["C", "B"]),
        ("q=joe@bank.example", ["C", "B"]),
        ("q=198.51.100.8", ["C"]),
        ("q=2001:DB8:0::1", []),
        ("result=dmarc%3Dfail", ["C", "B"]),
        ("result=dmarc%3Dpass", ["A"]),
        ("result=dkim%3Dnone", ["C", "B"]),
        ("result=spf%3Dfail&q=198.51.100.7", ["B"]),
        ("action=reject", ["C", "B"]),
        ("action=accept", ["A"]),
        ("until=2026-05-28T20:26", ["A"]),
        ("from=2026-05-28T20:26", ["C", "B"]),
        ("from=2026-05-28&until=2026-05-29", ["C", "B", "A"]),
    ],
)
def test_messages_are_found(client: FlaskClient, store: Store, query: str, found: list[str]) -> None:
    add(store, verified("A"), at=NOW - 60)
    add(store, refused("B"), at=NOW)
    add(store, refused("C", client="198.51.100.8"), at=NOW)
    html = client.get(f"/messages?{query}").text
    assert re.findall(r'<a href="/message/[^"]*"><bdi>(.)</bdi>', html) == found


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("result=dmarc%3Dmaybe", "dmarc=maybe is not a result"),
        ("action=explode", "explode is not what can be done with a message"),
        ("from=yesterday", "yesterday is not a time: write it like"),
        ("until=9999999-01-01", "is not a time"),
        ("before=x", "x is not the id of a message"),
        ("before=99999999999999999999%40mx", "is not the id of a message"),
        ("q=a%00b", "a character that no message has"),
    ],
)
def test_what_cannot_be_understood_is_said(client: FlaskClient, query: str, problem: str) -> None:
    assert problem in text(client, f"/messages?{query}", 400)


def test_a_page_of_messages_leads_to_the_older_ones(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "PAGE_ROWS", 2)
    add(store, *(refused(f"Q{number}") for number in range(5)))
    path, seen = "/messages?q=bank.example", list[str]()
    for _ in range(5):
        html = client.get(path).text
        seen += re.findall(r'<a href="/message/[^"]*"><bdi>(Q.)</bdi>', html)
        older = re.search(r'<a href="(/messages[^"]*)" rel="next"', html)
        if older is None:
            break
        path = older[1].replace("&amp;", "&")
    assert seen == ["Q4", "Q3", "Q2", "Q1", "Q0"]


def test_one_message_is_told_as_a_story(client: FlaskClient, store: Store) -> None:
    add(store, refused("4DEF"))
    link = re.search(r'href="(/message/[^"]*)"', client.get("/messages").text)
    assert link is not None
    story = text(client, link[1])
    assert "refused 550 5.7.1 Email rejected per DMARC policy for bank.example: nothing passed" in story
    assert "SPF fail for MAIL FROM bank.example matches -all The domain says: go away" in story
    assert "DKIM none The message has no signature." in story
    assert "Policy of bank.example : p=reject sp=reject np=reject adkim=r aspf=r for this message: reject" in story


def test_what_a_signature_leaves_open_is_told(client: FlaskClient, store: Store) -> None:
    record = verified("4DEF")
    assert record.results.dkim is not None
    signature = replace(record.results.dkim[0], evidence=Evidence(7200, None, ("To", "Subject")))
    add(store, replace(record, results=replace(record.results, dkim=(signature,))))
    link = re.search(r'href="(/message/[^"]*)"', client.get("/messages").text)
    assert link is not None
    assert "signed 2 hours ago; does not protect from one more To, Subject" in text(client, link[1])


def test_a_chain_of_dkim2_is_told_of_as_what_it_is(client: FlaskClient, store: Store) -> None:
    record = verified("4DEF")
    found = Dkim2Result(Dkim2Status.FAIL, "example.org", "in the log alone", (), "body changed")
    add(store, replace(record, results=replace(record.results, dkim2=found)))
    link = re.search(r'href="(/message/[^"]*)"', client.get("/messages").text)
    assert link is not None
    story = text(client, link[1])
    draft = "draft-ietf-dkim-dkim2-spec-06"
    assert f"DKIM2 fail for example.org Experimental, by {draft}, which decides nothing. body changed" in story


def test_an_arc_chain_is_told_of_with_what_would_have_to_be_trusted(client: FlaskClient, store: Store) -> None:
    record = refused("4DEF")
    sets = (ArcSet(1, "lists.example", "sel"), ArcSet(2, "b.example", "sel"))
    results = replace(record.results, arc=ArcResult(ArcStatus.PASS, sets, 0), passage=Passage(("b.example",)))
    add(store, replace(record, results=results, arc_missing=("b.example",)))
    link = re.search(r'href="(/message/[^"]*)"', client.get("/messages").text)
    assert link is not None
    story = re.sub(r"\s+([,.])", r"\1", text(client, link[1]))
    assert "ARC pass, sealed by b.example, lists.example" in story
    assert "Would have passed through if these were trusted: b.example" in story


@pytest.mark.parametrize("name", ["1@mx1", "x", "1", "-1@mx1", "9223372036854775808@mx1", "1@mx1'--", "1@", "%00@x"])
def test_a_message_that_there_is_not(client: FlaskClient, store: Store, name: str) -> None:
    assert text(client, f"/message/{name}", 404)


@pytest.mark.parametrize("place", range(len(HOSTILE)))
def test_hostile_text_is_shown_as_text_on_every_page(client: FlaskClient, store: Store, place: int) -> None:
    add(store, hostile(HOSTILE[place], "Q"), hostile("x" * len(HOSTILE[place]), "H"))
    links = re.findall(r'href="(/message/[^"]*)"', client.get("/messages").text)
    shape: list[tuple[str, ...]] = []
    for link in links:
        elements = Elements(client.get(link).text).elements
        shape.append(tuple(tag for tag, _ in elements))
        for tag, attributes in elements:
            assert not [name for name in attributes if name.startswith("on")], tag
            assert (attributes.get("href") or "/").startswith(("/", "#"))
    assert shape[0] == shape[1], "a text has become an element"
    for path in PAGES:
        html = client.get(path).text
        assert len(html) < 100_000
        assert "<script" not in html
        assert "13369" not in html.replace("13,369", "")
        assert not set("\u202e\u2066\u200f\u061c\u200b\u2060\U000e0041") & set(html)


def test_disagreements_show_both_reasons(client: FlaskClient, store: Store) -> None:
    other = Comparison("old.example", "dmarc", "pass", "fail", "their reason")
    same = Comparison("old.example", "dmarc", "fail", "fail", "")
    add(store, replace(refused("D"), compared=(other,)), replace(refused("S"), compared=(same,)))
    page = text(client, "/disagreements")
    assert "old.example dmarc 2 50.0 %" in page
    assert "old.example, dmarc pass their reason ours fail bank.example fail nothing passed" in page


def test_what_if_says_what_would_have_been_different(client: FlaskClient, store: Store) -> None:
    through = replace(refused("T"), actions=(InsertHeader(0, "Authentication-Results", " mx; none"),))
    add(store, through, verified("V"), at=NOW - 60)
    deadline = time.monotonic() + 20
    while "see how far" in (page := text(client, "/what-if")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "What new.yaml would have done 2 messages of the last 30 days looked at." in page
    assert "Would have ended differently 1 Came through, then refused 1" in page
    assert "bank.example 1 Email rejected per DMARC policy" in page


def test_what_if_says_what_is_wrong_with_its_file(site: Site, store: Store) -> None:
    assert site.what_if is not None
    site.what_if.write_text("dmarc: {mode: sometimes}\n")
    client = create_app(site).test_client()
    deadline = time.monotonic() + 20
    while "see how far" in (page := text(client, "/what-if")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "sometimes" in page


def test_replayed_signatures_are_shown(client: FlaskClient, store: Store) -> None:
    assert "None is." in text(client, "/replays")
    hostile = "<b>\u202e.example"
    uses = [Use("aa", f"192.0.{number}.0/24", hostile, "s1") for number in range(3)]
    Uses(store.database).add([*uses, Use("bb", "192.0.2.0/24", "once.example", "s1")], int(NOW))
    shown = text(client, "/replays")
    assert "Each came from more than 2 networks" in shown
    assert "<b>\\u202e.example s1 3 3 2026-05-28 20:26 2026-05-28 20:26" in shown
    assert "once.example" not in shown


def test_without_a_store_the_reason_is_shown(tmp_path: Path) -> None:
    client = create_app(Site(Settings(state_dir=tmp_path, keystore=tmp_path / "keystore.yaml"))).test_client()
    assert "there is no history yet: is history.enabled set, and the daemon running?" in text(client, "/", 503)
    assert "The keystore has no keys." in text(client, "/keys")


def test_a_question_that_takes_too_long_is_ended(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, *(verified(f"Q{number}") for number in range(3000)))
    monkeypatch.setattr(application, "SECONDS", 0.0)
    assert "Ask for less" in text(client, "/messages?q=example.org&result=spf%3Dnone", 503)


def test_the_page_cannot_write(site: Site, store: Store) -> None:
    add(store, verified())
    with site.store() as opened:
        cursor: Any
        with pytest.raises(Exception, match="readonly"), opened._database.transaction() as cursor:
            cursor.execute("DELETE FROM message")
    with closing(sqlite3.connect(site.settings.state_dir / FILE)) as connection:
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (1,)


@pytest.mark.parametrize("story", ["[]", '["mail.example.org","a@example.org"]'])
def test_a_story_of_which_little_was_kept_is_told_as_far_as_it_goes(
    client: FlaskClient, store: Store, story: str
) -> None:
    row = row_of(refused("SHORT"), NOW)._replace(compared="old.example/dmarc/pass/fail", differs="dmarc")
    store.add([(NUMBER(row), row, story)])
    link = re.search(r'href="(/message/[^"]*)"', client.get("/messages").text)
    assert link is not None
    for path in (link[1], *PAGES):
        assert client.get(path).status_code == 200, path
    assert "None" not in text(client, link[1])


@given(
    st.text(max_size=30), st.dictionaries(st.sampled_from([*FIELDS, "before", "page", "period", "domain"]), st.text())
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_address_makes_the_page_fail(client: FlaskClient, name: str, query: dict[str, str]) -> None:
    for path in ("/", "/messages", "/keys", "/disagreements", f"/message/{quote(name)}", f"/message/1@{quote(name)}"):
        assert client.get(path, query_string=query).status_code in (200, 308, 400, 404)
