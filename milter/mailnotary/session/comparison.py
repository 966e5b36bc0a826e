"""What another filter found out about the same message, beside what we did: for those who change over from it."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from mailnotary import authres
from mailnotary.authres import AuthenticationResults, AuthresError, Results
from mailnotary.mail.message import HeaderField
from mailnotary.session.budget import readable
from mailnotary.spf import SpfIdentity
from mailnotary.status import DkimStatus

MAX_COMPARED: Final = 8  # fields of other filters that are read of one message
_WORD: Final = re.compile(r"[a-z]{1,20}\Z")  # a result; the words of RFC 8601 have at most 9 letters


class Comparison(NamedTuple):
    """One method of one message. `theirs` and `ours` are result words, `reason` is what the other filter says."""

    other: str  # its authserv-id
    method: str
    theirs: str
    ours: str
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Whether both got the same result."""
        return self.theirs == self.ours


def compare(fields: Sequence[HeaderField], ids: Collection[str], results: Results) -> tuple[Comparison, ...]:
    """Our results beside those in Authentication-Results fields of `ids`. Of a method that is in several fields or
    several times, the first one counts, and for dkim a pass: what the other filter wrote, it wrote above all others."""
    if not ids:
        return ()
    ours = _our_words(results)
    compared: dict[tuple[str, str], Comparison] = {}
    for other, field in _fields_of(fields, ids):
        for result in field.results:
            key = (other, result.method)
            if result.method not in ours or not _WORD.match(result.result):
                continue
            known = compared.get(key)
            if known is None or (result.method == "dkim" and result.result == DkimStatus.PASS != known.theirs):
                words = (result.result, ours[result.method])
                compared[key] = Comparison(other, result.method, *words, result.reason or result.comment)
    return tuple(compared.values())


def _fields_of(fields: Sequence[HeaderField], ids: Collection[str]) -> Iterator[tuple[str, AuthenticationResults]]:
    """The fields, each with the one of `ids` that it is of."""
    left = MAX_COMPARED
    values = [field.value for field in fields if field.key == b"authentication-results"]
    for value in values[: readable(values)]:
        if not authres.claims(value, ids):
            continue
        left -= 1
        if left < 0:
            return
        with suppress(AuthresError):
            parsed = authres.parse(value)
            yield next(other for other in ids if authres.claims(value, (other,))), parsed


def _our_words(results: Results) -> dict[str, str]:
    words: dict[str, str] = {}
    for spf in results.spf:
        if spf.identity is SpfIdentity.MAILFROM:
            words["spf"] = spf.status
    if results.dkim is not None:
        statuses = [result.status for result in results.dkim]
        words["dkim"] = DkimStatus.PASS if DkimStatus.PASS in statuses else (statuses or [DkimStatus.NONE])[0]
    if results.dmarc is not None:
        words["dmarc"] = results.dmarc.status
    return words
