"""Verifying (draft-ietf-dkim-dkim2-spec-06 section 11): the chain is read at the end of the header, the body streams
through the hashes of all its instances, the keys and the mathematics come at the end.

Every check is made, as far as its bounds go, and each hop has its own result. The chain has the worst: a hash or
signature that is not right before an error that is there to stay, and that before one that may pass ("cryptographic
signature verification failures MUST NOT provoke 4xx SMTP replies", 10.4)."""

import time
from collections.abc import Sequence
from hashlib import sha256

from mailnotary.dkim2 import custody
from mailnotary.dkim2.chain import Chain, State, changes, read_chain, states
from mailnotary.dkim2.fields import Dkim2Error, Instance, Signature, Value
from mailnotary.dkim2.hashes import BodyHashes, header_digest, header_octets, signed_line
from mailnotary.dkim2.keys import key_for, key_name
from mailnotary.dkim2.result import Change, Dkim2Result, Hop, SignatureValue
from mailnotary.mail.message import HeaderField, parse
from mailnotary.resolver import RecordKind, Resolver, prefetch
from mailnotary.status import Dkim2Status

MAX_AGE = 14 * 86400  # seconds: "if it is more than 14 days since the timestamp recorded" (11.3)
MAX_FUTURE = 86400  # seconds that t= may be in the future, as for DKIM: clocks in a wrong time zone are harmless
MAX_HASHED_OCTETS = 8 * 1024 * 1024  # of header fields, for all instances and signatures together
MAX_VERIFIED = 64  # values of s= in all signatures whose algorithm is known

_PIECE = 65536
_RANK = (Dkim2Status.FAIL, Dkim2Status.PERMERROR, Dkim2Status.TEMPERROR)


class Verifier:
    """Verifies the chain of one message: made at the end of its header, fed the body, asked for the result.

    `fields`: the header from the top down, values as in the message. `now`: seconds since 1970 (UTC). `mail_from` and
    `rcpt_to`: the envelope, with or without angle brackets; None is not compared with the chain, and the result says
    so. The questions for the keys begin at once where the resolver can do that. Never raises on anything that a message
    or DNS holds."""

    def __init__(
        self,
        fields: Sequence[HeaderField],
        resolver: Resolver,
        *,
        now: int,
        mail_from: str | None = None,
        rcpt_to: Sequence[str] | None = None,
    ) -> None:
        self._resolver = resolver
        self._now = now
        self._envelope = mail_from, rcpt_to
        self._chain: Chain | None = None
        self._states: list[State] = []
        self._errors: list[Dkim2Error] = []
        self._bodies = BodyHashes((), ())
        try:
            self._begin(fields)
        except Dkim2Error as error:
            self._errors.append(error)

    def _begin(self, fields: Sequence[HeaderField]) -> None:
        self._chain = chain = read_chain(fields)
        if chain is None:
            return
        self._states = states(fields, chain.instances)
        _check_size(chain, self._states)
        plans = [state.plan for state in self._states if state.plan is not None]
        self._bodies = BodyHashes(plans, {one.algorithm for instance in chain.instances for one in instance.hashes})
        names = [key_name(one, value) for one in chain.signatures for value in one.values if value.octets]
        prefetch(self._resolver, [(name, RecordKind.TXT) for name in dict.fromkeys(names)])

    @property
    def wants_body(self) -> bool:
        """Whether the body can matter to the result."""
        return self._chain is not None and not self._errors

    def body(self, chunk: bytes) -> None:
        """The next octets of the body; lines end with CRLF, and the chunks may be cut anywhere."""
        if self.wants_body:
            self._bodies.update(chunk)

    def finish(self) -> Dkim2Result:
        """The result; "none" for a message without any field of DKIM2."""
        chain = self._chain
        if self._errors:
            hops = tuple([_hop(one) for one in chain.signatures]) if chain else ()
            return _result(self._errors, hops)
        if chain is None:
            return Dkim2Result(Dkim2Status.NONE)
        self._bodies.finish()
        errors = self._check_instances(chain)
        errors += self._check_times(chain)
        errors += custody.broken_links(chain.signatures)
        errors += custody.envelope_mismatches(chain.signatures[-1], *self._envelope)
        values = {one.number: self._verify(chain, one, errors) for one in chain.signatures}
        errors += custody.ignored_requests(chain.signatures, self._states, self._body_digests(chain))
        hops = tuple([self._explained(chain, one, values[one.number], errors) for one in chain.signatures])
        return _result(errors, hops, self._notes(chain))

    # --- hashes (11.7) ---

    def _check_instances(self, chain: Chain) -> list[Dkim2Error]:
        """From the newest to the oldest: what is wrong with one is often so with all before it."""
        errors: list[Dkim2Error] = []
        for instance, state in reversed(list(zip(chain.instances, self._states, strict=True))):
            errors += self._check_instance(chain, instance, state)
        return errors

    def _check_instance(self, chain: Chain, instance: Instance, state: State) -> list[Dkim2Error]:
        errors: list[Dkim2Error] = []
        hop = chain.hop_of(instance.number)
        what = f"Message Instance m={instance.number}"
        for algorithm, header, body in instance.hashes:
            if header_digest(state.header, algorithm) != header:
                text = f"{what} header hash {algorithm} mismatch"
                errors.append(Dkim2Error(text, "header changed", hop, Dkim2Status.FAIL))
            if state.plan is None:
                continue
            found = self._bodies.digest(state.plan, algorithm)
            if found is None:
                errors.append(self._unmade(chain, instance.number + 1))
            elif found != body:
                text = f"{what} body hash {algorithm} mismatch"
                errors.append(Dkim2Error(text, "body changed", hop, Dkim2Status.FAIL))
        return errors

    def _unmade(self, chain: Chain, number: int) -> Dkim2Error:
        """Why the recipe of an instance did not give the body before it."""
        hop = chain.hop_of(number)
        if self._bodies.too_large:
            text = "not verified: the bodies that recipes give are too large together"
            return Dkim2Error(text, "recreated bodies are too large", hop)
        text = f"a recipe copies lines that a body with {self._bodies.lines} does not have"
        text = f"Message-Instance m={number} contains invalid JSON: {text}"
        return Dkim2Error(text, "a recipe does not fit", hop)

    def _body_digests(self, chain: Chain) -> list[bytes | None]:
        """One of each instance, to compare them."""
        algorithm = chain.instances[0].hashes[0].algorithm
        return [None if one.plan is None else self._bodies.digest(one.plan, algorithm) for one in self._states]

    # --- signatures ---

    def _check_times(self, chain: Chain) -> list[Dkim2Error]:
        errors: list[Dkim2Error] = []
        for one in chain.signatures:
            what = f"DKIM2-Signature i={one.number} signature"
            if self._now - one.timestamp > MAX_AGE:
                errors.append(Dkim2Error(f"{what} expired", "signature expired", one.number))
            elif one.timestamp - self._now > MAX_FUTURE:  # "MAY ignore signatures that have a timestamp in the future"
                errors.append(Dkim2Error(f"{what} is dated in the future", "signature of the future", one.number))
        return errors

    def _verify(self, chain: Chain, one: Signature, errors: list[Dkim2Error]) -> tuple[SignatureValue, ...]:
        """The values of a signature (11.6); adds what is wrong with them to the errors."""
        digest = _signed_digest(chain, one)
        results = [self._verify_value(one, value, digest, errors) for value in one.values]
        failed = [value.selector for value in results if value.status is Dkim2Status.FAIL]
        passed = [value.selector for value in results if value.status is Dkim2Status.PASS]
        if failed:
            text = f"DKIM2-Signature i={one.number} {failed[0]} incorrect signature"
            if passed:
                text = f"DKIM2-Signature i={one.number} {passed[0]} signature passed, {failed[0]} signature failed"
            errors.append(Dkim2Error(text, "incorrect signature", one.number, Dkim2Status.FAIL))
        return tuple(results)

    def _verify_value(self, one: Signature, value: Value, digest: bytes, errors: list[Dkim2Error]) -> SignatureValue:
        if not value.octets:
            return SignatureValue(value.selector, value.algorithm)
        try:
            public = key_for(one, value, self._resolver)
        except Dkim2Error as error:
            errors.append(error)
            return SignatureValue(value.selector, value.algorithm, 0, error.status)
        status = Dkim2Status.PASS if public.verify(digest, value.octets) else Dkim2Status.FAIL
        return SignatureValue(value.selector, value.algorithm, public.bits, status)

    # --- the result ---

    def _explained(
        self, chain: Chain, one: Signature, values: tuple[SignatureValue, ...], errors: Sequence[Dkim2Error]
    ) -> Hop:
        worst = _worst([error for error in errors if error.hop == one.number])
        first = chain.signatures[one.number - 2].revision if one.number > 1 else 0
        made = chain.instances[first : one.revision]
        told: list[Change] = []
        for instance in made:
            if instance.number > 1:
                pair = self._states[instance.number - 2], self._states[instance.number - 1]
                told += changes(instance, *pair, self._bodies.lines)
        return _hop(
            one,
            values,
            Dkim2Status.PASS if worst is None else worst.status,
            "" if worst is None else worst.reason,
            tuple(told),
            not any(instance.recipe is not None and instance.recipe.body_lost for instance in made),
        )

    def _notes(self, chain: Chain) -> list[tuple[str, str]]:
        """What a pass does not vouch for: each with its brief form."""
        notes: list[tuple[str, str]] = []
        if None in self._envelope:
            notes.append(("the envelope was not compared", "envelope not compared"))
        lost = [one.number for one in chain.instances[1:] if one.recipe is not None and one.recipe.body_lost]
        if lost:
            hop = chain.hop_of(max(lost))
            note = f"hop i={hop} declares that the body before it cannot be recreated"
            notes.append((note, "an earlier body is not known"))
        return notes


def _check_size(chain: Chain, made: Sequence[State]) -> None:
    """Bounds the work of a chain before it is done."""
    signed = sum([len(field.value) for group in (chain.instances, chain.signatures) for field, *_ in group])
    hashed = len(chain.signatures) * signed
    hashed += sum(
        [header_octets(state.header) * len(one.hashes) for one, state in zip(chain.instances, made, strict=True)]
    )
    if hashed > MAX_HASHED_OCTETS:
        text = f"not verified: the chain covers more than {MAX_HASHED_OCTETS} octets of header fields"
        raise Dkim2Error(text, "too many signed fields")
    if sum([bool(value.octets) for one in chain.signatures for value in one.values]) > MAX_VERIFIED:
        raise Dkim2Error(f"not verified: the chain has more than {MAX_VERIFIED} signatures", "too many signatures")


def _signed_digest(chain: Chain, one: Signature) -> bytes:
    """What a signature signs (9.6): the instances up to its m=, the signatures before it, itself without values."""
    covered = [instance.field for instance in chain.instances[: one.revision]]
    covered += [before.field for before in chain.signatures[: one.number - 1]]
    return sha256(b"".join(map(signed_line, [*covered, one.unsigned]))).digest()


def _hop(
    one: Signature,
    values: tuple[SignatureValue, ...] = (),
    status: Dkim2Status = Dkim2Status.NONE,
    reason: str = "",
    told: tuple[Change, ...] = (),
    body_known: bool = True,
) -> Hop:
    return Hop(
        number=one.number,
        revision=one.revision,
        domain=one.domain,
        timestamp=one.timestamp,
        mail_from=one.mail_from.text if one.mail_from else "",
        rcpt_to=tuple([path.text for path in one.rcpt_to]),
        next_domain=one.next_domain,
        flags=one.flags,
        values=values or tuple([SignatureValue(value.selector, value.algorithm) for value in one.values]),
        status=status,
        reason=reason,
        changes=told,
        body_known=body_known,
    )


def _worst(errors: Sequence[Dkim2Error]) -> Dkim2Error | None:
    return min(errors, key=lambda error: _RANK.index(error.status), default=None)


def _result(errors: Sequence[Dkim2Error], hops: tuple[Hop, ...], notes: Sequence[tuple[str, str]] = ()) -> Dkim2Result:
    worst = _worst(errors)
    told = [(worst.reason, worst.brief)] if worst is not None else []
    told += notes
    return Dkim2Result(
        status=Dkim2Status.PASS if worst is None else worst.status,
        domain=hops[0].domain if hops else "",
        reason="; ".join([reason for reason, _ in told]),
        hops=hops,
        brief=", ".join([brief for _, brief in told]),
    )


def verify(
    message: bytes,
    resolver: Resolver,
    *,
    mail_from: str | None = None,
    rcpt_to: Sequence[str] | None = None,
    now: int | None = None,
) -> Dkim2Result:
    """Verifies the chain of a whole message with CRLF line ends; "none" for a message without any field of DKIM2.

    `now`: seconds since 1970 (UTC), the clock's where None. For the rest see `Verifier`."""
    parsed = parse(message)
    seconds = int(time.time()) if now is None else now
    verifier = Verifier(parsed.fields, resolver, now=seconds, mail_from=mail_from, rcpt_to=rcpt_to)
    if verifier.wants_body:
        for start in range(0, len(parsed.body), _PIECE):
            verifier.body(parsed.body[start : start + _PIECE])
    return verifier.finish()
