"""What a signature that passes leaves open: its age, and what can be added."""

import json
from pathlib import Path

import pytest

from mailnotary import dkim
from mailnotary.cli import main
from mailnotary.crypto import load_private_key
from mailnotary.dkim.evidence import GUARDED, Evidence, text
from mailnotary.history.story import complete, results_of, row_of, story_of
from mailnotary.resolver import ZoneResolver
from mailnotary.resolver.dns import DnsResolver
from support.dns_server import DnsServer
from support.mail import MESSAGE, NOW, Played, ed_pem, zone


def signed(message: bytes = MESSAGE, *, now: int = NOW, **options: object) -> bytes:
    signer = dkim.Signer("example.org", "ed", load_private_key(ed_pem()), **options)  # type: ignore[arg-type]
    return dkim.sign(message, signer, now=now) + b"\r\n" + message


def found(message: bytes, now: int = NOW) -> Evidence | None:
    [result] = dkim.verify(message, ZoneResolver(zone()), now=now)
    return result.evidence


def test_age_and_life() -> None:
    evidence = found(signed(now=NOW - 3 * 86_400, expire_after=7 * 86_400))
    assert evidence == Evidence(3 * 86_400, 4 * 86_400, ())
    assert text(evidence) == "signed 3 days ago; expires in 4 days"
    assert found(signed(now=NOW + 60)) == Evidence(-60, None, ())
    assert text(Evidence(-60, None, ())) == "signed 60 seconds from now"
    assert text(Evidence(None, None, ())) == ""


def test_what_can_be_added_is_what_is_not_signed_once_more_than_it_is_there() -> None:
    assert found(signed()).addable == ()  # type: ignore[union-attr]
    bare = found(signed(oversign=()))
    assert bare is not None
    assert bare.addable == GUARDED
    some = found(signed(headers=("From", "Subject"), oversign=("From",)))
    assert some is not None
    assert "From" not in some.addable
    assert "Subject" in some.addable
    assert text(some).endswith("does not protect from one more " + ", ".join(some.addable))
    added = b"Subject: free money\r\n"
    assert [one.status for one in dkim.verify(added + signed(oversign=()), ZoneResolver(zone()), now=NOW)] == ["pass"]
    assert [one.status for one in dkim.verify(added + signed(), ZoneResolver(zone()), now=NOW)] == ["fail"]


def test_a_signature_that_fails_has_none() -> None:
    assert found(signed().replace(b"Noon", b"Nine")) is None


def test_the_history_keeps_it() -> None:
    record = Played().play(signed(now=NOW - 60, oversign=())).record
    story = complete(row_of(record), "mx", story_of(record, str))
    assert story["dkim"][0]["evidence"] == {"age": 60, "left": None, "addable": list(GUARDED), "secure": False}
    assert results_of(story).signatures[0].evidence == record.results.signatures[0].evidence


def test_commands_show_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.eml").write_bytes(signed(now=NOW - 7200, oversign=("From",)))
    (tmp_path / "zone.yaml").write_text(json.dumps(zone()))
    common = [str(tmp_path / "m.eml"), "--zone", str(tmp_path / "zone.yaml"), "--now", str(NOW)]
    envelope = ["--ip", "192.0.2.10", "--helo", "mail.example.org", "--mail-from", "alice@example.org"]
    for words in (["verify", *common], ["explain", *common, *envelope]):
        assert main(words) == 0
        assert "signed 2 hours ago; does not protect from one more To, Subject" in capsys.readouterr().out
        assert main([*words, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        [evidence] = told["evidence" if words[0] == "verify" else "dkim_evidence"]
        assert evidence["age"] == 7200
    assert main(["spf", *common[1:3], *envelope, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["breadth"]["ipv4"] == 256


def test_the_resolver_s_word_on_dnssec_is_told() -> None:
    with DnsServer(zone(), authentic=True) as validating, DnsServer(zone()) as other:
        for server, secure in ((validating, True), (other, False)):
            resolver = DnsResolver([(server.host, server.port)])
            [result] = dkim.verify(signed(), resolver, now=NOW)
            assert result.evidence is not None
            assert result.evidence.secure is secure
            assert ("DNSSEC" in text(result.evidence)) is secure
