"""Keys that a daemon gets from a program or a database: signed mail, whatever becomes of the source."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from support.daemon import Daemon
from support.dns_server import DnsServer
from support.mail import ed_pem, record_of, rsa_pem
from support.milter_client import MilterClient

TIMES = {"check_seconds": 1, "changes_seconds": 0.2}
QUERY = "SELECT domain, selector, key, 'active' AS state, changed FROM dkim"


def row(domain: str, pem: bytes | str = "", selector: str = "s1", **more: Any) -> dict[str, Any]:
    key = pem if isinstance(pem, str) and pem else (pem or ed_pem()).decode()
    return {"domain": domain, "selector": selector, "key": key, "state": "active", **more}


def daemon(directory: Path, source: dict[str, Any]) -> Daemon:
    return Daemon(directory, keystore={"domains": {}}, state_dir=str(directory), source=TIMES | source)


def program(directory: Path) -> tuple[Path, Callable[..., None]]:
    """A program that prints a file, and a function that writes that; with None the program fails."""
    path, output = directory / "keys", directory / "rows"
    path.write_text(f"#!/bin/sh\n[ -e {output} ] || {{ echo gone >&2; exit 3; }}\ncat {output}\n")
    path.chmod(0o755)

    def write(*rows: dict[str, Any]) -> None:
        new = directory / "new"
        new.write_text("".join(json.dumps(row) + "\n" for row in rows))
        new.rename(output)

    return path, write


def sent(at: Daemon, domain: str) -> str:
    """ "SELECTOR" that signed a message of this domain, "" for none, or the reply's code."""
    with MilterClient(at.address) as client:
        message = f"From: a@{domain}\r\nSubject: x\r\n\r\nhi\r\n".encode()
        done = client.send_message(message, client_ip="127.0.0.1", mail_from=f"a@{domain}")
    if done.reply is not None:
        return str(done.reply.code)
    signatures = done.headers("DKIM-Signature")
    return signatures[0].partition("s=")[2].partition(";")[0] if signatures else ""


def until(at: Daemon, domain: str, wanted: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while (found := sent(at, domain)) != wanted:
        assert time.monotonic() < deadline, f"{domain}: {found!r}, wanted {wanted!r}\n{at.text()[-3000:]}"
        time.sleep(0.1)


def command(at: Daemon, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    call = [sys.executable, "-m", "mailnotary", *words, "-c", str(at.file)]
    return subprocess.run(call, input=stdin, capture_output=True, check=False)


def test_a_program_s_keys_sign_and_change_and_go(tmp_path: Path) -> None:
    path, write = program(tmp_path)
    write(row("a.example"), row("b.example", rsa_pem()), row("bad.example", "no key"))
    with daemon(tmp_path, {"program": [str(path)], "may_shrink": True}) as at:
        until(at, "a.example", "s1")
        assert sent(at, "b.example") == "s1"
        assert sent(at, "bad.example") == "451"
        assert sent(at, "other.example") == ""
        assert "bad.example: " in at.wait_for("the source has keys that can't be used")[0]
        write(row("a.example", selector="s2"), row("c.example"))
        until(at, "a.example", "s2")
        assert (sent(at, "b.example"), sent(at, "bad.example"), sent(at, "c.example")) == ("", "", "s1")
        told = json.loads(command(at, "source", "--json").stdout)["source"]
        assert (told["domains"], told["waiting"], told["error"]) == (2, 0, "")
        shown = json.loads(command(at, "keys", "--json").stdout)
        assert {key["domain"] for key in shown["keys"]} == {"a.example", "c.example"}
        for words in (("rotate", "c.example"), ("keys", "remove", "c.example", "s1")):
            refused = command(at, *words)
            assert refused.returncode != 0
            assert f"the keys of c.example come from the source {path}: change them there" in refused.stderr.decode()
        message = tmp_path / "message"
        message.write_bytes(b"From: a@c.example\r\nSubject: x\r\n\r\nhi\r\n")
        signed = command(at, "sign", str(message))
        assert b"d=c.example; s=s1;" in signed.stdout.replace(b"\r\n", b"\n").replace(b"\n\t", b" "), signed


def test_a_source_that_is_away_changes_nothing_even_over_a_restart(tmp_path: Path) -> None:
    path, write = program(tmp_path)
    write(row("a.example"))
    with daemon(tmp_path, {"program": [str(path)]}) as at:
        until(at, "a.example", "s1")
        (tmp_path / "rows").unlink()
        at.wait_for("the source of keys does not answer; what it said last stays in force")
        assert sent(at, "a.example") == "s1"
        at.stop()
        at.start(ready=False)
        at.wait_until_served()
        until(at, "a.example", "s1")
        assert command(at, "source", "--check").returncode == 1
        assert b"gone" in command(at, "source").stdout
        write(row("a.example", selector="s9"))
        until(at, "a.example", "s9")


def test_before_its_first_answer_mail_that_it_may_have_keys_for_waits(tmp_path: Path) -> None:
    path, write = program(tmp_path)
    with daemon(tmp_path, {"program": [str(path)]}) as at:
        assert sent(at, "a.example") == "451"
        write(row("a.example"))
        until(at, "a.example", "s1")
        assert sent(at, "other.example") == ""


def test_an_answer_without_half_of_the_domains_is_not_taken_over(tmp_path: Path) -> None:
    path, write = program(tmp_path)
    write(*(row(f"d{number}.example") for number in range(20)))
    with daemon(tmp_path, {"program": [str(path)]}) as at:
        until(at, "d7.example", "s1")
        write(row("d1.example"))
        at.wait_for("set source.may_shrink to true")
        assert sent(at, "d7.example") == "s1"


def test_one_change_in_a_database_is_in_force_at_once(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "keys.db")) as database, database:
        database.execute("CREATE TABLE dkim (domain TEXT, selector TEXT, key TEXT, changed INTEGER)")
        rows = [(f"d{number}.example", "s1", ed_pem().decode(), 1) for number in range(3000)]
        database.executemany("INSERT INTO dkim VALUES (?, ?, ?, ?)", rows)
    source = {"sql": f"sqlite://{tmp_path}/keys.db", "query": QUERY, "check_seconds": 3600}
    with daemon(tmp_path, source) as at:
        until(at, "d2999.example", "s1")
        for number, selector in ((2, "s2"), (3, "s3")):
            with closing(sqlite3.connect(tmp_path / "keys.db")) as database, database:
                database.execute(
                    "UPDATE dkim SET selector = ?, changed = ? WHERE domain = 'd5.example'", (selector, number)
                )
            until(at, "d5.example", selector)
        assert sent(at, "d6.example") == "s1"


def test_sealed_keys_open_for_their_own_row_alone(tmp_path: Path) -> None:
    path, write = program(tmp_path)
    seal = tmp_path / "seal"
    with daemon(tmp_path, {"program": [str(path)], "seal_file": str(seal)}) as at:
        assert command(at, "source", "seal", "--new", str(seal)).returncode == 0
        assert seal.stat().st_mode & 0o077 == 0
        assert command(at, "source", "seal", "--new", str(seal)).returncode == 1
        done = command(at, "source", "seal", str(seal), "a.example", "s1", stdin=ed_pem())
        sealed = done.stdout.decode().strip()
        assert sealed.startswith("sealed:1:"), done.stderr
        write(row("a.example", sealed), row("b.example", sealed))
        until(at, "a.example", "s1")
        assert sent(at, "b.example") == "451"
        done = command(at, "source", "ask")
        assert done.returncode == 1
        assert b"b.example" in done.stdout
        assert b"the seal does not open" in done.stdout


def test_the_keys_that_are_kept_are_for_the_daemon_alone(tmp_path: Path) -> None:
    path, write = program(tmp_path)
    write(row("a.example"))
    with daemon(tmp_path, {"program": [str(path)]}) as at:
        until(at, "a.example", "s1")
        at.wait_for("the keys of the source have changed")
        deadline = time.monotonic() + 20
        while not (tmp_path / "source.names").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (tmp_path / "source.keys").stat().st_mode & 0o077 == 0
        assert ed_pem().splitlines()[1][:20] not in (tmp_path / "source.names").read_bytes()
        assert "PRIVATE" not in at.text()


def test_only_auto_keys_are_looked_up_and_they_sign_once_dns_has_them(tmp_path: Path) -> None:
    path, write = program(tmp_path)
    write(row("a.example"))
    zone: dict[str, Any] = {"example": [{"TXT": "none"}]}
    with DnsServer(zone) as dns:
        source = TIMES | {"program": [str(path)]}
        at = Daemon(
            tmp_path,
            keystore={"domains": {}},
            state_dir=str(tmp_path),
            source=source,
            dns={"nameservers": [dns.nameserver]},
            key_check_seconds=1,
        )
        with at:
            until(at, "a.example", "s1")
            write(row("a.example", selector="s2"))
            until(at, "a.example", "s2")
            assert not any("_domainkey" in name for name, _ in dns.questions)
            write(row("a.example", selector="s3"), row("b.example", state="auto"))
            until(at, "a.example", "s3")
            assert sent(at, "b.example") in ("", "451")  # 451 until the key watch has heard of it
            dns.set_zone({"s1._domainkey.b.example": [{"TXT": record_of(ed_pem())}]})
            until(at, "b.example", "s1")
