"""What a message costs in CPU. A genome says all of a message and all of its DNS; `measure` plays it through a session.

The resolver makes each reply as octets and reads them as the real one does, but for the system calls: what is measured
is our own work, with nothing remembered of earlier messages.

A genome is JSON: {"ip", "helo", "mail_from", "fields": [[name, text]...], "body": text, "zone": [rule...]}. A text is
a list of [piece, times]; "#" in a piece is the number of the time. A rule is {"part", "kind", "text", "count", "size"}:
names that hold this part have `count` records of this kind, "@" in their text is the name, "%n" the record's number;
`size` is that of a TXT record's strings. Kind "ALL" with count -1 is SERVFAIL, with -2 NXDOMAIN. The first rule that
fits counts."""

import gc
import re
import struct
import time
from functools import _lru_cache_wrapper, cache
from typing import Any

from mailnotary import remember
from mailnotary.config.keystore import KeyStore
from mailnotary.config.settings import DmarcMode, DmarcSettings, Settings
from mailnotary.resolver import Answer, DnsTempError, RecordKind
from mailnotary.resolver.records import WireError
from mailnotary.resolver.wire import answers, encode_question, name_text, parse_name, parse_reply
from mailnotary.session.message import Environment
from mailnotary.session.outcome import MessageRecord
from mailnotary.session.session import Session

Genome = dict[str, Any]

BAR = 0.1  # seconds of CPU that a message may cost beyond its body's hash, where `unit` is 1
MAX_MESSAGE = 1_000_000  # octets
MAX_REPLY = 65_535
SETTINGS = Settings(dmarc=DmarcSettings(mode=DmarcMode.ENFORCE))
NOW = 1_700_000_000

_TYPES = {"A": 1, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}

LONG = "l0.l1.l2.l3.l4.l5.l6.l7.l8.evil.example"
RSA = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvWyktrIL8DO/+UGvMbv7cPd/Xogpbs7pgVw8y9ldO6AAMmg8+ijENl/c7Fb1MfKM7uG3LM"
    "wAr0dVVKyM+mbkoX2k5L7lsROQr0Z9gGSpu7xrnZOa58+/pIhd2Xk/DFPpa5+TKbWodbsSZPRN8z0RY5x59jdzSclXlEyN9mEZdmOiKTsOP6A7vQxf"
    "Sya9jg5N81dfNNvP7HnWejMMsKyIMrXptxOhIBuEYH67JDe98QgX14oHvGM2Uz53if/SW8MF09rYh9sp4ZsaWLIg6T343JzlbtrsGRGCDJ9JPpxRWZ"
    "imtz+Up/BlKzT6sCCrBihb/Bi3pZiEBB4Ui/vruL5RCQIDAQAB"
)


def render(text: list[list[Any]], limit: int) -> str:
    """A text of a genome, cut at so many characters."""
    parts: list[str] = []
    left = limit
    for piece, times in text:
        times = min(times, left // max(len(piece), 1) + 1)
        parts.append(
            "".join([piece.replace("#", str(number)) for number in range(times)]) if "#" in piece else piece * times
        )
        left -= len(parts[-1])
        if left <= 0:
            break
    return "".join(parts)[:limit]


def message_of(genome: Genome) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The header fields as libmilter gives them, with LF in folds, and the body of a genome's message."""
    fields = []
    left = MAX_MESSAGE
    for name, text in genome["fields"]:
        value = render(text, max(left - 50, 0)).replace("\r", "")
        fields.append((name.encode(), value.encode("utf-8", "surrogateescape")))
        left -= len(name) + len(value) + 3
        if left < 100:
            break
    return fields, render(genome["body"], max(left, 0)).encode("utf-8", "surrogateescape")


class GenomeResolver:
    """The DNS of a genome. `aside` is the CPU time that making the replies took."""

    def __init__(self, genome: Genome) -> None:
        self._rules = genome["zone"]
        self._cache: dict[tuple[str, RecordKind], Answer | DnsTempError] = {}
        self._wires: dict[tuple[str, RecordKind], bytes | None] = {}
        self.aside = 0.0

    def forget(self) -> None:
        """Begins anew, with the replies already made."""
        self._cache.clear()
        self.aside = 0.0

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        key = name, kind
        if key not in self._cache:
            self._cache[key] = self._ask(name, kind)
        answer = self._cache[key]
        if isinstance(answer, DnsTempError):
            raise DnsTempError(answer.reason)
        return answer

    def _ask(self, name: str, kind: RecordKind) -> Answer | DnsTempError:
        parsed = parse_name(name)
        if parsed is None:
            return Answer((), exists=False)
        query = encode_question(b"\0\7", parsed, kind, edns=True)
        began = time.process_time()
        if (name, kind) not in self._wires:
            self._wires[name, kind] = self._wire(name_text(parsed), kind, parsed)
        wire = self._wires[name, kind]
        self.aside += time.process_time() - began
        if wire is None:
            return DnsTempError(f"{kind} {name}: SERVFAIL")
        assert answers(wire, query, parsed)
        try:
            reply = parse_reply(wire, parsed, kind)
        except WireError as error:
            return DnsTempError(f"{kind} {name}: {error}")
        return Answer(reply.records, bool(reply.records) or reply.rcode == 0, reply.octets)

    def _wire(self, name: str, kind: RecordKind, asked: bytes) -> bytes | None:
        rule = next((one for one in self._rules if one["part"] in name and one["kind"] in (kind, "ALL")), None)
        count = -2 if rule is None else rule["count"]
        if rule is None or count < 0:
            return None if count == -1 else self._head(asked, kind, 3, 0)
        if rule["kind"] == "ALL":
            return self._head(asked, kind, 0, 0)
        records = b""
        number = 0
        while number < count:
            data = _data(kind, rule, name, number)
            record = b"\xc0\x0c" + struct.pack("!HHIH", _TYPES[kind], 1, 300, len(data)) + data
            if len(records) + len(record) > MAX_REPLY - 400:
                break
            records += record
            number += 1
        return self._head(asked, kind, 0, number) + records

    @staticmethod
    def _head(asked: bytes, kind: RecordKind, rcode: int, count: int) -> bytes:
        return struct.pack("!HHHHHH", 7, 0x8180 | rcode, 1, count, 0, 0) + asked + struct.pack("!HH", _TYPES[kind], 1)


def _data(kind: RecordKind, rule: dict[str, Any], name: str, number: int) -> bytes:
    if kind in ("A", "AAAA"):
        return struct.pack("!I", 0x0A00_0000 + number) * (1 if kind == "A" else 4)
    text = render(
        [[piece.replace("@", name).replace("%n", str(number)), times] for piece, times in rule["text"]], 65_000
    )
    octets = text.encode("latin-1", "replace")
    if kind == "TXT":
        size = min(max(rule["size"], 0), 255)
        if not size:
            return b"\0" * len(octets)
        return b"".join(bytes([len(octets[i : i + size])]) + octets[i : i + size] for i in range(0, len(octets), size))[
            :65_000
        ]
    labels = [label[:63] for label in octets[:250].split(b".") if label]
    host = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return (b"\0\1" if kind == "MX" else b"") + host[-255:]


@cache
def _caches() -> list[Any]:
    """Those of the engines: what tests and the daemon keep is not a message's."""
    return [
        one
        for one in gc.get_objects()
        if isinstance(one, remember.Remembering)
        or (isinstance(one, _lru_cache_wrapper) and re.match(r"mailnotary\.(?!daemon|cli)", one.__module__))
    ]


def forget_all() -> None:
    """Nothing that an earlier message left is known any more."""
    for one in _caches():
        one.cache_clear()


def measure(genome: Genome, times: int = 1, settings: Settings = SETTINGS) -> tuple[float, MessageRecord]:
    """The least CPU time in seconds of so many runs, and what came of the message."""
    fields, body = message_of(genome)
    resolver = GenomeResolver(genome)
    records: list[MessageRecord] = []
    environment = Environment(settings, KeyStore({}), resolver, records.append, "mx.example", clock=lambda: float(NOW))
    best = float("inf")
    for _ in range(times):
        forget_all()
        resolver.forget()
        began = time.process_time()
        session = Session(lambda: environment)
        session.connect(genome["ip"], "mx.example", None)
        session.helo(genome["helo"])
        session.mail_from(genome["mail_from"].encode("utf-8", "surrogateescape"), None)
        for name, value in fields:
            session.header(name, value)
        session.end_of_headers()
        for start in range(0, len(body), 65_535):
            session.body(body[start : start + 65_535])
        session.end_of_message("4ABC")
        best = min(best, time.process_time() - began - resolver.aside)
    return best, records[-1]


def everything() -> Genome:
    """A message that spends all of its shares as honest programs would parse them; the search begins from it, too."""
    names = ":".join(f"x{number}" for number in range(300))
    start = " v=1; a=rsa-sha256; c=relaxed/relaxed; s=k; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; b="
    spf = [["v=spf1 ", 1], ["mx:m#.@ ", 8], ["a:a#.@ ", 1], ["ip4:10.%n.#.1/24 ", 240], ["redirect=r.@", 1]]
    return {
        "ip": "192.0.2.1",
        "helo": "h.example",
        "mail_from": "<a@d.example>",
        "fields": [
            ["From", [[" a@a0.evil.example", 1]]],
            *[["DKIM-Signature", [[f"{start}{'A' * 342}==; d=x{i}.{LONG}; h=from:{names}", 1]]] for i in range(10)],
            *[[f"x{number}", [["a\r\n\tb c", 200]]] for number in range(300)],
        ],
        "body": [["hi\r\n", 1]],
        "zone": [
            {"part": "_domainkey.", "kind": "TXT", "text": [["v=DKIM1; n=%n; p=" + RSA, 1]], "count": 3, "size": 255},
            {"part": "d.example", "kind": "TXT", "text": spf, "count": 1, "size": 255},
            {"part": "h.example", "kind": "TXT", "text": spf, "count": 1, "size": 255},
            {"part": "", "kind": "MX", "text": [["h%n.@", 1]], "count": 10, "size": 0},
            {"part": "", "kind": "A", "text": [], "count": 20, "size": 0},
            {
                "part": "evil.example",
                "kind": "TXT",
                "text": [["v=DMARC1;p=reject;rua=", 1], ["a:b@#,", 700]],
                "count": 1,
                "size": 255,
            },
        ],
    }


def unit() -> float:
    """How much slower than the machine that the bar was set on this one is, as far as such work goes."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        found: dict[str, int] = {}
        for number in range(30_000):
            found[f"{number % 1000}.example".partition(".")[0]] = number
        best = min(best, time.process_time() - began)
    return best / 0.0033
