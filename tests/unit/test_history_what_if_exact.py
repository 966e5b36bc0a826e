"""What if: over generated messages and configurations, exactly what the session itself does under the other one."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mailnotary.config.settings import (
    AuthorsSettings,
    DmarcAction,
    DmarcExempt,
    DmarcMode,
    DmarcSettings,
    Exempt,
    Mode,
    OnAuthor,
    OnTemperror,
    Settings,
    SpfAction,
    SpfSettings,
)
from mailnotary.history.story import complete, row_of, story_of
from mailnotary.history.what_if import WhatIf
from support.mail import BAD_IP, GOOD_IP, MESSAGE, Played, signed, zone

ZONE = {
    **zone(),
    "soft.example": [{"TXT": "v=spf1 ~all"}],
    "broken.example": [{"TXT": "v=spf1 all:all"}],
    "_dmarc.soft.example": [{"TXT": "v=DMARC1; p=quarantine; aspf=s"}],
    "_dmarc.test.example": [{"TXT": "v=DMARC1; p=reject; t=y"}],
    "_dmarc.down.example": "TIMEOUT",
    "down.example": ["TIMEOUT"],
}
DOMAINS = (
    "example.org",
    "mail.example.org",
    "plain.example",
    "soft.example",
    "test.example",
    "broken.example",
    "down.example",
)
UNKNOWN = ("never checked", "never looked up")


def networks() -> st.SearchStrategy[tuple[Any, ...]]:
    return st.sampled_from([(), (), (), (ip_network(BAD_IP),), (ip_network("192.0.2.0/24"),)])


def dmarc(*, inner: bool = False) -> st.SearchStrategy[DmarcSettings]:
    return st.builds(
        DmarcSettings,
        mode=st.sampled_from(DmarcMode),
        reject=st.sampled_from(DmarcAction),
        quarantine=st.sampled_from(DmarcAction),
        temperror=st.sampled_from(OnTemperror),
        exempt=st.just(DmarcExempt())
        if inner
        else st.builds(
            DmarcExempt,
            networks=networks(),
            dkim_domains=st.sampled_from([(), (), ("example.org",), ("other.example",)]),
        ),
        domains=st.just({})
        if inner
        else st.dictionaries(
            st.sampled_from(["example.org", "mail.example.org", "soft.example"]), dmarc(inner=True), max_size=1
        ),
    )


SETTINGS = st.builds(
    Settings,
    mode=st.sampled_from([Mode.BOTH, Mode.BOTH, Mode.VERIFY, Mode.OBSERVE, Mode.SIGN]),
    spf=st.builds(
        SpfSettings,
        check_helo=st.booleans(),
        **{name: st.sampled_from(SpfAction) for name in ("helo_fail", "fail", "softfail", "permerror", "temperror")},
    ),
    dmarc=dmarc(),
    authors=st.builds(
        AuthorsSettings,
        **{name: st.sampled_from(OnAuthor) for name in ("none", "several_fields", "several_domains", "unparsable")},
    ),
    exempt=st.builds(Exempt, networks=networks()),
    reachable_recipients=st.just(("postmaster",)),
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A message, and how it is sent."""
    fields = draw(
        st.lists(
            st.one_of(
                st.sampled_from(DOMAINS).map(lambda domain: f"From: Joe <joe@{domain}>"),
                st.sampled_from(["From: joe at home", "From: a@example.org, b@soft.example", "From: <>"]),
            ),
            min_size=0,
            max_size=2,
        )
    )
    rest = MESSAGE.partition(b"\r\n")[2]
    message = "".join(f"{field}\r\n" for field in fields[: draw(st.sampled_from([1, 1, 1, 2]))]).encode() + rest
    if draw(st.booleans()) and message.lower().count(b"\nfrom:") + message.lower().startswith(b"from:") == 1:
        message = signed(message)
        if draw(st.booleans()):
            message += b"changed\r\n"
    sender = draw(st.sampled_from([*DOMAINS, ""]))
    return message, {
        "ip": draw(st.sampled_from([GOOD_IP, BAD_IP])),
        "helo": draw(st.sampled_from(["mail.example.org", "plain.example", "[192.0.2.1]"])),
        "mail_from": f"<joe@{sender}>".encode() if sender else b"<>",
        "recipients": (b"<postmaster@example.net>",)
        if draw(st.booleans()) and draw(st.booleans())
        else (b"<bob@example.net>",),
    }


@given(SETTINGS, SETTINGS, messages())
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_what_if_is_what_the_session_would_have_done(
    recorded: Settings, other: Settings, sent: tuple[bytes, dict[str, Any]]
) -> None:
    message, how = sent
    if recorded.mode is Mode.SIGN:
        recorded = replace(recorded, mode=Mode.VERIFY)  # what was not verified cannot be judged
    recorded = replace(recorded, exempt=Exempt())
    kept = Played(recorded, zone=ZONE).play(message, **how).record
    then, why = WhatIf(other).judge(complete(row_of(kept), "mx1", story_of(kept, str)))
    if any(word in why for word in UNKNOWN):
        event("unknown")
        return
    really = Played(other, zone=ZONE).play(message, **how).record
    event(f"{kept.action}, then {then}")
    assert (then, why) == (really.action, why)
