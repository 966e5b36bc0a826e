"""What is searched for: from the fields of a form to a `Search`, and back into the address of the next page."""

import calendar
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlencode

from mailnotary.domain import to_ascii
from mailnotary.escape import printable
from mailnotary.history.search import RESULTS, Search

ACTIONS: Final = ("accept", "hold", "tempfail", "reject")
FIELDS: Final = ("q", "result", "action", "from", "until")
MAX_FIELD: Final = 320  # characters
_TIMES: Final = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d")
MAX_ID: Final = 2**63 - 1
MAX_HOST: Final = 255  # octets of a host's name


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search, and the fields that it was made of. `problem` says which of them could not be understood."""

    fields: Mapping[str, str]
    search: Search
    problem: str = ""

    def address(self, **more: str) -> str:
        """The query of this search, with other fields."""
        return urlencode({name: value for name, value in (dict(self.fields) | more).items() if value})

    @property
    def is_narrow(self) -> bool:
        """Whether anything was asked for."""
        return any(self.fields.values())


def wanted(query: Mapping[str, str]) -> Wanted:
    """The search of a form. `q` is an address, a domain or a queue id."""
    fields = {name: query.get(name, "").strip()[:MAX_FIELD] for name in FIELDS}
    try:
        before = message_id(query["before"]) if query.get("before") else None
        column, value = _subject(fields["q"])
        search = Search(
            queue_id=value if column == "queue_id" else None,
            domain=value if column == "domain" else None,
            client=value if column == "client" else None,
            result=_result(fields["result"]),
            action=_choice(fields["action"]),
            since=_time(fields["from"]),
            until=_time(fields["until"]),
            before=before,
        )
    except ValueError as error:
        return Wanted(fields, Search(), str(error))
    return Wanted(fields, search)


def message_id(text: str) -> tuple[int, str]:
    """The number and the host of a message's id. Raises ValueError."""
    number, at, host = text.partition("@")
    if not at or not number.isascii() or not number.isdigit() or len(number) > 19 or int(number) > MAX_ID:
        raise ValueError(f"{printable(text, 40)} is not the id of a message")
    if len(host) > MAX_HOST or "\0" in host:
        raise ValueError("this is not the id of a message: its host is not a name")
    return int(number), host


def _subject(text: str) -> tuple[str, str]:
    """The column that a text is for, and its value there."""
    if not text:
        return "", ""
    if "\0" in text:
        raise ValueError("what you look for has a character that no message has")
    with suppress(ValueError):
        return "client", str(ip_address(text.strip("[]")))
    if "." in text:
        name = text.rpartition("@")[2]
        return "domain", to_ascii(name) or name.lower()
    return "queue_id", text


def _result(text: str) -> tuple[str, str] | None:
    if not text:
        return None
    if text not in RESULTS:
        raise ValueError(f"{printable(text, 40)} is not a result: choose one of the list")
    method, _, word = text.partition("=")
    return method, "" if (method, word) == ("dkim", "none") else word


def _choice(text: str) -> str | None:
    if text and text not in ACTIONS:
        raise ValueError(f"{printable(text, 40)} is not what can be done with a message: choose one of the list")
    return text or None


def _time(text: str) -> float | None:
    """Seconds of a time in UTC."""
    if not text:
        return None
    for form in _TIMES:
        try:
            seconds = calendar.timegm(time.strptime(text, form))
        except (ValueError, OverflowError):
            continue
        if 0 <= seconds < 2**32:
            return float(seconds)
    raise ValueError(f"{printable(text, 40)} is not a time: write it like 2026-03-01 14:30")
