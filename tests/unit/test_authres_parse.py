"""Reading Authentication-Results (RFC 8601 section 2.2 and its appendix B)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.authres import AuthenticationResults, AuthresError, MethodResult, Property, parse


def one(method: str, result: str, *properties: tuple[str, str, str], reason: str = "") -> MethodResult:
    return MethodResult(method, result, tuple(Property(*each) for each in properties), reason)


# Appendix B's examples.
EXAMPLES = [
    ("example.org 1; none", AuthenticationResults("example.org")),
    (
        "example.com;\r\n          spf=pass smtp.mailfrom=example.net",
        AuthenticationResults("example.com", (one("spf", "pass", ("smtp", "mailfrom", "example.net")),)),
    ),
    (
        "example.com;\r\n  auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n  spf=pass smtp.mailfrom=example.net",
        AuthenticationResults(
            "example.com",
            (
                one("auth", "pass", ("smtp", "auth", "sender@example.net")),
                one("spf", "pass", ("smtp", "mailfrom", "example.net")),
            ),
        ),
    ),
    (
        "example.com;\r\n sender-id=fail header.from=example.com;\r\n dkim=pass (good signature) header.d=example.com",
        AuthenticationResults(
            "example.com",
            (
                one("sender-id", "fail", ("header", "from", "example.com")),
                one("dkim", "pass", ("header", "d", "example.com")),
            ),
        ),
    ),
    (
        'example.com;\r\n  dkim=pass reason="good signature"\r\n    header.i=@mail-router.example.net;\r\n'
        '  dkim=fail reason="bad signature"\r\n    header.i=@newyork.example.com',
        AuthenticationResults(
            "example.com",
            (
                one("dkim", "pass", ("header", "i", "@mail-router.example.net"), reason="good signature"),
                one("dkim", "fail", ("header", "i", "@newyork.example.com"), reason="bad signature"),
            ),
        ),
    ),
    (
        "foo.example.net (foobar) 1 (baz);\r\n"
        "    dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n"
        "      policy (A dot can go here) . (like that) expired\r\n"
        "      (this surprised me) = (as I wasn't expecting it) 1362471462",
        AuthenticationResults("foo.example.net", (one("dkim", "fail", ("policy", "expired", "1362471462")),)),
    ),
]


@pytest.mark.parametrize(("value", "meaning"), EXAMPLES)
def test_the_examples_of_the_standard(value: str, meaning: AuthenticationResults) -> None:
    assert parse(value) == meaning
    assert parse(value.encode()) == meaning
    assert parse(" " + value + "\r\n\t(end)") == meaning


def first(value: str) -> MethodResult:
    return parse("id; " + value).results[0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", "a"),
        ('"a b"', "a b"),
        ('"a\\"\\\\b;"', 'a"\\b;'),
        ("a@b.example", "a@b.example"),
        ("@b.example", "@b.example"),
        ('"a b"@b.example', '"a b"@b.example'),
        ("(x) a (y)", "a"),
        ("abc/d+e==", "abc/d+e=="),  # no token, but only one meaning
        ("<>", "<>"),
        ("srs0=x=y@b.example", "srs0=x=y@b.example"),
        ('""', ""),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("jö@bücher.example", "jö@bücher.example"),
        ('"a\r\n b"', "a b"),
    ],
)
def test_the_values_of_a_property(value: str, shown: str) -> None:
    assert first(f"spf=pass smtp.mailfrom={value} smtp.helo=x").properties == (
        Property("smtp", "mailfrom", shown),
        Property("smtp", "helo", "x"),
    )


def test_keywords_have_no_case() -> None:
    assert first("DKIM=Pass Header.D=Example.ORG") == one("dkim", "pass", ("header", "d", "Example.ORG"))


def test_versions() -> None:
    assert parse("id 2; dkim/3=pass").version == 2
    assert parse("id 2; dkim/3=pass").results[0].method_version == 3


def test_the_id_may_be_quoted_and_have_any_characters() -> None:
    assert parse('(x)"mx one; \\"two\\"" (y);none').authserv_id == 'mx one; "two"'
    assert parse("bücher.example; none").authserv_id == "bücher.example"


def test_what_many_write_is_taken() -> None:
    assert len(parse("id; dkim=pass header.d=x; spf=fail;").results) == 2
    assert parse("id; none;") == AuthenticationResults("id")
    assert first("dmarc=fail header.from=x reason=why").reason == "why"
    assert first("spf=none smtp.mailfrom=; dkim=none").get("smtp", "mailfrom") == ""
    assert first("dmarc=pass policy.published_policy=x").get("policy", "published_policy") == "x"
    assert first("dmarc=pass").get("policy", "dmarc") is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "id",
        "id;",
        "id 1",
        "id x; none",
        "id 1 2; none",
        "; none",
        ";dkim=pass",
        "spf=pass smtp.mailfrom=x",  # no id: as one large provider writes it
        "id dkim=pass",
        "id; dkim",
        "id; dkim=",
        "id; =pass",
        "id; dkim=pass header",
        "id; dkim=pass header.d",
        "id; dkim=pass header=d",
        "id; dkim=pass =d",
        "id; dkim=pass reason=",
        'id; dkim=pass header.d="x',
        "id; dkim=pass header.d=x(",
        "id; dkim=pass )",
        'id; dkim=pass header.d=x"y"',
        'id; dkim=pass header.d="x"y.z=1',
        "id; none; dkim=pass",
        "id; none dkim=pass",
        "id; dkim=pass; none",
        "id; dkim/x=pass",
        "id; spf=pass smtp.mailfrom= smtp.helo=x",  # nothing, or "smtp.helo=x"?
        "id; ; dkim=pass",
        "i d; none",
        "id@x; none",
        "id\0; none",
        "id; none\r\nSubject: x",
        "id; none\n",
        "=?utf-8?q?id?=; none",
        "id; " + "(" * 100 + ")" * 100 + "none",
        "id; none" + " " * 65_536,
    ],
)
def test_anything_else_is_refused_with_a_reason(value: str) -> None:
    with pytest.raises(AuthresError) as caught:
        parse(value)
    assert str(caught.value)
    assert str(caught.value).isprintable()


@given(st.one_of(st.binary(max_size=200), st.text('id;= ."()\\\r\n\tdkmpassrxé\udcff', max_size=80)))
def test_any_value_is_read_or_refused(value: bytes | str) -> None:
    try:
        found = parse(value)
    except AuthresError:
        return
    for result in found.results:
        assert result.method
        assert result.result
