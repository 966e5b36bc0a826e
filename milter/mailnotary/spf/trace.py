"""What a check did, step by step, for commands that explain it."""

from dataclasses import dataclass, field

from mailnotary.frozen import frozen
from mailnotary.resolver import Answer, DnsTempError, RecordKind


@frozen
class Question:
    """One question to DNS, and its answer or what kept it from having one."""

    name: str
    kind: RecordKind
    answer: Answer | DnsTempError


@dataclass(slots=True)
class TraceStep:
    """One step of a check. It is in the trace from its beginning; its outcome is filled in later.

    `depth` counts the includes and redirects around it. `term` as written in the record, "" for the step that
    fetches a domain's record (then `record` is its text, or None). `target` the <target-name> that its domain-spec
    expanded to. `outcome` is "match" or "no match"; for a record's own step, a redirect and every error it is a result
    word; for exp= "explanation" or "no explanation". `note` says more. `lookups` and `void_lookups` as of the
    end of the step (RFC 7208 4.6.4)."""

    depth: int
    domain: str
    term: str = ""
    record: bytes | None = None
    target: str = ""
    questions: list[Question] = field(default_factory=list)
    outcome: str = ""
    note: str = ""
    lookups: int = 0
    void_lookups: int = 0
