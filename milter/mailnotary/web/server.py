"""Serves the application, by waitress."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mailnotary.config.listen import MAX_UNIX_PATH, is_loopback
from mailnotary.errors import SetupError
from mailnotary.escape import printable

DEFAULT: Final = "127.0.0.1:8892"
EXAMPLES: Final = f"{DEFAULT}, [::1]:8892 or unix:/run/mailnotary-web/web.sock"
MISSING: Final = (
    "the page needs Python's Flask and waitress: install mailnotary[web], or Debian's python3-flask and "
    "python3-waitress"
)
_LIMITS: Final = {
    "threads": 4,
    "connection_limit": 100,
    "channel_timeout": 30,  # seconds in which a client that sends or takes nothing is left
    "cleanup_interval": 10,
    "max_request_header_size": 16_384,
    "max_request_body_size": 1024,  # which nobody reads
    "clear_untrusted_proxy_headers": True,
    "ident": "mailnotary",
}


class WebError(SetupError):
    """The page cannot be served."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page listens: `path` of a unix socket, or `host` and `port`."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Reads ADDRESS:PORT or unix:PATH. Raises ValueError with what to write instead."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path.startswith("/") or not path.isprintable() or len(path.encode()) > MAX_UNIX_PATH:
                raise ValueError(f"'{printable(text, 120)}' is not a socket: write {EXAMPLES}")
            return cls(path=path)
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not (port.isascii() and port.isdigit() and 0 <= int(port[:6]) <= 65535):
            raise ValueError(f"'{printable(text, 80)}' is not an address and a port: write {EXAMPLES}")
        return cls(host, int(port))

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or is_loopback(self.host)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"http://[{self.host}]:{self.port}/" if ":" in self.host else f"http://{self.host}:{self.port}/"


def server(app: Any, address: Address) -> Any:
    """A server that listens, and serves when its `run` is called. Raises WebError."""
    try:
        from waitress import create_server
    except ImportError as error:
        raise WebError(MISSING) from error
    return create_server(app, sockets=[_listening(address)], **_LIMITS)


def _listening(address: Address) -> socket.socket:
    family = socket.AF_UNIX if address.path else socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family)
    try:
        if address.path:
            _bind_unix(listening, address.path)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address.host, address.port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise WebError(f"cannot listen on {address}: {error.strerror or error}") from error
    return listening


def _bind_unix(listening: socket.socket, path: str) -> None:
    """Binds a socket that its group may open, too. One that nobody listens on any more is replaced."""
    before = os.umask(0o117)
    try:
        if _is_abandoned(path):
            os.unlink(path)
        listening.bind(path)
    finally:
        os.umask(before)


def _is_abandoned(path: str) -> bool:
    if not Path(path).is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
