"""What a check did, step by step, for commands that explain it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Step:
    """One step of a check, handed out when it begins; what comes of it is filled in until the check returns.

    `depth` is how deep in include and redirect it stands. `term` as written in the record, "" for the step that
    fetches a domain's record (then `record` is its text, as octets). `target` the <target-name> that its domain-spec
    came to. `outcome` "match", "no match", or for the record's own step and for an error a result word. `note` a
    clause that says more. `lookups` and `void_lookups` as they stood when the step ended (RFC 7208 4.6.4)."""

    depth: int
    domain: str
    term: str = ""
    record: bytes | None = None
    target: str = ""
    outcome: str = ""
    note: str = ""
    lookups: int = 0
    void_lookups: int = 0


Trace = Callable[[Step], None]
"""Called as each step begins, in the order of evaluation; `list.append` collects them."""
