"""Fuzzing of Authentication-Results: the input is a field's value, and each line of it a value that we write.

python tests/fuzz/fuzz_authres.py [libFuzzer's options]
"""

from mailnotary.authres import (
    AuthenticationResults,
    AuthresError,
    MethodResult,
    Property,
    claims,
    format,
    parse,
)
from support.fuzzing import run

OURS = ("mx.example.org", "bücher.example")
NOT_NONE = "x-"  # before a method's name, which must not be "none"


def one_input(data: bytes) -> None:
    """Checks one input; an exception is a finding."""
    data = data[:200_000]
    claimed = claims(data, OURS)
    try:
        field = parse(data)
    except AuthresError:
        if b"mx.example.org" in data.lower():
            assert claimed
    else:
        own = field.authserv_id.lower().rstrip(".") in (OURS[0], "xn--bcher-kva.example")
        assert claimed is own or not field.authserv_id.isascii()
        assert parse(format(_within_bounds(field))) == _within_bounds(field)
    _write(data.decode("utf-8", "surrogateescape").split("\n"))


def _within_bounds(field: AuthenticationResults) -> AuthenticationResults:
    """The field as it comes back from being written: what is unsafe or too long replaced or cut, keywords with
    the ends that a writer wants."""
    once = format(AuthenticationResults(field.authserv_id, tuple(map(_strict, field.results)), field.version))
    return parse(once)


def _strict(result: MethodResult) -> MethodResult:
    return MethodResult(
        NOT_NONE + result.method, result.result, result.properties, result.reason, result.method_version
    )


def _write(texts: list[str]) -> None:
    properties = tuple(Property("header", "d", text) for text in texts[:20])
    result = MethodResult("dkim", "fail", properties, texts[0], comment=texts[-1])
    value = format(AuthenticationResults(texts[0], (result, result)))
    for line in ("Authentication-Results: " + value).split("\r\n"):
        assert line.isascii() or line.encode()
        assert "\r" not in line
        assert "\n" not in line
        assert line.strip(" \t")
        assert not line.endswith((" ", "\t"))
        assert len(line.encode()) <= 998
    shapes = [(r.method, r.result, [(p.ptype, p.property) for p in r.properties]) for r in parse(value).results]
    assert shapes == [("dkim", "fail", [("header", "d")] * len(properties))] * 2


if __name__ == "__main__":
    run(one_input)
