"""The chain of custody (draft-ietf-dkim-dkim2-spec-06 sections 9.2 to 9.4 and 11.4) and what signers asked of those
behind them (section 11.8)."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from mailnotary.dkim2.chain import State
from mailnotary.dkim2.fields import Dkim2Error, Path, Signature, read_path
from mailnotary.domain import is_subdomain
from mailnotary.escape import ascii_printable
from mailnotary.status import Dkim2Status


def broken_links(signatures: Sequence[Signature]) -> list[Dkim2Error]:
    """Where one signature does not follow from the one before (9.4), or from its own MAIL FROM (8.8)."""
    found: list[Dkim2Error] = []
    for one in signatures:
        sender = one.mail_from
        # "When the mf= domain is empty ("<>"), then no match is required" (8.8)
        if sender is not None and sender.text != "<>" and not is_subdomain(sender.domain, one.domain):
            found.append(_error(one, "MAIL FROM and d= do not match", "MAIL FROM and d do not match"))
        if one.number > 1 and (error := _broken_link(signatures[one.number - 2], one)):
            found.append(error)
    return found


def _broken_link(before: Signature, one: Signature) -> Dkim2Error | None:
    if before.next_domain:  # "MUST exactly match the d= tag of the next" (8.7)
        if before.next_domain != one.domain:
            return _error(before, f"nd= does not match d={one.domain} of i={one.number}", "nd does not match")
        return None
    domains = [path.domain for path in before.rcpt_to if path.domain]
    sender = one.mail_from
    if sender is not None and sender.domain:
        if not any(is_subdomain(sender.domain, domain) for domain in domains):
            return _error(one, f"MAIL FROM {_shown(sender)} did not match", "the chain of custody is broken")
        return None
    # A hop with nd= names no MAIL FROM, and that of a bounce is empty. Its signer "has access to a private key
    # associated with a domain in the RCPT TO entry of the message as it arrived" (9.3): one for which it could have
    # written a MAIL FROM that matches.
    if not any(is_subdomain(one.domain, domain) or is_subdomain(domain, one.domain) for domain in domains):
        return _error(
            one, f"d={one.domain} did not match RCPT TO of i={before.number}", "the chain of custody is broken"
        )
    return None


def envelope_mismatches(one: Signature, mail_from: str | None, rcpt_to: Iterable[str] | None) -> list[Dkim2Error]:
    """What of the envelope is not in the last signature (11.4); None is not compared."""
    if one.next_domain:
        # "A Verifier SHOULD ensure that there are out-of-band arrangements": there is nobody here to make them with.
        return [_error(one, "unexpected nd= tag", "unexpected nd")]
    found: list[Dkim2Error] = []
    if mail_from is not None and _path(mail_from) != one.mail_from:
        found.append(_mismatch(one, "MAIL FROM", mail_from))
    signed = set(one.rcpt_to)
    others = [recipient for recipient in rcpt_to or () if _path(recipient) not in signed]
    return found + [_mismatch(one, "RCPT TO", recipient) for recipient in others[:1]]


def _mismatch(one: Signature, command: str, address: str) -> Dkim2Error:
    shown = ascii_printable(_with_brackets(address), 80)
    return _error(one, f"{command} {shown} did not match", f"{command} did not match")


def _path(text: str) -> Path | None:
    return read_path(_with_brackets(text))


def _with_brackets(text: str) -> str:
    return text if text.startswith("<") and text.endswith(">") else f"<{text}>"


def ignored_requests(
    signatures: Sequence[Signature], states: Sequence[State], bodies: Sequence[bytes | None]
) -> list[Dkim2Error]:
    """The requests of signers that later hops did not honor (11.8). `bodies`: the instances' body hashes."""
    found: list[Dkim2Error] = []
    revisions = [one.revision for one in signatures if "donotmodify" in one.flags]
    if revisions and _is_modified(states[min(revisions) - 1 :], bodies[min(revisions) - 1 :]):
        reason = "Message has been modified despite a donotmodify request"
        found.append(Dkim2Error(reason, "modified despite donotmodify", status=Dkim2Status.FAIL))
    asked = [one.number for one in signatures if "donotexplode" in one.flags]
    if asked and any("exploded" in one.flags for one in signatures[min(asked) :]):
        reason = "Message has been exploded despite a donotexplode request"
        found.append(Dkim2Error(reason, "exploded despite donotexplode", status=Dkim2Status.FAIL))
    return found


def _is_modified(later: Sequence[State], bodies: Sequence[bytes | None]) -> bool:
    """Whether the body, which is unknown where it cannot be recreated, or a header field that was there is not as in
    the first state. "It is permissible to add header fields" (8.10)."""
    if len(later) > 1 and (None in bodies or len(set(bodies)) > 1):
        return True
    return any(not _has_all(after, before) for before, after in pairwise(later))


def _has_all(after: State, before: State) -> bool:
    """Whether each field of `before` is still there, in its order among those of its name."""
    for key, lines in before.header.items():
        present = after.header.get(key, ())
        if present is not lines:
            rest = iter(present)
            if not all(line in rest for line in lines):
                return False
    return True


def _error(one: Signature, text: str, brief: str) -> Dkim2Error:
    return Dkim2Error(f"DKIM2-Signature i={one.number} {text}", brief, one.number)


def _shown(path: Path) -> str:
    return ascii_printable(path.text, 80)
