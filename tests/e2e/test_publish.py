"""Records that are published by dynamic updates (RFC 2136) at a real BIND and a real Knot, and by a program."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest

from mailnotary.cli import main
from mailnotary.files import user_name
from mailnotary.publish import tsig
from mailnotary.resolver import DnsTempError
from mailnotary.resolver.authority import Authority
from mailnotary.resolver.update import Change, Primary, UpdateError
from support.daemon import free_port
from support.nameservers import OTHER, TSIG, Bind, Knot, zone

HOST = "127.0.0.1"
USER = user_name(os.geteuid())
NAME = "s1._domainkey.example.org"
LONG = b"v=DKIM1; k=rsa; p=" + b"A" * 390
MORE = ('@ IN TXT "site-verification=1"', '@ IN TXT "v=spf1 -all"', "old._domainkey IN CNAME old.dkim.example.net.")


def _key(directory: Path, text: str = TSIG) -> Path:
    path = directory / "tsig.key"
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture(params=["bind", "knot"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bind | Knot]:
    kind = Bind if request.param == "bind" else Knot
    text = zone("example.org", {"ns1": HOST}, *MORE)
    with kind(tmp_path / "server", HOST, free_port(), {"example.org": text}) as server:
        server.start("example.org")
        yield server


def _primary(server: Bind | Knot, key: Path, zone: str = "example.org", timeout: float = 30) -> Primary:
    return Primary((HOST, server.port), zone, tsig.read(key), timeout=timeout)


def _texts(server: Bind | Knot, name: str) -> set[bytes]:
    reply = dns.query.tcp(dns.message.make_query(name, "TXT"), HOST, 30, port=server.port)
    return {b"".join(record.strings) for rrset in reply.answer for record in rrset}


def test_a_record_is_added_replaced_and_removed(server: Bind | Knot, tmp_path: Path) -> None:
    primary = _primary(server, _key(tmp_path))
    assert primary.texts(NAME) == ()
    primary.change([Change(NAME, add=(LONG,), before=())], 60)
    assert primary.texts(NAME) == (LONG,)
    assert _texts(server, NAME) == {LONG}
    primary.change([Change(NAME, add=(b"new",), remove=(LONG,), before=(LONG,))], 60)
    assert _texts(server, NAME) == {b"new"}
    for _ in range(2):  # what is gone already is not an error
        primary.change([Change(NAME, remove=(b"new",))], 60)
    assert _texts(server, NAME) == set()


def test_of_two_who_publish_at_one_name_one_wins(server: Bind | Knot, tmp_path: Path) -> None:
    primary = _primary(server, _key(tmp_path))
    primary.change([Change(NAME, add=(b"first",), before=())], 60)
    with pytest.raises(UpdateError) as caught:
        primary.change([Change(NAME, add=(b"second",), before=())], 60)
    assert caught.value.conflict
    assert _texts(server, NAME) == {b"first"}


def test_an_alias_is_never_published_over_in_silence(server: Bind | Knot, tmp_path: Path) -> None:
    primary, name = _primary(server, _key(tmp_path)), "old._domainkey.example.org"
    with pytest.raises(UpdateError, match="alias"):
        primary.texts(name)
    with pytest.raises(UpdateError):
        primary.change([Change(name, add=(b"x",), before=())], 60)


def test_a_wrong_secret_is_named(server: Bind | Knot, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="another secret for the TSIG key mailnotary"):
        _primary(server, _key(tmp_path, OTHER)).change([Change(NAME, add=(b"x",))], 60)
    assert _texts(server, NAME) == set()


def test_an_unknown_key_is_named(server: Bind | Knot, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="does not know the TSIG key nobody"):
        _primary(server, _key(tmp_path, TSIG.replace('"mailnotary"', '"nobody"'))).change([Change(NAME)], 60)


def test_a_zone_that_the_server_does_not_have_is_named(server: Bind | Knot, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="primary"):
        _primary(server, _key(tmp_path), "example.net").change([Change("a.example.net", add=(b"x",))], 60)


def test_a_server_that_refuses_the_update_is_named(tmp_path: Path) -> None:
    text = zone("example.org", {"ns1": HOST})
    bind = Bind(tmp_path / "b", HOST, free_port(), {"example.org": text}, policy="grant mailnotary name x.example.org;")
    knot = Knot(tmp_path / "k", HOST, free_port(), {"example.org": text}, allow=False)
    with bind, knot:
        for server in (bind, knot):
            server.start("example.org")
            with pytest.raises(UpdateError, match=r"does not let (mailnotary|it) change"):
                _primary(server, _key(tmp_path)).change([Change(NAME, add=(b"x",))], 60)
            assert _texts(server, NAME) == set()


def test_a_server_that_is_away_or_silent_is_named(server: Bind | Knot, tmp_path: Path) -> None:
    primary = _primary(server, _key(tmp_path), timeout=3)
    server.freeze()
    with pytest.raises(UpdateError, match="did not answer within 3 s"):
        primary.change([Change(NAME)], 60)
    server.thaw()
    server.stop()
    with pytest.raises(UpdateError, match="can't be reached"):
        primary.change([Change(NAME)], 60)


def test_each_nameserver_is_asked_itself_and_an_alias_followed(tmp_path: Path) -> None:
    port = free_port()
    own = zone("example.org", {"ns1": "127.0.0.1", "ns2": "127.0.0.2"}, "s1._domainkey IN CNAME s1.dkim.example.net.")
    target = zone("dkim.example.net", {"ns1": "127.0.0.1", "ns2": "127.0.0.2"}, 's1 IN TXT "old"')
    with (
        Bind(tmp_path / "1", "127.0.0.1", port, {"example.org": own, "dkim.example.net": target}) as first,
        Knot(tmp_path / "2", "127.0.0.2", port, {"example.org": own, "dkim.example.net": target}) as second,
    ):
        first.start("example.org")
        second.start("example.org")
        authority = Authority([("127.0.0.1", port)], timeout=30, port=port)
        assert authority.zone_of(NAME) == "example.org"
        place = authority.place_of(NAME)
        assert (place.name, place.zone) == ("s1.dkim.example.net", "dkim.example.net")
        primary = Primary(("127.0.0.1", port), place.zone, tsig.read(_key(tmp_path)))
        primary.change([Change(place.name, add=(b"new",), remove=(b"old",), before=(b"old",))], 60)
        served = {one.server.address[0]: one.answer.texts for one in authority.ask_each(place)}
        assert served == {"127.0.0.1": (b"new",), "127.0.0.2": (b"old",)}  # this secondary lags
        second.stop()
        assert [one.problem != "" for one in authority.ask_each(place)] == [False, True]
        first.stop()
        with pytest.raises(DnsTempError):
            Authority([("127.0.0.1", port)], timeout=1, port=port).zone_of(NAME)


def _configuration(directory: Path, server: Bind | Knot, publish: str) -> Path:
    directory.mkdir(exist_ok=True)
    at = f"{HOST}:{server.port}"
    file = directory / "mailnotary.yaml"
    file.write_text(f"dns: {{nameservers: ['{at}'], timeout: 2}}\nuser: {USER}\npublish: {publish}\n".replace("AT", at))
    _key(directory)
    return file


def test_the_command_shows_the_difference_and_then_publishes(
    server: Bind | Knot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _configuration(tmp_path / "c", server, "{server: 'AT', key: tsig.key, nameservers: ['AT']}")
    command = ["dns", "example.org", "-c", str(file), "--publish", "--spf", "v=spf1 mx -all"]
    command += ["--dmarc", "v=DMARC1; p=none; rua=mailto:d@example.org"]
    assert main(command) == 1  # nobody is asked: this is not a terminal
    shown = capsys.readouterr().out
    assert "- v=spf1 -all\n  + v=spf1 mx -all" in shown
    assert "_dmarc.example.org. TXT (in the zone example.org)\n  + v=DMARC1; p=none" in shown
    assert _texts(server, "example.org") == {b"site-verification=1", b"v=spf1 -all"}
    assert main([*command, "--yes"]) == 0
    assert capsys.readouterr().out.count("serves it") == 2
    assert _texts(server, "example.org") == {b"site-verification=1", b"v=spf1 mx -all"}
    assert main([*command, "--yes"]) == 0
    assert "DNS has all of this already" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert all(not change["add"] for change in json.loads(capsys.readouterr().out)["changes"])


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--spf", "v=spf1 mxx -all"], "--spf: "),
        (["--spf", "spf1"], "begins with v=spf1"),
        (["--dmarc", "v=DMARC1; p=all"], "--dmarc: "),
        (["--dmarc", "p=none"], "v=DMARC1"),
        ([], "nothing to publish"),
    ],
)
def test_the_command_publishes_no_record_that_is_wrong(
    option: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.yaml").write_text(f"user: {USER}\n")
    assert main(["dns", "example.org", "-c", str(tmp_path / "m.yaml"), "--publish", *option]) == 1
    assert said in capsys.readouterr().err


def test_a_program_publishes(server: Bind | Knot, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f'#!{sys.executable}\nimport sys\nopen(sys.argv[1], "a").write("|".join(sys.argv[2:]) + "\\n")\n')
    hook.chmod(0o755)
    file = _configuration(tmp_path / "c", server, f"{{program: ['{hook}', '{tmp_path}/calls'], nameservers: ['AT']}}")
    command = ["dns", "example.org", "-c", str(file), "--publish", "--yes", "--spf", "v=spf1 mx -all"]
    assert main(command) == 0
    called = (tmp_path / "calls").read_text().splitlines()
    assert called == ["remove|example.org|TXT|v=spf1 -all", "add|example.org|TXT|v=spf1 mx -all"]
    assert "does not serve it yet" in capsys.readouterr().out
    hook.write_text("#!/bin/sh\necho no credit >&2\nexit 3\n")
    assert main(command) == 1
    assert "status 3: no credit" in capsys.readouterr().err
    hook.chmod(0o777)
    assert main(command) == 1
    assert "chmod go-w" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (TSIG, 0o644, "chmod 0600"),
        ("hello", 0o600, "not a TSIG key"),
        (TSIG.replace("sha256", "md5"), 0o600, "hmac-md5 is not safe"),
        (TSIG.replace('secret "', 'secret "='), 0o600, "base64"),
        ("x" * 5000, 0o600, "not a TSIG key"),
    ],
)
def test_what_is_wrong_with_the_file_of_a_tsig_key_is_said(text: str, mode: int, said: str, tmp_path: Path) -> None:
    path = _key(tmp_path, text)
    path.chmod(mode)
    with pytest.raises(tsig.TsigFileError, match=said):
        tsig.read(path)


def test_a_missing_tsig_key_is_said_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(tsig.TsigFileError, match=r"none: does not exist: write it with `tsig-keygen NAME`"):
        tsig.read(tmp_path / "none")


def test_knots_form_of_a_tsig_key_is_read(tmp_path: Path) -> None:
    key = tsig.read(_key(tmp_path, "# hmac-sha512:k.example:c2VjcmV0\nkey:\n- id: k.example\n"))
    assert (key.name, key.algorithm, key.secret) == ("k.example", "hmac-sha512", b"secret")
    assert "secret" not in repr(key)


def test_the_example_for_lexicon_calls_it_as_it_wants(tmp_path: Path) -> None:
    (tmp_path / "lexicon").write_text('#!/bin/sh\nprintf "%s|" "$LEXICON_X_TOKEN" "$@" >&2\n')
    (tmp_path / "lexicon").chmod(0o755)
    (tmp_path / "env").write_text("LEXICON_X_TOKEN=secret\n")
    program = Path(__file__).parents[2] / "config" / "examples" / "publish-lexicon"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LEXICON_SETTINGS": str(tmp_path / "env")}
    for action, verb in (("add", "create"), ("remove", "delete")):
        command = [str(program), "x", action, NAME, "TXT", "v=DKIM1; p=abc="]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        expected = ["secret", "x", verb, "example.org", "TXT", "--name", f"{NAME}.", "--content", "v=DKIM1; p=abc="]
        assert done.stderr.split("|")[:-1] == expected
    assert subprocess.run([str(program), "x", "list", NAME, "TXT", ""], env=environment, check=False).returncode == 2


@pytest.mark.root
def test_check_config_names_what_publishing_would_fail_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "m.yaml"
    key = _key(tmp_path)
    file.write_text(f"user: {USER}\npublish: {{server: 192.0.2.53, key: tsig.key}}\n")
    assert main(["check-config", "-c", str(file)]) == 0
    assert "tsig.key" not in capsys.readouterr().err
    key.chmod(0o644)
    assert main(["check-config", "-c", str(file)]) == 0
    assert f"{key}: others have access to it (mode 0644): run `chmod 0600 {key}` (warning)" in capsys.readouterr().err
    assert main(["check-config", "-c", str(file), "--json"]) == 0
    assert "others have access" in json.loads(capsys.readouterr().out)["warnings"][0]["message"]
