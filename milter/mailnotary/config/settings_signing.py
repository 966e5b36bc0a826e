"""The section `signing:` of mailnotary.yaml: which header fields are signed, and how."""

import re

from mailnotary.config.settings import OnBadAuthor, OnOwnVerdict, OnRefused, SigningSettings
from mailnotary.config.values import Converter, Section, choice, list_of, optional, scalar, seconds
from mailnotary.config.yaml_nodes import Report, YamlNode, YamlScalar, YamlSequence, shown

# RFC 5322 section 2.2: printable US-ASCII without the colon; a ";" would end the h= tag (RFC 6376 section 3.2).
_FIELD_NAME = re.compile(r"[!-9<-~]{1,76}\Z")
# What must not be signed, or can't be, and why.
_UNSIGNABLE = {
    "dkim-signature": "RFC 6376 section 3.7 defines how it is hashed",
    "return-path": "the last hop replaces it, so the signature would break (RFC 6376 section 5.4.1)",
    "bcc": "mail programs remove it, so the signature would break",
    "resent-bcc": "mail programs remove it, so the signature would break",
}
# What can be signed, but should not be.
_CHANGING = {
    "received": "every hop adds one (RFC 6376 section 5.4.1)",
    "comments": "there may be several and they change on the way (RFC 6376 section 5.4.1)",
    "keywords": "there may be several and they change on the way (RFC 6376 section 5.4.1)",
    "authentication-results": "receivers remove those they do not trust (RFC 8601 section 5)",
    "arc-authentication-results": "every ARC hop adds one (RFC 8617 section 4.1.2)",
    "arc-message-signature": "every ARC hop adds one (RFC 8617 section 4.1.2)",
    "arc-seal": "every ARC hop adds one (RFC 8617 section 4.1.2)",
}


def _canonicalization(text: str) -> str:
    header, slash, body = text.partition("/")
    body = body if slash else "simple"  # RFC 6376 section 3.5, c=: one word is the header's, the body's is simple
    if header not in ("simple", "relaxed") or body not in ("simple", "relaxed"):
        raise ValueError(
            f"{shown(text)} is not a canonicalization: write relaxed/simple, relaxed/relaxed, simple/simple or "
            "simple/relaxed"
        )
    return f"{header}/{body}"


def _field_name(text: str) -> str:
    if not _FIELD_NAME.match(text):
        raise ValueError(f"{shown(text)} is not a header field's name: write one like Subject, without a colon")
    if (why := _UNSIGNABLE.get(text.lower())) is not None:
        raise ValueError(f"{text} can't be signed: {why}; remove it")
    return text


_field_names = list_of(scalar(_field_name, "a header field's name"), "From, Subject")


def _fields(node: YamlNode, report: Report) -> tuple[str, ...]:
    """Names of header fields, each once, From among them."""
    names = _field_names(node, report)
    seen: set[str] = set()
    for item in node.items if isinstance(node, YamlSequence) else ():
        name = item.text.lower() if isinstance(item, YamlScalar) else ""
        if name in seen and _FIELD_NAME.match(name):
            report.error(item, f"duplicate {shown(name)}: remove one of them")
        if (why := _CHANGING.get(name)) is not None:
            report.warn(item, f"signing {name} makes signatures fragile: {why}")
        seen.add(name)
    return names


def _headers(node: YamlNode, report: Report) -> tuple[str, ...]:
    names = _fields(node, report)
    if "from" not in {name.lower() for name in names}:  # RFC 6376 section 5.4: From MUST be signed
        raise ValueError("From must be signed (RFC 6376 section 5.4): add it to the list")
    return names


def _oversign(node: YamlNode, report: Report) -> tuple[str, ...]:
    names = _fields(node, report)
    if "from" not in {name.lower() for name in names}:
        report.warn(node, "without From, a second From can be added to signed mail (RFC 6376 section 8.15)")
    return names


def _whole(converter: Converter[float]) -> Converter[int]:
    return lambda node, report: int(converter(node, report))


READER = Section(
    SigningSettings,
    canonicalization=scalar(_canonicalization, "relaxed/simple"),
    headers=_headers,
    oversign=_oversign,
    expire_after=optional(_whole(seconds(60, 10 * 365 * 86400))),
    on_refused=choice(OnRefused),
    on_bad_author=choice(OnBadAuthor),
    on_own_verdict=choice(OnOwnVerdict),
)
