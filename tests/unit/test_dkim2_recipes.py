"""Recipes: what is one, what it makes of a message, and that no body is kept for it."""

import contextlib
import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailnotary.dkim2 import hashes, verify
from mailnotary.dkim2.hashes import BodyHashes
from mailnotary.dkim2.recipe import MAX_LINES, MAX_STEPS, RECEIVED, Copied, Plan, RecipeError, parse_recipe, undo_body
from support.dkim import canonical_body
from support.dkim2 import (
    BOUNCES,
    MESSAGE,
    NOW,
    READER,
    ZONE,
    original,
    through_list,
    undone,
    with_instance,
    with_signature,
)

LINE = st.binary(max_size=6).map(lambda octets: octets.replace(b"\r\n", b"")) | st.sampled_from(
    [b"", b"a", b"\r", b"\n"]
)
LINES = st.lists(LINE.filter(lambda line: not line.endswith(b"\r")), max_size=12)


@st.composite
def steps(draw: st.DrawFn, length: int) -> list[dict[str, Any]]:
    """The steps of a recipe for so many lines."""
    bounds = sorted(draw(st.sets(st.integers(1, length), max_size=6))) if length else []
    copies = [{"c": [start, end]} for start, end in zip(bounds[::2], bounds[1::2], strict=False)]
    if len(bounds) == 1:
        copies = [{"c": [bounds[0], bounds[0]]}]
    found: list[dict[str, Any]] = []
    for copy in [*copies, None]:
        if draw(st.booleans()):
            texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=4)
            found.append({"d": draw(st.lists(texts, min_size=1, max_size=3))})
        if copy is not None:
            found.append(copy)
    return found


def body_steps(made: list[dict[str, Any]]) -> Sequence[Any]:
    recipe = parse_recipe(json.dumps({"b": made}).encode())
    assert recipe.body is not None
    return recipe.body


@settings(max_examples=300, deadline=None)
@given(LINES, st.booleans(), st.lists(st.integers(1, 9), min_size=1, max_size=8), st.data())
def test_each_body_of_a_chain_is_hashed_as_its_recipes_make_it(
    lines: list[bytes], ended: bool, sizes: list[int], data: st.DataObject
) -> None:
    """However many recipes there are, and however the body is cut: the digests are those of the bodies that the draft's
    words give one after the other."""
    received = b"\r\n".join(lines) + (b"\r\n" if lines and (ended or not lines[-1]) else b"")
    current = lines
    plans: list[Plan] = [RECEIVED]
    bodies = [received]
    for _ in range(data.draw(st.integers(0, 4))):
        made = data.draw(steps(len(current)))
        plans.append(undo_body(plans[-1], body_steps(made)))
        current = undone(current, made)
        bodies.append(b"".join(line + b"\r\n" for line in current))
    hashed = BodyHashes(plans, ("sha256", "sha512"))
    start = turn = 0
    while start < len(received):
        size = sizes[turn % len(sizes)]
        hashed.update(received[start : start + size])
        start, turn = start + size, turn + 1
    hashed.finish()
    assert hashed.lines == len(lines)
    for plan, body in zip(plans, bodies, strict=True):
        assert hashed.digest(plan, "sha256") == sha256(canonical_body(body, False)).digest()


@given(LINES.filter(bool), st.integers(1, 3))
def test_a_body_with_too_few_lines_has_no_hash(lines: list[bytes], more: int) -> None:
    plan = undo_body(RECEIVED, body_steps([{"c": [1, len(lines) + more]}]))
    hashed = BodyHashes([plan], ("sha256",))
    hashed.update(b"".join(line + b"\r\n" for line in lines))
    hashed.finish()
    assert hashed.digest(plan, "sha256") is None


def test_a_copy_of_a_copy_is_a_range_of_the_received_body() -> None:
    first = undo_body(RECEIVED, body_steps([{"c": [3, 10]}, {"d": ["x"]}, {"c": [12, 20]}]))
    assert undo_body(first, body_steps([{"c": [2, 4]}])) == (Copied(4, 6),)
    assert undo_body(first, body_steps([{"c": [1, 3]}, {"c": [4, 8]}])) == (Copied(3, 10),)
    with pytest.raises(RecipeError, match="line 19 is copied of a body with 18"):
        undo_body(first, body_steps([{"c": [18, 30]}]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it cannot be parsed"),
        ("[" * 100_000, "it cannot be parsed"),
        ('{"b":[{"c":[1,' + "9" * 5000 + "]}]}", "it cannot be parsed"),
        ("[]", "neither h nor b is there"),
        ('{"x":1}', "neither h nor b is there"),
        ('{"b":[],"b":[]}', "a name is duplicated"),
        ('{"h":{}}', "h is not an object with names"),
        ('{"h":null}', "h is not an object with names"),
        ('{"h":{"Subject":[]}}', "Subject is not a name in lower case"),
        ('{"h":{"a:b":[]}}', "a:b is not a name in lower case"),
        ('{"h":{"subject":null}}', "the steps are not an array"),
        ('{"b":{}}', "the steps are not an array"),
        ('{"b":[1]}', "a step is neither a range nor a list of texts"),
        ('{"b":[{"c":[1,2],"d":["a"]}]}', "a step is neither a range nor a list of texts"),
        ('{"b":[{"c":[1,2],"x":1}]}', "a step is neither a range nor a list of texts"),
        ('{"b":[{"c":[1]}]}', "a step is neither a range nor a list of texts"),
        ('{"b":[{"c":[1.0,2]}]}', "a step is neither a range nor a list of texts"),
        ('{"b":[{"d":[]}]}', "a step is neither a range nor a list of texts"),
        ('{"b":[{"c":[0,2]}]}', "a range is not two numbers in order"),
        ('{"b":[{"c":[3,2]}]}', "a range is not two numbers in order"),
        ('{"b":[{"c":[true,2]}]}', "a range is not two numbers in order"),
        ('{"b":[{"c":[1,9223372036854775808]}]}', "a range is not two numbers in order"),
        ('{"b":[{"c":[1,2]},{"c":[2,3]}]}', "a range is not behind the one before"),
        ('{"b":[{"d":["a\\nb"]}]}', "a text is not a string on one line"),
        ('{"b":[{"d":[1]}]}', "a text is not a string on one line"),
        ('{"b":[{"d":["\\ud800"]}]}', "a text has half a character"),
        ('{"b":[' + ",".join(['{"d":["a"]}'] * (MAX_STEPS + 1)) + "]}", f"more than {MAX_STEPS} steps"),
        ('{"b":[{"d":[' + ",".join(['""'] * (MAX_LINES + 1)) + "]}]}", f"more than {MAX_LINES} texts"),
    ],
)
def test_a_recipe_that_is_not_in_its_form(text: str, reason: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text.encode())
    assert str(caught.value) == reason


def test_unknown_fields_of_a_recipe_are_ignored() -> None:
    recipe = parse_recipe(b'{"new":[[{}]],"b":[],"h":{"subject":[{"d":["a"]}]}}')
    assert (recipe.body, recipe.body_lost, list(recipe.header)) == ((), False, ["subject"])
    assert parse_recipe(b'{"b":null}').body_lost


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text('{}[]":,hbcd0123456789nul ', max_size=80).map(str.encode))
def test_any_octets_are_a_recipe_or_an_error(octets: bytes) -> None:
    with contextlib.suppress(RecipeError):
        recipe = parse_recipe(octets)
        assert recipe.header or recipe.body is not None or recipe.body_lost


@pytest.mark.parametrize(("place", "value"), [(b"Lunch", b"Dinner"), (b"Hi all", b"Hi you"), (b"leave", b"enter")])
def test_what_no_recipe_tells_of_fails(place: bytes, value: bytes) -> None:
    result = verify(through_list().replace(place, value), ZONE, now=NOW, mail_from=BOUNCES, rcpt_to=[READER])
    assert result.status == "fail"


SIGNED = through_list()


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 127))
@example(SIGNED.index(b"==") - 1, 8)
def test_any_octet_changed_does_not_pass_unless_it_means_the_same(place: int, bits: int) -> None:
    octets = bytearray(SIGNED)
    octets[place] ^= bits
    result = verify(bytes(octets), ZONE, now=NOW, mail_from=BOUNCES, rcpt_to=[READER])
    if result.status == "pass":  # the case of a name, white space of another kind, the number of empty lines at the end
        spare = SIGNED[place + 1 : place + 2] == b"="  # bits that base64 has there and no octet (RFC 4648 section 3.5)
        assert bits == 0x20 or octets[place] in b" \t" or SIGNED[place] in b" \t" or spare


def test_header_fields_count_from_the_bottom_and_come_back_in_their_places() -> None:
    first = original(b"Comments: one\r\nComments: two\r\nComments: three\r\n" + MESSAGE)
    changed = first.replace(b"Comments: two\r\n", b"Comments: 2\r\n").replace(b"Comments: three", b"Comments: 3")
    recipe = {"h": {"comments": [{"d": ["three", "two"]}, {"c": [3, 3]}]}}
    message = with_signature(with_instance(changed, 2, recipe), 2, "lists.example.net", BOUNCES, (READER,), revision=2)
    result = verify(message, ZONE, now=NOW, mail_from=BOUNCES, rcpt_to=[READER])
    assert (result.status, result.reason) == ("pass", "")
    (change,) = result.hops[1].changes
    assert (change.before, change.after) == (("three", "two", "one"), ("3", "2", "one"))


def test_recipes_for_fields_that_are_not_signed_mean_nothing() -> None:
    recipe = {"h": {"received": [], "dkim2-signature": [{"c": [7, 9]}], "message-instance": []}}
    message = with_instance(original(), 2, recipe)
    message = with_signature(message, 2, "lists.example.net", BOUNCES, (READER,), revision=2)
    assert verify(message, ZONE, now=NOW, mail_from=BOUNCES, rcpt_to=[READER]).status == "pass"


def test_the_hash_of_an_empty_body_is_that_of_one_line_end() -> None:
    hashed = BodyHashes([RECEIVED], ("sha256",))
    hashed.finish()
    assert hashed.digest(RECEIVED, "sha256") == sha256(b"\r\n").digest()
    assert not hashes.is_hashed(b"x-spam")
