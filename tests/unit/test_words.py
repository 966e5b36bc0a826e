"""The words of this project: plain technical English, one word for one thing.

Each entry is a phrase that has crept in before, and what to write instead. `make lint` runs codespell beside it.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTEAD = {
    r"stands? twice": "is duplicated",
    r"(?:stands?|stood) (?:in|at|there|beside|behind|before|above|under) (?:the|a|its|our|it)\b": "is in, precedes",
    r"(?:stands?|stood) still": "is stuck, hangs",
    r"may not\b": "must not, cannot, need not",
    r"(?:he|him|his)\b": "it, they, their; name the person: the admin, the sender",
    r"(?:comes?|came) to (?:a|an|its|the same|any|nothing|anything|more|most|less)\b": "results in, reaches, gets",
    r"for want of": "without, because ... is missing",
    r"(?:it|that|there|what) lies\b": "is",
    r"mend(?:s|ed|ing)?\b": "fix",
    r"folders?\b": "directory",
    r"octets that are no\b": "octets that are not",
    r"shall\b": "must, is to",
    r"hardly\b": "rarely, few, barely",
    r"to be had\b": "available",
    r"hangs? on (?:the|it|which|whether)\b": "depends on",
    r"be talked to\b": "respond",
    r"signs? of life": "heartbeat",
    r"(?<!there )(?:is|are|was|were) no (?!(?:longer|more|less|such|other|reason|place|higher)\b)[a-z]": "is not a",
}
# What is quoted from an RFC, an old message or an English idiom that is right.
ALLOWED = re.compile(r'"[^"]*"|“[^”]*”|`[^`]*`|\bSHALL\b')
SOURCES = sorted(
    path
    for pattern in (
        "*.md",
        "Makefile",
        "config/*.yaml",
        "config/*.md",
        "systemd/*",
        "milter/mailnotary/**/*.py",
        "tests/**/*.py",
        "tests/**/*.sh",
    )
    for path in ROOT.glob(pattern)
    if path.is_file() and path.name not in ("CHANGELOG.md", Path(__file__).name)
)


def prose(path: Path) -> str:
    """The text of a file without what it quotes, lines joined where a comment or docstring goes on."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        text = ALLOWED.sub(" ", text)
    return re.sub(r"\n\s*#?\s*", " ", text)


@pytest.mark.parametrize("phrase", INSTEAD)
def test_no_text_has_a_phrase_that_has_a_better_one(phrase: str) -> None:
    pattern = re.compile(rf"(?<![\w'-]){phrase}", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}: ...{text[max(match.start() - 40, 0) : match.end() + 20]}..."
        for path in SOURCES
        for text in [prose(path)]
        for match in pattern.finditer(text)
    ]
    assert found == [], f"write instead: {INSTEAD[phrase]}"
