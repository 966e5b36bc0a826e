"""The explanation that a domain gives for a fail (RFC 7208 section 6.2)."""

import time

from mailnotary.escape import ascii_printable, shortened
from mailnotary.resolver import DnsTempError, RecordKind
from mailnotary.spf.evaluate import Evaluation, Verdict
from mailnotary.spf.identity import is_dns_name
from mailnotary.spf.limits import Failure
from mailnotary.spf.macro import MacroError, MacroString, parse_macro_string

# Characters: with what precedes it, it fits in a reply line of 512 octets (RFC 5321 4.5.3.1.5).
MAX_EXPLANATION = 400
MAX_SOURCE = 4096  # octets of a TXT record that are worth parsing for that


def explanation(evaluation: Evaluation, verdict: Verdict, receiver: str, now: float | None) -> str | None:
    """The text that the domain of a fail publishes, expanded and made safe for an SMTP reply; None where it publishes
    none, or whatever is wrong with it ('proceed as if no "exp" modifier was given')."""
    modifier = verdict.explanation
    if modifier is None or not evaluation.can_expand(modifier.target):
        return None

    macros = evaluation.macros_of(verdict.domain)

    def value(letter: str) -> str:
        match letter:  # 7.2: what only explanations may use
            case "c":
                return evaluation.client.text
            case "r":
                return ascii_printable(receiver, 253)
            case "t":
                return str(int(time.time() if now is None else now))
            case _:
                return macros(letter)

    evaluation.dns.stop_counting()
    step = evaluation.dns.begin(verdict.domain, modifier.text)
    try:
        source = _fetch(evaluation, modifier.target.expand_domain(value))
        text = shortened(ascii_printable(source.expand(value, MAX_EXPLANATION), MAX_EXPLANATION), MAX_EXPLANATION)
    except (DnsTempError, Failure, MacroError) as error:
        evaluation.dns.end(step, "no explanation", ascii_printable(str(error), 300))
        return None
    evaluation.dns.end(step, "explanation", text)
    return text


def _fetch(evaluation: Evaluation, name: str) -> MacroString:
    """The explain-string at a name."""
    if not is_dns_name(name):
        raise MacroError("not a name that DNS can carry", 0)
    texts = evaluation.dns.ask(name, RecordKind.TXT).texts
    if len(texts) != 1:
        raise MacroError(f"{len(texts)} TXT records, where one is needed", 0)
    if len(texts[0]) > MAX_SOURCE:
        raise MacroError(f"more than {MAX_SOURCE} octets", MAX_SOURCE)
    # An octet over 0x7F is not a character of an explain-string: MacroError.
    return parse_macro_string(texts[0].decode("latin-1"), spaces=True)
