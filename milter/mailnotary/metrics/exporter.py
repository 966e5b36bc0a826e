"""Serves the metrics over HTTP, in Prometheus' text format, from what all processes of the daemon have counted."""

import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from mailnotary.errors import SetupError
from mailnotary.metrics.sums import Sums

log = logging.getLogger(__name__)

_PATIENCE: Final = 10.0  # seconds for a client to ask, and to take its answer
_AT_ONCE: Final = 8  # requests; more are turned away


class MetricsError(SetupError):
    """The metrics cannot be served."""


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
