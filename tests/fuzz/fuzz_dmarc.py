"""Fuzzing of DMARC: the first line is the author domain, the second SPF's, the third the signatures' with spaces
between; the rest are the records of a zone, from the author domain up, "!" for a DNS error.

    python tests/fuzz/fuzz_dmarc.py [libFuzzer's options]
"""

from mailnotary import dmarc
from mailnotary.dmarc import DmarcResult, Policy
from mailnotary.dmarc.discover import MAX_QUESTIONS
from mailnotary.resolver import Answer, DnsTempError, RecordKind
from mailnotary.status import DmarcStatus
from support.fuzzing import run
from support.verdicts import dkim_result, spf_result


class LineResolver:
    """Answers the n-th distinct question with the n-th line."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = iter(lines)
        self.asked = 0
        self.failed = False

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        self.asked += 1
        line = next(self._lines, None)
        if line == b"!":
            self.failed = True
            raise DnsTempError(f"{kind} {name}: timed out", "TIMEOUT")
        if line is None or kind is RecordKind.A:
            return Answer((), exists=bool(line))
        return Answer(tuple(line.split(b"|")))


def one_input(data: bytes) -> None:
    """Checks one input; an exception is a finding."""
    lines = data[:200_000].split(b"\n")
    author, spf, dkim = (line.decode("utf-8", "surrogateescape") for line in [*lines, b"", b"", b""][:3])
    resolver = LineResolver(lines[3:])
    result = dmarc.evaluate(author, [spf_result(spf)], [dkim_result(d) for d in dkim.split(" ")], resolver)
    assert resolver.asked <= MAX_QUESTIONS
    _check(result, resolver)


def _check(result: DmarcResult, resolver: LineResolver) -> None:
    assert result.reason.isprintable()
    assert (result.status is DmarcStatus.PASS) is (result.spf_aligned or result.dkim_aligned)
    if result.status is DmarcStatus.TEMPERROR:
        assert resolver.failed
    if result.status is not DmarcStatus.FAIL:
        assert result.disposition is Policy.NONE
    if result.status in (DmarcStatus.PASS, DmarcStatus.FAIL):
        assert result.policy is not None
        assert result.org_domain
        assert result.domain == result.org_domain or result.domain.endswith("." + result.org_domain)


if __name__ == "__main__":
    run(one_input)
