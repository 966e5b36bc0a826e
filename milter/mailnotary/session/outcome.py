"""The outcome of one message: the facts behind its log line and behind `mailnotary explain`."""

from dataclasses import KW_ONLY, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

from mailnotary.authres import Results
from mailnotary.dkim2 import DRAFT
from mailnotary.frozen import frozen
from mailnotary.mail.address import Author
from mailnotary.session.comparison import Comparison
from mailnotary.session.policy import Action, DeleteHeader, DmarcVerdict, Quarantine, Reply
from mailnotary.status import DkimStatus

MAX_LISTED = 20  # items of one log field: a message with a thousand signatures gets a line, not a page


class MessageMode(StrEnum):
    """What was done with a message."""

    SIGN = "sign"
    VERIFY = "verify"
    NONE = "none"


@frozen
class LoggedResult:
    """A result in the log: "pass:example.org/selector (reason)" as text, an object in JSON. `selector` is DKIM's."""

    method: str
    result: str
    domain: str = ""
    selector: str = ""
    reason: str = ""

    def __str__(self) -> str:
        where = f"{self.domain}/{self.selector}" if self.method == "dkim" else self.domain
        text = f"{self.result}:{where}" if self.domain or self.reason else self.result
        return f"{text} ({self.reason})" if self.reason else text


@frozen
class LoggedSignature:
    """A signature that was made."""

    domain: str
    selector: str

    def __str__(self) -> str:
        return f"{self.domain}/{self.selector}"


@frozen
class LoggedList:
    """Several values of one field: an array in JSON, joined in text, where an empty one reads `empty`."""

    items: tuple[object, ...]
    separator: str = ","
    empty: str = ""

    def __str__(self) -> str:
        return self.separator.join(map(str, self.items)) or self.empty


@frozen
class MessageRecord:
    """One message. `why` is the reason of its mode; `signed` the (domain, selector) of each signature made
    and `algorithms` its algorithm;
    `compared` what other filters found;
    `reachable`: all its recipients are exempt from refusals; `regardless`: its results decided nothing, for it was
    refused for its form or ended in an error of ours; `is_report`: it says that it is a DMARC aggregate report;
    `arc_missing`: the sealers that would have to be trusted, too, so that it passes by its ARC chain;
    `error` what kept mailnotary from doing its work; `milliseconds` of our own work, waiting for DNS included;
    `questions` asked of the resolver."""

    _: KW_ONLY
    queue_id: str
    client: IPv4Address | IPv6Address | None
    helo: str
    mail_from: str
    auth_user: str | None
    mode: MessageMode
    why: str
    author: Author | None = None
    results: Results = field(default_factory=Results)
    verdict: DmarcVerdict | None = None
    signed: tuple[tuple[str, str], ...] = ()
    algorithms: tuple[str, ...] = ()
    compared: tuple[Comparison, ...] = ()
    actions: tuple[Action, ...] = ()
    reachable: bool = False
    regardless: bool = False
    is_report: bool = False
    error: str = ""
    arc_missing: tuple[str, ...] = ()
    milliseconds: float = 0.0
    questions: int = 0

    @property
    def action(self) -> str:
        """The word for what the MTA was told: accept, hold, reject or tempfail."""
        word = "accept"
        for action in self.actions:
            if isinstance(action, Reply):
                return "reject" if action.code >= 500 else "tempfail"
            if isinstance(action, Quarantine):
                word = "hold"
        return word

    def log_fields(self) -> dict[str, object]:
        """The log line's keys and values, in order; config/log.md explains them. The values hold untrusted text:
        whoever writes them escapes it. Text is `str` of a value; JSON has numbers, objects and arrays."""
        fields: dict[str, object] = {
            "queue_id": self.queue_id,
            "mode": self.mode,
            "why": self.why,
            "client": str(self.client) if self.client is not None else "unknown",
            "helo": self.helo,
            "from": f"<{self.mail_from}>",
        }
        if self.auth_user is not None:
            fields["user"] = self.auth_user
        if self.author is not None:
            fields["author"] = LoggedList(self.author.domains[:MAX_LISTED], empty="none")
            if self.author.problem is not None:
                fields["author_problem"] = self.author.reason
        fields |= self._results()
        if self.signed:
            fields["signed"] = LoggedList(tuple(LoggedSignature(domain, selector) for domain, selector in self.signed))
        if removed := sum([isinstance(action, DeleteHeader) for action in self.actions]):
            fields["forged_removed"] = removed
        fields["action"] = self.action
        for action in self.actions:
            if isinstance(action, Reply):
                fields["reply"] = action
        if self.error:
            fields["error"] = self.error
        fields["ms"] = round(self.milliseconds, 1)
        fields["dns"] = self.questions
        return fields

    def _results(self) -> dict[str, object]:
        fields: dict[str, object] = {}
        for spf in self.results.spf:
            fields[f"spf_{spf.identity}"] = LoggedResult("spf", spf.status, spf.domain, reason=spf.reason)
        if signatures := self.results.signatures[:MAX_LISTED]:
            each = (
                LoggedResult("dkim", result.status, result.domain, result.selector, result.reason)
                for result in signatures
            )
            fields["dkim"] = LoggedList(tuple(each), "; ")
        elif self.mode is MessageMode.VERIFY:
            fields["dkim"] = LoggedList((LoggedResult("dkim", DkimStatus.NONE),))
        if (dmarc := self.results.dmarc) is not None:
            fields["dmarc"] = LoggedResult("dmarc", dmarc.status, dmarc.domain, reason=dmarc.reason)
            if dmarc.policy is not None:
                fields["policy"] = dmarc.policy
        if (arc := self.results.arc) is not None:
            sealers = ",".join(dict.fromkeys([each.domain for each in reversed(arc.sets)][:MAX_LISTED]))
            fields["arc"] = LoggedResult("arc", arc.status, sealers, reason=arc.reason)
        if self.arc_missing:
            fields["arc_would_trust"] = LoggedList(self.arc_missing[:MAX_LISTED])
        if (dkim2 := self.results.dkim2) is not None:
            fields["dkim2"] = LoggedResult("dkim2", dkim2.status, dkim2.domain, reason=dkim2.reason)
            fields["dkim2_draft"] = DRAFT
        if self.verdict is not None:
            if self.verdict.would:
                fields["would"] = self.verdict.would
            if self.verdict.why:
                fields["dmarc_why"] = self.verdict.why
        return fields
