"""Fuzzing of From fields: the input is one field's value, or several, a line of dashes apart.

python tests/fuzz/fuzz_address.py [libFuzzer's options]
"""

from mailnotary.domain import is_domain_name
from mailnotary.mail.address import author, author_of
from mailnotary.mail.message import HeaderField
from support.fuzzing import run


def one_input(data: bytes) -> None:
    """Checks one input; an exception is a finding."""
    values = data[:200_000].split(b"\n--\n")
    found = author([HeaderField(b"From", value) for value in values])
    assert (found.domain is None) is (found.problem is not None)
    assert all(is_domain_name(domain) and domain == domain.lower() for domain in found.domains)
    assert len(set(found.domains)) == len(found.domains)
    assert {address.domain for address in found.addresses} <= set(found.domains)
    assert found.reason.isprintable()
    assert bool(found.reason) is (found.problem is not None)
    if found.problem is None:
        (value,) = values
        assert found.domains == (found.addresses[0].domain,)
        assert b"\0" not in value
        # Comments and white space around the field change nothing; around damage they may leave no author.
        assert author_of(b" (x(y)\r\n ) " + value + b"\r\n\t(z)").domain in (found.domain, None)
        # A second author of another domain is seen wherever the first one ends.
        assert author_of(value + b",second@other.invalid").domain is None


if __name__ == "__main__":
    run(one_input)
