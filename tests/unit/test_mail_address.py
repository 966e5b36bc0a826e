"""Who the author is (RFC 5322 3.4 and 4.4, RFC 6854, RFC 6532), and that nobody can be made out of two."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.domain import is_domain_name
from mailnotary.mail.address import _parsed_author, _plain_author, author, author_of
from mailnotary.mail.claims import MAX_CLAIMS, claims
from mailnotary.mail.claims import UNSEEN as UNSEEN_CHARACTER
from mailnotary.mail.mailboxes import AddrSpec, AuthorProblem
from mailnotary.mail.message import HeaderField, parse


def domains(value: str | bytes) -> tuple[str, ...]:
    found = author_of(value if isinstance(value, bytes) else value.encode())
    assert found.problem is None, found.reason
    assert found.reason == ""
    return found.domains


def problem(value: str | bytes) -> AuthorProblem | None:
    found = author_of(value if isinstance(value, bytes) else value.encode())
    assert found.domain is None
    assert found.reason
    assert found.reason.isascii()
    assert found.reason.isprintable()
    return found.problem


@pytest.mark.parametrize(
    "value",
    [
        "joe@example.org",
        " joe@example.org ",
        "<joe@example.org>",
        "Joe <joe@example.org>",
        "Joe<joe@example.org>",
        "Joe Q. Public <joe@example.org>",
        '"Joe Q. Public" <joe@example.org>',
        '"Joe \\"the man\\" Public" <joe@example.org>',
        '"Joe" Public <joe@example.org>',
        '"Public, Joe" <joe@example.org>',
        '"ceo@bank.example" <joe@example.org>',
        '"<ceo@bank.example>" <joe@example.org>',
        "joe@EXAMPLE.org",
        "=?utf-8?q?J=C3=B6?= <joe@example.org>",
        "=?utf-8?q?ceo=40bank.example?= <joe@example.org>",
        "=?iso-2022-jp?b?GyRCRnxLXBsoQg==?= <joe@example.org>",  # has ESC, as it must
        "Jö <joe@example.org>",
        "jö@example.org",
        "joe+x=1/2@example.org",
        "Joe\r\n <joe@example.org>",
        "Joe\r\n\t<joe@example.org>\r\n (x)",
        "Joe\n <joe@example.org>",  # a fold as some MTAs hand it on
        # comments (3.2.2)
        "joe@example.org (Joe)",
        "joe@example.org (ceo@bank.example)",
        "(x)joe(x)@(x)example.org(x)",
        "(a(b(c\\))))joe@example.org",
        "joe@example.org (\\(\\))",
        "Joe (the man) Public (really) <(x) joe@example.org (x)> (x)",
        "(hi (nested <ceo@bank.example>) there) <joe@example.org>",
        # quoted local parts (3.2.4)
        '"joe"@example.org',
        '"joe public"@example.org',
        '"joe@bank.example"@example.org',
        '"very.(),:;<>[]\\".VERY.\\"very@\\\\ \\"very\\".unusual"@example.org',
        # obsolete syntax (4.4)
        '"joe".public@example.org',
        "joe . public@example.org",
        "joe @ example.org",
        "joe@example . org",
        "joe@example(comment).org",
        ", joe@example.org,,",
        "<@example.org:joe@example.org>",
        "<@example.org,,@EXAMPLE.ORG:joe@example.org>",
        # groups (RFC 6854)
        "Team: joe@example.org;",
        "Team: joe@example.org, Jane <jane@example.org>;",
        '"The Team":joe@example.org;,jane@example.org',
        "Team: ,joe@example.org,,; (x)",
        "Empty:;, joe@example.org",
    ],
)
def test_the_grammar_is_understood(value: str) -> None:
    assert domains(value) == ("example.org",)


@pytest.mark.parametrize(
    "value",
    [
        # a name without its quotes
        "Sales @ Acme <joe@example.org>",
        "Sales@Acme <joe@example.org>",
        "@joe, or Joe <joe@example.org>",
        "Example, Inc. <joe@example.org>",
        "Joe, <joe@example.org>",
        "Joe [Sales] <joe@example.org>",
        "Joe (Sales <joe@example.org>",
        "Joe) Sales <joe@example.org>",
        "Re: Joe <joe@example.org>",
        "Joe; Jane <joe@example.org>",
        '"Joe <joe@example.org>',
        '\\"Joe\\" <joe@example.org>',
        "Joe\\Sales <joe@example.org>",
        '"Joe "the man" Public, Esq." <joe@example.org>',
        "'joe@example.org', <joe@example.org>",
        "jane@example.org, Jane [x] <joe@example.org>",
        ". <joe@example.org>",
        "=?utf-8?q?J=C3=B6?=, =?utf-8?q?Inc=2E?= <joe@example.org>",
        "J\u00f6,\u00a0Inc. <joe@example.org>",
        # signs too many around the address
        "joe@example.org.",
        "joe@example.org;",
        "joe@example.org,;",
        "<joe@example.org.>",
        "Joe <joe@EXAMPLE.org.>",
        "Joe <joe@example.org>.",
        "Joe <joe@example.org>; (x)",
        "joe@example.org. <joe@example.org>",
        "joe@example.org., Jane <jane@example.org.>",
        "Joe [x] < joe@example.org >",
    ],
)
def test_damage_that_shows_one_domain_to_every_reader_is_read(value: str) -> None:
    assert domains(value) == ("example.org",)


# "{}" stands for the blank or sign; each shows a@bank.example to a person.
HIDDEN = [
    "a@bank.example{}",
    "<a@bank.example{}>",
    "Bank <a@{}bank.example>",
    "Bank <a@bank{}.example>",
    "Bank <a{}@bank.example>",
]
# The blanks, format characters and controls of the kinds that Unicode has, one or more of each.
UNSEEN = (
    "\x80\x85\xa0\xad\u034f\u061c\u115f\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b"
    "\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u202f\u205f\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068"
    "\u2069\u2800\u3000\u3164\ufe0f\ufeff\uffa0\ufff9\ufffa\ufffb\ufffd\ue000\U000e0001\U000e0061\U000e0100\U0010ffff"
)


@pytest.mark.parametrize("sign", UNSEEN)
@pytest.mark.parametrize("text", HIDDEN)
def test_what_can_not_be_seen_hides_no_domain(text: str, sign: str) -> None:
    value = text.replace("{}", sign).encode()
    assert problem(value) in (AuthorProblem.NO_DOMAIN, AuthorProblem.AMBIGUOUS)
    assert "bank.example" in author_of(value).domains


@pytest.mark.parametrize("octet", [b"\xa0", b"\x85", b"\xff"])
def test_octets_that_are_no_utf8_hide_no_domain(octet: bytes) -> None:
    for text in HIDDEN:
        value = text.encode().replace(b"{}", octet)
        assert problem(value) is not None
        assert "bank.example" in author_of(value).domains


def test_every_character_that_unicode_shows_nothing_for_is_known() -> None:
    known = {"Cc", "Cf", "Zs", "Zl", "Zp", "Co", "Cs"}
    for point in range(0x110000):
        character = chr(point)
        if unicodedata.category(character) in known and character not in " \t\r\n":
            assert UNSEEN_CHARACTER.match(character), hex(point)


@pytest.mark.parametrize(
    "value",
    [
        "a\uff20bank.example",
        "<a\ufe6bbank.example>",
        "Bank <a\uff20bank\uff0eexample>",
        "<a\uff20bank\u3002example>",
        'a@"bank.example"',
        'Bank <a@"bank".example>',
        "a@[bank.example]",
        "a@bank.example!",
        "<a@bank.example!>",
        "a@bank.example!.evil.example",
        "a@bank.example%evil.example",
        "a@bank.example..evil.example",
        "a@bank.example;x",
        "a@\\bank.example",
        "a@(x) bank (y). example [",
        "a@bank(x).example, [",
        "a@!bank.example",
        "mailto:a@bank.example",
        "<mailto:a@bank.example>",
        "a@bank.example\u2603",
        "=?utf-8?q?a=40bank.example?=",
        "=?utf-8?b?YUBiYW5rLmV4YW1wbGU=?=",
        "=?utf-8?b?YUBiYW5rLmV4YW1wbGU?=",  # without its padding
        "<=?utf-8?q?a=40bank.example?=>",
        "=?utf-8?q?a=40ba?= =?utf-8?q?nk.example?=",
        "=?utf-8?q?a?=@bank.example",
        "a@=?utf-8?q?bank?=.example",
        "a@=?utf-8?q?bank.example?=",
        "=?utf-7?q?a+AEA-bank.example?=",
        "=?utf-16be?b?AGEAQABiAGEAbgBrAC4AZQB4AGEAbQBwAGwAZQ==?=",
        "=?ibm037?q?=81=7C=82=81=95=92=4B=85=A7=81=94=97=93=85?=",
        "=?utf-8?b?PGFAYmFuay5leGFtcGxlPg==?=,<second@evil.example>",  # espoofer's server_a15
        "=?utf-8?q?=3Ca=40bank.example=3E?= <second@evil.example>",
        "=?utf-8?q?a=40bank.example,?= <second@evil.example>",
        "=?utf-8?q?a=40bank.example?= =?utf-8?q?=2C?= <second@evil.example>",
        "=?utf-8?q?a=40?= =?utf-8?q?bank.example=2C?= <second@evil.example>",
        "=?utf-8?q?a=40bank.example_=28?= <second@evil.example> (=?utf-8?q?=29?=)",
        "(=?utf-8?q?=29?= a@bank.example, =?utf-8?q?=28?=) <second@evil.example>",
        '"=?utf-8?q?x=22?= <a@bank.example>, =?utf-8?q?=22y?=" <second@evil.example>',
        "<a@bank.example>\\,<second@evil.example>",  # server_a17
        "<any@evil.example>a@bank.example",  # server_a19
        "\\ (a@d1.example a@d2.example) Bank <a@bank.example>",
        "Bank <a@bank.example> [x] <second@evil.example>",
        "ceo@bank.example [Bank] <second@evil.example>",
        "x [y] (a@bank.example) <second@evil.example>",
        "@bank.example, x <second@evil.example>",
    ],
)
def test_what_shows_a_person_another_domain_has_no_author_but_claims_it(value: str) -> None:
    assert problem(value) is not None
    assert "bank.example" in author_of(value.encode()).domains


def test_addresses_in_angle_brackets_are_the_likeliest() -> None:
    decoys = " ".join(f"a@d{number}.example" for number in range(8))
    assert author_of(f"\\ ({decoys}) Bank <a@bank.example>".encode()).domains[0] == "bank.example"


@pytest.mark.parametrize(
    "value",
    [
        b"<" + b"".join(b"x@d%d.example," % number for number in range(3000)),
        b"<" + "a@\u00e4\u2603.example ".encode() * 3000,
        b"x@own.example" + b" " * 65_536,
        b"a@example.org," * 4000 + b"a@bank.example",
    ],
)
def test_where_a_cap_ends_the_search_there_may_be_more(value: bytes) -> None:
    found = author_of(value)
    assert found.problem is not None
    assert found.more


def test_no_more_domains_are_read_than_are_kept() -> None:
    """Each may take IDNA's time: 700 of one field or of twenty took 30 ms and more."""
    lists = [b",".join(b" a@b%d.example" % (20 * part + number) for number in range(20)) for part in range(20)]
    one = author_of(b",".join(lists))
    assert (one.problem, len(one.domains), one.more) == (AuthorProblem.SEVERAL_DOMAINS, MAX_CLAIMS + 1, True)
    several = author([HeaderField(b"From", value) for value in lists])
    assert (several.problem, len(several.domains), several.more) == (AuthorProblem.SEVERAL_FROM, 40, True)
    assert claims(" ".join(f"@b{number} " for number in range(100))).more


def test_junk_and_a_long_field_do_not_hide_the_next_one() -> None:
    junk = author_of(b"@ " * 30 + b"<a@bank.example")
    assert (junk.domains, junk.more) == (("bank.example",), False)
    long = b"From: " + b"a" * 65_536 + b"<x@evil.example>\r\nFrom: Bank <a@bank.example>\r\n\r\n"
    assert author(parse(long).fields).domains == ("bank.example",)
    assert author(parse(long).fields).more


@pytest.mark.parametrize(
    "field",
    [
        b"To: x\r\n From: <a@bank.example>",
        b"X-A: x\r\n\tfrom : Bank\r\n <a@bank.example>",
        b"Subject: x\r\n From: =?utf-8?q?a=40bank.example?=",
        b"DKIM-Signature: h=To:\r\n From:To; b=x;\r\n From: a@bank.example",
        b"DKIM-Signature: h=To:\r\n From:To; b=x <a@bank.example>",
        b"X-List: To:\r\n From: Bank; x=1 <a@bank.example>",
        b"X-List: To:\r\n From: Bank; x=a@bank.example",
        b"X-List: h=To:\r\n From: Bank ; x=a@bank.example",
        b"X-A: x\rFrom: <a@bank.example>",
        b"Subject: x\r\tfrom : a@bank.example\r\n b",
        b"DKIM-Signature: h=To:\r\n From:Bank; i=a@bank.example;\r\n b=x",
    ],
)
def test_an_indented_from_line_is_another_author(field: bytes) -> None:
    found = author(parse(b"From: joe@example.org\r\n" + field + b"\r\n\r\n").fields)
    assert found.problem is AuthorProblem.AMBIGUOUS
    assert set(found.domains) == {"example.org", "bank.example"}


@pytest.mark.parametrize(
    "field",
    [
        b"DKIM-Signature: v=1; h=To:\r\n from:Subject:\r\n Date; i=a@bank.example;\r\n b=abc",
        b"DKIM-Signature: v=1; i=a@bank.example; h=To:\r\n from:Subject",
        b"ARC-Message-Signature: i=1; h =\r\n\tFrom:\r\n\tfrom : Subject;\r\n\td=bank.example; q=a@bank.example",
        b"X-Note: as they said\r\n from: what is known",
        b"Received: from a.example\r\n from b.example for <a@bank.example>",
        b"X-Copy: x\r\n From: joe@example.org",
    ],
)
def test_a_list_of_names_or_a_line_without_another_author_is_none(field: bytes) -> None:
    assert author(parse(b"From: joe@example.org\r\n" + field + b"\r\n\r\n").fields).domain == "example.org"


def test_lists_of_names_without_end_hide_no_author() -> None:
    field = b"X: h=a:" + b"\r\n from: a; h=" * 60_000
    began = time.process_time()
    assert author(parse(b"From: joe@example.org\r\n" + field + b"\r\n\r\n").fields).more
    assert time.process_time() - began < 1


def test_the_search_takes_linear_time() -> None:
    """Thirty times the input takes at most about thirty times the time; with a square it would be nine hundred."""
    for piece in (
        b"@",
        b"@(",
        b"@()",
        b"a@a ",
        b'@a"',
        b"@ .",
        b"@(a@a)",
        b"=?a?q?@?=",
        b"\xe2\x80\x8b@a",
        b"\n from:",
        b"h=\n from:;x=1;",
        b", a",
    ):
        value = b"<" + piece * (60_000 // len(piece))
        started = time.thread_time()
        author([HeaderField(b"From", value), HeaderField(b"To", value)])
        assert time.thread_time() - started < 2, piece


def test_a_name_of_quotation_marks_takes_linear_time() -> None:
    value = b"'" * 16_000 + b", <joe@example.org>"
    started = time.thread_time()
    assert author_of(value).domain == "example.org"
    assert time.thread_time() - started < 2


def test_a_list_that_writes_names_and_comments_in_encoded_words_keeps_its_domain() -> None:
    for value in (
        b"=?utf-8?q?joe=40other.example_=28via_List=29?= <list@example.org>",
        b"=?utf-8?q?Doe=2C_Joe?= =?utf-8?q?_=28joe=40other.example=29?= <list@example.org>",
    ):
        assert author_of(value).domain == "example.org"


@pytest.mark.parametrize(
    "value",
    [
        "＜ceo＠bank.example＞ <x@example.org>",
        "﹤ceo﹫bank.example﹥ <x@example.org>",
        "ceo＠bank.example， <x@example.org>",
        '"＂ <ceo@bank.example>" <x@example.org>',
    ],
)
def test_look_alikes_of_signs_show_another_author(value: str) -> None:
    found = author_of(value.encode())
    assert found.problem is AuthorProblem.AMBIGUOUS
    assert "bank.example" in found.domains


@pytest.mark.parametrize(
    "value",
    [
        '"张三，李四" <x@example.org>',
        "公司：张三（销售） <x@example.org>",
        "山田＠営業部 <x@example.org>",
        "Müller ＜x＠example.org＞ <x@example.org>",
        "½ × ﷺ ㈱例 <x@example.org>",
    ],
)
def test_wide_signs_in_a_name_are_harmless(value: str) -> None:
    assert author_of(value.encode()).domain == "example.org"


def test_several_authors_of_one_domain_are_one_author_domain() -> None:
    """RFC 9989 5.3.1."""
    found = author_of(b"joe@example.org, Jane <jane@Example.ORG>")
    assert found.addresses == (AddrSpec("joe", "example.org"), AddrSpec("jane", "example.org"))
    assert found.domain == "example.org"


def test_the_local_part_is_what_its_quotes_stand_for() -> None:
    assert author_of(b'"jo\\e p" . x@example.org').addresses == (AddrSpec("joe p.x", "example.org"),)
    assert str(author_of(b"joe@example.org").addresses[0]) == "joe@example.org"


def test_u_labels_and_a_labels_are_one_domain() -> None:
    assert domains("a@BÜCHER.example, b@xn--bcher-kva.example") == ("xn--bcher-kva.example",)


@pytest.mark.parametrize(
    "value",
    [
        "a@example.org, b@bank.example",
        "<a@example.org>, <b@bank.example>",
        "Team: a@example.org, b@bank.example;",
        "a@example.org, b@mail.example.org",  # a subdomain is another domain
        "a@straße.example, a@strasse.example",
    ],
)
def test_authors_of_several_domains(value: str) -> None:
    assert problem(value) is AuthorProblem.SEVERAL_DOMAINS
    assert len(author_of(value.encode()).domains) == 2


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        ",",
        "(only a comment)",
        "Joe",
        "undisclosed",
        "undisclosed:;",
        "<joe>",
        "=?utf-8?q?joe=40example.org?=",  # an encoded word is not an address
        "=?utf-8?b?am9lQGV4YW1wbGUub3Jn?=",
        "joe@[192.0.2.1]",
        "joe@[IPv6:2001:db8::1]",
        "joe@exa$mple.org",
        "joe@-example.org",
        "joe@" + "x" * 64 + ".example",
        "joe@" + "x." * 200 + "example",
        "joe@=?utf-8?q?example?=.org",
        "joe@\u2603\ufe0f\u200d.example",
        b"joe@example\xff.org",
    ],
)
def test_no_address_with_a_domain(value: str | bytes) -> None:
    assert problem(value) is AuthorProblem.NO_DOMAIN


@pytest.mark.parametrize(
    "value",
    [
        "joe@",
        "@example.org",
        "<>",
        "<joe@example.org",
        "joe@example.org>",
        "<<joe@example.org>>",
        "joe@example.org joe@example.org",
        "joe@example.org <joe@example.org> <joe@example.org>",
        "<joe@example.org> <ceo@bank.example>",
        "<joe@example.org> Joe",
        "Joe <joe@example.org> (x) Public",
        "joe@example.org; jane@example.org",
        "Team: joe@example.org",
        "Team: joe@example.org;;",
        "Team: joe@example.org; jane@example.org",
        "Team: joe@example.org jane@example.org;",
        "Outer: Inner: joe@example.org;;",
        ":joe@example.org;",
        "joe@bank.example@example.org",
        "joe@example..org",
        "joe@.example.org",
        ".@example.org",
        "..@example.org",
        "joe x@example.org",
        '"joe"x@example.org',
        '"joe@bank.example,"x@example.org',
        "joe\\@bank.example",
        "joe\\@bank.example,<x@example.org>",
        '"joe@example.org',
        "joe@example.org (x",
        "joe@example.org x)",
        "joe@example.org)",
        "(" * 40 + ")" * 40 + "joe@example.org",
        'joe@"example.org"',
        "joe@[192.0.2.1",
        "<@:joe@example.org>",
        "<@example.org joe@example.org>",
        "<,:joe@example.org>",
        "joe@example.org\0",
        "Joe\0 <joe@example.org>",
        '"Joe\0" <joe@example.org>',
        "joe@example.org (\0)",
        "joe@example.org\x7f",
        '"\x1b$B\x1b(B" <joe@example.org>',
        "joe@example.org\rFrom: x",
        "joe@example.org\r\nFrom: x",
        "joe@example.org\r\n",
        b"jo\xffe@example.org",
        b"joe@example.org" + b" " * 65_536,
    ],
)
def test_what_is_not_in_the_grammar_has_no_author(value: str | bytes) -> None:
    assert problem(value) in (AuthorProblem.UNPARSABLE, AuthorProblem.NO_DOMAIN)


@pytest.mark.parametrize(
    "value",
    [
        "<@bank.example:joe@example.org>",  # some programs show the first domain of a route
        "<@example.org,@bank.example:joe@example.org>",
        "ceo@bank.example .example.org",  # some read up to the space
        "ceo@bank.example. example.org",
        "ceo@bank.example(x).example.org",
        "ceo@bank .example.evil .example.org",
        "=?utf-8?q?ceo=40bank.example?=@example.org",  # some decode before they parse
        '"=?utf-8?q?ceo=40bank.example?="@example.org',
        "=?utf-8?q?ceo=40bank.example=00?= <joe@example.org>",  # and stop at NUL
        "=?utf-8?b?Y2VvQGJhbmsuZXhhbXBsZQ0KDQo=?= <joe@example.org>",
        "=?utf-8?q?x=0A?=: joe@example.org;",
        '"=?utf-8?q?ceo=40bank.example,=00?=" <joe@example.org>',
        b'"\x81\\" <ceo@bank.example>, \\"" <joe@example.org>',  # 0x81 0x5C is one character in GBK and Shift JIS
    ],
)
def test_what_programs_are_known_to_read_differently_has_no_author(value: str | bytes) -> None:
    assert problem(value) is AuthorProblem.AMBIGUOUS


@pytest.mark.parametrize(
    "value", [b"J\xf6 <joe@example.org>", b'"J\xf6" <joe@example.org>', b"joe@example.org (J\xf6)"]
)
def test_octets_that_are_no_utf8_are_harmless_in_names_and_comments(value: bytes) -> None:
    """They can't be structure there: every charset in use keeps US-ASCII's octets, but for a backslash."""
    assert domains(value) == ("example.org",)


def test_no_from_field() -> None:
    found = author(parse(b"Sender: joe@example.org\r\nResent-From: joe@example.org\r\n\r\n").fields)
    assert (found.problem, found.domain) == (AuthorProblem.NO_FROM, None)


@pytest.mark.parametrize("names", [("From", "From"), ("From", "FROM"), ("From ", "from"), ("From\t", "From")])
@pytest.mark.parametrize("second", ["joe@example.org", "ceo@bank.example", "", "((("])
def test_several_from_fields_are_refused_even_when_equal(names: tuple[str, str], second: str) -> None:
    """CVE-2019-16378."""
    head = f"{names[0]}: joe@example.org\r\nSubject: x\r\n{names[1]}: {second}\r\n\r\n"
    found = author(parse(head.encode()).fields)
    assert found.problem is AuthorProblem.SEVERAL_FROM
    assert "2 From fields" in found.reason
    assert found.domain is None
    assert "example.org" in found.domains
    assert ("bank.example" in found.domains) is ("bank" in second)


def test_many_from_fields_are_not_all_parsed() -> None:
    fields = [HeaderField(b"From", b"a@d%d.example," % number * 500) for number in range(500)]
    found = author(fields)
    assert found.problem is AuthorProblem.SEVERAL_FROM
    assert 1 <= len(found.domains) <= 10


def test_a_field_of_very_many_addresses_is_not_read_to_its_end() -> None:
    found = author_of(b"a@example.org," * 4000)
    assert found.problem is AuthorProblem.UNPARSABLE
    assert found.domains == ("example.org",), "what was read stays known"
    assert author_of(b"a@example.org,\r\n " * 500).domain == "example.org"


# Pieces that make up hostile From fields.
_PIECES = st.sampled_from(
    [
        *(bytes([octet]) for octet in range(256)),
        *b'< > ( ) , ; : @ . " \\ [ ]'.split(),
        *(b"joe", b"ceo@bank.example", b"<joe@example.org>", b"@example.org:", b"\r\n ", b"=?utf-8?q?=40=00?="),
        *("ü@bücher.example".encode(), "．".encode(), "＠".encode(), b"(((", b")))", b"Team:", b"@[", b'\\"'),
    ]
)


@given(st.lists(_PIECES, max_size=60).map(b"".join))
def test_a_hostile_field_has_at_most_one_author_domain_or_is_refused(value: bytes) -> None:
    found = author_of(value)
    for address in found.addresses:
        assert is_domain_name(address.domain)
    if found.problem is None:
        assert len(found.domains) == 1
        assert found.domain == found.domains[0]
        assert found.addresses
        assert b"\0" not in value
        assert value.count(b"@") >= len(found.addresses)
    else:
        assert found.domain is None
        assert found.reason.isprintable()


@given(st.lists(st.tuples(st.sampled_from([b"From", b"from ", b"FROM", b"To", b"Sender"]), st.binary(max_size=30))))
def test_any_header_has_one_author_domain_or_a_problem(header: list[tuple[bytes, bytes]]) -> None:
    found = author([HeaderField(name, value) for name, value in header])
    count = sum(name.strip().lower() == b"from" for name, _ in header)
    if count != 1:
        assert found.problem is (AuthorProblem.SEVERAL_FROM if count else AuthorProblem.NO_FROM)
    assert (found.domain is None) is (found.problem is not None)


@given(
    st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,12}(\.[a-z0-9]{1,5}){0,2}", fullmatch=True),
    st.from_regex(r"[a-z0-9]{1,9}(\.[a-z0-9]{1,9}){0,3}", fullmatch=True),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20),
    st.sampled_from(["", " ", "\r\n ", " (x) ", "(a(b\\)))"]),
)
def test_a_quoted_name_never_changes_the_author(local: str, domain: str, name: str, gap: str) -> None:
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    found = author_of(f"{gap}{quoted}{gap}<{gap}{local}{gap}@{gap}{domain}{gap}>{gap}".encode())
    if "=?" not in local and "=?" not in name:
        assert found.addresses == (AddrSpec(local, domain),)
        assert found.problem is None


@pytest.mark.parametrize(
    "value",
    [b" Joe Q. Public <joe.p@Example.ORG>", b'"Public, Joe" <joe@example.org>', b"<j@example.org>", b" j@a.example"],
)
def test_a_plain_field_takes_the_short_way(value: bytes) -> None:
    found = _plain_author(value)
    assert found is not None
    assert found == _parsed_author(value)


@pytest.mark.parametrize("value", [b"joe.@a.example", b"<joe.@a.example>", b"Joe <j.q.@a.example>"])
def test_a_dot_before_the_at_sign_is_not_plain(value: bytes) -> None:
    assert _plain_author(value) is None


PARTS = [
    "joe",
    "Q.",
    ".",
    " ",
    "\t",
    '"',
    "<",
    ">",
    "@",
    "a.example",
    "EXAMPLE.org",
    ",",
    "(x)",
    "=?utf-8?q?j?=",
    "\\",
    "ö",
]


@given(
    st.lists(st.sampled_from(PARTS), max_size=12).map("".join)
    | st.from_regex(r"[ ]?(Jo[a-z.@\" ]{0,9}|\"[a-z<>@(\\ ]{0,9}\" ?)?<?[a-c.]{1,9}@[a-c._-]{1,9}>? ?", fullmatch=True)
)
def test_the_short_way_leads_where_the_parser_does(value: str) -> None:
    octets = value.encode()
    found = _plain_author(octets)
    assert found is None or found == _parsed_author(octets)


@pytest.mark.parametrize(
    "value",
    [
        "joe@example.org <joe@example.org>",
        "joe@EXAMPLE.org (x) <jane@example.org>",
        "Joe <joe@example.org>, jane@example.org <jane@example.org>",
        "Team: joe@example.org <joe@example.org>;",
    ],
)
def test_an_address_as_its_own_name_needs_no_quotes(value: str) -> None:
    """The grammar wants them, many programs forget them, and no reader can come to another domain."""
    found = author_of(value.encode())
    assert (found.problem, found.domain) == (None, "example.org")


def test_a_reason_holds_no_characters_of_the_senders_alphabet() -> None:
    """It goes to the MTA, too, as the reason of a hold."""
    assert author_of("пётр@bank.example <x@example.org>".encode()).reason.isascii()


def test_an_address_of_another_domain_as_the_name_is_ambiguous() -> None:
    for value in (b"ceo@bank.example <joe@example.org>", b"joe@example.org <ceo@bank.example>"):
        found = author_of(value)
        assert found.problem is AuthorProblem.AMBIGUOUS
        assert set(found.domains) == {"bank.example", "example.org"}


@pytest.mark.parametrize("local", ["joe.", ".joe", "joe..x", '"joe".', "..joe...x.."])
def test_dots_too_many_in_a_local_part_are_no_doubt_about_the_domain(local: str) -> None:
    for value in (f"{local}@example.org", f"Joe <{local}@example.org>"):
        found = author_of(value.encode())
        assert (found.problem, found.domain) == (None, "example.org")


def test_claims_are_looked_for_in_bounded_time() -> None:
    assert author_of(b"<" + b"@" * 60_000).domains == ()
    assert len(author_of(b"<" + b"".join(b"x@d%d.example," % i for i in range(3000))).domains) <= 20
