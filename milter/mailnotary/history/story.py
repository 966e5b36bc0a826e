"""One message as the history keeps it: columns to search by, and its story, a JSON array in the order of `_STORY`.

An array rather than an object: it takes half the room, and half the time to write. `complete` makes of it what
`history --json` prints, with the results as `explain --json` has them. A story never has the subject, the body, the
recipients or the words around the author's address.
"""

import json
import operator
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from mailnotary.arc.result import ArcResult, ArcSet
from mailnotary.authres import Passage, Results
from mailnotary.dkim.evidence import Evidence
from mailnotary.dkim.result import DkimResult
from mailnotary.dkim2.result import DRAFT, Dkim2Result
from mailnotary.dmarc.result import DmarcResult, Policy
from mailnotary.escape import printable
from mailnotary.history.privacy import Hide
from mailnotary.mail.address import Author
from mailnotary.mail.mailboxes import AuthorProblem
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
_spf = operator.attrgetter(*_SPF)
_EVIDENCE: Final = Evidence._fields
_dkim = operator.attrgetter(*_DKIM)
_dmarc = operator.attrgetter(*_DMARC[:-1])
_policy_record = operator.attrgetter(
    *("policy", "subdomain_policy", "nonexistent_policy", "dkim_alignment", "spf_alignment", "testing", "psd", "fo")
)
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, default=str).encode


def row_of(record: MessageRecord, now: float | None = None) -> Row:
    """The row of a message that ends now."""
    results = record.results
    signatures = results.signatures
    dmarc = results.dmarc
    author = record.author
    mail_from = [result.status for result in results.spf if result.identity is SpfIdentity.MAILFROM]
    return Row(
        int((time.time() if now is None else now) * 1_000_000),
        printable(record.queue_id, 100),
        str(record.client) if record.client is not None else "",
        author.domains[0] if author is not None and author.domains else "",
        record.mode,
        record.action,
        mail_from[0] if mail_from else "",
        min([result.status for result in signatures], key=_BEST.__getitem__) if signatures else "",
        dmarc.status if dmarc is not None else "",
        " ".join("/".join(comparison[:-1]) for comparison in record.compared) if record.compared else "",
        " ".join(sorted({comparison.method for comparison in record.compared if not comparison.agrees}))
        if record.compared
        else "",
    )


def story_of(record: MessageRecord, hide: Hide) -> str:
    """The story of a message, in US-ASCII on one line."""
    story = _full_story(record) if hide is str else _hidden_story(record, hide)
    text = _encode(story)
    if len(text) > MAX_STORY:
        for long in ("dkim", "author", "why", "error"):
            story[_STORY.index(long)] = None
        text = _encode(story)
    if len(text) > MAX_STORY:  # fifty seals with the longest names that there are
        story[_STORY.index("arc")] = None
        text = _encode(story)
    return text


def _full_story(record: MessageRecord) -> list[Any]:
    results, verdict, dmarc = record.results, record.verdict, record.results.dmarc
    signatures: Sequence[DkimResult] = results.signatures
    if len(signatures) > MAX_SIGNATURES:
        signatures = sorted(signatures, key=lambda result: _BEST[result.status])[:MAX_SIGNATURES]
    return [
        printable(record.helo, 255),
        printable(record.mail_from, 320),
        record.auth_user and printable(record.auth_user, 320),
        printable(record.why, MAX_TEXT),
        None if record.author is None else _author(record.author),
        [_spf(result) for result in results.spf],
        [_dkim(result) for result in signatures],
        None if dmarc is None else (*_dmarc(dmarc), _record(dmarc)),
        verdict.would if verdict is not None else "",
        verdict.why if verdict is not None else "",
        record.reachable,
        record.regardless,
        record.signed,
        _reply(record),
        record.error and printable(record.error, MAX_TEXT),
        round(record.milliseconds, 1),
        [(*result[:-1], printable(result.reason, 200)) for result in record.compared],
        record.is_report,
        None if results.dkim2 is None else _dkim2(results.dkim2),
        None if results.arc is None else _arc(results.arc, results.passage, record.arc_missing),
    ]


def _arc(result: ArcResult, passage: Passage | None, missing: Sequence[str]) -> tuple[Any, ...]:
    """The sets as pairs of the seal's d= and s=, the oldest first."""
    told = result.status, result.reason, result.brief, result.oldest_pass
    sets = [(each.domain, each.selector) for each in result.sets]
    return *told, sets, passage and passage.sealers, passage and passage.first_client, missing


def _dkim2(result: Dkim2Result) -> tuple[Any, ...]:
    return result.status, result.domain, result.brief, len(result.hops), DRAFT


def _author(author: Author) -> tuple[Any, ...]:
    return author.domains[:_MAX_DOMAINS], author.problem, author.reason and printable(author.reason), author.more


def _record(dmarc: DmarcResult) -> tuple[Any, ...] | None:
    record = dmarc.record
    if record is None:
        return None
    # Reports go to mailto: alone, the one scheme that RFC 9990 says how to use.
    rua = [uri for uri in record.rua if uri[:7].lower() == "mailto:" and len(uri) <= MAX_URI][:MAX_URIS]
    return dmarc.policy_domain, *_policy_record(record), rua, record.problems[:_MAX_PROBLEMS]


def _reply(record: MessageRecord) -> tuple[Any, ...] | None:
    for action in record.actions:
        if isinstance(action, Reply):
            return action.code, action.enhanced_code, action.text
    return None


def _hidden_story(record: MessageRecord, hide: Hide) -> list[Any]:
    """The story without what tells more of a person than `hide` lets through: macros put the sender's local part into
    reasons and explanations (RFC 7208 section 7), i= may have a user's name (RFC 6376 section 3.5)."""
    story = dict(zip(_STORY, _full_story(record), strict=True))
    story["mail_from"] = printable(hide(record.mail_from), 320)
    if record.auth_user:
        story["user"] = printable(hide(record.auth_user), 320)
        story["why"] = printable(record.why.replace(record.auth_user, hide(record.auth_user)), MAX_TEXT)
    if record.author is not None:
        story["author"] = (record.author.domains[:_MAX_DOMAINS], record.author.problem, "", record.author.more)
    local_part = record.mail_from.rpartition("@")[0].lower()
    for spf in (parts := [dict(zip(_SPF, result, strict=True)) for result in story["spf"]]):
        spf["explanation"] = ""
        if local_part and local_part in spf["reason"].lower():
            spf["reason"] = ""
    story["spf"] = [tuple(spf.values()) for spf in parts]
    at = _DKIM.index("identity")
    story["dkim"] = [(*result[:at], "", *result[at + 1 :]) for result in story["dkim"]]
    if story["reply"] is not None:
        story["reply"] = (*story["reply"][:-1], "")
    return list(story.values())


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
