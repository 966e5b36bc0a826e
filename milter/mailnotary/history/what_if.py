"""What another configuration would have done with the messages of the history.

The results are those that were recorded, so nothing is guessed: the policy of the other configuration is applied to
them by the same functions that the daemon uses. What was never checked stays unknown, and `why` says so.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from mailnotary.authres import Results
from mailnotary.config.settings import DmarcMode, Mode, Settings, SpfAction, SpfSettings
from mailnotary.history.story import author_of, results_of
from mailnotary.session.forwarded import overridden
from mailnotary.session.outcome import MessageMode
from mailnotary.session.policy import DmarcVerdict, containing, message_verdict, spf_reply
from mailnotary.spf.result import SpfIdentity
from mailnotary.status import DkimStatus, DmarcStatus

MAX_KNOWN: Final = 100_000  # clients that are counted; further ones are not told to be known
_HELO_UNKNOWN: Final = "; SPF of its HELO name was never checked"
KNOWN: Final = 20  # messages of a client that passed DMARC, from which on it is called known


@dataclass(frozen=True, slots=True)
class Change:
    """A message that would have ended differently. `now` and `then` are actions: accept, hold, reject or tempfail."""

    message: Mapping[str, Any]
    now: str
    then: str
    why: str

    @property
    def refuses(self) -> bool:
        """Whether mail that came through would not have come through at once."""
        return self.now == "accept"


@dataclass(slots=True)
class WhatIf:
    """Compares; `messages` counts those that were looked at."""

    settings: Settings
    messages: int = 0
    _known: Counter[str] = field(default_factory=Counter)

    def changes(self, messages: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
        """The messages that would have ended differently, in their order."""
        for message in messages:
            self.messages += 1
            self._note(message)
            then, why = self.judge(message)
            if then != message["action"]:
                yield Change(message, message["action"], then, why)

    def legitimate(self, change: Change) -> str:
        """Why a message looks like honest mail, "" where nothing says so. To be asked at the end: it depends on what
        else the client sent."""
        author = set(author_of(change.message).domains)
        signers = [result["domain"] for result in change.message["dkim"] if result["status"] == DkimStatus.PASS]
        if foreign := [domain for domain in signers if domain not in author]:
            return f"valid signature of {foreign[0]} (a list or forwarder?)"
        if (count := self._known[change.message["client"]]) >= KNOWN:
            return f"{count} other messages of this client passed DMARC"
        return ""

    def judge(self, message: Mapping[str, Any]) -> tuple[str, str]:
        """The action for one message, and what decided."""
        if message["mode"] != MessageMode.VERIFY:
            return message["action"], "it was not verified"
        if message["regardless"]:
            return message["action"], "its results decided nothing"
        settings = self.settings
        client = _address(message["client"])
        if network := containing(settings.exempt.networks, client):
            return "accept", f"{client} is in exempt.networks ({network})"
        if settings.mode in (Mode.SIGN, Mode.OBSERVE):
            return "accept", f"mode is {settings.mode}"
        results = results_of(message)
        spf = [one for one in results.spf if settings.spf.check_helo or one.identity is not SpfIdentity.HELO]
        if (refusal := spf_reply(settings.spf, spf, client)) is not None and not message["reachable"]:
            then, why = ("reject" if refusal.code >= 500 else "tempfail"), refusal.text
        else:
            then, why = self._by_author(message, results, client)
        return then, why + (_HELO_UNKNOWN if _is_helo_unknown(settings.spf, results, client) else "")

    def _by_author(
        self, message: Mapping[str, Any], results: Results, client: IPv4Address | IPv6Address | None
    ) -> tuple[str, str]:
        if message["author"] is None:  # SPF ended it before its header came
            return "accept", "SPF would not refuse it; its signatures and DMARC were never checked"
        settings = self.settings
        dmarc = None if settings.dmarc.mode is DmarcMode.OFF else results.dmarc
        unchecked = dmarc is None and settings.dmarc.mode is not DmarcMode.OFF
        verdict = message_verdict(settings, author_of(message), dmarc, results.signatures, client)
        verdict = overridden(
            verdict,
            author_of(message),
            dmarc,
            results.passage,
            settings.arc.trusted_sealers if settings.arc.verify else (),
        )
        if message["reachable"] and verdict.action != "accept":
            verdict = DmarcVerdict("tag", why="its recipients are in reachable_recipients")
        if verdict.reply is not None:
            return ("reject" if verdict.reply.code >= 500 else "tempfail"), verdict.reply.text
        if verdict.hold is not None:
            return "hold", verdict.hold.reason
        why = verdict.why or (
            f"DMARC {dmarc.status} for {dmarc.domain}" if dmarc is not None else "no policy refuses it"
        )
        return "accept", "its DMARC policy was never looked up" if unchecked else why

    def _note(self, message: Mapping[str, Any]) -> None:
        client = message["client"]
        passed = message["dmarc"] and message["dmarc"]["status"] == DmarcStatus.PASS
        if passed and (client in self._known or len(self._known) < MAX_KNOWN):
            self._known[client] += 1


def _is_helo_unknown(settings: SpfSettings, results: Results, client: IPv4Address | IPv6Address | None) -> bool:
    """Whether HELO's result, which may refuse a message, was not asked for when it came."""
    matters = settings.check_helo and settings.helo_fail is not SpfAction.ACCEPT and client is not None
    return matters and all(one.identity is not SpfIdentity.HELO for one in results.spf)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
