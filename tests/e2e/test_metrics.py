"""The metrics of a real daemon, and what is served for Prometheus, looked at by Prometheus' own tool."""

import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from mailnotary.crypto import generate_private_key
from support.daemon import Daemon, free_port
from support.milter_client import MilterClient

MESSAGE = b"From: alice@example.org\r\nSubject: x\r\n\r\nhi\r\n"
ROOT = Path(__file__).parents[2]


def scrape(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
        text: str = reply.read().decode()
        return text


def values(port: int) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(label for _, label in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(scrape(port))
        for sample in family.samples
    }


def wait_for(port: int, series: tuple[str, ...], value: float, seconds: float = 20) -> dict[tuple[str, ...], float]:
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = values(port)
        except OSError:
            found = {}
        if found.get(series) == value or time.monotonic() > deadline:
            assert found.get(series) == value, found
            return found
        time.sleep(0.2)


def daemon(directory: Path, port: int, **config: Any) -> Daemon:
    return Daemon(directory, state_dir=str(directory), metrics={"listen": f"127.0.0.1:{port}"}, **config)


def test_what_the_daemon_does_is_counted(tmp_path: Path) -> None:
    port = free_port()
    key = tmp_path / "key.pem"
    key.write_bytes(generate_private_key("ed25519"))
    key.chmod(0o600)
    keystore = {"domains": {"example.org": {"keys": [{"selector": "s1", "file": str(key), "state": "active"}]}}}
    with daemon(tmp_path, port, keystore=keystore, sign_for={"networks": ["192.0.2.77"]}) as running:
        for address in ("192.0.2.10", "192.0.2.10", "192.0.2.77"):
            with MilterClient(running.address) as client:
                assert client.send_message(MESSAGE, client_ip=address).reply is None
        wait_for(port, ("mailnotary_messages_total", "accept", "verify"), 2)
        wait_for(port, ("mailnotary_signatures_total", "ed25519"), 1)
        wait_for(port, ("mailnotary_message_seconds_count",), 3)
        wait_for(port, ("mailnotary_workers",), 2)
        wait_for(port, ("mailnotary_keys", "active"), 1)
        wait_for(port, ("mailnotary_configuration_generation",), 1)
        running.reload(good=False, nonsense=True)
        wait_for(port, ("mailnotary_reload_failures_total",), 1)
        assert scrape(port, "/-/ready") == "mail is served\n"
        assert not list(tmp_path.glob("history*"))
        promtool = shutil.which("promtool")
        assert promtool is not None
        text = scrape(port).encode()
        subprocess.run([promtool, "check", "metrics"], input=text, check=True, capture_output=True)


def test_a_port_that_another_program_has_costs_no_mail(tmp_path: Path) -> None:
    first, port = tmp_path / "1", free_port()
    second = tmp_path / "2"
    first.mkdir()
    second.mkdir()
    with daemon(first, port), daemon(second, port) as running:
        running.wait_for("the metrics cannot be served; mail is not affected")
        with MilterClient(running.address) as client:
            assert client.send_message(MESSAGE).reply is None


def test_the_alert_rules_are_valid() -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None
    rules = str(ROOT / "config/prometheus-rules.yaml")
    subprocess.run([promtool, "check", "rules", rules], check=True, capture_output=True)


def test_the_source_of_keys_is_told_and_forgotten(tmp_path: Path) -> None:
    port = free_port()
    program = tmp_path / "keys"
    row = {"domain": "a.example", "selector": "s1", "key": generate_private_key("ed25519").decode(), "state": "active"}
    rows = tmp_path / "rows"
    rows.write_text("".join(json.dumps(row | more) + "\n" for more in ({}, {"domain": "bad.example", "key": "none"})))
    program.write_text(f"#!/bin/sh\ncat {rows}\n")
    program.chmod(0o755)
    source = {"program": [str(program)], "check_seconds": 1}
    with daemon(tmp_path, port, keystore={"domains": {}}, source=source) as running:
        found = wait_for(port, ("mailnotary_source_domains",), 2)
        assert found["mailnotary_source_domains_waiting",] == 1
        assert found["mailnotary_source_failing",] == 0
        rows.unlink()
        found = wait_for(port, ("mailnotary_source_failing",), 1)
        assert found["mailnotary_source_domains",] == 2
        running.reload(source={})
        found = wait_for(port, ("mailnotary_source_domains",), 0)
        assert found["mailnotary_source_failing",] == 0
