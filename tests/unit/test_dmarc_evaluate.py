"""The DMARC verdict (RFC 9989 sections 4.4, 4.10 and 5.3, and the examples of its appendix B)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary import dmarc
from mailnotary.dmarc import DmarcResult, Policy, Trace
from mailnotary.dmarc.discover import MAX_QUESTIONS
from mailnotary.resolver import RecordKind
from mailnotary.spf.result import SpfIdentity
from mailnotary.status import DkimStatus, DmarcStatus, SpfStatus
from support.verdicts import AskedResolver, dkim_result, dmarc_zone, spf_result

REJECT = "v=DMARC1; p=reject"


def evaluate(
    author: str, zone: dict[str, Any], *, spf: tuple[str, ...] = (), dkim: tuple[str, ...] = ()
) -> DmarcResult:
    """The verdict where these domains passed."""
    resolver = AskedResolver(zone)
    result = dmarc.evaluate(author, [spf_result(d) for d in spf], [dkim_result(d) for d in dkim], resolver)
    assert len(resolver.asked) == len(set(resolver.asked)), "no question is asked twice"
    return result


def asked(author: str, zone: dict[str, Any], *, spf: tuple[str, ...] = (), dkim: tuple[str, ...] = ()) -> list[str]:
    resolver = AskedResolver(zone)
    dmarc.evaluate(author, [spf_result(d) for d in spf], [dkim_result(d) for d in dkim], resolver)
    return [name.removeprefix("_dmarc.") for name in resolver.names]


# --- Table 1 in 4.4, B.1 ---


@pytest.mark.parametrize(
    ("identifier", "author", "relaxed", "strict"),
    [
        ("foo.example.com", "news.example.com", True, False),
        ("news.example.com", "news.example.com", True, True),
        ("foo.example.net", "news.example.com", False, False),
        ("example.com", "example.com", True, True),
        ("child.example.com", "example.com", True, False),
        ("example.com", "child.example.com", True, False),
        ("example.net", "child.example.com", False, False),
        ("EXAMPLE.com.", "example.COM", True, True),
    ],
)
def test_alignment(identifier: str, author: str, relaxed: bool, strict: bool) -> None:
    zone = dmarc_zone(example_com=REJECT, example_net=REJECT)
    both_strict = dmarc_zone(example_com=REJECT + "; adkim=s; aspf=s", example_net=REJECT)
    for records, aligned in ((zone, relaxed), (both_strict, strict)):
        by_spf = evaluate(author, records, spf=(identifier,))
        assert (by_spf.status == "pass", by_spf.spf_aligned, by_spf.dkim_aligned) == (aligned, aligned, False)
        by_dkim = evaluate(author, records, dkim=(identifier,))
        assert (by_dkim.status == "pass", by_dkim.spf_aligned, by_dkim.dkim_aligned) == (aligned, False, aligned)


def test_each_method_has_its_own_mode() -> None:
    zone = dmarc_zone(example_com=REJECT + "; adkim=s")
    result = evaluate("example.com", zone, spf=("a.example.com",), dkim=("b.example.com",))
    assert (result.status, result.spf_aligned, result.dkim_aligned) == ("pass", True, False)


# --- B.3 and B.4 ---


def test_the_session_of_b_3_1() -> None:
    zone = dmarc_zone(example_com="v=DMARC1; p=reject; aspf=r; rua=mailto:dmarc-feedback@example.com")
    result = evaluate("example.com", zone, spf=("mail.example.com",), dkim=("example.com",))
    assert (result.status, result.policy, result.disposition) == ("pass", "reject", "none")
    assert result.spf_aligned
    assert result.dkim_aligned


def test_the_simple_example_of_b_4_1() -> None:
    zone = dmarc_zone(example_com=REJECT, signing_example_com=REJECT)
    result = evaluate("example.com", zone, spf=("example.com",), dkim=("signing.example.com",))
    assert (result.spf_aligned, result.dkim_aligned, result.org_domain) == (True, True, "example.com")
    questions = asked("example.com", zone, spf=("example.com",), dkim=("signing.example.com",))
    assert questions == ["example.com", "com", "signing.example.com"]


def test_the_deep_example_of_b_4_2() -> None:
    zone = dmarc_zone(example_com=REJECT, signing_example_com=REJECT)
    author = "a.b.c.d.e.f.g.h.i.j.k.example.com"
    result = evaluate(author, zone, spf=("example.com",), dkim=("signing.example.com",))
    assert (result.spf_aligned, result.dkim_aligned, result.org_domain) == (True, True, "example.com")
    assert asked(author, zone) == [
        author,
        "g.h.i.j.k.example.com",
        "h.i.j.k.example.com",
        "i.j.k.example.com",
        "j.k.example.com",
        "k.example.com",
        "example.com",
        "com",
    ]


def test_the_psd_example_of_b_4_3() -> None:
    zone = dmarc_zone(giant_bank_example=REJECT, bank_example="v=DMARC1; p=reject; psd=y")
    result = evaluate("giant.bank.example", zone, spf=("mail.giant.bank.example",), dkim=("mail.mega.bank.example",))
    assert (result.spf_aligned, result.dkim_aligned, result.org_domain) == (True, False, "giant.bank.example")
    assert result.status == "pass"
    assert evaluate("giant.bank.example", zone, dkim=("mail.mega.bank.example",)).status == "fail"


def test_a_public_suffix_and_its_customers_are_strangers_both_ways() -> None:
    zone = dmarc_zone(bank_example="v=DMARC1; p=reject; psd=y")
    assert evaluate("giant.bank.example", zone, dkim=("bank.example",), spf=("mega.bank.example",)).status == "fail"
    assert evaluate("bank.example", zone, dkim=("giant.bank.example",)).status == "fail"
    assert evaluate("bank.example", zone, dkim=("bank.example",)).status == "pass"
    assert evaluate("giant.bank.example", zone, dkim=("mail.giant.bank.example",)).status == "pass"


def test_psd_n_keeps_a_department_apart_from_its_organization_both_ways() -> None:
    zone = dmarc_zone(example_com=REJECT, dept_example_com=REJECT + "; psd=n")
    assert evaluate("a.dept.example.com", zone, dkim=("b.dept.example.com",)).status == "pass"
    assert evaluate("a.dept.example.com", zone, dkim=("example.com",)).status == "fail"
    assert evaluate("example.com", zone, dkim=("a.dept.example.com",)).status == "fail"


# --- which policy (4.10.1) ---


def test_no_record_anywhere_is_none() -> None:
    result = evaluate("example.com", {}, spf=("example.com",), dkim=("example.com",))
    assert (result.status, result.policy, result.disposition, result.org_domain) == ("none", None, "none", "")


def test_the_author_domains_own_record_comes_first() -> None:
    zone = dmarc_zone(a_example_com="v=DMARC1; p=none", example_com="v=DMARC1; p=reject; sp=reject")
    assert evaluate("a.example.com", zone).policy is Policy.NONE


def test_a_record_between_author_and_organization_does_not_count() -> None:
    zone = dmarc_zone(b_example_com="v=DMARC1; p=none; sp=none", example_com=REJECT)
    assert evaluate("a.b.example.com", zone).policy is Policy.REJECT


def test_psd_policy_applies_where_the_organization_has_none() -> None:
    zone = dmarc_zone(bank_example="v=DMARC1; p=none; sp=quarantine; np=reject; psd=y")
    zone["giant.bank.example"] = [{"A": "192.0.2.1"}]
    result = evaluate("giant.bank.example", zone)
    assert (result.policy, result.org_domain) == ("quarantine", "giant.bank.example")
    assert evaluate("mega.bank.example", zone).policy is Policy.REJECT
    assert evaluate("bank.example", zone).policy is Policy.NONE, "the suffix itself has p="


def test_sp_is_for_subdomains_that_exist_and_np_for_those_that_do_not() -> None:
    zone = dmarc_zone(example_com="v=DMARC1; p=none; sp=quarantine; np=reject")
    zone["nodata.example.com"] = [{"MX": [10, "mx.example.com"]}]
    zone["gone.example.com"] = "NXDOMAIN"
    assert evaluate("example.com", zone).policy is Policy.NONE
    assert evaluate("nodata.example.com", zone).policy is Policy.QUARANTINE
    assert evaluate("gone.example.com", zone).policy is Policy.REJECT
    assert evaluate("never.example.com", zone).policy is Policy.REJECT


def test_a_name_that_only_has_names_below_it_exists() -> None:
    zone: dict[str, Any] = dmarc_zone(example_com="v=DMARC1; p=none; np=reject")
    zone["mail.empty.example.com"] = [{"A": "192.0.2.1"}]
    assert evaluate("empty.example.com", zone).policy is Policy.NONE
    zone["_dmarc.other.example.com"] = [{"TXT": "no record"}]
    assert evaluate("other.example.com", zone).policy is Policy.NONE
    assert "other.example.com" not in asked("other.example.com", zone)[1:], "the walk's first answer said so"


def test_existence_is_asked_for_only_where_it_matters() -> None:
    for record in ("v=DMARC1; p=reject", "v=DMARC1; p=none; sp=reject; np=reject", "v=DMARC1; p=reject; np=reject"):
        resolver = AskedResolver(dmarc_zone(example_com=record))
        dmarc.evaluate("a.example.com", [], [], resolver)
        assert {kind for _, kind in resolver.asked} == {"TXT"}


def test_np_absent_falls_back_to_sp_then_p() -> None:
    assert evaluate("gone.example.com", dmarc_zone(example_com="v=DMARC1; p=none; sp=reject")).policy == "reject"
    assert evaluate("gone.example.com", dmarc_zone(example_com="v=DMARC1; p=quarantine")).policy == "quarantine"


# --- broken records ---


def test_a_bad_policy_with_a_reporting_address_is_p_none() -> None:
    zone = dmarc_zone(example_com="v=DMARC1; p=rejekt; sp=reject; rua=mailto:a@example.com")
    result = evaluate("example.com", zone)
    assert (result.status, result.policy, result.disposition) == ("fail", "none", "none")
    assert evaluate("a.example.com", zone).policy is Policy.NONE
    assert evaluate("example.com", zone, dkim=("example.com",)).status == "pass"


@pytest.mark.parametrize("record", ["v=DMARC1", "v=DMARC1; p=x", "v=DMARC1; p=reject; sp=x", "v=DMARC1; rua=junk"])
def test_a_bad_policy_without_one_is_no_dmarc(record: str) -> None:
    """Not even for a message that is aligned; the word is the registry's for a malformed record (9.2)."""
    result = evaluate("example.com", dmarc_zone(example_com=record), dkim=("example.com",))
    assert (result.status, result.policy, result.disposition) == ("permerror", None, "none")
    assert "_dmarc.example.com" in result.reason
    assert "_dmarc.example.com" in evaluate("sub.example.com", dmarc_zone(example_com=record)).reason


def test_several_records_count_as_none() -> None:
    zone: dict[str, Any] = {"_dmarc.example.com": [{"TXT": REJECT}, {"TXT": REJECT}]}
    result = evaluate("example.com", zone, dkim=("example.com",))
    assert result.status == "none"
    assert "2 DMARC records" in result.reason
    zone["_dmarc.com"] = [{"TXT": "v=DMARC1; p=quarantine; psd=y"}]
    assert evaluate("example.com", zone).policy is Policy.QUARANTINE


# --- disposition ---


@pytest.mark.parametrize(("policy", "testing"), [("reject", "quarantine"), ("quarantine", "none"), ("none", "none")])
def test_t_y_is_one_level_below(policy: str, testing: str) -> None:
    assert evaluate("example.com", dmarc_zone(example_com=f"v=DMARC1; p={policy}")).disposition == policy
    result = evaluate("example.com", dmarc_zone(example_com=f"v=DMARC1; p={policy}; t=y"))
    assert (result.policy, result.disposition, result.status) == (policy, testing, "fail")


# --- what counts as an identifier ---


@pytest.mark.parametrize("status", sorted(set(SpfStatus) - {SpfStatus.PASS, SpfStatus.TEMPERROR}))
def test_only_a_pass_of_spf_counts(status: SpfStatus) -> None:
    result = dmarc.evaluate(
        "a.example", [spf_result("a.example", status)], [], AskedResolver(dmarc_zone(a_example=REJECT))
    )
    assert (result.status, result.spf_aligned) == ("fail", False)


@pytest.mark.parametrize("status", sorted(set(DkimStatus) - {DkimStatus.PASS, DkimStatus.TEMPERROR}))
def test_only_a_pass_of_dkim_counts(status: DkimStatus) -> None:
    zone = AskedResolver(dmarc_zone(a_example=REJECT))
    result = dmarc.evaluate("a.example", [], [dkim_result("a.example", status)], zone)
    assert (result.status, result.dkim_aligned) == ("fail", False)


def test_spf_of_helo_does_not_count() -> None:
    helo = spf_result("a.example", identity=SpfIdentity.HELO)
    assert dmarc.evaluate("a.example", [helo], [], AskedResolver(dmarc_zone(a_example=REJECT))).status == "fail"


@pytest.mark.parametrize("domain", ["\x1b[31m.a.example", "x y.a.example", ".a.example", "a..a.example", ""])
def test_an_identifier_that_is_no_domain_name_counts_for_nothing(domain: str) -> None:
    resolver = AskedResolver(dmarc_zone(a_example=REJECT))
    result = dmarc.evaluate("a.example", [spf_result(domain)], [dkim_result(domain)], resolver)
    assert result.status == "fail"
    assert result.reason.isprintable()
    assert resolver.names == ["_dmarc.a.example", "_dmarc.example"]


def test_the_signing_domain_counts_not_the_agents_identity() -> None:
    signed = dkim_result("other.example")
    assert dmarc.evaluate("a.example", [], [signed], AskedResolver(dmarc_zone(a_example=REJECT))).status == "fail"


def test_any_aligned_signature_is_enough() -> None:
    zone = dmarc_zone(example_com=REJECT)
    assert evaluate("example.com", zone, dkim=("x.example", "y.example", "m.example.com")).status == "pass"


def test_u_labels_in_the_author_domain() -> None:
    zone = {"_dmarc.xn--bcher-kva.example": [{"TXT": REJECT}]}
    result = evaluate("BÜCHER.example", zone, dkim=("xn--bcher-kva.example",))
    assert (result.status, result.domain) == ("pass", "xn--bcher-kva.example")


@pytest.mark.parametrize(
    "author", ["", ".", "a..b", "-a.example", "a b", "x" * 300, "a\0b", "\udcff.example", "ü" * 300]
)
def test_an_author_domain_that_is_none_is_a_permerror(author: str) -> None:
    resolver = AskedResolver({})
    result = dmarc.evaluate(author, [spf_result(author)], [dkim_result(author)], resolver)
    assert result.status == "permerror"
    assert result.domain.isprintable()
    assert resolver.asked == []
    assert dmarc.questions(author) == []


# --- DNS errors (5.3.6) ---


@pytest.mark.parametrize("fault", ["TIMEOUT", "SERVFAIL"])
@pytest.mark.parametrize("where", ["_dmarc.a.example.com", "_dmarc.example.com", "_dmarc.com"])
def test_a_dns_error_on_the_way_to_the_policy_is_a_temperror(where: str, fault: str) -> None:
    zone: dict[str, Any] = {where: fault}
    result = evaluate("a.example.com", zone, dkim=("a.example.com",))
    assert (result.status, result.policy, result.disposition) == ("temperror", None, "none")
    assert where in result.reason


def test_a_dns_error_does_not_undo_a_certain_pass() -> None:
    zone: dict[str, Any] = {"_dmarc.example.com": [{"TXT": REJECT}], "_dmarc.com": "SERVFAIL"}
    assert evaluate("example.com", zone, spf=("example.com",), dkim=("x.example.com",)).status == "pass"
    zone = {"_dmarc.example.com": [{"TXT": REJECT}], "_dmarc.x.example.com": "SERVFAIL"}
    assert evaluate("example.com", zone, dkim=("x.example.com", "y.example.com")).status == "pass"


def test_a_dns_error_that_alignment_depends_on_is_neither_pass_nor_fail() -> None:
    zone: dict[str, Any] = {"_dmarc.example.com": [{"TXT": REJECT}], "_dmarc.com": "SERVFAIL"}
    result = evaluate("example.com", zone, spf=("x.example.com",))
    assert (result.status, result.policy, result.disposition) == ("temperror", "reject", "reject")
    zone = {"_dmarc.example.com": [{"TXT": REJECT}], "_dmarc.x.example.com": "TIMEOUT"}
    assert evaluate("example.com", zone, dkim=("x.example.com",)).status == "temperror"


def test_a_dns_error_that_can_change_nothing_leaves_the_fail() -> None:
    zone: dict[str, Any] = {"_dmarc.example.com": [{"TXT": REJECT}], "_dmarc.com": "SERVFAIL"}
    assert evaluate("example.com", zone, dkim=("evil.example",)).status == "fail"
    assert evaluate("example.com", zone).status == "fail"


def test_a_dns_error_between_sp_and_np_is_a_temperror_unless_it_passes() -> None:
    zone: dict[str, Any] = dmarc_zone(example_com="v=DMARC1; p=none; np=reject")
    zone["a.example.com"] = "SERVFAIL"
    # ZoneResolver knows a name with a fault as existing; its _dmarc name does not.
    result = evaluate("a.example.com", zone)
    assert (result.status, result.policy, result.disposition) == ("temperror", "reject", "reject")
    assert evaluate("a.example.com", zone, dkim=("a.example.com",)).status == "pass"


@pytest.mark.parametrize(
    ("record", "policy", "disposition"),
    [
        ("v=DMARC1; p=reject", "reject", "reject"),
        ("v=DMARC1; p=reject; sp=none", "none", "none"),
        ("v=DMARC1; p=none; np=quarantine", "quarantine", "quarantine"),
        ("v=DMARC1; p=reject; t=y", "reject", "quarantine"),
        ("v=DMARC1; sp=bad", None, "none"),
    ],
)
def test_a_dns_error_below_a_policy_leaves_what_that_says(record: str, policy: str | None, disposition: str) -> None:
    """The author writes from a name whose servers are dead, below a domain that has a policy."""
    zone: dict[str, Any] = {"_dmarc.dead.bank.example": "SERVFAIL", "_dmarc.bank.example": [{"TXT": record}]}
    result = evaluate("dead.bank.example", zone, spf=("evil.example",), dkim=("evil.example",))
    assert (result.status, result.policy, result.disposition) == ("temperror", policy, disposition)
    for domain in ("dead.bank.example", "bank.example", "a.bank.example"):  # not forged, as it seems
        result = evaluate("dead.bank.example", zone, dkim=(domain,))
        assert (result.status, result.disposition) == ("temperror", "none")


def test_of_several_names_without_an_answer_the_first_that_has_a_policy_counts() -> None:
    zone: dict[str, Any] = {
        "_dmarc.a.b.c.example": "TIMEOUT",
        "_dmarc.b.c.example": "SERVFAIL",
        "_dmarc.c.example": [{"TXT": "v=DMARC1; p=reject; psd=n"}],
        "_dmarc.example": "SERVFAIL",
    }
    result = evaluate("a.b.c.example", zone)
    assert (result.status, result.disposition, result.org_domain) == ("temperror", "reject", "c.example")
    assert "_dmarc.a.b.c.example" in result.reason


@pytest.mark.parametrize("domain", ["example.com", "mail.example.com"])
def test_a_temperror_of_what_would_be_aligned_is_neither_pass_nor_fail(domain: str) -> None:
    zone = AskedResolver(dmarc_zone(example_com=REJECT))
    for spf, dkim in (
        ([spf_result(domain, SpfStatus.TEMPERROR)], []),
        ([], [dkim_result(domain, DkimStatus.TEMPERROR)]),
        ([spf_result("other.example")], [dkim_result("other.example"), dkim_result(domain, DkimStatus.TEMPERROR)]),
    ):
        result = dmarc.evaluate("example.com", spf, dkim, zone)
        assert (result.status, result.disposition) == ("temperror", "reject")
        assert (result.spf_aligned, result.dkim_aligned) == (False, False)
    spf = [spf_result(domain, SpfStatus.TEMPERROR)]
    assert dmarc.evaluate("example.com", spf, [dkim_result("example.com")], zone).status == "pass"


def test_a_temperror_that_could_not_be_aligned_leaves_the_fail() -> None:
    zone = AskedResolver(dmarc_zone(example_com=REJECT + "; adkim=s"))
    spf = [spf_result("example.net", SpfStatus.TEMPERROR)]
    helo = spf_result("example.com", SpfStatus.TEMPERROR, SpfIdentity.HELO)
    dkim = [dkim_result("mail.example.com", DkimStatus.TEMPERROR), dkim_result("", DkimStatus.TEMPERROR)]
    assert dmarc.evaluate("example.com", [helo, *spf], dkim, zone).status == "fail"


# --- how much is asked ---


def test_one_question_where_all_that_passed_is_the_author_domain() -> None:
    zone = dmarc_zone(mail_example_com=REJECT, example_com=REJECT)
    assert asked("mail.example.com", zone, spf=("mail.example.com",), dkim=("mail.example.com",)) == [
        "mail.example.com"
    ]
    assert evaluate("mail.example.com", zone, spf=("mail.example.com",)).org_domain == "mail.example.com"


def test_one_question_where_alignment_is_strict() -> None:
    zone = dmarc_zone(mail_example_com=REJECT + "; adkim=s; aspf=s", example_com=REJECT)
    assert asked("mail.example.com", zone, spf=("a.example.com",), dkim=("b.example.com",)) == ["mail.example.com"]


def test_domains_of_strangers_cost_no_question() -> None:
    zone = dmarc_zone(example_com=REJECT)
    strangers = tuple(f"a.b.c.d{number}.com" for number in range(50))
    assert asked("example.com", zone, dkim=strangers) == ["example.com", "com"]


def test_many_domains_within_the_authors_are_asked_for_up_to_a_limit() -> None:
    zone = dmarc_zone(example_com=REJECT)
    many = tuple(f"a.b.c.d.e.f.g{number}.example.com" for number in range(100))
    zone |= {f"_dmarc.g{number}.example.com": [{"TXT": "v=DMARC1; p=none; psd=n"}] for number in range(100)}
    assert len(asked("example.com", zone, dkim=many)) == MAX_QUESTIONS
    assert evaluate("example.com", zone, dkim=many).status == "fail"
    assert evaluate("example.com", zone, dkim=(*many, "example.com")).status == "pass"
    assert evaluate("example.com", zone, dkim=(*many, "short.example.com")).status == "pass"


def test_the_questions_to_prefetch_are_the_walks() -> None:
    assert dmarc.questions("A.example.com") == [
        ("_dmarc.a.example.com", RecordKind.TXT),
        ("_dmarc.example.com", RecordKind.TXT),
        ("_dmarc.com", RecordKind.TXT),
    ]


# --- explaining ---


def test_a_trace_has_the_walks_the_policy_and_each_comparison() -> None:
    zone = AskedResolver(dmarc_zone(giant_bank_example=REJECT, bank_example="v=DMARC1; p=none; psd=y"))
    trace = Trace()
    spf, dkim = spf_result("mail.giant.bank.example"), dkim_result("mail.mega.bank.example")
    dmarc.evaluate("giant.bank.example", [spf], [dkim], zone, trace=trace)
    assert trace.policy_domain == "giant.bank.example"
    assert trace.record is not None
    assert trace.record.text == REJECT
    starts = [walk.start for walk in trace.walks]
    assert starts == ["giant.bank.example", "giant.bank.example", "mail.giant.bank.example"]
    assert [(one.method, one.domain, one.aligned) for one in trace.compared] == [
        ("spf", "mail.giant.bank.example", True),
        ("dkim", "mail.mega.bank.example", False),
    ]


# --- any zone, any identifiers ---

_DOMAIN = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=10).map(".".join)
_TAGS = st.lists(
    st.sampled_from(
        ["p=none", "p=reject", "sp=reject", "np=none", "psd=y", "psd=n", "t=y", "aspf=s", "rua=x:y", "p=?"]
    ),
    max_size=4,
    unique=True,
).map(lambda tags: "; ".join(["v=DMARC1", *tags]))
_ENTRY = st.one_of(
    _TAGS.map(lambda text: [{"TXT": text}]),
    st.sampled_from(["TIMEOUT", "SERVFAIL", "NXDOMAIN"]),
    st.binary(max_size=20).map(lambda text: [{"TXT": text}]),
)
_ZONE = st.dictionaries(_DOMAIN.map(lambda name: "_dmarc." + name), _ENTRY, max_size=8)


@given(_DOMAIN, _ZONE, st.lists(_DOMAIN, max_size=4), st.lists(_DOMAIN, max_size=4))
def test_any_zone_gives_a_sound_verdict_in_a_bounded_number_of_questions(
    author: str, zone: dict[str, Any], spf: list[str], dkim: list[str]
) -> None:
    resolver = AskedResolver(zone)
    result = dmarc.evaluate(author, [spf_result(d) for d in spf], [dkim_result(d) for d in dkim], resolver)
    assert len(resolver.asked) <= MAX_QUESTIONS
    if result.status is DmarcStatus.PASS:
        assert result.spf_aligned or result.dkim_aligned
        top = author.rpartition(".")[2]
        assert any(name.rpartition(".")[2] == top for name in spf + dkim), "an aligned name has a common ancestor"
    if result.status is not DmarcStatus.FAIL:
        assert result.disposition is Policy.NONE
    faults = any(isinstance(entry, str) and entry != "NXDOMAIN" for entry in zone.values())
    assert faults or result.status is not DmarcStatus.TEMPERROR
