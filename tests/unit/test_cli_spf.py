"""The command `mailnotary spf`."""

import json
from pathlib import Path

import pytest

from mailnotary.cli import main
from support.dns_server import DnsServer

QQ = Path(__file__).parents[2] / "config" / "examples" / "qq.com.yaml"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["spf", *arguments]) == 0
    return capsys.readouterr().out


@pytest.fixture
def zone(tmp_path: Path) -> Path:
    path = tmp_path / "zone.yaml"
    path.write_text(
        """
        example.com:
          - TXT: "v=spf1 a:%{h} include:i.example -all exp=e.example"
          - TXT: something else
        mail.example.com: [{A: 198.51.100.1}]
        i.example: [{TXT: "v=spf1 ip4:10.0.0.0/8 ?all"}]
        e.example: [{TXT: "%{c} is not a server of ours"}]
        loop.example: [{TXT: "v=spf1 include:slow.example"}]
        slow.example: [{TXT: "v=spf1 exists:never.example"}]
        never.example: TIMEOUT
        evil.example: [{TXT: "v=spf1 a:\\e[2J\\n.example"}]
        """
    )
    return path


def test_the_whole_tree_of_nested_includes_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(
        capsys, "--zone", str(QQ), "--ip", "192.0.2.1", "--helo", "mail.example.org", "--mail-from", "user@qq.com"
    )
    lines = shown.splitlines()
    assert "HELO      none  mail.example.org" in lines
    assert "MAIL FROM fail  qq.com" in lines
    assert "          8 of 10 look-ups, 0 of 2 void look-ups, 9 DNS questions" in lines
    for name in ("qq-a", "qq-b", "qq-c", "biz-a", "biz-b", "biz-c", "biz-d"):
        assert f"│  ├─ include:{name}.mail.qq.com  no match" in lines
    assert "└─ -all  match: fail  <- decides" in lines
    assert lines[-1] == "Breadth   lets in 1,552 IPv4 addresses"


def test_terms_questions_answers_and_the_explanation(capsys: pytest.CaptureFixture[str], zone: Path) -> None:
    shown = run(
        capsys, "--zone", str(zone), "--ip", "192.0.2.1", "--helo", "mail.example.com", "--mail-from", "<a@example.com>"
    )
    assert shown == (
        """\
HELO      none  mail.example.com
          mail.example.com has no SPF record
          0 of 10 look-ups, 0 of 2 void look-ups, 1 DNS question
mail.example.com  none
   TXT mail.example.com: NODATA
   mail.example.com has no SPF record

MAIL FROM fail  example.com
          192.0.2.1 matches -all of example.com
          the domain explains: 192.0.2.1 is not a server of ours
          2 of 10 look-ups, 0 of 2 void look-ups, 4 DNS questions
example.com  TXT "v=spf1 a:%{h} include:i.example -all exp=e.example"  (1 other TXT)
├─ a:%{h} = mail.example.com  no match
│     A mail.example.com: 198.51.100.1
├─ include:i.example  no match
│  │  i.example  TXT "v=spf1 ip4:10.0.0.0/8 ?all"
│  ├─ ip4:10.0.0.0/8  no match
│  └─ ?all  match: neutral
├─ -all  match: fail  <- decides
└─ exp=e.example  explanation
      TXT e.example: "%{c} is not a server of ours"
      192.0.2.1 is not a server of ours

Breadth   lets in 16,777,216 IPv4 addresses, and whatever a:%{h} matches
"""
    )


def test_an_error_is_shown_where_it_was_met(capsys: pytest.CaptureFixture[str], zone: Path) -> None:
    shown = run(capsys, "--zone", str(zone), "--ip", "::1", "--helo", "loop.example", "--mail-from", "")
    assert shown.partition("\n\n")[2] == (
        """\
MAIL FROM temperror  loop.example
          exists:never.example of slow.example: A never.example: TIMEOUT
          2 of 10 look-ups, 0 of 2 void look-ups, 3 DNS questions
loop.example  TXT "v=spf1 include:slow.example"
└─ include:slow.example  temperror
   │  slow.example  TXT "v=spf1 exists:never.example"
   └─ exists:never.example  temperror  <- decides
         A never.example: TIMEOUT
         exists:never.example of slow.example: A never.example: TIMEOUT

Breadth   lets in 0 IPv4 addresses, and whatever exists:never.example matches
"""
    )


def test_nothing_untrusted_reaches_the_terminal(capsys: pytest.CaptureFixture[str], zone: Path) -> None:
    shown = run(
        capsys, "--zone", str(zone), "--ip", "192.0.2.1", "--helo", "\x1b]0;x\x07[red]", "--mail-from", "a@evil.example"
    )
    assert all(line.isprintable() for line in shown.split("\n"))
    assert "[red]" in shown
    assert "\\x1b[2J\\x0a" in shown


def test_json_has_each_identity_and_each_question(capsys: pytest.CaptureFixture[str], zone: Path) -> None:
    shown = run(
        capsys,
        "--zone",
        str(zone),
        "--ip",
        "192.0.2.1",
        "--helo",
        "e.example",
        "--mail-from",
        "a@example.com",
        "--json",
    )
    data = json.loads(shown)
    assert set(data) == {"spf", "dns", "breadth"}
    assert [(result["identity"], result["status"]) for result in data["spf"]] == [
        ("helo", "none"),
        ("mailfrom", "fail"),
    ]
    assert data["spf"][1] == {
        "status": "fail",
        "identity": "mailfrom",
        "domain": "example.com",
        "mechanism": "-all",
        "explanation": "192.0.2.1 is not a server of ours",
        "reason": "192.0.2.1 matches -all of example.com",
        "lookups": 2,
        "void_lookups": 1,
    }
    assert data["dns"][1]["name"] == "example.com"
    assert {"name": "e.example", "kind": "A", "answer": "NODATA"} in data["dns"]


def test_wrong_usage_and_a_missing_zone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["spf", "--ip", "192.0.2", "--helo", "x", "--mail-from", ""])
    assert caught.value.code == 2
    assert "192.0.2 is not an IPv4 or IPv6 address" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["spf", "--ip", "192.0.2.1", "--helo", "x", "--mail-from", "bob"])
    assert caught.value.code == 2
    assert "bob has no domain: write an address like bob@example.org" in capsys.readouterr().err
    missing = str(tmp_path / "missing.yaml")
    assert main(["spf", "--ip", "192.0.2.1", "--helo", "x", "--mail-from", "", "--zone", missing]) == 1
    assert missing in capsys.readouterr().err


def test_an_equals_sign_and_a_misspelled_version_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "zone.yaml"
    path.write_text('eq.example: [{TXT: "v=spf1 include=i.example -all"}]\nsemi.example: [{TXT: "v=spf1; -all"}]\n')
    shown = run(
        capsys, "--zone", str(path), "--ip", "192.0.2.1", "--helo", "semi.example", "--mail-from", "a@eq.example"
    )
    assert "semi.example has no SPF record, but one that does not begin with v=spf1 and a space" in shown
    assert "include=i.example is ignored" in shown


def test_it_follows_the_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "m.yaml"
    with DnsServer({"example.org": [{"TXT": "v=spf1 a:n1.example a:n2.example a:n3.example -all"}]}) as server:
        for void, status in ((2, "permerror"), (3, "fail")):
            config.write_text(f"dns: {{nameservers: ['{server.nameserver}']}}\nspf: {{void_lookups: {void}}}\n")
            shown = run(
                capsys, "-c", str(config), "--ip", "192.0.2.1", "--helo", "x.example", "--mail-from", "a@example.org"
            )
            assert f"MAIL FROM {status}  example.org" in shown
            assert f"of {void} void look-ups" in shown


def test_a_configuration_in_error_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("dns: {nameservers: [x]}\n")
    words = ["--ip", "192.0.2.1", "--helo", "x.example", "--mail-from", "a@example.org"]
    assert main(["spf", "-c", str(tmp_path / "m.yaml"), *words]) != 0
    assert "m.yaml:1:21: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a.example: [\n", ":2:1: expected ',' or the end of the brackets that begin in line 1"),
        ("- a.example\n", "a zone file maps each name to its list of records"),
        ("a.example: [{NAPTR: x}]\n", "a.example"),
    ],
)
def test_a_zone_file_that_cannot_be_used_is_told_with_its_mistake(
    text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zone.yaml"
    path.write_text(text)
    options = ["--ip", "192.0.2.1", "--helo", "a.example", "--mail-from", "u@a.example"]
    assert main(["spf", "--zone", str(path), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"mailnotary spf: {path}")
    assert problem in error
