"""Domain names with U-labels."""

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.domain import to_ascii


@given(st.text("aB1-.ßäÄ。．｡例えテßς\u200d\xadनी\u0640xn_", min_size=1, max_size=40))
def test_labels_one_by_one_are_the_name_as_a_whole(name: str) -> None:
    """What stops early at a name that is too long gives of every other what idna.encode gives."""
    try:
        expected = idna.encode(name.removesuffix("."), uts46=True, transitional=False).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        expected = None
    if not name.isascii() and not name.removesuffix(".").isascii():
        assert to_ascii(name) == expected


def test_a_name_that_is_too_long_is_not_encoded_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = ["".join(chr(0x4E00 + 99 * place + number) for place in range(14)) for number in range(16)]
    encoded: list[str] = []
    alabel = idna.alabel

    def noted(label: str) -> bytes:
        encoded.append(label)
        return alabel(label)

    monkeypatch.setattr(idna, "alabel", noted)
    assert to_ascii(".".join(labels)) is None
    assert 0 < len(encoded) < len(labels)
