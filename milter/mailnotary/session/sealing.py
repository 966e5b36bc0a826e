"""ARC seals on mail from elsewhere (`arc: {seal: DOMAIN}`), for hosts that pass it on (RFC 8617 section 5.1).

A seal is evidence for hosts behind this one. What keeps it from being made is said in the log, and holds up nothing."""

from dataclasses import replace

from mailnotary import arc
from mailnotary.config.settings import Mode
from mailnotary.crypto import KeyLoadError
from mailnotary.dkim import Signer, SigningError
from mailnotary.session.message import Environment, Message
from mailnotary.session.outbound import signer_of, signing_keys
from mailnotary.session.policy import InsertHeader
from mailnotary.status import ArcStatus


def begin(message: Message) -> None:
    """The header is whole: the work on the seal begins, where there is to be one."""
    env = message.env
    if env.settings.arc.seal is None or env.settings.mode is Mode.OBSERVE:
        return
    try:
        signer = _signer(env, env.settings.arc.seal)
        message.sealer = arc.MessageSealer(message.fields, signer, now=int(env.clock()))
    except (KeyLoadError, SigningError) as error:
        message.why += f"; not sealed: {error}"


def finish(message: Message, assessment: str) -> tuple[InsertHeader, ...]:
    """The fields of our set, to be inserted in this order after the results. `assessment` is the value of our
    Authentication-Results: what this host found when the message came."""
    sealer, chain = message.sealer, message.results.arc
    if sealer is None:
        return ()
    if chain is not None and chain.status is ArcStatus.PASS and chain.sets[-1].domain == sealer.domain:
        message.why += "; not sealed again, for our seal is the newest and holds"
        return ()
    fields = sealer.finish(assessment, ArcStatus.NONE if chain is None else chain.status)
    if not fields:
        message.why += "; not sealed: its chain is marked as broken, or has 50 sets"
        return ()
    message.why += f"; sealed by {sealer.domain}, i={sealer.instance}"
    return tuple(
        [
            InsertHeader(0, field.name.decode("ascii"), field.value.decode("utf-8").removeprefix(" "))
            for field in reversed(fields)
        ]
    )


def _signer(env: Environment, domain: str) -> Signer:
    """The first RSA key that signs, for not every validator knows another algorithm; else the first of all. Raises
    SigningError and KeyLoadError."""
    entry = env.keystore.find(domain)
    if entry is None:
        raise SigningError(f"no entry of the keystore covers {domain}, the domain of arc.seal")
    if entry.faulty is not None:
        raise SigningError(f"a key of the entry {entry.name} can't be used: {entry.faulty.fault}")
    keys, idle = signing_keys(entry, env.published)
    if not keys:
        raise SigningError(f"no key of the entry {entry.name} signs: {idle}")
    signers = [signer_of(entry.domain, key, env.settings.signing) for key in keys]
    chosen = next((signer for signer in signers if signer.key.algorithm == "rsa"), signers[0])
    return replace(chosen, canonicalization="relaxed/relaxed", expire_after=None)
