"""YAML files: places of everything, strings as written, and no file that brings the reader down."""

import errno
import gc
import os
from pathlib import Path

import pytest
import yaml

from mailnotary.config import yaml_file
from mailnotary.config.yaml_check import MAX_DEPTH
from mailnotary.config.yaml_file import MAX_NODES, collector_off, parse, read
from mailnotary.config.yaml_nodes import (
    MAX_PROBLEMS,
    ConfigError,
    Problem,
    Report,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
)


@pytest.fixture(autouse=True, params=[yaml_file.LOADER, yaml.SafeLoader], ids=["as installed", "without libyaml"])
def each_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_file, "LOADER", request.param)


def parsed(text: str | bytes) -> YamlMapping:
    report = Report("f.yaml")
    root = parse(text if isinstance(text, bytes) else text.encode(), report)
    report.raise_problems()
    assert root is not None
    return root


def errors(text: str | bytes) -> list[str]:
    report = Report("f.yaml")
    parse(text if isinstance(text, bytes) else text.encode(), report)
    return [str(problem) for problem in report.sorted_problems()]


def plain(node: YamlNode | None) -> object:
    if isinstance(node, YamlMapping):
        return {key.text: plain(value) for key, value in node.items}
    if isinstance(node, YamlSequence):
        return [plain(item) for item in node.items]
    return node.text if node else None


def test_every_scalar_is_its_text() -> None:
    text = "a: off\nb: 0660\nc: 0123\nd: 1_000\ne: ~\nf: '0660'\ng: \"x\\ty\"\nh: 2026-01-01\ni: 1e3\nj: =\nno: yes\n"
    assert plain(parsed(text)) == {
        "a": "off", "b": "0660", "c": "0123", "d": "1_000", "e": "~", "f": "0660", "g": "x\ty", "h": "2026-01-01",
        "i": "1e3", "j": "=", "no": "yes",
    }  # fmt: skip


def test_places_count_from_one() -> None:
    root = parsed("a: 1\nb:\n  - x\n  - {c: ä, d: [y, z]}\n")
    (a, _), (_, b) = root.items
    assert (a.line, a.column) == (1, 1)
    assert isinstance(b, YamlSequence)
    x, inner = b.items
    assert (x.line, x.column) == (3, 5)
    assert isinstance(inner, YamlMapping)
    d = inner.get("d")
    assert isinstance(d, YamlSequence)
    assert [(item.line, item.column) for item in [d, *d.items]] == [(4, 15), (4, 16), (4, 19)]


@pytest.mark.parametrize("word", ["", "~", "null", "Null", "NULL"])
def test_plain_null_words_are_no_value(word: str) -> None:
    node = parsed(f"a: {word}\n").get("a")
    assert isinstance(node, YamlScalar)
    assert node.is_null
    quoted = parsed(f"a: '{word}'\n").get("a")
    assert isinstance(quoted, YamlScalar)
    assert not quoted.is_null


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~\n", "--- null\n...\n", "\ufeff"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert parsed(text).items == []


def test_a_byte_order_mark_moves_no_column() -> None:
    assert parsed("\ufeffa: 1\n").items[0][0].column == 1


def test_aliases_stand_for_what_they_name() -> None:
    assert plain(parsed("a: &x [1, 2]\nb: *x\nc: {d: *x}\n")) == {
        "a": ["1", "2"],
        "b": ["1", "2"],
        "c": {"d": ["1", "2"]},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n---\nb: 2\n", "2:1: a second document"),
        ("a:\n\tb: 1\n", "2:1: a tab: indent with spaces"),
        ("a: 1\n \tb: 1\n", "2:2: a tab"),
        ("a: b: c\n", "1:5: a ':' where no key is allowed"),
        ("a: 1\n  b: 2\n", "2:4: a ':' where no key is allowed"),
        ("a: 1\nb\nc: 2\n", "2:1: a key without its ':'"),
        ("a: 'x\nb: 2\n", "1:4: a quote that is never closed"),
        ("a: [x\nb: 2\n", "2:2: expected ',' or the end of the brackets that begin in line 1"),
        ("a: {b: c\n", "2:1: expected ',' or the end of the brackets that begin in line 1"),
        ('a: "b" c\n', "1:8: expected a key"),
        ("a: [10.0.0.1, ::1]\n", "1:15: a value in brackets can't begin with ':': put quotes around it"),
        ("a: @x\n", "1:4: a value can't begin with '@': put quotes around it"),
        ("a: %x\n", "1:4: a value can't begin with '%'"),
        ("*.example.org: x\n", "1:1: a text that begins with '*' needs quotes"),
        ("a: *x\n", "1:4: alias '*x' has no anchor before it"),
        ("a: &x [*x]\n", "1:8: alias '*x' has no anchor before it"),
        ("a: !x 1\n", "1:4: tag '!x' is not supported"),
        ("a: !!python/object/apply:os.system [x]\n", "1:4: tag '!!python/object/apply:os.system' is not supported"),
        ("%YAML 3.0\n---\na: 1\n", "1:1: a '%' at the beginning of a line: remove the line, or put quotes"),
        ('a: "\\q"\n', "1:5: an unknown escape: write two backslashes"),
        ("? [a, b]\n: 1\n", "1:1: a '?' before a key: write 'key: value'"),
        ("[a, b]: 1\n", "1:1: a list as a key"),
        ("{a: b}: 1\n", "1:1: keys and values as a key"),
        ("a: 1\nb: 2\n'a': 3\n", "3:1: duplicate key 'a', first in line 1: remove one of them"),
        ("b: &x {c: 1}\na:\n  <<: *x\n", "3:3: merge keys are not supported"),
        ("- a\n", "1:1: a list where keys are expected"),
        ("  word\n", "1:3: 'word' where keys are expected"),
        ("a: 1\nb: x\0y\n", "2:5: character U+0000 is not allowed in YAML"),
        ("a: ä\x1b[31m\n", "1:5: character U+001B is not allowed in YAML"),
        ("a: x\u2028y\n", "1:5: character U+2028 is not allowed in YAML"),
        ("a: x\x85y\n", "1:5: character U+0085 is not allowed in YAML"),
        ("a: 1\rb: 2\n", "1:5: character U+000D is not allowed in YAML"),
        (b"a: 1\nb: \xc3\xa4\xff\n", "2:5: octet 0xff is not UTF-8: save the file as UTF-8"),
        (b"a: \xed\xa0\x80\n", "1:4: octet 0xed is not UTF-8"),
        ("a: 1\n".encode("utf-16"), "1:1: UTF-16: save the file as UTF-8"),
    ],
)
def test_what_is_wrong_has_its_place_and_its_cure(text: str | bytes, expected: str) -> None:
    (found,) = errors(text)
    assert found.startswith(f"f.yaml:{expected}")


def test_all_duplicates_are_found_and_the_first_one_stays() -> None:
    report = Report("f.yaml")
    root = parse(b"a: 1\na: 2\nb: {c: 1, c: 2}\n", report)
    assert [(problem.line, problem.column) for problem in report.sorted_problems()] == [(2, 1), (3, 11)]
    assert plain(root) == {"a": "1", "b": {"c": "1"}}


@pytest.mark.parametrize(
    ("piece", "column"),
    [("[", 21), ("{a: ", 81), ("- ", 41), ("[[[[{a: ", 33), ("a: &x [", 71), ("- [", 0), ("? ", 0), ("- a: ", 0)],
)
@pytest.mark.parametrize("times", [MAX_DEPTH + 1, 100_000])
def test_deep_nesting_is_an_error_and_no_crash(piece: str, column: int, times: int) -> None:
    (found,) = errors(piece * times)
    if column:
        assert found.startswith(f"f.yaml:1:{column}: nested deeper than {MAX_DEPTH} levels: ")


@pytest.mark.parametrize("line", ["a:\n", "- \n", "- a:\n"])
@pytest.mark.parametrize("times", [MAX_DEPTH + 1, 500])
def test_deep_indentation_is_an_error_and_no_crash(line: str, times: int) -> None:
    (found,) = errors("".join(" " * 4 * number + line for number in range(times)))
    assert ": nested deeper than" in found


def test_nesting_up_to_the_limit_is_read() -> None:
    assert errors("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)) == []


def test_aliases_can_not_multiply_without_bounds() -> None:
    lines = ["a0: &a0 [" + ", ".join("x" * 10) + "]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    (found,) = errors("\n".join(lines))
    assert f"more than {MAX_NODES} values" in found


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"#" * 101)
    report = Report(path)
    assert read(path, report, 100) is None
    assert str(report.problems[0]).startswith(f"{path}: larger than 100 octets")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "does not exist: create it, or check the name"),
        (".", "is a directory: name a file"),
        ("a\x1b", "does not exist: create it, or check the name"),
        ("x" * 300, f"can't be read: {os.strerror(errno.ENAMETOOLONG)}: check the name"),
    ],
)
def test_a_file_that_can_not_be_read_is_an_error_without_a_line(tmp_path: Path, name: str, reason: str) -> None:
    report = Report(tmp_path / name)
    assert read(tmp_path / name, report, 100) is None
    (problem,) = report.problems
    assert problem.line == 0
    assert str(problem).endswith(f": {reason}")
    assert str(problem).isprintable()


def test_errors_are_sorted_by_place_and_stand_once() -> None:
    report = Report("f.yaml")
    for line in (3, 1, 3):
        report.error(YamlScalar("x", True, line, 1), "wrong")
    with pytest.raises(ConfigError) as caught:
        report.raise_problems()
    assert caught.value.problems == (Problem("f.yaml", 1, 1, "wrong"), Problem("f.yaml", 3, 1, "wrong"))
    assert str(caught.value) == "f.yaml:1:1: wrong\nf.yaml:3:1: wrong"


def test_errors_beyond_the_cap_are_counted() -> None:
    report = Report("f.yaml")
    for line in range(1, MAX_PROBLEMS + 6):
        report.error(YamlScalar("x", True, line, 1), "wrong")
    found = report.sorted_problems()
    assert len(found) == MAX_PROBLEMS + 1
    assert str(found[-1]) == "f.yaml: 5 more errors are not shown: fix these first"


def test_the_collector_runs_again_afterwards() -> None:
    def broken() -> None:
        with collector_off():
            assert not gc.isenabled()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken()
    assert gc.isenabled()
