"""What broke a signature: common rewrites on a message's way are undone one after the other until it passes again.

Only for people who ask (`mailnotary explain`): each guess costs a hash, so their number is capped. What is found proves
nothing about who did it; what is not found may have been anything."""

import base64
import binascii
import quopri
import re
from collections.abc import Callable, Iterator, Sequence

from mailnotary.dkim.canon import BodyHash, header_hash
from mailnotary.dkim.result import DkimResult
from mailnotary.dkim.signature import Signature, read_labels, read_tags, validate
from mailnotary.dkim.values import SignatureError
from mailnotary.dkim.verify import Verifier
from mailnotary.escape import printable
from mailnotary.frozen import frozen
from mailnotary.mail.message import FieldIndex, HeaderField, unfold
from mailnotary.resolver import Resolver
from mailnotary.status import DkimStatus

MAX_BODY = 4 * 1024 * 1024  # octets of a body that is tried on
MAX_FOOTER = 60  # lines that may have been appended
MAX_HEADER_GUESSES = 400

_SIGNATURE = b"dkim-signature"
# Each begins where no blank precedes it, and gives none back: else the time grows with the square of their number.
_TRAILING_BLANKS = re.compile(rb"(?<![ \t])[ \t]++\r\n")
_UNQUOTED_NAME = re.compile(rb'[ \t]*+([^"<>\r\n]*[^"<> \t\r\n])[ \t]*(<[^<>]*>)\Z')
_LIST_TAG = re.compile(rb"[ \t]*\[[^\]\r\n]{1,60}\][ \t]*")


@frozen
class Diagnosis:
    """One signature. `header_hash` and `body_hash` are what was computed over this message, in base64;
    `expected_body_hash` is bh=; `findings` say what was changed, as far as that can be told."""

    header_hash: str
    body_hash: str
    expected_body_hash: str
    findings: tuple[str, ...]


Guess = tuple[str, bytes]  # what would have happened, and the body before it
FieldGuess = tuple[str, list[HeaderField]]


def diagnose(
    fields: Sequence[HeaderField], body: bytes, results: Sequence[DkimResult], resolver: Resolver, *, now: int
) -> list[Diagnosis | None]:
    """One diagnosis for each result of `Verifier.finish`, which it is for; None for a signature that can't be parsed.
    What was changed is looked for only where the signature failed."""
    signatures = [field for field in fields if field.key == _SIGNATURE]
    return [
        _diagnose(fields, body, field, result.status is DkimStatus.FAIL, resolver, now)
        for field, result in zip(signatures, results, strict=False)
    ]


def _diagnose(
    fields: Sequence[HeaderField], body: bytes, field: HeaderField, failed: bool, resolver: Resolver, now: int
) -> Diagnosis | None:
    try:
        tags = read_tags(field)
        signature = validate(field, tags, read_labels(tags), now)
    except SignatureError:
        return None
    computed = _body_hash(signature, body)
    holds = computed == signature.body_hash
    findings = tuple(_findings(fields, body, signature, resolver, now, holds)) if failed else ()
    return Diagnosis(
        _text(header_hash(signature.signed_fields(FieldIndex(fields)), signature.relaxed_header)),
        _text(computed) if computed is not None else "",
        _text(signature.body_hash),
        findings,
    )


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _body_hash(signature: Signature, body: bytes) -> bytes | None:
    hashed = BodyHash(signature.relaxed_body, [signature.length])
    hashed.update(body)
    hashed.finish()
    return hashed.digest(signature.length)


def _findings(
    fields: Sequence[HeaderField], body: bytes, signature: Signature, resolver: Resolver, now: int, body_holds: bool
) -> Iterator[str]:
    if not body_holds:
        if len(body) > MAX_BODY:
            yield f"the body differs; it is larger than {MAX_BODY} octets, so no rewrite of it was tried"
            return
        rewritten = next(
            (candidate for candidate in _bodies(body) if _body_hash(signature, candidate[1]) == signature.body_hash),
            None,
        )
        if rewritten is None:
            yield "the body differs, and undoing none of the common rewrites brings the signed one back"
            return
        yield f"the body matches again after undoing this: {rewritten[0]}"
        body = rewritten[1]

    def passes(tried: Sequence[HeaderField]) -> bool:
        only = [field for field in tried if field.key != _SIGNATURE or field is signature.field]
        verifier = Verifier(only, resolver, now=now)
        verifier.body(body)
        return any(result.status is DkimStatus.PASS for result in verifier.finish())

    if passes(fields):
        return
    for number, (what, tried) in enumerate(_headers(fields, signature)):
        if number == MAX_HEADER_GUESSES:
            break
        if passes(tried):
            yield f"the header matches again after undoing this: {what}"
            return
    yield "the signed header fields differ too, or the key is a different one; no single common rewrite explains it"


# --- bodies ---


def _bodies(body: bytes) -> Iterator[Guess]:
    yield from _without_footer(body)
    yield "white space at line ends was added", _TRAILING_BLANKS.sub(b"\r\n", body)
    yield "lines that begin with From were quoted with >", re.sub(rb"(?m)^>From ", b"From ", body)
    yield "empty lines were put before the text", body.lstrip(b"\r\n")
    yield "an empty line before the text was removed", b"\r\n" + body
    yield "a leading dot was doubled", re.sub(rb"(?m)^\.\.", b".", body)
    yield "a leading dot was removed", re.sub(rb"(?m)^\.", b"..", body)
    yield "tabs were made spaces or spaces collapsed", re.sub(rb"\t", b"        ", body)
    yield "bare line feeds were made CRLF", body.replace(b"\r\n", b"\n")
    yield from _decoded(body)


def _without_footer(body: bytes) -> Iterator[Guess]:
    """Each with one more of the last lines taken away (mailing lists and scanners append lines)."""
    end = len(body)
    for count in range(1, MAX_FOOTER + 1):
        end = body.rfind(b"\r\n", 0, max(end - 2, 0)) + 2  # where the last line of what is left begins
        end = end if end > 1 else 0
        first = printable(body[end:].partition(b"\r\n")[0], 60)
        lines = "the last line was" if count == 1 else f"the last {count} lines were"
        yield f"{lines} appended, from {first!r} on (the footer of a list or a scanner?)", body[:end]
        if not end:
            return


def _decoded(body: bytes) -> Iterator[Guess]:
    decoders: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
        ("8-bit text was made quoted-printable", quopri.decodestring),
        ("8-bit text was made base64", base64.b64decode),
    )
    for what, decode in decoders:
        try:
            decoded = decode(body)
        except (binascii.Error, ValueError):
            continue
        yield what, re.sub(rb"(?<!\r)\n", b"\r\n", decoded)


# --- header fields ---


def _headers(fields: Sequence[HeaderField], signature: Signature) -> Iterator[FieldGuess]:
    for place, field in enumerate(fields):
        if field.key not in signature.names.often or field is signature.field:
            continue
        name = printable(field.name)
        for what, value in _values(field):
            changed = [*fields]
            changed[place] = HeaderField(field.name, value)
            yield f"{name}: {what}", changed
        yield f"the field {name} was added", [*fields[:place], *fields[place + 1 :]]


def _values(field: HeaderField) -> Iterator[tuple[str, bytes]]:
    value = field.value
    unfolded = unfold(value)
    if unfolded != value:
        yield "the value was folded", unfolded
    if _LIST_TAG.match(unfolded):
        yield "a tag in square brackets was put before the text", b" " + _LIST_TAG.sub(b"", unfolded, count=1)
        yield "a tag in square brackets was put into the text", b" " + _LIST_TAG.sub(b" ", unfolded).strip()
    replied = re.match(rb"[ \t]*((?:Re|RE|re|Fwd|AW|SV):[ \t]*)\[[^\]\r\n]{1,60}\][ \t]*", unfolded)
    if replied:
        yield "a tag in square brackets was put after Re:", b" " + replied[1] + unfolded[replied.end() :]
    flagged = re.match(rb"[ \t]*(\*{2,}[^*\r\n]{1,40}\*{2,})[ \t]*", unfolded)
    if flagged:
        yield f"{printable(flagged[1], 60)!r} was put before the text", b" " + unfolded[flagged.end() :]
    collapsed = re.sub(rb"[ \t]+", b" ", unfolded)
    if collapsed != unfolded:
        yield "white space was added", collapsed
    if b'"' in unfolded:
        yield "quotes were put around a name", unfolded.replace(b'"', b"")
    named = _UNQUOTED_NAME.match(unfolded)
    if named:
        yield "the quotes around a name were removed", b' "' + named[1] + b'" ' + named[2]
