"""What holds for any record, any macro, any zone and any identity."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.fuzz_spf import one_input
from mailnotary.resolver import Answer, RecordKind
from mailnotary.spf import SpfResult, check_mail_from
from mailnotary.spf.macro import MacroError, parse_domain_spec, parse_macro_string
from mailnotary.spf.record import SpfRecordError, parse_record
from support.spf import CLIENT, CLIENT6, AnyZone, CountingResolver, check_everything

LABELS = st.sampled_from(
    ["a", "example", "com", "x-y", "_spf", "A1", "1", "", "a" * 63, "a" * 64, "%%", "%_", "é", "/", ":"]
)
MACROS = st.builds(
    "%{{{}{}{}{}}}".format,
    st.sampled_from("slodiphvcrtSLODIPHVxz"),
    st.sampled_from(["", "1", "2", "0", "127", "9" * 30]),
    st.sampled_from(["", "r", "R"]),
    st.text("-.+,/_=", max_size=3),
)
NAMES = st.lists(LABELS | MACROS, min_size=1, max_size=6).map(".".join)
CIDRS = st.sampled_from(["", "/0", "/24", "/32", "/33", "//0", "//64", "//129", "/8//8", "/", "/08"])
HOST_TERMS = st.builds(
    "{}{}{}".format, st.sampled_from(["a", "mx", "A", "ptr"]), st.just("") | NAMES.map(":{}".format), CIDRS
)
NAME_TERMS = st.builds(
    "{}{}".format, st.sampled_from(["include:", "exists:", "redirect=", "exp=", "x=", "ptr:"]), NAMES
)
ADDRESS_TERMS = st.sampled_from(
    ["ip4:192.0.2.1", "ip4:0.0.0.0/0", "ip6:::/0", "ip4:1.2.3", "ip6:::1/129", "all", "moo", ""]
)
TERMS = st.builds("{}{}".format, st.sampled_from(["", "-", "~", "?", "+"]), HOST_TERMS | NAME_TERMS | ADDRESS_TERMS)
RECORDS = st.lists(TERMS, max_size=14).map(lambda terms: f"v=spf1 {' '.join(terms)}".encode()) | st.binary(max_size=80)
SENDERS = st.binary(max_size=40) | st.builds("{}@{}".format, st.text(max_size=10), NAMES).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)
HELOS = st.binary(max_size=20) | NAMES.map(str.encode)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([CLIENT, CLIENT6]), SENDERS, HELOS, st.lists(RECORDS, min_size=1, max_size=5))
def test_every_check_ends_in_a_result_within_its_limits(
    ip: str, sender: bytes, helo: bytes, records: list[bytes]
) -> None:
    check_everything(ip, sender, helo, records)
    check_everything(ip, b"user@mail.example.com", b"mail.example.com", records)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_octets_are_a_record_or_an_error(text: bytes) -> None:
    error = None
    try:
        record = parse_record(b"v=spf1 " + text)
    except SpfRecordError as raised:
        error = raised
    if error:
        assert 0 <= error.position <= len(text) + 7
        assert str(error).isprintable()
    else:
        assert {directive.text for directive in record.directives} <= set(text.decode("ascii").split(" "))


@settings(max_examples=300, deadline=None)
@given(NAMES | st.text(max_size=60), st.text(max_size=400).map(lambda text: text.encode().decode("latin-1")))
def test_any_expansion_is_bounded(text: str, value: str) -> None:
    try:
        spec = parse_domain_spec(text)
    except MacroError:
        return
    assert len(spec.expand_domain(lambda _: value)) <= 253
    assert len(parse_macro_string(text).expand(lambda _: value, 100)) <= 100


@settings(max_examples=200, deadline=None)
@given(NAMES, st.text("ab.-", max_size=300))
def test_cutting_before_expanding_is_cutting_after(text: str, value: str) -> None:
    try:
        spec = parse_domain_spec(text)
    except MacroError:
        return
    name = "".join(p if isinstance(p, str) else p.expand(lambda _: value) for p in spec.parts).removesuffix(".")
    while len(name) > 253:  # 7.3: "by removing successive domain labels (and their following dots)"
        name = name.partition(".")[2]
    assert spec.expand_domain(lambda _: value) == name


@settings(max_examples=300, deadline=None)
@given(NAMES, st.sets(st.sampled_from("slodiph")), st.text("ab.-", max_size=300))
def test_what_is_filled_in_before_changes_no_expansion(text: str, letters: set[str], value: str) -> None:
    try:
        spec = parse_domain_spec(text)
    except MacroError:
        return

    def values(letter: str) -> str:
        return letter + value

    filled = spec.filled_in(letters, values)
    assert filled.expand_domain(values) == spec.expand_domain(values)
    assert filled.letters <= spec.letters - letters


class Warm(AnyZone):
    """The zone, which gives the same answers again, as a cache does: what follows from them may be remembered."""

    def __init__(self, records: list[bytes]) -> None:
        super().__init__(records)
        self._known: dict[tuple[str, RecordKind], Answer] = {}

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        answer = self._known.get((name, kind))
        if answer is None:
            answer = self._known[name, kind] = super().lookup(name, kind)
        return answer


PEOPLE = st.tuples(
    st.sampled_from([CLIENT, CLIENT6, "192.0.2.2"]),
    st.sampled_from(
        [
            *("ann@mail.example.com", "bob-x@mail.example.com", "bob-y@mail.example.com", "ann-x@mail.example.com"),
            *("b\u00f6b@mail.example.com", "@mail.example.com"),
        ]
    ),
    st.sampled_from(["mail.example.com", "other.example.com", "x"]),
)


OF_SENDER = st.lists(
    st.builds(
        "{}{}%{{{}{}}}.{}".format,
        st.sampled_from(["", "-", "?"]),
        st.sampled_from(["exists:", "include:", "a:", "mx:"]),
        st.sampled_from("slohpid"),
        st.sampled_from(["", "1", "1r", "r-", "1r-", "2-"]),
        st.sampled_from(["example.com", "%{l1r-}.example.com", "%{h}.org", "%{d}"]),
    ),
    min_size=1,
    max_size=4,
).map(lambda terms: f"v=spf1 {' '.join(terms)} ~all".encode())


@settings(max_examples=300, deadline=None)
@given(st.lists(PEOPLE, min_size=2, max_size=6), st.lists(RECORDS | OF_SENDER, min_size=1, max_size=4))
def test_what_is_remembered_of_one_sender_is_right_for_the_next(
    people: list[tuple[str, str, str]], records: list[bytes]
) -> None:
    warm = Warm(records)
    for ip, sender, helo in people:
        remembered = check_mail_from(ip, sender, helo, warm, now=0)
        assert remembered == check_mail_from(ip, sender, helo, AnyZone(records), now=0)


class Kept(CountingResolver):
    """A zone that gives the same answers again."""

    def __init__(self, zone: dict[str, Any]) -> None:
        super().__init__(zone)
        self._kept: dict[tuple[str, RecordKind], Answer] = {}

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        return self._kept.setdefault((name, kind), super().lookup(name, kind))


CLIENT_NAME = "1.2.0.192.in-addr.mail.example.com"


def test_a_record_with_macros_of_the_client_alone_is_evaluated_once_for_all_senders() -> None:
    """Each answer is asked for again; it is the parsing and comparing that is spared."""
    zone = {"mail.example.com": [{"TXT": "v=spf1 exists:%{ir}.%{v}.%{d} -all"}], CLIENT_NAME: [{"A": "127.0.0.2"}]}
    resolver = Kept(zone)
    first, second = (check_mail_from(CLIENT, f"{who}@mail.example.com", who, resolver) for who in ("ann", "bob"))
    assert first.status == "pass"
    assert second is first
    assert [name for name, _ in resolver.questions] == ["mail.example.com", CLIENT_NAME] * 2


def test_a_record_with_macros_of_the_sender_is_evaluated_once_for_those_with_the_same_names() -> None:
    record = "v=spf1 exists:%{l1r-}.no.%{d} exists:%{l1r-}.%{h}.%{d} -all"
    zone = {"mail.example.com": [{"TXT": record}], "ann.x.mail.example.com": [{"A": "127.0.0.2"}]}
    resolver = Kept(zone)

    def check(local_part: str, helo: str = "x") -> SpfResult:
        return check_mail_from(CLIENT, f"{local_part}@mail.example.com", helo, resolver)

    first = check("ann-1")
    assert first.status == "pass"
    assert check("ann-2") is first
    assert [check("bob-1").status, check("ann-3", "y").status, check("\u00e4nn-1").status] == ["fail"] * 3
    assert check("ann-4") is first


@pytest.mark.parametrize(
    "records",
    [
        [b"v=spf1 " + b"a " * 10_000],
        [b"v=spf1 " + b"include:%{l}.%{o} " * 2_000],
        [b"v=spf1 mx:%{s}.a mx:%{h}.b -all exp=%{d}", b"%{p}" * 10_000],
        [b"v=spf1 " + b"\x00" * 65_000],
        [b"v=spf1 exists:" + b"%{s-+.}" * 9_000 + b".com"],
        [b"v=spf1 exists:" + b"%{s-+.}" * 280 + b".com " + b"a " * 20_000],
        [b"v=spf1 redirect=%{d}"],
        [b"v=spf1 redirect=%{d}.a.%{d}"],
        [b"v=spf1 include:%{d}.b.c ?include:a.%{d} include:%{d2}"],
        [b"v=spf1 ip4:1.2.3.4"] * 2,
        [b"x" * 200_000],
        [],
    ],
)
def test_what_an_attacker_would_try_first(records: list[bytes]) -> None:
    for sender in (b"user@mail.example.com", b"a-" * 40_000 + b"@mail.example.com", b""):
        check_everything(CLIENT, sender, b"mail.example.com", records)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_the_fuzz_target_takes_anything(data: bytes) -> None:
    one_input(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n\n",
        b"0\na@example.com\nmail.example.com\nmx -all exp=%{p}.example.com\nptr:%{h} include:%{l}.%{d} redirect=%{o}",
        b"1\n\xe9@\xc3\xa9.example\n[1.2.3.4]\nexists:%{S}.%{ir}.%{v}.example -all",
    ],
)
def test_the_fuzz_targets_corpus(data: bytes) -> None:
    one_input(data)
