"""What one message came to: the facts behind its log line and behind `mailnotary explain`."""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

from mailnotary.authres import Results
from mailnotary.mail.address import Author
from mailnotary.session.policy import Action, DeleteHeader, DmarcVerdict, Quarantine, Reply

MAX_LISTED = 20  # items of one log field: a message with a thousand signatures gets a line, not a page


class MessageMode(StrEnum):
    """What was done with a message."""

    SIGN = "sign"
    VERIFY = "verify"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """One message. `why` is the reason of its mode; `signed` the (domain, selector) of each signature made; `error`
    what kept mailnotary from doing its work; `milliseconds` of our own work, waiting for DNS included; `questions`
    asked of the resolver."""

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
    actions: tuple[Action, ...] = ()
    error: str = ""
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

    def log_fields(self) -> dict[str, str]:
        """The log line's keys and values, in order. The values hold untrusted text: whoever writes them escapes it."""
        fields = {
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
            fields["author"] = ",".join(self.author.domains[:MAX_LISTED]) or f"({self.author.reason})"
            if self.author.problem is not None and self.author.domains:
                fields["author_problem"] = self.author.reason
        for spf in self.results.spf:
            fields[f"spf_{spf.identity}"] = _with_reason(f"{spf.status}:{spf.domain}", spf.reason)
        if signatures := self.results.signatures:
            listed = signatures[:MAX_LISTED]
            each = [_with_reason(f"{one.status}:{one.domain}/{one.selector}", one.reason) for one in listed]
            fields["dkim"] = "; ".join(each)
        elif self.mode is MessageMode.VERIFY:
            fields["dkim"] = "none"
        if (dmarc := self.results.dmarc) is not None:
            fields["dmarc"] = _with_reason(f"{dmarc.status}:{dmarc.domain}", dmarc.reason)
            if dmarc.policy is not None:
                fields["policy"] = dmarc.policy
        if self.verdict is not None:
            if self.verdict.would:
                fields["would"] = self.verdict.would
            if self.verdict.why:
                fields["dmarc_why"] = self.verdict.why
        if self.signed:
            fields["signed"] = ",".join(f"{domain}/{selector}" for domain, selector in self.signed)
        if removed := sum([isinstance(action, DeleteHeader) for action in self.actions]):
            fields["forged_removed"] = str(removed)
        fields["action"] = self.action
        for action in self.actions:
            if isinstance(action, Reply):
                fields["reply"] = f"{action.code} {action.enhanced_code} {action.text}"
        if self.error:
            fields["error"] = self.error
        fields["ms"] = f"{self.milliseconds:.1f}"
        fields["dns"] = str(self.questions)
        return fields


def _with_reason(text: str, reason: str) -> str:
    return f"{text} ({reason})" if reason else text
