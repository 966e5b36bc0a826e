"""What the history keeps of a message, and that nothing else gets into it."""

import json
import os
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.authres import Results
from mailnotary.config.history import HistoryAddresses
from mailnotary.dkim.evidence import Evidence
from mailnotary.dkim.result import DkimResult
from mailnotary.dmarc.policy_record import parse
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.escape import printable
from mailnotary.history.privacy import hide
from mailnotary.history.rows import count, pack, packet, unpack
from mailnotary.history.story import MAX_STORY, MAX_URIS, author_of, complete, results_of, row_of, story_of
from mailnotary.mail.address import Author
from mailnotary.mail.mailboxes import AuthorProblem
from mailnotary.session.outcome import MessageMode
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import DkimStatus, DmarcStatus, SpfStatus
from support.messages import refused, verified


def kept(record: object, hides: object = str) -> dict[str, object]:
    [(row, story)] = unpack(packet([pack(row_of(record, 1_700_000_000.5), story_of(record, hides))]))  # type: ignore[arg-type]
    return complete(row, "mx1", story)


def test_all_of_a_message_that_matters_comes_back() -> None:
    told = kept(verified())
    assert told["time"] == "2023-11-14T22:13:20.500Z"
    assert [told[key] for key in ("host", "queue_id", "client", "mode", "action")] == [
        *("mx1", "4ABC", "192.0.2.1", "verify", "accept")
    ]
    assert [told[key] for key in ("helo", "mail_from", "user", "ms")] == [
        *("mail.example.org", "alice@example.org", None, 1.3)
    ]
    assert told["author"] == {"domains": ["example.org"], "problem": None, "reason": "", "more": False}
    assert told["dmarc"] == {
        "status": "pass",
        "domain": "example.org",
        "policy": "reject",
        "disposition": "none",
        "org_domain": "example.org",
        "spf_aligned": True,
        "dkim_aligned": True,
        "reason": "SPF and DKIM aligned",
        "record": {
            "domain": "example.org",
            "p": "reject",
            "sp": "quarantine",
            "np": "quarantine",
            "adkim": "r",
            "aspf": "s",
            "t": True,
            "psd": "u",
            "fo": "0",
            "rua": ["mailto:dmarc@example.org"],
            "problems": [],
        },
    }
    assert told["is_report"] is False
    assert told["reply"] is None
    json.dumps(told)


def test_a_refusal_has_its_words() -> None:
    told = kept(refused())
    assert told["action"] == "reject"
    assert told["reply"] == {
        "code": 550,
        "enhanced_code": "5.7.1",
        "text": "Email rejected per DMARC policy for bank.example: nothing passed",
    }


def test_results_come_back_as_the_engines_gave_them() -> None:
    for record in (verified(), refused()):
        back = results_of(kept(record))
        assert back.spf == record.results.spf
        assert back.signatures == tuple(replace(result, signature="") for result in record.results.signatures)
        assert back.dmarc is not None
        assert record.results.dmarc is not None
        assert back.dmarc == replace(record.results.dmarc, brief="", record=None, policy_domain="")


@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=200), st.text(max_size=40), st.text(max_size=100))
def test_no_text_breaks_the_packet_or_adds_to_it(helo: str, sender: str, why: str, queue_id: str, error: str) -> None:
    record = verified(queue_id, helo=helo, mail_from=sender, why=why, error=error)
    both = packet([pack(row_of(record), story_of(record, str))] * 2)
    assert count(both) == 2
    first, second = unpack(both)
    assert first == second
    assert complete(first[0], "h", first[1])["mode"] == "verify"


_texts = st.text(max_size=40)
_numbers = st.integers(-(10**12), 10**12)


@given(
    st.builds(
        SpfResult,
        st.sampled_from(SpfStatus),
        st.sampled_from(SpfIdentity),
        *[_texts] * 4,
        lookups=st.integers(0, 10),
        void_lookups=st.integers(0, 2),
        brief=_texts,
    ),
    st.builds(
        DkimResult,
        st.sampled_from(DkimStatus),
        *[_texts] * 4,
        key_bits=_numbers,
        reason=_texts,
        brief=_texts,
        evidence=st.none()
        | st.builds(
            Evidence, st.none() | _numbers, st.none() | _numbers, st.lists(_texts, max_size=3).map(tuple), st.booleans()
        ),
    ),
    st.builds(
        DmarcResult,
        st.sampled_from(DmarcStatus),
        _texts,
        st.none() | st.sampled_from(Policy),
        st.sampled_from(Policy),
        _texts,
        st.booleans(),
        st.booleans(),
        _texts,
    ),
    _texts,
)
def test_whatever_the_engines_say_comes_back(spf: SpfResult, dkim: DkimResult, dmarc: DmarcResult, reason: str) -> None:
    author = Author((), ("a.example", "b.example"), AuthorProblem.AMBIGUOUS, reason, True)
    told = kept(verified(results=Results(spf=(spf,), dkim=(dkim,), dmarc=dmarc), author=author))
    back = results_of(told)
    assert (back.spf, back.signatures, back.dmarc) == ((spf,), (dkim,), dmarc)
    assert author_of(told) == replace(author, reason=printable(reason))


def test_each_policy_record_is_told_with_its_own_domain() -> None:
    """Their texts are kept; each again, and as many as drive the first ones out."""
    result = verified().results.dmarc
    assert result is not None
    for number in (*range(3000), *range(3000)):
        record = parse(f"v=DMARC1; p=none; rua=mailto:{number}@r.example".encode())
        one = replace(result, record=record, policy_domain=f"d{number}.example")
        told = json.loads(story_of(verified(results=Results(dmarc=one)), str))[7][-1]
        assert (told[0], told[-2]) == (f"d{number}.example", [f"mailto:{number}@r.example"])


def test_a_thousand_signatures_are_told_in_a_bounded_story_with_those_that_pass() -> None:
    good = verified().results.signatures[0]
    bad = replace(good, status=DkimStatus.FAIL, reason="x" * 10_000)
    record = verified(results=Results(dkim=(*[bad] * 999, good)))
    row, story = row_of(record), story_of(record, str)
    assert row.dkim == "pass"
    assert len(story) <= MAX_STORY
    story_of(verified(results=Results(dkim=(*[replace(bad, reason="r")] * 999, good))), str)


@pytest.mark.parametrize("addresses", [HistoryAddresses.DOMAIN, HistoryAddresses.HASH])
def test_hidden_addresses_are_nowhere_in_the_story(addresses: HistoryAddresses, tmp_path: Path) -> None:
    hides = hide(addresses, tmp_path)
    spf = replace(
        verified().results.spf[1], reason="exists:joe.private._spf.example.org", explanation="joe.private: no"
    )
    dkim = replace(verified().results.signatures[0], identity="joe.private@example.org")
    record = verified(
        mail_from="joe.private@example.org",
        auth_user="joe.private@example.org",
        mode=MessageMode.SIGN,
        why="authenticated as joe.private@example.org",
        results=Results(spf=(spf,), dkim=(dkim,)),
    )
    story = story_of(record, hides)
    assert "joe" not in story
    assert "example.org" in story


def test_the_same_sender_has_the_same_hash_and_another_key_another_one(tmp_path: Path) -> None:
    one, other = tmp_path / "1", tmp_path / "2"
    one.mkdir()
    other.mkdir()
    first = hide(HistoryAddresses.HASH, one)("joe@example.org")
    assert first == hide(HistoryAddresses.HASH, one)("Joe@example.org".lower())
    assert first != hide(HistoryAddresses.HASH, other)("joe@example.org")
    assert first.endswith("@example.org")
    assert os.stat(one / "history.key").st_mode & 0o777 == 0o600


def test_of_reporting_addresses_the_first_few_that_mail_can_reach_are_kept() -> None:
    rua = ",".join(
        ["https://r.example/x", "mailto:" + "a" * 600 + "@r.example", *(f"mailto:{n}@r.example" for n in range(20))]
    )
    result = replace(
        verified().results.dmarc or refused().results.dmarc, record=parse(f"v=DMARC1; p=none; rua={rua}".encode())
    )  # type: ignore[type-var]
    told = kept(verified(results=Results(dmarc=result)))
    assert told["dmarc"]["record"]["rua"] == [f"mailto:{n}@r.example" for n in range(MAX_URIS)]  # type: ignore[index]


def test_a_key_that_is_too_short_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "history.key").write_bytes(b"short")
    with pytest.raises(OSError, match=r"history\.key is too short to be a key: remove it"):
        hide(HistoryAddresses.HASH, tmp_path)


def test_what_an_older_version_did_not_write_is_none() -> None:
    row = row_of(verified(client="2001:db8::1"))
    assert row.client == str(ip_address("2001:db8::1"))
    assert complete(row, "h", '["helo"]')["ms"] is None
    without_brief = '["helo","",null,"",null,[["pass","mailfrom","a.example","","","",1,0]],[["pass","a.example"]]]'
    told = complete(row, "h", without_brief)
    assert (told["spf"][0]["brief"], told["is_report"]) == (None, None)
    with pytest.raises(ValueError, match="not a story"):
        complete(row, "h", "{}")
