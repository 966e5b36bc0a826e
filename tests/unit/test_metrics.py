"""Counts and their way to Prometheus, read with its own parser."""

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from mailnotary.metrics.counts import Counts, read, write
from mailnotary.metrics.definitions import METRICS
from mailnotary.metrics.exporter import Exporter, MetricsError
from mailnotary.metrics.sums import Sums
from support.daemon import free_port
from support.messages import refused, verified

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sums() -> Sums:
    return Sums()


@pytest.fixture
def exporter(sums: Sums) -> Iterator[Exporter]:
    served = Exporter(f"127.0.0.1:{free_port()}", sums)
    yield served
    served.close()


def get(exporter: Exporter, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}{path}", timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_messages_are_counted_by_what_came_of_them(sums: Sums, exporter: Exporter) -> None:
    counts = Counts()
    counts.messages([verified(), refused(), replace(verified(), error="x", algorithms=("rsa", "ed25519"))])
    counts.query("timeout", 5.0)
    sums.add(read(counts.take()))
    found = samples(get(exporter, "/metrics")[1])
    assert found["mailnotary_messages_total", (("action", "accept"), ("mode", "verify"))] == 2
    assert found["mailnotary_messages_total", (("action", "reject"), ("mode", "verify"))] == 1
    assert found["mailnotary_results_total", (("method", "dmarc"), ("result", "fail"))] == 1
    assert found["mailnotary_results_total", (("method", "dkim"), ("result", "none"))] == 1
    assert found["mailnotary_results_total", (("method", "spf"), ("result", "pass"))] == 2
    assert found["mailnotary_signatures_total", (("algorithm", "ed25519"),)] == 1
    assert found["mailnotary_errors_total", ()] == 1
    assert found["mailnotary_dns_lookups_total", ()] == 12
    assert found["mailnotary_dns_queries_total", (("outcome", "timeout"),)] == 1
    assert found["mailnotary_message_seconds_count", ()] == 3
    assert found["mailnotary_message_seconds_bucket", (("le", "0.001"),)] == 0
    assert found["mailnotary_message_seconds_bucket", (("le", "0.0025"),)] == 3
    assert found["mailnotary_dns_query_seconds_bucket", (("le", "5.0"),)] == 1
    assert found["mailnotary_dns_query_seconds_sum", ()] == 5.0


def test_counters_add_up_and_gauges_are_set(sums: Sums) -> None:
    for alive in (2, 1):
        sums.add([(("workers",), alive), (("worker_restarts",), 1)])
    assert sums.get("workers") == 1
    assert sums.get("worker_restarts") == 2


def test_what_is_no_metric_is_left_out(sums: Sums, exporter: Exporter) -> None:
    sums.add([(("nonsense",), 1), ((), 1), (("messages", "one label"), 1), (("workers", "a label"), 1)])
    assert "nonsense" not in get(exporter, "/metrics")[1]
    assert "one label" not in get(exporter, "/metrics")[1]


def test_counts_of_many_threads_are_complete() -> None:
    counts = Counts()

    def count() -> None:
        for _ in range(2000):
            counts.add("errors")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(counts.take()) == [(("errors",), 16_000.0)]
    assert counts.take() == b""


@pytest.mark.parametrize("packet", [b"", b"{", b"[1]", b"[[1]]", b'[["a"]]', b'[[["a"], null]]', b"\xff"])
def test_a_broken_packet_is_an_error(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(packet)


def test_every_metric_is_served_by_the_conventions(exporter: Exporter) -> None:
    text = get(exporter, "/metrics")[1]
    for metric in METRICS:
        assert f"# HELP {metric.full_name} {metric.meaning}" in text.replace("_total_total", "_total"), metric
        assert re.fullmatch(r"[a-z_]+", metric.name)
        assert not metric.name.endswith("_total")
    assert read(write([(("workers",), 2)])) == [(("workers",), 2.0)]


def test_health_and_readiness(sums: Sums, exporter: Exporter) -> None:
    assert get(exporter, "/-/healthy")[0] == 200
    assert get(exporter, "/-/ready")[0] == 503
    sums.add([(("workers",), 2)])
    assert get(exporter, "/-/ready")[0] == 200
    assert get(exporter, "/")[0] == 404


def test_a_port_in_use_is_an_error_that_names_it(exporter: Exporter, sums: Sums) -> None:
    with pytest.raises(MetricsError, match=f"cannot listen on 127.0.0.1:{exporter.port}: Address already in use"):
        Exporter(f"127.0.0.1:{exporter.port}", sums)


# --- what is shipped for Prometheus and Grafana

NAMES = {metric.full_name for metric in METRICS} | {
    f"{metric.full_name}{suffix}"
    for metric in METRICS
    if metric.kind == "histogram"
    for suffix in ("_bucket", "_sum", "_count")
}


def used_names(text: str) -> set[str]:
    return set(re.findall(r"\bmailnotary_[a-z_]+", text))


def test_the_alert_rules_use_metrics_that_there_are() -> None:
    rules = yaml.safe_load((ROOT / "config/prometheus-rules.yaml").read_text())
    alerts = rules["groups"][0]["rules"]
    assert len(alerts) >= 6
    for alert in alerts:
        assert used_names(alert["expr"]) <= NAMES, alert
        assert used_names(alert["expr"])
        assert alert["annotations"]["summary"]


def test_the_dashboard_uses_metrics_that_there_are() -> None:
    dashboard = json.loads((ROOT / "config/grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(expressions) >= 10
    for expression in expressions:
        assert used_names(expression) <= NAMES, expression
        assert used_names(expression)
