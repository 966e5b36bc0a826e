"""What is wrong with a YAML file, in our words: the same with every parser beneath, at a place that helps."""

import random

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mailnotary.config import yaml_file, yaml_nodes
from mailnotary.config.yaml_check import MAX_DEPTH, UNKNOWN, Mistake, disputed, first_mistake


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        # tabs, wherever a parser might take one
        ("a:\tb\n", (1, 3), "a tab: write spaces"),
        ("a: b\t# c\n", (1, 5), "a tab: write spaces"),
        ("a: b\tc\n", (1, 5), "a tab: write spaces"),
        ("a: [b,\tc]\n", (1, 7), "a tab: write spaces"),
        ("a: [\n\tb]\n", (2, 1), "a tab: indent with spaces"),
        ("a: |\n \tb\n", (2, 2), "a tab: indent with spaces"),
        ("a: b\n\t\nc: d\n", (2, 1), "a tab: indent with spaces"),
        # indentation
        ("a:\n  b: 1\n c: 2\n", (3, 2), "this line belongs to nothing before it: check the indentation"),
        ("  a: 1\nb: 2\n", (2, 1), "this line belongs to nothing before it: check the indentation"),
        ("a: [b]\n  c: 2\n", (2, 3), "this line belongs to nothing before it: check the indentation"),
        ("a:\n  - b\n  c: 1\n", (3, 3), "expected a '-': check the indentation"),
        ("a: 1\n- b\n", (2, 1), "a '-' where a key is expected: check the indentation"),
        # keys and lists
        ("a: - b\n", (1, 4), "a list can't begin here: begin it on the next line, or put quotes around the text"),
        ("a: 1\n: 2\n", (2, 1), "a ':' where no key is allowed: check the indentation"),
        ("a: 1\nb c\n", (2, 1), "a key without its ':': write 'key: value'"),
        ("a: 1\nbc:2\n", (2, 1), "no space after the ':' of a key: write it, like 'bc: 2'"),
        ("a: 1\nbc:\xa02\n", (2, 1), "no space after the ':' of a key: write it, like 'bc: 2'"),
        ("a: 1\nb c", (2, 1), "a key without its ':': write 'key: value'"),
        ("a: 1\n'b\n c': 2\n", (3, 4), "a ':' where no key is allowed"),
        ("a" * 1025 + ": 1\n", (1, 1026), "a ':' where no key is allowed"),
        ("? a\n", (1, 1), "a '?' before a key: write 'key: value'"),
        # quotes
        ("a: 'it's'\n", (1, 8), "expected a key: check the indentation, put quotes around the whole value"),
        ('a: "b\nc: d\n', (1, 4), "a quote that is never closed: close it"),
        ("a: 'b\n---\nc'\n", (1, 4), "a quote that is never closed: close it"),
        ('a: "C:\\dir"\n', (1, 7), "an unknown escape: write two backslashes"),
        ('a: "\\x4"\n', (1, 5), "an unknown escape: write two backslashes"),
        ('a: "\\ud800"\n', (1, 5), "an unknown escape: write two backslashes"),
        ('a: "\\UFFFFFFFF"\n', (1, 5), "an unknown escape: write two backslashes"),
        # brackets
        ("a: [b}\n", (1, 6), "expected ',' or the end of the brackets that begin in line 1: close them"),
        ("a:\n  [b,\nc: [d\n", (4, 1), "expected ',' or the end of the brackets that begin in line 3: close them"),
        ("a: [b: [c: d e: f]]\n", (1, 15), "expected ',' or the end of the brackets that begin in line 1: close them"),
        ("a: [,b]\n", (1, 5), "a ',' with nothing before it: remove it"),
        ("a: [b,,c]\n", (1, 7), "a ',' with nothing before it: remove it"),
        ("a: {b:}\n", (1, 6), "a ':' with no space after it: write a space, or put quotes around the text"),
        ("a: [b, - c]\n", (1, 8), "a value in brackets can't begin with '-': put quotes around it"),
        ("a: [b, ? c]\n", (1, 8), "a value in brackets can't begin with '?': put quotes around it"),
        ("a: [b?c]\n", (1, 6), "a text with '?' in brackets needs quotes"),
        ("a: ]\n", (1, 4), "a value can't begin with ']': put quotes around it"),
        # anchors, aliases, tags, directives, documents
        ("a: & b\n", (1, 4), "a text that begins with '&' needs quotes"),
        ("a: &x &y b\n", (1, 7), "a second anchor or tag for one value: remove one"),
        ("a: &x 1\nb: &y *x\n", (2, 7), "an anchor or tag before an alias: remove it"),
        ("a: [&x , b]\n", (1, 5), "an anchor or tag with no value after it: remove it"),
        ("a: *x\nb: &x 1\n", (1, 4), "alias '*x' has no anchor before it: a text that begins with '*' needs quotes"),
        ("a: !!int 1\n", (1, 4), "tag '!!int' is not supported: remove it"),
        ("a: !<x> 1\n", (1, 4), "tag '!<x>' is not supported: remove it"),
        ("%TAG ! x\n---\na: 1\n", (1, 1), "a '%' at the beginning of a line: remove the line, or put quotes"),
        ("...\na: 1\n", (1, 1), "a '...' at the beginning: remove it"),
        ("a: 1\n...\nb: 2\n", (3, 1), "a second document, but a file must have only one"),
        ("--- a: 1\n", (1, 6), "a ':' where no key is allowed"),
        # blocks of text
        ("a: |x\n", (1, 4), "a value can't begin with '|': put quotes around it"),
        ("a: >-#c\n", (1, 4), "a value can't begin with '>': put quotes around it"),
        ("a: |\n   b\n  c\n", (3, 3), "this line belongs to nothing before it: check the indentation"),
    ],
)
def test_a_mistake_has_its_place_and_its_cure(text: str, place: tuple[int, int], words: str) -> None:
    found = first_mistake(text)
    assert found is not None
    assert (found.line, found.column) == place
    assert found.message.startswith(words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# c\n",
        "--- # c\na: 1\n...\n# c\n",
        "a:\n- b\n-\n  c: 1\n  d:\n- - e\n  - f\ng:\n",
        "a: b\n  c\n\n  - d\ne: 'x''\n y'\nf: \"\\t\\u00e4 \\\n z\"\n",
        'a: {b: [c, "d": e, {f: g}], "h":i, j: , k}\n',
        "a: [b, # c\nd,\n]\n",
        "a: &x [b]\nc: &y\n  d: *x\ne: *y\n&z f: *x\n",
        "a: |\n  b\n\n   c\nd: >+2 # c\n   e\n\nf: |-\n",
        "a: ! b\nc: !!str\n  d\n",
        "a: -b\nc: d:e#f?\n? x\n".replace("? x\n", "?x: y\n"),
        "'a': 1\n\"b\" : 2\n[c]: 3\n",
    ],
)
def test_good_text_has_no_mistake(text: str) -> None:
    assert first_mistake(text) is None
    for parser in (yaml_file.LOADER, yaml.SafeLoader):
        yaml.compose(text, Loader=parser)


PIECES = [
    "a", "b: ", ": ", ":", "- ", "-", "? ", "?", "[", "]", "{", "}", ", ", ",", "\n", "\n  ", "\n ", "\n    ", "\t",
    " ", "'", '"', "\\q", "\\x41", "&x ", "*x", "!t ", "!!str ", "!<", "#c", "# c\n", "|\n", "|2\n", ">-\n",
    "%YAML 1.1\n", "%", "--- ", "\n---\n", "\n...\n", "@", "`", "::1", "*", "&", "!", "<<: ", "~", "é", "a:b",
    "key: v\n", "- x\n", "\r\n", "''", '"x"', "a\n b", "\\U", "=",
]  # fmt: skip
BROKEN = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def read(text: str, parser: object, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[str]]:
    """The nodes with their places, and what is wrong."""
    report = yaml_nodes.Report("f.yaml")
    with monkeypatch.context() as patch:
        patch.setattr(yaml_file, "LOADER", parser)
        root = yaml_file.parse(text.encode(), report)
    return repr(root), [str(problem) for problem in report.sorted_problems()]


def agree(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_c, without = (read(text, parser, monkeypatch) for parser in (yaml_file.LOADER, yaml.SafeLoader))
    assert with_c == without
    assert UNKNOWN.message not in "".join(with_c[1])


@given(st.one_of(BROKEN, st.text("ab:- \n[]{},'\"#&*!|>?%\t.\\", max_size=14)))
@example("{a: # c\n, b: 1}")
@example("[<:]")
@example("{\\:}")
@example("|\n  \t,")
@example("- # c\n[*x, 'q':")
@example('"\\UFFFFFFFF"')
def test_every_parser_has_the_same_nodes_and_the_same_mistakes(text: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        agree(text, monkeypatch)


def test_every_parser_says_the_same_of_our_own_files_with_a_character_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = random.Random(7)
    text = (
        "# the keys\ndomains:\n  a.example: &one\n    keys:\n      - {selector: a, file: 'a b.pem'}\n"
        "      - selector: b\n        file: \"b.pem\"  # new\n  b.example: *one\nsign:\n- 10.0.0.0/8\n- '::1'\n"
    )
    for _ in range(1000):
        at = source.randrange(len(text))
        changed = text[:at] + source.choice(PIECES) + text[at + source.randrange(3) :]
        agree(changed, monkeypatch)


@pytest.mark.parametrize(
    "piece", ["[", "{a: ", "- ", "a: &x [", "'", '"\\', "- a\n", "a\n", "&a ", "# c\n", "\n", "? "]
)
def test_hostile_text_takes_time_in_proportion_and_no_stack(piece: str) -> None:
    first_mistake(piece * 200_000)


def test_depth_is_counted_through_lines_and_brackets() -> None:
    lines = "".join(" " * number + "a:\n" for number in range(MAX_DEPTH - 1))
    assert first_mistake(lines + " " * MAX_DEPTH + "[a]") is None
    found = first_mistake(lines + " " * MAX_DEPTH + "[{a: 1}]")
    assert found == Mistake(
        MAX_DEPTH, MAX_DEPTH + 2, f"nested deeper than {MAX_DEPTH} levels: check the indentation and the brackets"
    )


def test_what_parsers_agree_on_is_not_looked_at_twice() -> None:
    text = "# why? > | ! \ndomains:\n  a.example: {keys: [{selector: a, file: a.pem}]}  # new\n"
    assert not disputed(text)
