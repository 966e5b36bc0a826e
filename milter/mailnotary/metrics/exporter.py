"""Serves the metrics over HTTP, in Prometheus' text format, from what all processes of the daemon have counted."""

import logging
import platform
import socket
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import mailnotary
from mailnotary.errors import SetupError
from mailnotary.metrics.counts import Series
from mailnotary.metrics.definitions import BY_NAME, METRICS, PREFIX, Metric

log = logging.getLogger(__name__)

_PATIENCE: Final = 10.0  # seconds for a client to ask, and to take its answer
_AT_ONCE: Final = 8  # requests; more are turned away


class MetricsError(SetupError):
    """The metrics cannot be served."""


class Sums:
    """Counters of all processes added up, and the gauges as they were last told."""

    def __init__(self) -> None:
        self._values: dict[Series, float] = {("build_info", mailnotary.__version__, platform.python_version()): 1}
        self._lock = threading.Lock()

    def add(self, values: list[tuple[Series, float]]) -> None:
        """Adds to counters, sets gauges. What no metric is called is left out."""
        with self._lock:
            for series, value in values:
                metric = BY_NAME.get(series[0]) if series else None
                if metric is None:
                    continue
                self._values[series] = value + (0 if metric.kind == "gauge" else self._values.get(series, 0))

    def get(self, *series: str) -> float:
        """One value; 0 where it was never told."""
        with self._lock:
            return self._values.get(series, 0)

    def collect(self) -> Iterator[Any]:
        """The metrics as prometheus_client has them (its Collector)."""
        with self._lock:
            values = dict(self._values)
        for metric in METRICS:
            yield _family(metric, {series[1:]: value for series, value in values.items() if series[0] == metric.name})


def _family(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    name = PREFIX + metric.name
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, metric.meaning)
        total = 0.0
        buckets = []
        for place, bound in enumerate((*map(str, metric.buckets), "+Inf")):
            total += values.get((str(place),), 0)
            buckets.append((bound, total))
        histogram.add_metric([], buckets, values.get(("sum",), 0))
        return histogram
    family = (CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily)(
        name, metric.meaning, labels=metric.labels
    )
    for labels, value in sorted(values.items()):
        if len(labels) == len(metric.labels):
            family.add_metric(labels, value)
    if not metric.labels and not values:
        family.add_metric((), 0)
    return family


def address(listen: str) -> tuple[str, int]:
    """Host and port of `metrics.listen`, checked when the configuration was read."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


class Exporter:
    """The HTTP server. It has threads of its own and no part in mail."""

    def __init__(self, listen: str, sums: Sums) -> None:
        """Listens. Raises MetricsError."""
        try:
            from prometheus_client import CollectorRegistry
        except ImportError as error:
            raise MetricsError(
                "metrics.listen needs Python's prometheus_client: install mailnotary[metrics], or Debian's "
                "python3-prometheus-client"
            ) from error
        registry = CollectorRegistry()
        registry.register(sums)
        host, port = address(listen)
        try:
            self._server = _Server((host, port), registry, sums)
        except OSError as error:
            raise MetricsError(f"metrics.listen: cannot listen on {listen}: {error.strerror}") from error
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    @property
    def port(self) -> int:
        """The port."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Listens no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, where: tuple[str, int], registry: Any, sums: Sums) -> None:
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self.registry = registry
        self.sums = sums
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__(where, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or talks nonsense: not worth a line."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE
    server_version = "mailnotary"
    sys_version = ""

    def do_GET(self) -> None:
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, generate_latest(self.server.registry), CONTENT_TYPE_LATEST)
        elif path == "/-/healthy":
            self._answer(200, b"the recorder is running\n")
        elif path == "/-/ready":
            ready = self.server.sums.get("workers") > 0
            self._answer(200 if ready else 503, b"mail is served\n" if ready else b"no worker is running\n")
        else:
            self._answer(404, b"see /metrics, /-/healthy and /-/ready\n")

    def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: each scrape would be a line."""
