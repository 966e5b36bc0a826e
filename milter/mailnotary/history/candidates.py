"""Which ARC sealers a list of trusted ones would need: of the messages that failed DMARC, those that passed it before
somebody sealed them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MAX_CANDIDATES: Final = 10_000  # sets of sealers that are told apart; messages of others are counted as one
_MAX_DOMAINS: Final = 1000  # author domains of one


@dataclass(slots=True)
class Candidate:
    """`sealers` would all have to be trusted, the newest first, so that `messages` pass, of which `refused` did not
    come through at once. `authors` counts their author domains."""

    sealers: tuple[str, ...]
    messages: int = 0
    refused: int = 0
    authors: Counter[str] = field(default_factory=Counter)


def candidates(messages: Iterable[Mapping[str, Any]]) -> list[Candidate]:
    """The candidates in messages of `story.complete`, those with the most messages first."""
    found: dict[tuple[str, ...], Candidate] = {}
    for message in messages:
        arc = message["arc"]
        if not arc or not arc["missing"]:
            continue
        sealers = tuple(arc["missing"])
        if sealers not in found and len(found) >= MAX_CANDIDATES:
            sealers = ()
        candidate = found.setdefault(sealers, Candidate(sealers))
        candidate.messages += 1
        candidate.refused += message["action"] != "accept"
        author = message["dmarc"]["domain"]
        if author in candidate.authors or len(candidate.authors) < _MAX_DOMAINS:
            candidate.authors[author] += 1
    return sorted(found.values(), key=lambda one: (-one.messages, one.sealers))
