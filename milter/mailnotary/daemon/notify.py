"""What systemd is told (sd_notify(3)): datagrams to the socket in $NOTIFY_SOCKET; without it nothing is sent."""

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Tells systemd how the service fares. Never raises: the mail goes on where nobody listens."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]  # Linux's abstract namespace
        self.watchdog_interval = _watchdog_interval(environ)

    def ready(self, status: str) -> None:
        """The service accepts connections, at start or again after a reload; the text is for `systemctl status`."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; the time is what systemd tells this reload from an earlier one by."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=reloading")

    def stopping(self, seconds: float) -> None:
        """The service is about to end, and wants so much time for it, whatever the unit's TimeoutStopSec."""
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}\nSTATUS=serving the last sessions")

    def watchdog(self) -> None:
        """The service is alive."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(text.encode(), self._address)
        except OSError:
            pass  # nothing depends on it but the watchdog, whose time-out is then the right consequence


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Seconds between two heartbeats: half of what systemd allows, as sd_watchdog_enabled(3) advises."""
    try:
        if int(environ.get("WATCHDOG_PID") or os.getpid()) != os.getpid():
            return None
        microseconds = int(environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return microseconds / 2e6 if microseconds > 0 else None
