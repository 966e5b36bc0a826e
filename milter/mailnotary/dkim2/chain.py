"""The chain of a message (draft-ietf-dkim-dkim2-spec-06 section 11.2): its fields in order, and the instances that its
recipes give."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from mailnotary.dkim2.fields import Dkim2Error, Instance, Signature, parse_instance, parse_signature
from mailnotary.dkim2.hashes import INSTANCE, SIGNATURE, Header, hashed_header, is_hashed
from mailnotary.dkim2.recipe import RECEIVED, Copied, Given, Plan, RecipeError, undo_body, undo_values
from mailnotary.dkim2.result import Change
from mailnotary.mail.message import HeaderField

MAX_HOPS = 32  # DKIM2-Signature fields, and Message-Instance fields
# Octets of both kinds of fields together: 32 signatures of RSA 2048 have 30 KB; a recipe of a mailing list less than 1.
MAX_CHAIN_OCTETS = 256 * 1024
# Ranges and texts that all bodies together are made of: each takes some 8 us, and instances before have it, too.
MAX_PARTS = 4096
MAX_SHOWN = 5  # values or lines of a change that are told of
MAX_SHOWN_TEXT = 200  # characters of one

_Numbered = TypeVar("_Numbered", Instance, Signature)


class Chain(NamedTuple):
    """The valid fields of a chain: instances from m=1, signatures from i=1."""

    instances: tuple[Instance, ...]
    signatures: tuple[Signature, ...]

    def hop_of(self, revision: int) -> int:
        """The i= of the first signature that covers an instance."""
        return next(one.number for one in self.signatures if one.revision >= revision)


class State(NamedTuple):
    """One instance of the message: its header, and how its body is made of the received one; None where a later hop
    declares that it cannot be recreated (5.2)."""

    header: Header
    plan: Plan | None


def read_chain(fields: Iterable[HeaderField]) -> Chain | None:
    """The chain; None for a message without any such field. Raises Dkim2Error."""
    found: dict[bytes, list[HeaderField]] = {INSTANCE: [], SIGNATURE: []}
    for field in fields:
        if field.key in found:
            found[field.key].append(field)
    if not found[INSTANCE] and not found[SIGNATURE]:
        return None
    for same in found.values():
        if len(same) > MAX_HOPS:
            raise Dkim2Error(f"message has more than {MAX_HOPS} {same[0].key.decode()} fields", "the chain is too long")
    if sum([len(field.value) for same in found.values() for field in same]) > MAX_CHAIN_OCTETS:
        raise Dkim2Error(f"the fields of DKIM2 are larger than {MAX_CHAIN_OCTETS} octets", "the chain is too large")
    instances = _in_order([parse_instance(field) for field in found[INSTANCE]], "Message-Instance", "m")
    signatures = _in_order([parse_signature(field) for field in found[SIGNATURE]], "DKIM2-Signature", "i")
    _check_revisions(instances, signatures)
    return Chain(instances, signatures)


def _in_order(found: list[_Numbered], name: str, tag: str) -> tuple[_Numbered, ...]:
    """By their numbers, which begin with 1 and have no gap (7.1, 8.1)."""
    found.sort(key=lambda one: one.number)
    for place, one in enumerate(found, 1):
        if one.number < place:
            raise Dkim2Error(f"{name} {tag}={one.number} is duplicated", f"{name} is duplicated")
        if one.number > place:
            raise Dkim2Error(f"{name} {tag}={place} missing", f"{name} is missing")
    if not found:
        raise Dkim2Error(f"{name} {tag}=1 missing", f"{name} is missing")
    return tuple(found)


def _check_revisions(instances: Sequence[Instance], signatures: Sequence[Signature]) -> None:
    """m= of the signatures: an instance that is there, and none that an earlier signature could not have covered."""
    highest = 1
    for one in signatures:
        if one.revision > len(instances):
            raise Dkim2Error(f"Message-Instance m={one.revision} missing", "Message-Instance is missing", one.number)
        if one.revision < highest:
            raise Dkim2Error(
                f"DKIM2-Signature i={one.number} tag=m was unexpected: i={one.number - 1} has m={highest}",
                "DKIM2-Signature is malformed",
                one.number,
            )
        highest = one.revision
    if highest < len(instances):
        raise Dkim2Error(f"Message-Instance m={highest + 1} is not signed", "Message-Instance is not signed")


def states(fields: Iterable[HeaderField], instances: Sequence[Instance]) -> list[State]:
    """All instances of the message, m=1 first. Raises Dkim2Error where a recipe does not fit. (That of m=1 tells what
    was before DKIM2: there is nothing to compare it with.)"""
    state = State(hashed_header(fields), RECEIVED)
    found = [state]
    parts = 0
    for one in reversed(instances[1:]):
        before = _before(state, one)
        if before.plan is not None and before.plan is not state.plan:
            parts += len(before.plan)
            if parts > MAX_PARTS:
                text = f"not verified: the recipes make bodies of more than {MAX_PARTS} parts"
                raise Dkim2Error(text, "the recipes are too long")
        state = before
        found.append(state)
    found.reverse()
    return found


def _before(state: State, instance: Instance) -> State:
    recipe = instance.recipe
    if recipe is None:
        return state
    header, plan = state
    try:
        if recipe.header:
            header = dict(header)
            for name, steps in recipe.header.items():
                key = name.encode()
                if is_hashed(key):  # for others they "SHOULD NOT be specified" (5.1), and mean nothing
                    header[key] = undo_values(name, header.get(key, ()), steps)
        if recipe.body_lost:
            plan = None
        elif recipe.body is not None and plan is not None:
            plan = undo_body(plan, recipe.body)
    except RecipeError as error:
        text = f"Message-Instance m={instance.number} contains invalid JSON: {error}"
        raise Dkim2Error(text, "a recipe does not fit") from error
    return State(header, plan)


def changes(instance: Instance, before: State, after: State, lines: int) -> tuple[Change, ...]:
    """What an instance says was changed. `lines`: of the received body."""
    recipe = instance.recipe
    if recipe is None:
        return ()
    found = []
    for key in sorted(name.encode() for name in recipe.header):
        old, new = before.header.get(key, ()), after.header.get(key, ())
        if old != new:
            found.append(Change(key.decode(), _shown(_values(old)), _shown(_values(new))))
    if recipe.body is not None:
        given = [text for step in recipe.body if isinstance(step, Given) for text in step.texts]
        new_lines = _left_out([step for step in recipe.body if isinstance(step, Copied)], _size(after.plan, lines))
        if given or new_lines:
            found.append(Change("", _shown(given), tuple(new_lines[:MAX_SHOWN])))
    return tuple(found)


def _size(plan: Plan | None, lines: int) -> int:
    return 0 if plan is None else lines if plan == RECEIVED else sum([step.size for step in plan])


def _left_out(copied: Sequence[Copied], lines: int) -> list[str]:
    """The lines that no range has, as "4-7"."""
    found = []
    place = 1
    for start, end in [*copied, Copied(lines + 1, lines + 1)]:
        if start > place:
            found.append(f"{place}-{start - 1}" if start - 1 > place else str(place))
        place = end + 1
    return found


def _values(canonical: Sequence[bytes]) -> list[bytes]:
    return [line.partition(b":")[2] for line in canonical]


def _shown(texts: Sequence[bytes]) -> tuple[str, ...]:
    return tuple([text[: 4 * MAX_SHOWN_TEXT].decode("utf-8", "replace")[:MAX_SHOWN_TEXT] for text in texts[:MAX_SHOWN]])
