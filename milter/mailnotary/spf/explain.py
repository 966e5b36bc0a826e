"""The explanation that a domain gives for a fail (RFC 7208 section 6.2)."""

import time

from mailnotary.escape import ascii_printable
from mailnotary.resolver import DnsTempError
from mailnotary.spf.evaluate import Evaluation, Failure, Verdict
from mailnotary.spf.identity import is_dns_name
from mailnotary.spf.macro import MacroError, parse_macro_string

# Characters: with what stands before it, it fits in a reply line of 512 octets (RFC 5321 4.5.3.1.5).
MAX_EXPLANATION = 400
MAX_SOURCE = 4096  # octets of the TXT record that are worth parsing for that


def explanation(evaluation: Evaluation, verdict: Verdict, receiver: str, now: float | None) -> str | None:
    """The text that the domain of a fail publishes, expanded and made safe for an SMTP reply; None where it publishes
    none or whatever is wrong with it ("proceed as if no "exp" modifier was given")."""
    modifier = verdict.explanation
    if modifier is None or (modifier.target.uses_local_part and evaluation.sender.is_utf8):
        return None

    def value(letter: str) -> str:
        match letter:  # 7.2: what only explanations may use
            case "c":
                return str(evaluation.client)
            case "r":
                return ascii_printable(receiver, 253)
            case "t":
                return str(int(time.time() if now is None else now))
            case _:
                return evaluation.macro(letter, verdict.domain)

    try:
        name = modifier.target.expand_domain(value)
        if not is_dns_name(name):
            return None
        answer = evaluation.ask_for_explanation(name)
        texts = answer.texts
        if len(texts) != 1 or len(texts[0]) > MAX_SOURCE:  # "if more than one record is returned"
            return None
        source = parse_macro_string(texts[0].decode("ascii"), spaces=True)
        text = source.expand(value, MAX_EXPLANATION)
    except (DnsTempError, Failure, MacroError, UnicodeDecodeError):
        return None
    # Literals are visible US-ASCII by now; macros bring in what the client said.
    return ascii_printable(text, MAX_EXPLANATION)[:MAX_EXPLANATION]
