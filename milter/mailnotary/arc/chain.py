"""Which ARC Sets a message has, and whether they are a chain (RFC 8617 section 5.2, steps 1 to 3)."""

from collections.abc import Sequence

from mailnotary.arc.fields import (
    MAX_INSTANCE,
    MESSAGE_SIGNATURE,
    NAMES,
    RESULTS,
    SEAL,
    Parts,
    assessment,
    chain_value,
    tagged_instance,
)
from mailnotary.dkim.signature import read_tags
from mailnotary.dkim.tags import TagList
from mailnotary.dkim.values import SignatureError
from mailnotary.errors import ProtocolOutcome
from mailnotary.mail.message import HeaderField
from mailnotary.status import ArcStatus


class ChainError(ProtocolOutcome):
    """The chain is broken; the text says where, and `brief` in fixed words."""

    def __init__(self, reason: str, brief: str) -> None:
        super().__init__(reason)
        self.brief = brief


def collect(fields: Sequence[HeaderField]) -> list[Parts]:
    """The ARC Sets, the oldest first; none for a message without any. Raises ChainError."""
    found = {name: [field for field in fields if field.key == name] for name in NAMES}
    most = max(map(len, found.values()))
    if not most:
        return []
    if most > MAX_INSTANCE:  # before any is read: nobody's chain is that long, and to read them is work
        raise ChainError(f"there are more than {MAX_INSTANCE} ARC sets", "too many ARC sets")
    seals = [_read(field) for field in found[SEAL]]
    _refuse_marked(seals)
    signatures = [_read(field) for field in found[MESSAGE_SIGNATURE]]
    results = [(field, _instance_of_results(field)) for field in found[RESULTS]]
    return _ordered(results, signatures, seals)


Tagged = tuple[HeaderField, TagList, int]


def _read(field: HeaderField) -> Tagged:
    try:
        tags = read_tags(field)
        return field, tags, tagged_instance(tags)
    except SignatureError as error:
        raise ChainError(f"{NAMES[field.key]}: {error.reason}", "malformed ARC field") from error


def _instance_of_results(field: HeaderField) -> int:
    try:
        return assessment(field)[0]
    except SignatureError as error:
        raise ChainError(f"{NAMES[RESULTS]}: {error.reason}", "malformed ARC field") from error


def _refuse_marked(seals: Sequence[Tagged]) -> None:
    """Step 2: "If the Chain Validation Status of the highest instance value ARC Set is fail"."""
    if not seals:
        return
    highest = max([instance for _, _, instance in seals])
    for _, tags, instance in seals:
        if instance == highest and (tags.get("cv") or b"").lower() == ArcStatus.FAIL.encode():
            reason = f"the sealer of i={highest} says that the chain was broken before (cv=fail)"
            raise ChainError(reason, "the chain was broken before")


def _ordered(
    results: Sequence[tuple[HeaderField, int]], signatures: Sequence[Tagged], seals: Sequence[Tagged]
) -> list[Parts]:
    """Step 3."""
    instances = [
        [instance for _, instance in results],
        [instance for _, _, instance in signatures],
        [instance for _, _, instance in seals],
    ]
    highest = max([max(each, default=0) for each in instances])
    for name, each in zip((RESULTS, MESSAGE_SIGNATURE, SEAL), instances, strict=True):
        for instance in range(1, highest + 1):
            if (count := each.count(instance)) != 1:
                what = f"there are {count} {NAMES[name]} fields" if count else f"there is no {NAMES[name]}"
                brief = "an ARC field is duplicated" if count else "an ARC field is missing"
                raise ChainError(f"{what} with i={instance}", brief)
    by_instance = {instance: (field, tags) for field, tags, instance in signatures}
    sealed = {instance: (field, tags) for field, tags, instance in seals}
    sets = [
        Parts(instance, field, *by_instance[instance], *sealed[instance])
        for field, instance in sorted(results, key=lambda pair: pair[1])
    ]
    for each_set in sets:
        _check_value(each_set)
    return sets


def _check_value(parts: Parts) -> None:
    try:
        value = chain_value(parts.seal_tags)
    except SignatureError as error:
        reason = f"ARC-Seal with i={parts.instance}: {error.reason}"
        raise ChainError(reason, "malformed ARC field") from error
    expected = ArcStatus.NONE if parts.instance == 1 else ArcStatus.PASS
    if value != expected:
        reason = f"ARC-Seal with i={parts.instance} has cv={value}, where only cv={expected} is possible"
        raise ChainError(reason, "wrong chain status in a seal")


def next_instance(fields: Sequence[HeaderField]) -> int:
    """The instance of a further set: "1 more than the highest instance number found" (RFC 8617 5.1, step 3). 0 where
    none may be added: the newest seal has cv=fail (step 2), or 50 is reached."""
    highest, marked = 0, False
    arc_fields = [field for field in fields if field.key in NAMES]
    if len(arc_fields) > MAX_INSTANCE * len(NAMES):
        return 0
    for field in arc_fields:
        try:
            if field.key == RESULTS:
                instance, failed = assessment(field)[0], False
            else:
                tags = read_tags(field)
                instance = tagged_instance(tags)
                failed = field.key == SEAL and (tags.get("cv") or b"").lower() == ArcStatus.FAIL.encode()
        except SignatureError:
            continue  # it has no instance
        if instance > highest:
            highest, marked = instance, failed
        elif instance == highest:
            marked = marked or failed
    return 0 if marked or highest >= MAX_INSTANCE else highest + 1
