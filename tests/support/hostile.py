"""Texts of senders who want to do something to whoever reads them."""

from dataclasses import replace

from mailnotary.authres import Results
from mailnotary.dkim.result import DkimResult
from mailnotary.dkim2.result import Dkim2Result
from mailnotary.mail.address import Author
from mailnotary.session.comparison import Comparison
from mailnotary.session.outcome import MessageRecord
from mailnotary.session.policy import Reply
from mailnotary.spf.result import SpfIdentity, SpfResult
from mailnotary.status import Dkim2Status, DkimStatus, SpfStatus
from support.messages import refused

SCRIPT = "<script>document.title='owned'</script>"
IMAGE = "<img src=https://evil.example/x onerror=alert(1)>"
QUOTES = "\"'`><a href=\"javascript:alert(1)\" onmouseover='alert(1)'>"
RTL = "\u202eelpmaxe.knab\u2066\u200f\u061c"
HIDDEN = "in\u200bvis\u00adible\u2060\ufeff\U000e0041\u3164"
ZALGO = "z" + "\u0300" * 200
JINJA = "{{ 7 * 191 }}{% raw %}"
LONG = "n" * 10_240
HOSTILE = (SCRIPT, IMAGE, QUOTES, RTL, HIDDEN, ZALGO, JINJA, LONG)


def hostile(text: str, queue_id: str) -> MessageRecord:
    """A message that has the text in every field that a sender, DNS or another filter fills."""
    record = refused()
    dmarc = record.results.dmarc
    assert dmarc is not None
    return replace(
        record,
        queue_id=queue_id,
        helo=text,
        mail_from=f"{text}@example.org",
        auth_user=text,
        why=text,
        author=Author((), (text, text), None, text, True),
        results=Results(
            spf=(SpfResult(SpfStatus.FAIL, SpfIdentity.MAILFROM, text, text, text, text, 1),),
            dkim=(DkimResult(DkimStatus.FAIL, text, text, text, text, 2048, text, text),),
            dmarc=replace(dmarc, domain=text, reason=text, policy_domain=text),
            dkim2=Dkim2Result(Dkim2Status.FAIL, text, text, brief=text),
        ),
        actions=(Reply(550, "5.7.1", text),),
        error=text,
        compared=(Comparison("other.example", "dmarc", "pass", "fail", text),),
    )
