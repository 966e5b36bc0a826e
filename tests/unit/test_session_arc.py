"""ARC in the daemon's session: told of where there is a chain, and outweighing DMARC only where every sealer that must
be trusted is in the list."""

from dataclasses import replace
from typing import Any

import pytest

from mailnotary.arc import ArcResult, ArcSet
from mailnotary.authres import Passage
from mailnotary.config.forwarding import ArcSettings
from mailnotary.config.settings import DmarcAction, DmarcMode, DmarcSettings, Mode, Settings
from mailnotary.history.story import MAX_STORY, complete, results_of, row_of, story_of
from mailnotary.history.what_if import WhatIf
from mailnotary.metrics.counts import Counts
from mailnotary.reports.facts import fact_of
from mailnotary.status import ArcStatus
from support import arc as craft
from support.dkim import key, key_record
from support.mail import Outcome, Played

AR = "Authentication-Results"
LIST_IP = "198.51.100.7"
SEALERS = ("lists.example", "b.example", "c.example", "sub.lists.example")
ZONE: dict[str, Any] = {
    "example.org": [{"TXT": "v=spf1 -all"}],
    "_dmarc.example.org": [{"TXT": "v=DMARC1; p=reject; rua=mailto:r@example.org"}],
    **{f"sel._domainkey.{name}": [{"TXT": key_record(key())}] for name in SEALERS},
    **craft.SHAPES_ZONE,
}
ENFORCE = DmarcSettings(mode=DmarcMode.ENFORCE, reject=DmarcAction.REJECT)
FAILED = "mx.b.example; dkim=fail header.d=example.org; dmarc=fail header.from=example.org"


def settings(*trusted: str, **changes: Any) -> Settings:
    return Settings(dmarc=ENFORCE, arc=ArcSettings(trusted_sealers=trusted), **changes)


def play(message: bytes, of: Settings, **options: Any) -> Outcome:
    options = {"ip": LIST_IP, "mail_from": b"<bounces@lists.example>"} | options
    return Played(of, zone=ZONE, options={"clock": lambda: float(craft.NOW)}).play(message, **options)


def header(outcome: Outcome) -> str:
    return outcome.inserted[AR].replace("\r\n", "")


def test_a_chain_is_told_of_in_the_header_and_the_log() -> None:
    outcome = play(craft.chain(["lists.example", "b.example"]), Settings())
    expected = "arc=pass (2 sets, sealed by b.example, lists.example) smtp.remote-ip=198.51.100.7 header.oldest-pass=0"
    assert expected in header(outcome)
    assert str(outcome.record.log_fields()["arc"]) == "pass:b.example,lists.example"


def test_ipv6_and_an_unknown_client_are_told_as_they_are() -> None:
    message = craft.sealed()
    assert 'smtp.remote-ip="2001:db8::7"' in header(play(message, Settings(), ip="2001:db8::7"))
    assert "remote-ip" not in header(play(message, Settings(), ip=None))


def test_a_broken_chain_is_told_of_without_names() -> None:
    told = header(play(craft.sealed() + b"x\r\n", Settings())).partition(" arc=")[2]
    assert told.startswith('fail reason="body changed"')
    assert "lists.example" not in told
    assert "oldest-pass" not in told


def test_mail_without_a_chain_has_no_such_result() -> None:
    outcome = play(craft.MESSAGE, Settings())
    assert " arc=" not in header(outcome)
    assert "arc" not in outcome.record.log_fields()


def test_nothing_is_validated_where_that_is_off() -> None:
    outcome = play(craft.sealed(), Settings(arc=ArcSettings(verify=False)))
    assert " arc=" not in header(outcome)
    assert outcome.record.results.arc is None


def test_without_a_list_dmarc_decides_and_the_log_says_what_would_have_helped() -> None:
    outcome = play(craft.sealed(), settings())
    assert outcome.record.action == "reject"
    assert str(outcome.record.log_fields()["arc_would_trust"]) == "lists.example"


def test_the_word_of_a_trusted_sealer_outweighs_dmarc() -> None:
    outcome = play(craft.sealed(), settings("lists.example"))
    assert outcome.record.action == "accept"
    assert "dmarc=fail" in header(outcome)
    assert "policy.dmarc=reject policy.override=arc" in header(outcome)
    fields = outcome.record.log_fields()
    assert fields["would"] == "reject"
    assert "lists.example, in arc.trusted_sealers" in str(fields["dmarc_why"])
    assert "arc_would_trust" not in fields


def test_it_does_so_in_monitor_mode_too() -> None:
    of = replace(settings("lists.example"), dmarc=replace(ENFORCE, mode=DmarcMode.MONITOR))
    assert "policy.override=arc" in header(play(craft.sealed(), of))
    assert not play(craft.sealed(), replace(of, mode=Mode.OBSERVE)).actions


@pytest.mark.parametrize(
    ("trusted", "action"),
    [
        (("lists.example",), "reject"),  # b.example could have put anything behind the old set
        (("b.example",), "reject"),
        (("lists.example", "b.example"), "accept"),
        (("lists.example", "b.example", "c.example"), "accept"),
    ],
)
def test_every_sealer_since_the_pass_must_be_trusted(trusted: tuple[str, ...], action: str) -> None:
    changed = craft.sealed(craft.sealed() + b"A footer.\r\n", "b.example", assessment=FAILED)
    assert play(changed, settings(*trusted)).record.action == action


def test_sealers_before_the_pass_need_no_trust() -> None:
    message = craft.sealed(craft.sealed(assessment=FAILED), "b.example")
    assert play(message, settings("b.example")).record.action == "accept"


@pytest.mark.parametrize(
    "assessment",
    [
        FAILED,
        "mx; dmarc=pass header.from=example.com",
        "mx; dmarc=pass header.from=sub.example.org",
        "mx; dmarc=pass",
        "mx; none",
        "mx; spf=pass smtp.mailfrom=example.org",
        "mx; dmarc=pass header.from=example.org; dmarc=fail header.from=example.org",
        'mx; x=y reason="dmarc=pass header.from=example.org"',
        "mx (dmarc=pass header.from=example.org); none",
        "dmarc=pass header.from=example.org",
        "mx; dmarc=pass header.from=example.org; (",
        "mx; " + "x=y " * 20000 + "; dmarc=pass header.from=example.org",
    ],
)
def test_a_set_that_does_not_say_so_counts_for_nothing(assessment: str) -> None:
    outcome = play(craft.sealed(assessment=assessment), settings("lists.example"))
    assert outcome.record.action == "reject"
    assert "arc_would_trust" not in outcome.record.log_fields()


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(lambda: craft.sealed() + b"x\r\n", id="changed after the seal"),
        pytest.param(lambda: craft.sealed(domain="sub.lists.example"), id="below a trusted name"),
        pytest.param(lambda: craft.sealed(craft.sealed() + b"x\r\n", status=ArcStatus.FAIL), id="cv=fail"),
        pytest.param(
            lambda: b"From: ceo@example.org\r\n" + craft.sealed(oversign=()), id="a From field more than was signed"
        ),
    ],
)
def test_what_the_chain_does_not_prove_counts_for_nothing(message: Any) -> None:
    assert play(message(), settings("lists.example")).record.action == "reject"


def test_a_key_in_test_mode_counts_for_nothing() -> None:
    zone = ZONE | {"sel._domainkey.lists.example": [{"TXT": key_record(key(), " t=y;")}]}
    played = Played(settings("lists.example"), zone=zone, options={"clock": lambda: float(craft.NOW)})
    assert played.play(craft.sealed(), ip=LIST_IP).record.action == "reject"


@pytest.mark.parametrize(
    ("shape", "name"), [(craft.GOOGLE, "google.com"), (craft.MICROSOFT, "microsoft.com")], ids=["Google", "Microsoft"]
)
def test_the_words_of_big_sealers_are_read(shape: tuple[str, str, str], name: str) -> None:
    message = craft.shaped(craft.MESSAGE, shape)
    assert str(play(message, settings()).record.log_fields()["arc_would_trust"]) == name
    assert play(message, settings(name)).record.action == "accept"


def stored(outcome: Outcome) -> dict[str, Any]:
    import json

    return complete(
        row_of(outcome.record, 1_700_000_000), "host", json.loads(json.dumps(story_of(outcome.record, str)))
    )


@pytest.mark.parametrize("trusted", [(), ("lists.example",), ("b.example",), ("lists.example", "b.example")])
def test_what_if_and_the_session_agree(trusted: tuple[str, ...]) -> None:
    changed = craft.sealed(craft.sealed() + b"A footer.\r\n", "b.example", assessment=FAILED)
    for message in (craft.sealed(), changed, craft.sealed(assessment=FAILED), craft.MESSAGE, craft.sealed() + b"x\r\n"):
        told = stored(play(message, settings("c.example")))
        assert WhatIf(settings(*trusted)).judge(told)[0] == play(message, settings(*trusted)).record.action


def test_the_history_keeps_the_chain() -> None:
    told = stored(play(craft.sealed(), settings()))["arc"]
    assert (told["status"], told["sets"], told["missing"]) == ("pass", [["lists.example", "sel"]], ["lists.example"])


def test_the_longest_chain_does_not_make_a_story_too_long() -> None:
    names = tuple(".".join([f"n{number}"] + ["x" * 60] * 4)[:240] + ".example" for number in range(50))
    record = play(craft.sealed(), settings()).record
    sets = tuple(ArcSet(number, name, "s" * 63) for number, name in enumerate(names, 1))
    results = replace(record.results, arc=ArcResult(ArcStatus.PASS, sets, 0), passage=Passage(names))
    text = story_of(replace(record, results=results, arc_missing=names), str)
    assert len(text) <= MAX_STORY
    told = complete(row_of(record, 1_700_000_000), "host", text)
    assert told["arc"] is None
    assert results_of(told).passage is None


def test_the_report_to_the_domain_says_why_its_policy_was_not_applied() -> None:
    """RFC 8617 7.2.2."""
    assessment = craft.PASSED + "; arc=none smtp.remote-ip=192.0.2.9"
    message = craft.sealed(craft.sealed(assessment=assessment), "b.example", assessment=FAILED)
    fact = fact_of(stored(play(message, settings("lists.example", "b.example"))))
    assert fact is not None
    assert fact.record.disposition == "none"
    comment = "arc=pass as[2].d=b.example as[2].s=sel as[1].d=lists.example as[1].s=sel remote-ip[1]=192.0.2.9"
    assert fact.record.reasons == (("local_policy", comment),)


def test_it_is_counted() -> None:
    counts = Counts()
    counts.messages([play(craft.sealed(), Settings()).record])
    assert b'["results","arc","pass"]' in counts.take()
