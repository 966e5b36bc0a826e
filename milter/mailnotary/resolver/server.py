"""What is known about a nameserver."""

import socket
from typing import Any

MISSES = 3  # questions in a row without any reply, after which a server counts as down
MISS_TIME = 0.5  # seconds that a server must have had for that
DOWN_TIME = 30.0  # seconds for which a server that is down is passed over, where there is another
PLAIN_TIME = 300.0  # seconds for which a server that can't do EDNS is asked without
MAX_STRAYS = 50  # datagrams that are not a reply to ours; then somebody is guessing, and TCP can't be guessed


class Server:
    """A nameserver and what is known about its state. Raises ValueError for what is not an IP address or port.

    Threads write the numbers without a lock: a lost update delays a verdict by one question."""

    __slots__ = ("address", "down_until", "family", "misses", "plain_until", "text")

    def __init__(self, address: str, port: int) -> None:
        if not 0 < port < 65_536:
            raise ValueError(f"nameserver {address!r}: {port} is not a port")
        try:
            addresses = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError, ValueError) as error:
            raise ValueError(f"nameserver {address!r} is not an IP address") from error
        self.family: socket.AddressFamily = addresses[0][0]
        self.address: tuple[Any, ...] = addresses[0][4]
        self.text = f"{address} port {port}"
        self.misses = 0
        self.down_until = 0.0
        self.plain_until = 0.0

    def seen(self) -> None:
        """It has sent a reply."""
        self.misses = 0
        self.down_until = 0.0

    def missed(self, now: float, *, refused: bool = False) -> None:
        """It has sent none, or its port is closed."""
        self.misses += 1
        if refused or self.misses >= MISSES:
            self.down_until = now + DOWN_TIME

    def connect(self) -> socket.socket:
        """A new socket for questions to it, which never waits: the kernel picks a random port (RFC 5452 section 9.2),
        and drops what others send. Raises OSError."""
        sock = socket.socket(self.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self.address)
        except OSError:
            sock.close()
            raise
        return sock
