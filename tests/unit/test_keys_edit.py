"""Adding keys to keystore.yaml keeps what its admin wrote."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mailnotary.config.yaml_nodes import ConfigError
from mailnotary.keys.edit import EntryEdit, KeystoreEditError, NewKey, edit

NEW = NewKey("s2", "keys/example.org.s2.pem", "auto")
LINE = "{selector: s2, file: keys/example.org.s2.pem, state: auto}"


def add(text: str, entry: str = "example.org", *keys: NewKey) -> str:
    return edit(text.encode(), [EntryEdit(entry, keys or (NEW,))]).decode()


def values(text: str) -> Any:
    return yaml.load(text, Loader=yaml.BaseLoader)


FORMS = {
    "empty": ("", None),
    "comments alone": ("# mine\n", f"# mine\ndomains:\n  example.org:\n    keys:\n      - {LINE}\n"),
    "no newline at the end": ("# mine", f"# mine\ndomains:\n  example.org:\n    keys:\n      - {LINE}\n"),
    "document start": ("---\n", f"---\ndomains:\n  example.org:\n    keys:\n      - {LINE}\n"),
    "empty braces": ("{}\n", f"{{domains: {{example.org: {{keys: [{LINE}]}}}}}}\n"),
    "domains without value": (
        "domains:  # none yet\n",
        f"domains:  # none yet\n  example.org:\n    keys:\n      - {LINE}\n",
    ),
    "domains null": ("domains: ~\n", f"domains:\n  example.org:\n    keys:\n      - {LINE}\n"),
    "domains in braces": ("domains: {}  # none\n", f"domains:  # none\n  example.org:\n    keys:\n      - {LINE}\n"),
    "another domain": (
        "domains:\n    a.org:\n        keys:\n        - {selector: a, file: f}  # old\n\n# the end\n",
        "domains:\n    a.org:\n        keys:\n        - {selector: a, file: f}  # old\n"
        f"    example.org:\n      keys:\n        - {LINE}\n\n# the end\n",
    ),
    "the domain, block list": (
        "domains:\n  example.org:\n    keys:\n      - {selector: a, file: f}  # old\n    allow: {}\n  z.org:\n",
        "domains:\n  example.org:\n    keys:\n      - {selector: a, file: f}  # old\n"
        f"      - {LINE}\n    allow: {{}}\n  z.org:\n",
    ),
    "the domain, block keys": (
        "domains:\n  example.org:\n    keys:\n    - selector: a\n      file: f\n      # a note\n\n  z.org:\n",
        "domains:\n  example.org:\n    keys:\n    - selector: a\n      file: f\n"
        f"    - {LINE}\n      # a note\n\n  z.org:\n",
    ),
    "the domain, list in brackets": (
        "domains:\n  example.org:\n    keys: [{selector: a, file: f},]  # all\n",
        f"domains:\n  example.org:\n    keys: [{{selector: a, file: f}}, {LINE},]  # all\n",
    ),
    "an empty list": (
        "domains:\n  example.org:\n    keys: []\n",
        f"domains:\n  example.org:\n    keys:\n      - {LINE}\n",
    ),
    "keys without value": (
        "domains:\n  example.org:\n    keys: # soon\n    allow: {}\n",
        f"domains:\n  example.org:\n    keys: # soon\n      - {LINE}\n    allow: {{}}\n",
    ),
    "no keys": (
        "domains:\n  example.org:\n    include_subdomains: yes\n  z.org:\n",
        f"domains:\n  example.org:\n    include_subdomains: yes\n    keys:\n      - {LINE}\n  z.org:\n",
    ),
    "an entry in braces": (
        "domains:\n  example.org: {include_subdomains: yes}\n",
        f"domains:\n  example.org: {{include_subdomains: yes, keys: [{LINE}]}}\n",
    ),
    "all in braces": (
        "{domains: {example.org: {keys: }}}\n",
        f"{{domains: {{example.org: {{keys:  [{LINE}]}}}}}}\n",
    ),
    "capital letters": (
        "domains:\n  Example.ORG:\n    keys: []\n",
        f"domains:\n  Example.ORG:\n    keys:\n      - {LINE}\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), FORMS.values(), ids=FORMS)
def test_a_key_is_added_where_an_admin_would_write_it(before: str, after: str | None) -> None:
    found = add(before)
    if after is not None:
        assert found == after
    entry = next(value for name, value in values(found)["domains"].items() if name.lower() == "example.org")
    assert {"selector": "s2", "file": "keys/example.org.s2.pem", "state": "auto"} in entry["keys"]


def test_the_line_ends_and_the_byte_order_mark_of_the_file_stay() -> None:
    before = "\ufeffdomains:\r\n  a.org:\r\n    keys: []\r\n"
    found = edit(before.encode(), [EntryEdit("example.org", [NEW])])
    assert found.startswith(b"\xef\xbb\xbfdomains:\r\n")
    assert found.count(b"\n") == found.count(b"\r\n") == 6


def test_umlauts_before_the_place_do_not_move_it() -> None:
    found = add("# äöü €\ndomains:\n  a.org:\n    keys: []  # ß\n  example.org: {keys: []}\n")
    assert found.endswith(f"  example.org: {{keys: [{LINE}]}}\n")


def test_a_domain_in_its_own_letters_is_found_by_its_a_labels() -> None:
    found = add("domains:\n  bücher.example:\n    keys: []\n", "xn--bcher-kva.example")
    assert list(values(found)["domains"]) == ["bücher.example"]


@pytest.mark.parametrize("selector", ["0123", "1e3", "off", "null", "2026-11-22", "0x1f"])
def test_a_selector_that_yaml_takes_for_something_else_is_quoted(selector: str) -> None:
    found = add("", "example.org", NewKey(selector, "f", "auto"))
    assert f'selector: "{selector}"' in found


def test_several_changes_are_made_at_once() -> None:
    before = (
        "domains:\n"
        "  example.org:\n"
        "    keys:\n"
        "      - {selector: a, file: f, state: auto}  # one\n"
        "      - selector: b  # two\n"
        "        file: g\n"
        "        # last\n"
    )
    changes = {"a": {"retire_after": "s2", "state": "retired"}, "b": {"retire_after": "s3"}}
    found = edit(before.encode(), [EntryEdit("example.org", [NEW, NewKey("s3", "h", "auto")], changes)]).decode()
    assert found == (
        "domains:\n"
        "  example.org:\n"
        "    keys:\n"
        "      - {selector: a, file: f, state: retired, retire_after: s2}  # one\n"
        "      - selector: b  # two\n"
        "        file: g\n"
        "        retire_after: s3\n"
        f"      - {LINE}\n"
        "      - {selector: s3, file: h, state: auto}\n"
        "        # last\n"
    )


REFUSED = {
    "an alias": "domains:\n  a.org: &a\n    keys: [{selector: a, file: f}]\n  example.org: *a\n",
    "aliased keys": "domains:\n  a.org: {keys: &k [{selector: a, file: f}]}\n  example.org:\n    keys: *k\n",
    "an anchor twice": "domains: {a.org: {domain: &a b.org}, b.org: {domain: &a a.org}}\n",
    "a document's end": "# nothing\n---\n...\n",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_a_form_that_can_not_be_kept_is_refused_with_what_to_do_by_hand(text: str) -> None:
    with pytest.raises(KeystoreEditError, match=r"selector: s2"):
        add(text)


@pytest.mark.parametrize(
    "entry", ["{keys: none}", "{keys: [x]}", "[x]", "x", "{keys: [{file: f}]}", "{keys: {selector: a}}"]
)
def test_an_entry_with_errors_is_left_to_check_config(entry: str) -> None:
    with pytest.raises(KeystoreEditError, match="check-config"):
        add(f"domains:\n  example.org: {entry}\n")


@pytest.mark.parametrize(
    "text", ["network:\n  version: 2\n", "domains: {}\nservices: {}\n", "Domains: {}\n", '"": {}\n']
)
def test_a_file_that_is_another_ones_is_left_as_it_is(text: str) -> None:
    with pytest.raises(KeystoreEditError, match="is not a key of a keystore"):
        add(text)


def test_a_selector_is_given_once() -> None:
    with pytest.raises(KeystoreEditError, match="choose another selector"):
        add("domains:\n  example.org: {keys: [{selector: S2, file: f}]}\n")


@pytest.mark.parametrize("text", ["domains: [\n", "a: b: c", "domains:\n  a.org:\n  a.org:\n", "[" * 5000, "- a\n"])
def test_a_file_that_is_no_keystore_is_an_error_with_its_place(text: str) -> None:
    with pytest.raises((ConfigError, KeystoreEditError), match=r"keystore\.yaml"):
        add(text)


names = st.from_regex(r"[a-z][a-z0-9]{0,5}\.example", fullmatch=True) | st.just("example.org")
dashes = st.sampled_from(["", "  "])
comments = st.text("abc #:[]{}-'\"", max_size=12).map(lambda text: f"  # {text}")


@st.composite
def keystores(draw: st.DrawFn) -> str:
    """A keystore in one of the many ways to write it."""
    lines = ["# top", "domains:"]
    step = " " * draw(st.integers(1, 4))
    for name in draw(st.lists(names, unique=True, max_size=4)):
        keys: list[str] = [f"{{selector: k{i}, file: f{i}}}" for i in range(draw(st.integers(0, 3)))]
        tail = draw(comments | st.just(""))
        if draw(st.booleans()):
            lines.append(f"{step}{name}: {{keys: [{', '.join(keys)}]}}{tail}")
        elif draw(st.booleans()) and keys:
            dash = draw(dashes)
            lines += [f"{step}{name}:{tail}", f"{step}{step}keys:"]
            lines += [f"{step}{step}{dash}- {key}{draw(comments | st.just(''))}" for key in keys]
        else:
            lines += [f"{step}{name}:{tail}", f"{step}{step}include_subdomains: no"]
        if draw(st.booleans()):
            lines.append("" if draw(st.booleans()) else f"{step}# between")
    return "\n".join(lines) + draw(st.sampled_from(["\n", "", "\n\n# end\n"]))


@given(keystores())
def test_nothing_of_the_file_is_lost_and_nothing_else_changes(text: str) -> None:
    before, after = values(text), values(add(text))
    expected = before["domains"] or {}
    entry = expected.setdefault("example.org", {})
    entry["keys"] = [*(entry.get("keys") or []), {"selector": "s2", "file": NEW.file, "state": "auto"}]
    assert after["domains"] == expected
    assert _comments(add(text)) == _comments(text)


def _comments(text: str) -> list[str]:
    return [line.partition(" #")[2] if not line.startswith("#") else line for line in text.splitlines() if "#" in line]


PARTS = (
    *("domains:", "example.org:", "keys:", "a:", "&a ", "*a ", "~", "- ", "{", "}", "[", "]", ",", ": ", "\n", "\n  "),
    *("{selector: s1, file: f}", "# note", "|\n", "'", '"', "\t", "---\n", "...\n", "!!str ", "?", "\r\n", "\n    "),
)
parts = st.sampled_from(PARTS)


@given(st.binary(max_size=40) | st.lists(parts, max_size=25).map("".join).map(str.encode))
@settings(max_examples=300)
def test_whatever_the_file_holds_it_is_changed_rightly_or_refused(data: bytes) -> None:
    try:
        found = edit(data, [EntryEdit("example.org", [NEW])])
    except (ConfigError, KeystoreEditError):
        return
    entry = values(found.decode("utf-8-sig"))["domains"]["example.org"]
    assert entry["keys"][-1] == {"selector": "s2", "file": NEW.file, "state": "auto"}


# --- many entries, and removal ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before", ["", "domains: {}\n", "{}\n", "domains:\n  # none yet\n", "domains: {x.example: {keys: []}}"]
)
def test_many_entries_are_added_at_once(before: str) -> None:
    names = [f"d{number}.example" for number in range(50)]
    found = values(edit(before.encode(), [EntryEdit(name, [NEW]) for name in names]).decode())
    assert [name for name in found["domains"] if name != "x.example"] == names
    assert {len(found["domains"][name]["keys"]) for name in names} == {1}


LINES = "domains:\n  a:\n    keys:\n"
REMOVALS = {
    "a line": (
        "domains:\n  a:\n    keys:\n      - {selector: x}  # old\n      - {selector: y}\n",
        "x",
        "{selector: y}\n",
    ),
    "the last line": (
        "domains:\n  a:\n    keys:\n      - {selector: y}\n      - {selector: x}\n# end\n",
        "x",
        "# end\n",
    ),
    "lines": (
        "domains:\n  a:\n    keys:\n      - selector: x\n        file: f\n      - selector: y\n",
        "x",
        "- selector: y\n",
    ),
    "first in brackets": ("domains: {a: {keys: [{selector: x}, {selector: y}]}}\n", "x", "keys: [{selector: y}]}}\n"),
    "last in brackets": ("domains: {a: {keys: [{selector: y}, {selector: x}]}}\n", "x", "keys: [{selector: y}]}}\n"),
}


@pytest.mark.parametrize(("before", "selector", "end"), REMOVALS.values(), ids=REMOVALS)
def test_a_key_is_removed_and_nothing_else(before: str, selector: str, end: str) -> None:
    after = edit(before.encode(), [EntryEdit("a", removed=[selector])]).decode()
    assert [key["selector"] for key in values(after)["domains"]["a"]["keys"]] == ["y"]
    assert after.endswith(end)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("domains:\n  a:  # mine\n    keys: [{selector: x}]\n  b: {keys: []}\n", "domains:\n  b: {keys: []}\n"),
        ("domains:\n  b: {keys: []}\n  a:\n    keys:\n      - {selector: x}\n", "domains:\n  b: {keys: []}\n"),
        ("domains: {a: {keys: [{selector: x}]}}\n", "domains: {}\n"),
        ("domains:\n  a: {keys: [{selector: x}]}\n# end\n", "domains:\n# end\n"),
    ],
)
def test_an_entry_goes_with_its_last_key(before: str, after: str) -> None:
    assert edit(before.encode(), [EntryEdit("a", removed=["x"])]).decode() == after
