"""DNS messages: what is asked, what a reply means, and that no octets of it do harm."""

import contextlib
import struct
import time
from ipaddress import IPv4Address, IPv6Address

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailnotary.resolver import MxRecord, RecordKind
from mailnotary.resolver.records import MAX_RECORDS, MAX_STRINGS, MAX_TEXT, WireError
from mailnotary.resolver.types import MAX_CNAMES
from mailnotary.resolver.wire import (
    UDP_SIZE,
    Reply,
    answers,
    encode_question,
    name_text,
    parse_name,
    parse_reply,
)

A, AAAA, MX, PTR, TXT = RecordKind.A, RecordKind.AAAA, RecordKind.MX, RecordKind.PTR, RecordKind.TXT
SOA = ". 900 IN SOA ns.invalid. admin.invalid. 1 2 3 4 60"


def the_name(text: str) -> bytes:
    name = parse_name(text)
    assert name is not None
    return name


def after_header(body: bytes, *, name: str = "x.org", kind: RecordKind = A, counts: tuple[int, int, int]) -> bytes:
    """A reply with a right header and question, and then these octets; they begin at 23 for the name x.org."""
    question = encode_question(b"\0\7", the_name(name), kind, edns=False)[12:]
    return struct.pack("!HHHHHH", 7, 0x8180, 1, *counts) + question + body


def record(data: bytes, kind: RecordKind = A, owner: bytes = b"\xc0\x0c") -> bytes:
    """A record of the question's name as it is on the wire, TTL 60."""
    code = {A: 1, PTR: 12, MX: 15, TXT: 16, AAAA: 28}[kind]
    return owner + struct.pack("!HHIH", code, 1, 60, len(data)) + data


def reply(
    name: str,
    kind: RecordKind,
    *answer: str,
    authority: tuple[str, ...] = (),
    rcode: str = "NOERROR",
    flags: str = "QR RD RA",
) -> bytes:
    """A reply by dnspython; each record in its text form."""
    message = dns.message.make_response(dns.message.make_query(name, str(kind), use_edns=0), recursion_available=True)
    message.flags = dns.flags.from_text(flags)
    message.set_rcode(dns.rcode.from_text(rcode))
    for section, records in ((message.answer, answer), (message.authority, authority)):
        for record in records:
            owner, ttl, rdclass, rdtype, data = record.split(" ", 4)
            section.append(dns.rrset.from_text(owner, int(ttl), rdclass, rdtype, data))
    return message.to_wire(max_size=65_535)


def parse(name: str, kind: RecordKind, *answer: str, **options: object) -> Reply:
    return parse_reply(reply(name, kind, *answer, **options), the_name(name), kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", RecordKind)
@pytest.mark.parametrize("edns", [True, False])
def test_a_question_asks_for_recursion_one_name_and_kind_and_offers_room(kind: RecordKind, edns: bool) -> None:
    asked = dns.message.from_wire(encode_question(b"\xab\xcd", the_name("_DMARC.example.org"), kind, edns=edns))
    assert (asked.id, asked.flags, len(asked.question)) == (0xABCD, dns.flags.RD | dns.flags.AD, 1)
    assert asked.question[0].to_text() == f"_dmarc.example.org. IN {kind}"
    assert (asked.edns, asked.payload) == ((0, UDP_SIZE) if edns else (-1, 0))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a..",
        "x" * 64,
        "x" * 64 + ".org",
        ".".join(["a" * 63] * 4),
        "\u20ac.org",
        "a" * 300,
    ],
)
def test_a_name_that_dns_cannot_carry_is_none(name: str) -> None:
    assert parse_name(name) is None


def test_the_longest_name_and_label_are_carried() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert len(longest) == 253
    assert the_name(longest) == the_name(longest + ".")
    assert parse_name(longest + "a") is None


def test_only_the_letters_a_to_z_are_lowered() -> None:
    assert the_name("AZ.\xc9\x00") == b"\x02az\x02\xc9\x00\x00"


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=63).filter(lambda label: b"." not in label), min_size=1, max_size=3))
def test_a_name_of_any_octets_survives_both_ways(labels: list[bytes]) -> None:
    text = b".".join(labels).decode("latin-1")
    name = the_name(text)
    assert name == b"".join(bytes([len(label)]) + label.lower() for label in labels) + b"\0"
    assert name_text(name) == text.encode("latin-1").lower().decode("latin-1")


def test_a_dot_within_a_label_does_not_pass_for_two_labels() -> None:
    assert name_text(b"\x0bexample.org\x00") == "example\\.org"


def test_records_of_each_kind() -> None:
    assert parse("x.org", A, "x.org. 60 IN A 192.0.2.1").records == (IPv4Address("192.0.2.1"),)
    assert parse("x.org", AAAA, "x.org. 60 IN AAAA ::ffff:192.0.2.1").records == (IPv6Address("::ffff:192.0.2.1"),)
    assert parse("x.org", MX, "x.org. 60 IN MX 10 Mx.x.org.").records == (MxRecord(10, "Mx.x.org"),)
    assert parse("x.org", MX, "x.org. 60 IN MX 0 .").records == (MxRecord(0, ""),)  # RFC 7505
    assert parse("x.org", PTR, "x.org. 60 IN PTR a.x.org.").records == ("a.x.org",)
    assert parse("x.org", TXT, 'x.org. 60 IN TXT "a b" "" "c\\255"').records == (b"a bc\xff",)


def test_the_order_and_the_number_of_records_stay() -> None:
    found = parse("x.org", A, *[f"x.org. 60 IN A 192.0.2.{i}" for i in range(200)])
    assert found.records == tuple(IPv4Address(f"192.0.2.{i}") for i in range(200))


def test_a_record_that_comes_twice_is_one() -> None:
    wire = reply("x.org", TXT, 'x.org. 60 IN TXT "a"', 'x.org. 60 IN TXT "b"').replace(b"\x01b", b"\x01a")
    assert parse_reply(wire, the_name("x.org"), TXT).records == (b"a",)


def test_records_of_other_owners_types_and_classes_do_not_count() -> None:
    found = parse(
        "x.org", TXT, 'y.org. 1 IN TXT "y"', "x.org. 1 IN A 192.0.2.1", 'x.org. 1 CH TXT "ch"', 'x.org. 60 IN TXT "x"'
    )
    assert (found.records, found.ttl) == ((b"x",), 60)


def test_an_owner_in_other_case_is_the_same() -> None:
    assert parse("x.org", TXT, 'X.oRg. 60 IN TXT "x"').records == (b"x",)


def test_the_lowest_ttl_holds_that_of_a_cname_too() -> None:
    found = parse(
        "x.org", A, "x.org. 30 IN CNAME y.org.", "y.org. 60 IN A 192.0.2.1", "x.org. 10 IN RRSIG A 8 2 1 0 0 1 . AA=="
    )
    assert (found.ttl, found.cnames) == (30, 1)


def test_a_ttl_with_the_top_bit_is_zero() -> None:
    wire = reply("x.org", A, "x.org. 60 IN A 192.0.2.1")
    wire = wire.replace(struct.pack("!I", 60), struct.pack("!I", 0x8000_0001))
    assert parse_reply(wire, the_name("x.org"), A).ttl == 0


def test_cnames_are_followed_in_any_order_of_the_records() -> None:
    found = parse("a.org", A, "c.org. 9 IN A 192.0.2.1", "B.org. 9 IN CNAME c.org.", "a.org. 9 IN CNAME b.org.")
    assert (found.records, found.cnames) == ((IPv4Address("192.0.2.1"),), 2)


def test_a_record_beside_a_cname_is_taken_before_it() -> None:
    found = parse("a.org", A, "a.org. 9 IN CNAME b.org.", "a.org. 9 IN A 192.0.2.1", "b.org. 9 IN A 192.0.2.2")
    assert (found.records, found.cnames) == ((IPv4Address("192.0.2.1"),), 0)


def test_a_cname_that_leads_out_of_the_answer_names_the_next_question() -> None:
    found = parse("a.org", A, "a.org. 9 IN CNAME B.org.")
    assert (found.records, found.target, found.ttl) == ((), the_name("b.org"), 9)


def test_a_cname_with_a_soa_is_nodata_where_it_leads() -> None:
    found = parse("a.org", A, "a.org. 9 IN CNAME b.org.", authority=(SOA,))
    assert (found.records, found.target, found.ttl) == ((), None, 9)


def test_nxdomain_is_said_of_the_last_cname() -> None:
    found = parse("a.org", A, "a.org. 90 IN CNAME b.org.", authority=(SOA,), rcode="NXDOMAIN")  # RFC 6604 section 3
    assert (found.rcode, found.target, found.ttl) == (3, None, 60)


@pytest.mark.parametrize("length", [MAX_CNAMES, MAX_CNAMES + 1])
def test_a_chain_is_followed_as_far_as_promised(length: int) -> None:
    chain = [f"n{i}.org. 9 IN CNAME n{i + 1}.org." for i in range(length)]
    if length > MAX_CNAMES:
        with pytest.raises(WireError):
            parse("n0.org", A, *chain)
    else:
        assert parse("n0.org", A, *chain, f"n{length}.org. 9 IN A 192.0.2.1").records


def test_a_loop_of_cnames_is_an_error() -> None:
    with pytest.raises(WireError):
        parse("a.org", A, "a.org. 9 IN CNAME b.org.", "b.org. 9 IN CNAME a.org.")


def test_a_negative_ttl_is_the_lower_of_the_soas_two() -> None:
    assert parse("a.org", A, authority=(SOA,)).ttl == 60  # RFC 2308 section 5
    assert parse("a.org", A, authority=(SOA.replace("900", "20"),)).ttl == 20
    assert parse("a.org", A).ttl is None


def test_a_referral_is_no_answer() -> None:
    with pytest.raises(WireError, match="referral"):
        parse("a.org", A, authority=("org. 900 IN NS ns.org.",))
    assert parse("a.org", A, authority=("org. 900 IN NS ns.org.", SOA)).rcode == 0  # RFC 2308 section 2.2, type 1


def test_an_extended_rcode_is_not_taken_for_an_answer() -> None:
    message = dns.message.make_response(dns.message.make_query("a.org", "A", use_edns=0))
    message.set_rcode(dns.rcode.BADVERS)
    assert parse_reply(message.to_wire(), the_name("a.org"), A).rcode == 16


def test_a_truncated_reply_says_nothing_else() -> None:
    assert parse("a.org", A, flags="QR TC") == Reply(dns.rcode.NOERROR, truncated=True)


def test_more_records_than_the_bound_are_an_error() -> None:
    records = [f"x.org. 60 IN A 10.0.{i >> 8}.{i & 255}" for i in range(MAX_RECORDS + 1)]
    assert len(parse("x.org", A, *records[:-1]).records) == MAX_RECORDS
    with pytest.raises(WireError):
        parse("x.org", A, *records)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (A, b"\x01\x02\x03"),
        (AAAA, b"\0" * 15),
        (TXT, b""),
        (TXT, b"\x05four"),
        (MX, b"\0"),
        (MX, b"\0\x0a\x01a\0junk"),
        (PTR, b"\x01a"),
        (PTR, b"\xff\xff"),
        (PTR, b"\x40\0"),
    ],
)
def test_record_data_in_another_form_is_an_error(kind: RecordKind, data: bytes) -> None:
    with pytest.raises(WireError):
        parse_reply(after_header(record(data, kind), kind=kind, counts=(1, 0, 0)), the_name("x.org"), kind)


def test_a_record_of_no_interest_may_hold_anything() -> None:
    body = record(b"abcd") + record(b"", TXT) + b"\0" + struct.pack("!HHIH", 41, 1232, 0, 3) + b"odd"
    assert parse_reply(after_header(body, counts=(2, 0, 1)), the_name("x.org"), A).records == (IPv4Address(b"abcd"),)


@pytest.mark.parametrize("pointer", [b"\xc0\x17", b"\xc0\x19", b"\xff\xff"])
def test_a_pointer_that_does_not_lead_backwards_is_an_error(pointer: bytes) -> None:
    with pytest.raises(WireError):
        parse_reply(after_header(record(b"abcd", owner=pointer), counts=(1, 0, 0)), the_name("x.org"), A)


def test_names_that_grow_by_pointers_stay_within_their_bound() -> None:
    """A chain of pointers, each to a label and the one before, as long as a message holds."""
    start = 23 + 12  # where the first record's data is
    chain = b"".join(
        b"\x01a" + struct.pack("!H", 0xC000 | (12 if i == 0 else start + 4 * (i - 1))) for i in range(3000)
    )
    with pytest.raises(WireError):
        parse_reply(after_header(record(chain, PTR), kind=PTR, counts=(1, 0, 0)), the_name("x.org"), PTR)


def pointer_bomb() -> bytes:
    """64 KiB: data of another type that holds 8000 pointers, each to the one before, and 999 owners at its end."""
    start = 23 + 12
    chain = b"".join(struct.pack("!H", 0xC000 | (12 if i == 0 else start + 2 * (i - 1))) for i in range(8000))
    last = struct.pack("!H", 0xC000 | (start + 2 * 7999))
    return record(chain, TXT) + record(b"abcd", owner=last) * (MAX_RECORDS - 1)


LONGEST = b"\1a" * 127 + b"\0"


@pytest.mark.parametrize(
    "body",
    [
        pointer_bomb(),
        record(b"abcd", owner=LONGEST) + record(b"abcd", owner=b"\xc0\x17") * (MAX_RECORDS - 1),
        record(b"\0\1" + LONGEST, MX) + record(b"\0\1\xc0\x25", MX) * (MAX_RECORDS - 1),
        b"\1a" * 32_000,
    ],
    ids=["chains of pointers", "long owners", "long names in data", "one endless name"],
)
def test_no_compression_makes_a_reply_cost_much_more_than_an_honest_one(body: bytes) -> None:
    def cost(body: bytes) -> float:
        wire = after_header(body, kind=MX, counts=(MAX_RECORDS, 0, 0))
        start = time.process_time()
        with contextlib.suppress(WireError):
            parse_reply(wire, the_name("x.org"), MX)
        return time.process_time() - start

    honest = record(b"\0\1\xc0\x0c", MX) * MAX_RECORDS
    assert min(cost(body) for _ in range(2)) < 10 * cost(honest)


def test_a_reply_answers_only_its_own_question() -> None:
    name = the_name("x.org")
    query = encode_question(b"\0\7", name, A, edns=True)
    right = struct.pack("!HHHHHH", 7, 0x8180, 1, 0, 0, 0) + query[12:-11]
    assert answers(right, query, name)
    assert answers(right.replace(b"org", b"OrG"), query, name)
    assert not answers(b"\0\x08" + right[2:], query, name)  # another id
    assert not answers(query, query, name)  # a question
    assert not answers(right.replace(b"org", b"com"), query, name)
    assert not answers(right[:-3] + b"\x1c" + right[-2:], query, name)  # another type
    assert not answers(right[:4] + b"\0\2" + right[6:], query, name)
    assert not answers(right[:11], query, name)
    for flags in range(65_536):
        is_answer = flags & 0xF800 == 0x8000  # QR, and the opcode QUERY
        assert answers(right[:2] + struct.pack("!H", flags) + right[4:], query, name) == is_answer
    bare = struct.pack("!HHHHHH", 7, 0x8181, 0, 0, 0, 0)
    assert answers(bare, query, name)  # FORMERR without a question
    assert not answers(bare[:3] + b"\x80" + bare[4:], query, name)  # but not NOERROR


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 3), st.sampled_from(RecordKind))
def test_any_octets_after_the_question_are_an_answer_or_an_error(body: bytes, count: int, kind: RecordKind) -> None:
    with contextlib.suppress(WireError):
        parse_reply(after_header(body, kind=kind, counts=(count, 1, 1)), the_name("x.org"), kind)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_reply_is_an_error_or_says_nothing_that_is_not_in_it(data: st.DataObject) -> None:
    good = reply(
        "x.org",
        TXT,
        "x.org. 60 IN CNAME y.org.",
        'y.org. 60 IN TXT "abc" "d"',
        'y.org. 60 IN TXT "e"',
        authority=(SOA,),
    )
    at = data.draw(st.integers(12 + 11, len(good) - 1))
    wire = good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    with contextlib.suppress(WireError):
        for text in parse_reply(wire, the_name("x.org"), TXT).records:
            assert isinstance(text, bytes)
            assert set(text) <= set(wire)


def test_what_compression_saves_is_counted() -> None:
    def octets(owner: bytes) -> int:
        body = record(b"abcd", owner=owner) + record(b"abcd", owner=b"\xc0\x17") * 99
        return parse_reply(after_header(body + record(b"abcd"), counts=(101, 0, 0)), the_name("x.org"), A).octets

    assert octets(LONGEST) - octets(b"\1a\0") == 101 * 252  # once on the wire, a hundred times without compression


@pytest.mark.parametrize("strings", [[b"x" * 255] * 33, [b"v=DMARC1;" * 28] * 250, [b"x" * 255] * 32 + [b"y" * 33]])
def test_of_a_long_text_no_more_is_read_than_tells_that_it_is_too_long(strings: list[bytes]) -> None:
    data = b"".join(bytes([len(string)]) + string for string in strings)
    found = parse_reply(after_header(record(data, TXT), kind=TXT, counts=(1, 0, 0)), the_name("x.org"), TXT)
    assert found.records == (b"".join(strings)[: MAX_TEXT + 1],)


@pytest.mark.parametrize("size", [1, 0])
def test_a_text_in_thousands_of_strings_is_an_error(size: int) -> None:
    def data(count: int) -> bytes:
        return (bytes([size]) + b"x" * size) * count

    body = record(data(MAX_STRINGS), TXT)
    assert parse_reply(after_header(body, kind=TXT, counts=(1, 0, 0)), the_name("x.org"), TXT).records
    body = record(data(MAX_STRINGS + 1), TXT)
    with pytest.raises(WireError, match="strings"):
        parse_reply(after_header(body, kind=TXT, counts=(1, 0, 0)), the_name("x.org"), TXT)


@pytest.mark.parametrize("cut", [1, 2, 5, 12])
def test_a_reply_that_ends_too_early_is_an_error(cut: int) -> None:
    with pytest.raises(WireError):
        parse_reply(after_header(record(b"abcd"), counts=(1, 0, 0))[:-cut], the_name("x.org"), A)
