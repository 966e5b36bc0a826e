"""The trace of a check."""

from mailnotary.resolver import Answer, DnsTempError
from mailnotary.spf import TraceStep
from support.spf import CLIENT, spf


def traced(record: str, zone: dict[str, object]) -> list[TraceStep]:
    trace: list[TraceStep] = []
    result = spf(record, zone, trace=trace)
    assert result == spf(record, zone)  # a trace changes nothing
    return trace


def test_each_record_term_and_question_stands_in_order() -> None:
    zone = {
        "i.example": [{"TXT": "v=spf1 a:h.example ?all"}],
        "h.example": [{"A": "198.51.100.1"}],
        "e.example": [{"TXT": "see %{c}"}],
    }
    trace = traced(
        "v=spf1 ip4:1.2.3.4 include:%{l}.example include:i.example exists:none.example -all exp=e.example",
        {"user.example": [{"TXT": "v=spf1"}], **zone},
    )
    assert [(step.depth, step.domain, step.term, step.outcome) for step in trace] == [
        (0, "example.com", "", "fail"),
        (0, "example.com", "ip4:1.2.3.4", "no match"),
        (0, "example.com", "include:%{l}.example", "no match"),
        (1, "user.example", "", "neutral"),
        (0, "example.com", "include:i.example", "no match"),
        (1, "i.example", "", "neutral"),
        (1, "i.example", "a:h.example", "no match"),
        (1, "i.example", "?all", "match"),
        (0, "example.com", "exists:none.example", "no match"),
        (0, "example.com", "-all", "match"),
        (0, "example.com", "exp=e.example", "explanation"),
    ]
    assert trace[0].record is not None
    assert trace[2].target == "user.example"
    assert [(question.name, str(question.kind)) for step in trace for question in step.questions] == [
        ("example.com", "TXT"),
        ("user.example", "TXT"),
        ("i.example", "TXT"),
        ("h.example", "A"),
        ("none.example", "A"),
        ("e.example", "TXT"),
    ]
    assert trace[8].questions[0].answer == Answer((), exists=False)
    assert (trace[9].lookups, trace[9].void_lookups) == (4, 1)
    assert trace[10].note == f"see {CLIENT}"


def test_an_error_shows_where_it_was_met() -> None:
    zone = {"i.example": [{"TXT": "v=spf1 a:slow.example"}], "slow.example": "TIMEOUT"}
    trace = traced("v=spf1 include:i.example -all", dict(zone))
    assert [(step.depth, step.term, step.outcome) for step in trace] == [
        (0, "", "temperror"),
        (0, "include:i.example", "temperror"),
        (1, "", "temperror"),
        (1, "a:slow.example", "temperror"),
    ]
    assert isinstance(trace[3].questions[0].answer, DnsTempError)
    assert "slow.example" in trace[3].note


def test_a_redirect_nests() -> None:
    trace = traced("v=spf1 redirect=r.example", {"r.example": [{"TXT": "v=spf1 moo"}]})
    assert [(step.depth, step.term, step.outcome) for step in trace] == [
        (0, "", "permerror"),
        (0, "redirect=r.example", "permerror"),
        (1, "", "permerror"),
    ]
    assert trace[2].record == b"v=spf1 moo"
