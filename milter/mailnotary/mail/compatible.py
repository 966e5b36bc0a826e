"""Text in the form in which characters that look alike are the same (Unicode's NFKC)."""

import unicodedata
from math import inf

_PIECE = 64  # characters normalized at a time; no word has so many marks


def compatible(text: str, limit: float = inf) -> str:
    """The text in the normal form KC, made piece by piece: a run of combining marks is put in order in a time that
    grows with its square. A piece ends before a character that combines with none before it, if one is near. One
    character may become eighteen: no more is made once there are more than `limit`."""
    if len(text) <= _PIECE:
        return unicodedata.normalize("NFKC", text)
    pieces: list[str] = []
    start = made = 0
    while start < len(text) and made <= limit:
        end = start + _PIECE
        while end < min(len(text), start + 2 * _PIECE) and unicodedata.combining(text[end]):
            end += 1
        pieces.append(unicodedata.normalize("NFKC", text[start:end]))
        made += len(pieces[-1])
        start = end
    return "".join(pieces)
