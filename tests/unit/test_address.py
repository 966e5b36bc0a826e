"""Who the author is (RFC 5322 3.4 and 4.4, RFC 6854, RFC 6532), and that nobody can be made out of two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.address import Address, AuthorProblem, _parsed_author, _plain_author, author, author_of
from mailnotary.domain import is_domain_name
from mailnotary.message import HeaderField, parse


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


def test_several_authors_of_one_domain_are_one_author_domain() -> None:
    """RFC 9989 5.3.1."""
    found = author_of(b"joe@example.org, Jane <jane@Example.ORG>")
    assert found.addresses == (Address("joe", "example.org"), Address("jane", "example.org"))
    assert found.domain == "example.org"


def test_the_local_part_is_what_its_quotes_stand_for() -> None:
    assert author_of(b'"jo\\e p" . x@example.org').addresses == (Address("joe p.x", "example.org"),)
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
        "Joe, <joe@example.org>",
        "=?utf-8?q?joe=40example.org?=",  # an encoded word is no address
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
        "joe@example.org;",
        "Team: joe@example.org",
        "Team: joe@example.org;;",
        "Team: joe@example.org; jane@example.org",
        "Team: joe@example.org jane@example.org;",
        "Outer: Inner: joe@example.org;;",
        ":joe@example.org;",
        "joe@bank.example@example.org",
        "joe@example..org",
        "joe@.example.org",
        "joe@example.org.",
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
        ". <joe@example.org>",
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
        assert found.addresses == (Address(local, domain),)
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
