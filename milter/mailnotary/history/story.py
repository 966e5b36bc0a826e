"""One message as the history keeps it: columns to search by, and its story, a JSON array in the order of `_STORY`.

An array rather than an object: it takes half the room, and half the time to write. `complete` makes of it what
`history --json` prints, with the results as `explain --json` has them. A story never has the subject, the body, the
recipients or the words around the author's address.
"""

import json
import operator
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from mailnotary.arc.result import ArcResult, ArcSet
from mailnotary.authres import Passage, Results
from mailnotary.dkim.evidence import Evidence
from mailnotary.dkim.result import DkimResult
from mailnotary.dkim2.result import DRAFT, Dkim2Result
from mailnotary.dmarc.policy_record import PolicyRecord
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.escape import printable
from mailnotary.history.privacy import Hide
from mailnotary.mail.address import Author
from mailnotary.mail.mailboxes import AuthorProblem
from mailnotary.remember import Remembered, size
from mailnotary.session.outcome import MessageRecord
from mailnotary.session.policy import Reply
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import ArcStatus, DkimStatus, DmarcStatus, SpfStatus

MAX_TEXT: Final = 1000  # characters of one value
MAX_SIGNATURES: Final = 20  # told of, those that pass first
MAX_STORY: Final = 32_768  # octets; a longer one is told without its longest parts
MAX_URIS: Final = 10  # of rua= that are kept, and so get reports: "up to the Receiver's limits" (RFC 9990)
MAX_URI: Final = 512  # octets of one: an address has at most 254 (RFC 5321 4.5.3.1.3), some of them percent-encoded
_MAX_DOMAINS: Final = 6  # claimed by a From field: one more than are evaluated
_MAX_PROBLEMS: Final = 5  # of a policy record

# The order of a story's values, and of those of its parts. Stores are full of them: to add one, append it.
_STORY: Final = (
    *("helo", "mail_from", "user", "why", "author", "spf", "dkim", "dmarc", "would", "override", "reachable"),
    *("regardless", "signed", "reply", "error", "ms", "compared", "is_report", "dkim2", "arc"),
)
_SPF: Final = ("status", "identity", "domain", "mechanism", "explanation", "reason", "lookups", "void_lookups", "brief")
_DKIM: Final = ("status", "domain", "selector", "identity", "algorithm", "key_bits", "reason", "brief", "evidence")
_DMARC: Final = (
    *("status", "domain", "policy", "disposition", "org_domain", "spf_aligned", "dkim_aligned", "reason", "record"),
)
_RECORD: Final = ("domain", "p", "sp", "np", "adkim", "aspf", "t", "psd", "fo", "rua", "problems")
_AUTHOR: Final = ("domains", "problem", "reason", "more")
_COMPARED: Final = ("other", "method", "theirs", "ours", "reason")
_DKIM2: Final = ("status", "domain", "brief", "hops", "draft")  # experimental; its reason may have a recipient
_ARC: Final = ("status", "reason", "brief", "oldest_pass", "sets", "passed_through", "first_client", "missing")
_REPLY: Final = ("code", "enhanced_code", "text")


class Row(NamedTuple):
    """What is searched by. `time` is in microseconds since the epoch, at the message's end; `domain` the author domain,
    "" without one; `spf` MAIL FROM's result, `dkim` that of the signature that counts most, `dmarc`; "" where there is
    none; `compared` what other filters found, "ID/method/theirs/ours" for each;
    `differs` the methods in which one of them got another result."""

    time: int
    queue_id: str
    client: str
    domain: str
    mode: str
    action: str
    spf: str
    dkim: str
    dmarc: str
    compared: str
    differs: str


_BEST = {status: place for place, status in enumerate((DkimStatus.PASS, *DkimStatus))}
_EVIDENCE: Final = Evidence._fields
_policy_record = operator.attrgetter(
    *("policy", "subdomain_policy", "nonexistent_policy", "dkim_alignment", "spf_alignment", "testing", "psd", "fo")
)
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, default=str).encode
_quote = json.encoder.encode_basestring_ascii


def row_of(record: MessageRecord, now: float | None = None) -> Row:
    """The row of a message that ends now."""
    results = record.results
    signatures = results.signatures
    dmarc = results.dmarc
    author = record.author
    mail_from = ""
    for result in results.spf:
        if result.identity is SpfIdentity.MAILFROM:
            mail_from = result.status
            break
    return Row(
        int((time.time() if now is None else now) * 1_000_000),
        printable(record.queue_id, 100),
        str(record.client) if record.client is not None else "",
        author.domains[0] if author is not None and author.domains else "",
        record.mode,
        record.action,
        mail_from,
        min([result.status for result in signatures], key=_BEST.__getitem__) if signatures else "",
        dmarc.status if dmarc is not None else "",
        " ".join("/".join(comparison[:-1]) for comparison in record.compared) if record.compared else "",
        " ".join(sorted({comparison.method for comparison in record.compared if not comparison.agrees}))
        if record.compared
        else "",
    )


# --- writing --------------------------------------------------------------------------------------------------------
# Every message comes through here, and it takes `json` longer to find out of what types the values are, which we know,
# than to write them.


def story_of(record: MessageRecord, hide: Hide) -> str:
    """The story of a message, in US-ASCII on one line."""
    parts = _parts(record, hide)
    text = _array(parts)
    if len(text) > MAX_STORY:
        for long in ("dkim", "author", "why", "error"):
            parts[_STORY.index(long)] = _NULL
        text = _array(parts)
    if len(text) > MAX_STORY:  # fifty seals with the longest names that there are
        parts[_STORY.index("arc")] = _NULL
        text = _array(parts)
    return text


_NULL: Final = "null"
_BOOLEAN: Final = ("false", "true")


def _array(parts: Iterable[str]) -> str:
    return f"[{','.join(parts)}]"


def _parts(record: MessageRecord, hide: Hide) -> list[str]:
    """The values of a story, each as JSON, without what tells more of a person than `hide` lets through: macros put the
    sender's local part into reasons and explanations (RFC 7208 section 7), i= may have a user's name (RFC 6376 section
    3.5)."""
    results, verdict, dmarc = record.results, record.verdict, record.results.dmarc
    user, why = record.auth_user, record.why
    if user:
        hidden_user = hide(user)
        user, why = hidden_user, why.replace(user, hidden_user)
    hides = hide is not str
    local_part = record.mail_from.rpartition("@")[0].lower() if hides else ""
    signatures: Sequence[DkimResult] = results.signatures
    if len(signatures) > MAX_SIGNATURES:
        signatures = sorted(signatures, key=lambda result: _BEST[result.status])[:MAX_SIGNATURES]
    return [
        _recurring(record.helo, 255),
        _quote(printable(hide(record.mail_from), 320)),
        _NULL if user is None else _quote(printable(user, 320)),
        _recurring(why, MAX_TEXT),
        _NULL if record.author is None else _author(record.author, hides),
        _array([_spf(result, hides, local_part) for result in results.spf]),
        _array([_dkim(result, hides) for result in signatures]),
        _NULL if dmarc is None else _dmarc(dmarc),
        _quote(verdict.would) if verdict is not None else '""',
        _quote(verdict.why) if verdict is not None else '""',
        _BOOLEAN[record.reachable],
        _BOOLEAN[record.regardless],
        _encode(record.signed) if record.signed else "[]",
        _reply(record, hides),
        _quote(printable(record.error, MAX_TEXT)) if record.error else '""',
        f"{record.milliseconds:.1f}",
        _encode([(*result[:-1], printable(result.reason, 200)) for result in record.compared])
        if record.compared
        else "[]",
        _BOOLEAN[record.is_report],
        _NULL if results.dkim2 is None else _dkim2(results.dkim2),
        _NULL if results.arc is None else _arc(results.arc, results.passage, record.arc_missing),
    ]


def _recurring(text: str, limit: int) -> str:
    """A text that the next messages may well have, too."""
    return _told(text, limit) if len(text) <= 200 else _quote(printable(text, limit))


@lru_cache(maxsize=1024)
def _told(text: str, limit: int) -> str:
    return _quote(printable(text, limit))


def _author(author: Author, hides: bool) -> str:
    domains = ",".join([_quote(domain) for domain in author.domains[:_MAX_DOMAINS]])
    problem = _NULL if author.problem is None else _quote(author.problem)
    reason = _quote(printable(author.reason)) if author.reason and not hides else '""'
    return f"[[{domains}],{problem},{reason},{_BOOLEAN[author.more]}]"


def _spf(result: SpfResult, hides: bool, local_part: str) -> str:
    explanation, reason = result.explanation, result.reason
    if hides:
        explanation = ""
        if local_part and local_part in reason.lower():
            reason = ""
    return (
        f"[{_quote(result.status)},{_quote(result.identity)},{_quote(result.domain)},{_quote(result.mechanism)},"
        f"{_quote(explanation)},{_quote(reason)},{result.lookups},{result.void_lookups},{_quote(result.brief)}]"
    )


def _dkim(result: DkimResult, hides: bool) -> str:
    evidence = _NULL if result.evidence is None else _evidence(result.evidence)
    return (
        f"[{_quote(result.status)},{_quote(result.domain)},{_quote(result.selector)},"
        f"{_quote('' if hides else result.identity)},{_quote(result.algorithm)},{result.key_bits},"
        f"{_quote(result.reason)},{_quote(result.brief)},{evidence}]"
    )


def _evidence(evidence: Evidence) -> str:
    age, left, addable, secure = evidence
    names = ",".join([_quote(name) for name in addable])
    return f"[{_NULL if age is None else age},{_NULL if left is None else left},[{names}],{_BOOLEAN[secure]}]"


def _dmarc(result: DmarcResult) -> str:
    policy = _NULL if result.policy is None else _quote(result.policy)
    record = _NULL if result.record is None else f"[{_quote(result.policy_domain)},{_record(result.record)}"
    return (
        f"[{_quote(result.status)},{_quote(result.domain)},{policy},{_quote(result.disposition)},"
        f"{_quote(result.org_domain)},{_BOOLEAN[result.spf_aligned]},{_BOOLEAN[result.dkim_aligned]},"
        f"{_quote(result.reason)},{record}]"
    )


# Few texts are the policy of many domains, and a record that was read before is the same object. While its JSON is kept
# here, so is the record: no other has its id.
_RECORDS: Final[Remembered[int, tuple[PolicyRecord, str]]] = Remembered(2**20)


def _record(record: PolicyRecord) -> str:
    """The end of the array: all but the domain of the policy."""
    known = _RECORDS.get(id(record))
    if known is not None:
        return known[1]
    # Reports go to mailto: alone, the one scheme that RFC 9990 says how to use.
    rua = [uri for uri in record.rua if uri[:7].lower() == "mailto:" and len(uri) <= MAX_URI][:MAX_URIS]
    text = _encode((*_policy_record(record), rua, record.problems[:_MAX_PROBLEMS]))[1:]
    _RECORDS.keep(id(record), (record, text), size(record) + size(text))
    return text


def _reply(record: MessageRecord, hides: bool) -> str:
    for action in record.actions:
        if isinstance(action, Reply):
            return _encode((action.code, action.enhanced_code, "" if hides else action.text))
    return _NULL


def _dkim2(result: Dkim2Result) -> str:
    return _encode((result.status, result.domain, result.brief, len(result.hops), DRAFT))


def _arc(result: ArcResult, passage: Passage | None, missing: Sequence[str]) -> str:
    """The sets as pairs of the seal's d= and s=, the oldest first."""
    told = result.status, result.reason, result.brief, result.oldest_pass
    sets = [(each.domain, each.selector) for each in result.sets]
    return _encode((*told, sets, passage and passage.sealers, passage and passage.first_client, missing))


# --- reading --------------------------------------------------------------------------------------------------------


def complete(row: Row, host: str, text: str) -> dict[str, Any]:
    """A message as `history --json` prints it. Raises ValueError if `text` is not a story."""
    story = _named(_STORY, json.loads(text))
    dmarc = story["dmarc"] and _named(_DMARC, story["dmarc"])
    if dmarc:
        dmarc["record"] = dmarc["record"] and _named(_RECORD, dmarc["record"])
    story |= {
        "author": story["author"] and _named(_AUTHOR, story["author"]),
        "spf": [_named(_SPF, part) for part in story["spf"] or ()],
        "dkim": [_signature(part) for part in story["dkim"] or ()],
        "dmarc": dmarc,
        "signed": [{"domain": domain, "selector": selector} for domain, selector in story["signed"] or ()],
        "compared": [_named(_COMPARED, part) for part in story["compared"] or ()],
        "reply": story["reply"] and _named(_REPLY, story["reply"]),
        "arc": story["arc"] and _named(_ARC, story["arc"]),
        "dkim2": story["dkim2"] and _named(_DKIM2, story["dkim2"]),
    }
    columns = {"time": _iso(row.time), "host": host, "queue_id": row.queue_id, "client": row.client}
    return columns | {"mode": row.mode, "action": row.action} | story


def _signature(values: Any) -> dict[str, Any]:
    named = _named(_DKIM, values)
    return named | {"evidence": named["evidence"] and _named(_EVIDENCE, named["evidence"])}


def _named(names: Sequence[str], values: Any) -> dict[str, Any]:
    """The values by name; those that an older version did not write are None."""
    if not isinstance(values, list):
        raise ValueError("not a story")
    return dict.fromkeys(names) | dict(zip(names, values, strict=False))


def _iso(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:03d}Z"


def results_of(message: Mapping[str, Any]) -> Results:
    """The results in a message of `complete`, as the engines gave them (but for what was not kept)."""
    spf = tuple(
        SpfResult(
            **values
            | {
                "status": SpfStatus(values["status"]),
                "identity": SpfIdentity(values["identity"]),
                "brief": values["brief"] or "",
            }
        )
        for values in message["spf"]
    )
    dkim = tuple(
        DkimResult(
            **values
            | {
                "status": DkimStatus(values["status"]),
                "brief": values["brief"] or "",
                "evidence": evidence_of(values),
            }
        )
        for values in message["dkim"]
    )
    dmarc = None
    if (values := message["dmarc"]) is not None:
        known = {name: value for name, value in values.items() if name != "record"}
        known["status"] = DmarcStatus(known["status"])
        known["disposition"] = Policy(known["disposition"])
        known["policy"] = Policy(known["policy"]) if known["policy"] else None
        dmarc = DmarcResult(**known)
    return Results(spf=spf, dkim=dkim, dmarc=dmarc, **_chain_of(message["arc"]))


def _chain_of(told: Mapping[str, Any] | None) -> dict[str, Any]:
    if told is None:
        return {}
    sets = tuple(ArcSet(number, *pair) for number, pair in enumerate(told["sets"] or (), 1))
    chain = ArcResult(ArcStatus(told["status"]), sets, told["oldest_pass"], reason=told["reason"], brief=told["brief"])
    sealers = told["passed_through"]
    return {"arc": chain, "passage": sealers and Passage(tuple(sealers), told["first_client"] or "")}


def evidence_of(signature: Mapping[str, Any]) -> Evidence | None:
    """The evidence in a signature of `complete`."""
    told = signature["evidence"]
    return Evidence(told["age"], told["left"], tuple(told["addable"] or ()), bool(told["secure"])) if told else None


def author_of(message: Mapping[str, Any]) -> Author:
    """The author in a message of `complete`."""
    told: Mapping[str, Any] = message["author"] or {"domains": (), "problem": None, "reason": "", "more": False}
    problem = AuthorProblem(told["problem"]) if told["problem"] else None
    return Author((), tuple(told["domains"]), problem, told["reason"], bool(told["more"]))


def our_reason(message: Mapping[str, Any], method: str) -> str:
    """Why we got our result of a method in a message of `complete`."""
    results = {
        "spf": [result for result in message["spf"] if result["identity"] == "mailfrom"],
        "dkim": message["dkim"],
        "dmarc": [message["dmarc"]] if message["dmarc"] else [],
    }.get(method, [])
    reasons = [f"{result['domain']} {result['status']} {result['reason']}".strip() for result in results]
    return "; ".join(reasons) or "no reason"


def totals_of(agreement: Iterable[tuple[str, str, str, str, int]]) -> list[tuple[str, str, int, int]]:
    """Of `Store.agreement`: (other filter, method, messages with the same result, messages)."""
    totals: dict[tuple[str, str], list[int]] = {}
    for other, method, theirs, ours, count in agreement:
        same = totals.setdefault((other, method), [0, 0])
        same[0] += count if theirs == ours else 0
        same[1] += count
    return [(other, method, same, count) for (other, method), (same, count) in sorted(totals.items())]
