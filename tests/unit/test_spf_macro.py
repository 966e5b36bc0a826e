"""SPF macros (RFC 7208 section 7)."""

import pytest

from mailnotary.spf.macro import MAX_DOMAIN_SPEC, MacroError, parse_domain_spec, parse_macro_string
from support.spf import words

VALUES = {
    "s": "strong-bad@email.example.com",
    "l": "strong-bad",
    "o": "email.example.com",
    "d": "email.example.com",
    "i": "192.0.2.3",
    "p": "mx.example.org",
    "v": "in-addr",
    "h": "mail.example.org",
    "c": "192.0.2.3",
    "r": "mx.example.net",
    "t": "1700000000",
}


def expand(text: str, **values: str) -> str:
    return parse_domain_spec(text).expand_domain((VALUES | values).__getitem__)


@pytest.mark.parametrize(
    ("macro", "expansion"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
    ],
)
def test_the_examples_of_section_7_4(macro: str, expansion: str) -> None:
    assert expand(macro) == expansion


def test_the_ipv6_example_of_section_7_4() -> None:
    dotted = ".".join("20010db800000000000000000000cb01")
    expansion = expand("%{ir}.%{v}._spf.%{d2}", i=dotted, v="ip6")
    assert expansion == "1.0.b.c." + "0." * 20 + "8.b.d.0.1.0.0.2.ip6._spf.example.com"


@pytest.mark.parametrize(
    ("macro", "value", "expansion"),
    [
        ("%{l2}", "a.b.c", "b.c"),
        ("%{l02}", "a.b.c", "b.c"),
        ("%{l127}", ".".join("x" * 127), ".".join("x" * 127)),
        ("%{l99999999999999999999}", "a.b.c", "a.b.c"),
        ("%{l2r}", "a.b.c", "b.a"),
        ("%{l2R}", "a.b.c", "b.a"),
        ("%{l+-}", "a+b-c.d", "a.b.c.d"),
        ("%{l1-}", "a-b.c", "b.c"),
        ("%{lr-}", "a-b.c", "b.c.a"),
        ("%{l/=_,}", "a/b=c_d,e", "a.b.c.d.e"),
        ("%{l-}", "-a--b-", ".a..b"),  # 7.3: "the list of parts might contain empty strings"; then one dot trails
        ("%{l1r-}", "-a", ""),
    ],
)
def test_transformers_and_delimiters(macro: str, value: str, expansion: str) -> None:
    assert expand(macro, l=value) == expansion


def test_escapes() -> None:
    assert expand("a%%b%_c%-d.example.com") == "a%b c%20d.example.com"


def test_upper_case_macros_are_url_escaped_after_their_transformation() -> None:
    assert expand("%{L}.x.example", l="a&b=c~-._\xc3\xa9 @") == "a%26b%3Dc~-._%C3%A9%20%40.x.example"
    assert expand("%{L1r+}.x.example", l="a/+b") == "a%2F.x.example"


@pytest.mark.parametrize("text", ["%{d}.com.", "example.com."])
def test_one_trailing_dot_is_taken_off(text: str) -> None:
    assert not expand(text).endswith(".")


def test_a_long_name_loses_labels_from_the_left() -> None:
    value = ".".join(["a" * 49] * 5)  # 249 characters
    assert expand("b.%{d}", d=value) == "b." + value
    assert expand("bb.%{d}", d=value) == "bb." + value
    assert expand("bbb.%{d}", d=value) == "bbb." + value  # 253
    assert expand("bbbb.%{d}", d=value) == value
    assert expand("bbbb.%{d}.com.", d=value) == value + ".com"
    assert expand("x.%{d}.%{d}", d=value) == value
    assert expand("%{d}", d="a" * 300) == ""


@pytest.mark.parametrize(
    "text",
    [
        *words("""
            % a% %{ %{d %{x} %{} %(d) %a.com %{d0} %{d00r} %{dr2} %{d;} %{c} %{R}.com %{t} é.example
        """),
        *("", "%{d r}", "a b.com", "a\tb.com", "a\x00.com", "a\xe9.com", "a.%{d}\n"),
    ],
)
def test_a_malformed_macro_string_is_refused(text: str) -> None:
    with pytest.raises(MacroError):
        parse_domain_spec(text)


@pytest.mark.parametrize(
    "text",
    words("""
        com com. example. example.123 1.2.3.4 a.-com a.com- a.c_m a.. %{d}. %{d}com %{d}-com %{d}/24 a.com:25
        a.com%%x example.com%%_ a.%%com - .
    """),
)
def test_a_domain_spec_ends_in_a_macro_or_in_a_toplabel(text: str) -> None:
    with pytest.raises(MacroError):
        parse_domain_spec(text)


@pytest.mark.parametrize(
    "text",
    words("""
        example.com example.com. a.xn--zckzah a.1a a.1-2 _a.b-c.d .com a..com a:b/c.com %{d} com%{d} %{d}.com %% a%-
        a%_ %{d}.%{d}
    """),
)
def test_what_the_grammar_allows_is_taken(text: str) -> None:
    assert parse_domain_spec(text).text == text


def test_a_domain_spec_is_bounded() -> None:
    parse_domain_spec("a" * (MAX_DOMAIN_SPEC - 4) + ".com")
    with pytest.raises(MacroError, match="more than"):
        parse_domain_spec("a" * (MAX_DOMAIN_SPEC - 3) + ".com")


def test_an_explanation_may_have_spaces_and_its_own_macros() -> None:
    text = parse_macro_string("%{c} is not %{d}'s, says %{r} at %{t} %%", spaces=True)
    expansion = text.expand(VALUES.__getitem__, 400)
    assert expansion == "192.0.2.3 is not email.example.com's, says mx.example.net at 1700000000 %"
    assert text.expand(VALUES.__getitem__, 12) == "192.0.2.3 is"


def test_what_is_cut_off_is_not_expanded() -> None:
    asked: list[str] = []

    def value(letter: str) -> str:
        asked.append(letter)
        return "x" * 63 + "."

    parse_domain_spec("%{p}" * 100 + "%{d}%{d}%{d}%{d}").expand_domain(value)
    assert asked == ["d"] * 4
