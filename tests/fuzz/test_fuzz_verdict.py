"""The fuzz targets of address, authres and dmarc over inputs that matter and over random ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import fuzz_address, fuzz_authres, fuzz_dmarc

ADDRESSES = [
    b"",
    b"Joe <joe@example.org>",
    b"joe@example.org\n--\njoe@example.org",
    b"Team: joe@example.org, <@example.org:x@example.org>;",
    b'"\\"\xff" (((\xff))) <joe@B\xc3\xbccher.example>',
    b"a@b . c (x",
    b"=?utf-8?q?=00?= <joe@example.org>",
    b"\xef\xbc\xa0@\xe3\x80\x82",
]
RESULTS = [
    b"",
    b"mx.example.org; none",
    b'"mx.\\example.org" 2 (x); dkim/2=fail reason="a\r\n b" header.d="x y"@z header.b=ab/c=',
    b"mx.example.org; none; spf=pass",
    b"B\xc3\x9cCHER.example; spf=pass smtp.mailfrom=<>",
    b'\xff\0\x1b[31m\n\r\n \t\n  a  b  \n"\\)(;\n\xe2\x80\xae\n\xc2\xa0',
    b"x; a=b c.d=" + b'"' * 999,
]
VERDICTS = [
    b"",
    b"a.example.org\nb.example.org\nc.example.org d.example.org\n\nv=DMARC1; p=reject; psd=n",
    b"a.b.c.d.e.f.g.h.i.j\n\n\n!\n",
    b"a.example.org\n\n\n\nv=DMARC1; p=none; np=reject\n\n!\n",
    b"a.example\na.b.example\nexample\nv=DMARC1;p=none\nv=DMARC1;p=reject|v=DMARC1\nv=DMARC1;psd=y",
    "bücher.example\nBÜCHER.example\n\nv=DMARC1; p=reject; sp=?; rua=x:y".encode(),
    b"\xff\n\xff\n\xff",
    b"a.example\n\x07.a.example\n\x1b[31m.a.example\nv=DMARC1; p=reject",  # identifiers that are not names
    "a.\u0590!".encode(),  # an unassigned character
]


@pytest.mark.parametrize("data", ADDRESSES)
def test_addresses(data: bytes) -> None:
    fuzz_address.one_input(data)


@pytest.mark.parametrize("data", RESULTS)
def test_results(data: bytes) -> None:
    fuzz_authres.one_input(data)


@pytest.mark.parametrize("data", VERDICTS)
def test_verdicts(data: bytes) -> None:
    fuzz_dmarc.one_input(data)


_BYTES = st.one_of(st.binary(max_size=200), st.text('ab.@<>()"\\,;:= \r\n/1!|é\x00', max_size=80).map(str.encode))


@given(_BYTES)
def test_any_address(data: bytes) -> None:
    fuzz_address.one_input(data)


@given(_BYTES)
def test_any_results(data: bytes) -> None:
    fuzz_authres.one_input(data)


@given(_BYTES.map(lambda tail: b"a.b\na.b\nb\n" + tail), st.sampled_from([b"", b"v=DMARC1;p=none", b"v=DMARC1;psd=y;"]))
def test_any_verdict(data: bytes, record: bytes) -> None:
    fuzz_dmarc.one_input(data)
    fuzz_dmarc.one_input(data.replace(b"|", record))
