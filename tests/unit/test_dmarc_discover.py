"""The DNS tree walk (RFC 9989 section 4.10) and what is found by it."""

import pytest

from mailnotary.dmarc.discover import MAX_QUESTIONS, Discovery, TooManyQuestionsError, targets
from mailnotary.resolver import DnsTempError
from support.verdicts import AskedResolver, dmarc_zone


def org_domain(start: str, **records: str) -> str:
    return Discovery(AskedResolver(dmarc_zone(**records))).walk(start).org_domain


def test_the_question_sequence_for_a_name_of_twelve_labels_and_one() -> None:
    """The example in 4.10 (13 labels) and the same name one label shorter."""
    tail = [
        "g.h.i.j.mail.example.com",
        "h.i.j.mail.example.com",
        "i.j.mail.example.com",
        "j.mail.example.com",
        "mail.example.com",
        "example.com",
        "com",
    ]
    assert targets("a.b.c.d.e.f.g.h.i.j.mail.example.com") == ["a.b.c.d.e.f.g.h.i.j.mail.example.com", *tail]
    assert targets("b.c.d.e.f.g.h.i.j.mail.example.com") == ["b.c.d.e.f.g.h.i.j.mail.example.com", *tail]
    resolver = AskedResolver({})
    Discovery(resolver).walk("b.c.d.e.f.g.h.i.j.mail.example.com")
    assert resolver.asked == [("_dmarc." + name, "TXT") for name in ("b.c.d.e.f.g.h.i.j.mail.example.com", *tail)]


def test_the_question_sequence_of_section_5_1_8() -> None:
    assert targets("mail.a.b.c.d.e.f.g.example.com") == [
        "mail.a.b.c.d.e.f.g.example.com",
        "c.d.e.f.g.example.com",
        "d.e.f.g.example.com",
        "e.f.g.example.com",
        "f.g.example.com",
        "g.example.com",
        "example.com",
        "com",
    ]


@pytest.mark.parametrize("labels", range(1, 120))
def test_a_walk_has_at_most_eight_questions_and_ends_at_the_top(labels: int) -> None:
    names = targets(".".join(["x"] * (labels - 1) + ["top"]))
    assert len(names) == min(labels, 8)
    assert names[-1] == "top"


def test_eight_labels_are_walked_one_by_one() -> None:
    assert [name.count(".") + 1 for name in targets("a.b.c.d.e.f.g.h")] == [8, 7, 6, 5, 4, 3, 2, 1]


def test_a_walk_stops_at_psd_y_and_at_psd_n_but_not_at_psd_u() -> None:
    for psd, asked in (("y", 2), ("n", 2), ("u", 4)):
        resolver = AskedResolver(dmarc_zone(b_example_com=f"v=DMARC1; p=none; psd={psd}"))
        Discovery(resolver).walk("a.b.example.com")
        assert len(resolver.asked) == asked


# The examples at the end of 4.10.2.


def test_fewest_labels_without_a_psd_tag() -> None:
    record = "v=DMARC1; p=none"
    assert org_domain("a.mail.example.com", mail_example_com=record, example_com=record) == "example.com"


def test_psd_n_is_the_organizational_domain() -> None:
    records = {"mail_example_com": "v=DMARC1; p=none; psd=n", "example_com": "v=DMARC1; p=none"}
    assert org_domain("a.mail.example.com", **records) == "mail.example.com"


def test_one_label_below_psd_y() -> None:
    assert org_domain("a.mail.example.com", com="v=DMARC1; p=none; psd=y") == "example.com"


def test_psd_y_at_the_start_is_not_one_label_below_anything() -> None:
    assert org_domain("bank.example", bank_example="v=DMARC1; p=none; psd=y") == "bank.example"


def test_the_start_itself_where_no_record_is_found() -> None:
    assert org_domain("a.example.com") == "a.example.com"


def test_psd_y_above_records_without_a_tag() -> None:
    """The domain one label below counts, whether it has a record or not."""
    records = {"b_giant_bank_example": "v=DMARC1; p=none", "bank_example": "v=DMARC1; p=none; psd=y"}
    walk = Discovery(AskedResolver(dmarc_zone(**records))).walk("a.b.giant.bank.example")
    assert walk.org_domain == "giant.bank.example"
    assert walk.policy_step is not None
    assert walk.policy_step.domain == "bank.example"


def test_psd_y_at_seven_labels_of_a_long_name_has_its_organization_between_the_questions() -> None:
    psd = {"_dmarc.c.d.e.f.g.h.i": [{"TXT": "v=DMARC1; p=none; psd=y"}]}
    assert Discovery(AskedResolver(psd)).walk("x.y.z.a.b.c.d.e.f.g.h.i").org_domain == "b.c.d.e.f.g.h.i"


@pytest.mark.parametrize(
    "texts",
    [
        ["v=DMARC1; p=reject", "v=DMARC1; p=reject"],
        ["v=DMARC1; p=reject", "v=DMARC1"],
        ["v=DMARC1; p=reject; psd=n", "v=DMARC1; p=reject; psd=y", "other"],
    ],
)
def test_several_records_at_one_name_are_all_discarded_and_the_walk_goes_on(texts: list[str]) -> None:
    zone = {
        "_dmarc.a.example": [{"TXT": text} for text in texts],
        "_dmarc.example": [{"TXT": "v=DMARC1; p=none"}],
    }
    walk = Discovery(AskedResolver(zone)).walk("a.example")
    assert [step.domain for step in walk.published] == ["example"]


def test_other_texts_at_the_name_do_not_count() -> None:
    zone = {"_dmarc.example": [{"TXT": "v=spf1 -all"}, {"TXT": ["v=DM", "ARC1; p=reject"]}, {"TXT": "v=DMARC2"}]}
    walk = Discovery(AskedResolver(zone)).walk("example")
    assert len(walk.published) == 1


def test_no_name_is_asked_for_twice() -> None:
    resolver = AskedResolver(dmarc_zone(example_com="v=DMARC1; p=none"))
    discovery = Discovery(resolver)
    for start in ("a.example.com", "b.example.com", "a.example.com", "example.com"):
        discovery.walk(start)
    assert len(resolver.asked) == len(set(resolver.asked)) == 4


def test_the_questions_of_one_evaluation_are_capped() -> None:
    resolver = AskedResolver({})
    discovery = Discovery(resolver)
    refused = 0
    for number in range(100):
        try:
            discovery.walk(f"a.b.c.d.e.f.{number}.example")
        except TooManyQuestionsError:
            refused += 1
    assert refused
    assert len(resolver.asked) == MAX_QUESTIONS


def test_an_error_is_raised_and_the_walk_so_far_is_traced() -> None:
    resolver = AskedResolver({"_dmarc.example.com": "TIMEOUT"})
    discovery = Discovery(resolver, walks=[])
    with pytest.raises(DnsTempError):
        discovery.walk("a.example.com")
    assert discovery.walks is not None
    assert [step.domain for step in discovery.walks[0].steps] == ["a.example.com"]


def test_existence_is_nxdomain_alone() -> None:
    zone = {
        "a.example": [{"MX": [1, "mx.example"]}],
        "x.empty.example": [{"A": "192.0.2.1"}],
        "gone.example": "NXDOMAIN",
    }
    discovery = Discovery(AskedResolver(zone))
    assert discovery.exists("a.example")  # NODATA for A
    assert discovery.exists("empty.example")  # only something below it (RFC 8020)
    assert not discovery.exists("gone.example")
    assert not discovery.exists("b.example")
