"""One connection of the MTA: its session, what it negotiated, and how far its message has come."""

import logging
import time
from typing import NamedTuple

from mailnotary.session.session import Session

log = logging.getLogger(__name__)


class Replies(NamedTuple):
    """What libmilter gets after each event that is not answered: to go on, or "no reply" where that was agreed."""

    connect: int
    helo: int
    mail: int
    rcpt: int
    header: int
    eoh: int
    body: int


class Connection:
    """What is kept for one connection of the MTA. `actions` are those that it negotiated. `busy_since` is the monotonic
    time at which the callback began that is at work now, 0.0 while none is: what the worker's watchdog looks at.
    `idle_since` is that at which it began to be between messages, None while it is in one."""

    __slots__ = ("actions", "busy_since", "defect", "error", "idle_since", "replies", "session")

    def __init__(self, session: Session, actions: int, replies: Replies) -> None:
        self.session = session
        self.actions = actions
        self.replies = replies
        self.busy_since = 0.0
        self.idle_since: float | None = time.monotonic()
        self.defect: BaseException | None = None  # in what the connection began with: it spoils all of its messages
        self.error: BaseException | None = None  # in the message under way

    def begin_message(self) -> None:
        """Forgets the message before."""
        self.error = self.defect
        self.idle_since = None

    def end_message(self) -> None:
        """No message is under way any more."""
        self.busy_since = 0.0
        self.idle_since = time.monotonic()

    def fail(self, event: str, error: BaseException) -> None:
        """An event of the message under way failed: its end will be answered accordingly."""
        self.busy_since = 0.0
        if self.error is None:
            self.error = error
            log.error("defect while handling an event", exc_info=error, extra={"fields": {"milter_event": event}})
        try:
            self.session.broken(error)
        except Exception as second:
            log.error("defect in broken()", exc_info=second)


class Connections(set[Connection]):
    """All connections of a process. Threads of libmilter add and remove them meanwhile, so each look takes a copy."""

    def stuck_since(self) -> float | None:
        """The monotonic time at which the longest-running callback began; None if none is at work."""
        begun = [since for connection in tuple(self) if (since := connection.busy_since)]
        return min(begun, default=None)

    def in_messages(self, idle_seconds: float) -> list[Connection]:
        """The connections that are in a message or were until so many seconds ago."""
        now = time.monotonic()
        return [
            connection
            for connection in tuple(self)
            if connection.idle_since is None or now - connection.idle_since < idle_seconds
        ]

    def longest_idle(self) -> float:
        """For how many seconds the idlest connection has been between messages."""
        now = time.monotonic()
        return max(
            (now - since for connection in tuple(self) if (since := connection.idle_since) is not None),
            default=0.0,
        )
