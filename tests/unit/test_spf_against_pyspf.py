"""SPF beside pyspf over made-up zones: both have the same result, or the difference has a known reason."""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from mailnotary.resolver import DnsTempError, MxRecord, RecordKind, ZoneResolver
from mailnotary.spf import SpfResult, check_mail_from

peer = pytest.importorskip("spf")

SENDER, HELO = "strong-bad@example.com", "a.example.com"
CLIENTS = ["192.0.2.1", "2001:db8::1", "203.0.113.9"]
NAMES = [
    *(f"{letter}.example.com" for letter in "abcdef"),
    "example.com",
    "none.example.com",
    "slow.example.com",
    "x.org",
]
TARGETS = [
    *NAMES,
    *("%{d}", "%{o}", "%{l}.example.com", "a.%{d2}", "%{i}.x.org", "%{ir}.%{v}.x.org", "%{l1r-}.example.com", "%{h}"),
    *("b.%{o2}.org.", "a..b.com", "%{d1r}.example.com", "%{s}.org", "%{L}.example.com"),
]
ADDRESSES = ["192.0.2.1", "192.0.2.77", "198.51.100.5"]
ADDRESSES6 = ["2001:db8::1", "2001:db8:1::5"]
NETWORKS = ["ip4:192.0.2.1", "ip4:192.0.2.0/24", "ip4:0.0.0.0/0", "ip4:10.0.0.0/8", "ip6:2001:db8::/32", "ip6:::/0"]
ERRORS = [
    "ip4:1.2.3",
    "moo",
    "a/33",
    "-all:x",
    "a:b",
    "mx:",
    "ip6:x",
    "exists:a.1",
    "%",
    "=x",
    "-",
    "a,b",
    "redirect=a",
]
PREFIXES = ["", "", "/24", "/0", "//64", "/24//64"]
REVERSE = "1.2.0.192.in-addr.arpa"
REVERSE6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


def some_term(rng: random.Random) -> str:
    qualifier = rng.choice(["", "", "", "+", "-", "~", "?"])
    target = rng.choice(TARGETS)
    optional = rng.choice(["", ":" + target])
    return rng.choice(
        [
            qualifier + rng.choice(NETWORKS),
            qualifier + rng.choice(NETWORKS),
            qualifier + rng.choice(["a", "mx", "A", "Mx"]) + optional + rng.choice(PREFIXES),
            qualifier + "exists:" + target,
            qualifier + "ptr" + optional,
            qualifier + "include:" + target,
            qualifier + "include:" + target,
            qualifier + "all",
            "redirect=" + target,
            rng.choice(["x=y", "foo=%{d}%%", "exp=" + target]),
            rng.choice(ERRORS) if rng.random() < 0.2 else "ip4:10.9.8.7",
        ]
    )  # fmt: skip


def some_zone(rng: random.Random) -> dict[str, Any]:
    zone: dict[str, Any] = {"slow.example.com": "TIMEOUT", "1.2.0.192.in-addr.x.org": [{"A": "127.0.0.2"}]}
    for name in NAMES[:7]:
        records = 1 if name == "example.com" else rng.choice([0, 1, 1, 1, 1, 2])
        zone[name] = [
            *(
                {"TXT": " ".join(["v=spf1", *(some_term(rng) for _ in range(rng.randrange(5)))])}
                for _ in range(records)
            ),
            *({"A": rng.choice(ADDRESSES)} for _ in range(rng.randrange(3))),
            *({"AAAA": rng.choice(ADDRESSES6)} for _ in range(rng.randrange(3))),
            *({"MX": [10, rng.choice(NAMES)]} for _ in range(rng.choice([0, 0, 1, 2, 3]))),
        ]
    for name in (REVERSE, REVERSE6):
        zone[name] = [{"PTR": rng.choice(NAMES)} for _ in range(rng.randrange(4))]
    return zone


def both(
    zone: Mapping[str, Any], ip: str, monkeypatch: pytest.MonkeyPatch, helo: str = HELO
) -> tuple[SpfResult, str, str]:
    """Our result, pyspf's, and its reason."""
    resolver = ZoneResolver(zone)

    def lookup(name: str, kind: str, *_: object) -> list[object]:
        try:
            answer = resolver.lookup(name, RecordKind(kind))
        except DnsTempError as error:
            raise peer.TempError(str(error)) from error
        return [((name, kind), pyspf_data(record)) for record in answer.records]

    monkeypatch.setattr(peer, "DNSLookup", lookup)
    status, _, reason = peer.query(i=ip, s=SENDER, h=helo).check()
    return check_mail_from(ip, SENDER, helo, resolver), status, reason


def pyspf_data(record: object) -> object:
    if isinstance(record, bytes):
        return (record,)
    return (record.preference, record.host) if isinstance(record, MxRecord) else str(record)


KNOWN = {
    "invalid-macro-char": 'it takes the "%%" at the end of "%{d}%%" for a lone "%"; 7.1 has "%%" as a macro-expand',
    "trivial recursion": "it refuses a record that includes itself though that term is never reached; 4.6.4 limits "
    "what is evaluated",
    "x= MUST appear at most once": 'it allows an unknown modifier once; section 6: "no matter where, or how often"',
    "foo= MUST appear at most once": "the same",
    "Too many DNS lookups": "it counts a redirect that is not followed; 4.6.4 limits what is evaluated",
    "Void lookup limit": "it asks for all hosts of an mx where one matches already, and counts the client's names too",
    "TIMEOUT": "it asks for all hosts of an mx where one matches already, and takes a ptr's errors for temperror (5.5)",
}


def test_every_difference_has_a_known_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    for seed in range(1200):
        rng = random.Random(seed)
        zone = some_zone(rng)
        ours, theirs, reason = both(zone, rng.choice(CLIENTS), monkeypatch)
        if ours.status == theirs:
            seen[theirs] += 1
            continue
        known = [fragment for fragment in KNOWN if fragment in reason]
        assert known, f"seed {seed}: {ours.status} ({ours.reason}), pyspf {theirs} ({reason}): {zone['example.com']}"
        seen["explained"] += 1
    assert seen["explained"] < 0.1 * seen.total()
    assert set(seen) >= {"pass", "fail", "softfail", "neutral", "permerror", "temperror"}


A_HOST = {"h.example.org": [{"A": "192.0.2.1"}]}


@pytest.mark.parametrize(
    ("record", "zone", "ours", "theirs"),
    [
        # 7.1: "%%" is a macro-expand wherever it stands.
        ("v=spf1 a:%{d}%% -all", {}, "fail", "permerror"),
        # Section 6: unknown modifiers are ignored "no matter where, or how often, they appear".
        ("v=spf1 x=1 x=2 -all", {}, "fail", "permerror"),
        # 4.6.1: names are case-insensitive.
        ("v=spf1 REDIRECT=r.example.org", {"r.example.org": [{"TXT": "v=spf1 -all"}]}, "fail", "neutral"),
        # 5.1: a redirect beside an "all" is ignored, so it is not a term that asks.
        (f"v=spf1 {'a:h.example.org ' * 10} ip4:192.0.2.1 -all redirect=r.example.org",
         {"h.example.org": [{"A": "198.51.100.1"}]}, "pass", "permerror"),
        # 5.2 and 4.6.4: a term that is not reached can't loop.
        ("v=spf1 -all include:example.com", {}, "fail", "permerror"),
        # 5.5: "If a DNS error occurs while doing the PTR RR lookup, then this mechanism fails to match."
        ("v=spf1 ptr -all", {REVERSE: "TIMEOUT"}, "fail", "temperror"),
        # 5.5: "If a DNS error occurs while doing an A RR lookup, then that domain name is skipped".
        ("v=spf1 ptr:example.org -all", {REVERSE: [{"PTR": "slow.example"}, {"PTR": "h.example.org"}],
                                         "slow.example": "TIMEOUT"} | A_HOST, "pass", "temperror"),
        # 7.3: "If a DIGIT is specified, the value MUST be nonzero."
        ("v=spf1 a:%{d0}.example.org -all", {}, "permerror", "fail"),
        # 7.1: transformers are digits and then "r".
        ("v=spf1 a:%{dr2}.example.org -all", {}, "permerror", "fail"),
        # 7.3: "the parts are rejoined using "." and not the original splitting characters".
        ("v=spf1 exists:%{h-} -all", {"a.b.example.org": [{"A": "127.0.0.2"}]}, "pass", "fail"),
        # 7.3: as many labels as needed are removed from the left, not one.
        (f"v=spf1 exists:aa.bb.{'c' * 62}.{'c' * 62}.{'c' * 62}.{'c' * 60}.org -all",
         {f"{'c' * 62}.{'c' * 62}.{'c' * 62}.{'c' * 60}.org": [{"A": "127.0.0.2"}]}, "pass", "fail"),
        # 4.6.4: the PTR look-up of a %{p} counts.
        (f"v=spf1 exists:%{{p}}.example.org {'a:h.example.org ' * 9} -all",
         {"unknown.example.org": [{"AAAA": "::1"}], "h.example.org": [{"A": "198.51.100.1"}]}, "permerror", "fail"),
    ],
)  # fmt: skip
def test_known_differences(
    record: str, zone: dict[str, Any], ours: str, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    helo = "a-b.example.org"
    result, status, reason = both({"example.com": [{"TXT": record}]} | zone, "192.0.2.1", monkeypatch, helo)
    assert (str(result.status), status) == (ours, theirs), (result.reason, reason)
