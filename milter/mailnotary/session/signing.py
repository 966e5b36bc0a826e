"""Our own mail: which keys sign it, and the fields that it leaves with."""

from mailnotary import authres, dkim
from mailnotary.authres import Results
from mailnotary.config.settings import OnOwnVerdict
from mailnotary.mail.address import Author
from mailnotary.session import relayed
from mailnotary.session.message import AUTHENTICATION_RESULTS, Message, deletions, own_ids
from mailnotary.session.outbound import UNSIGNABLE, Origin, plan
from mailnotary.session.outcome import MessageMode
from mailnotary.session.policy import Action, InsertHeader
from mailnotary.session.reinjected import verdict_against


def begin(message: Message, who: Author, *, relaxed_only: bool) -> None:
    """The header of mail of ours is whole: which keys sign it, or what keeps it from being signed. `relaxed_only`: the
    MTA does not pass header fields to the octet."""
    env = message.env
    if against := _verdict_against(message, who):  # before all that could hold it back: it need not be signed
        message.why += f"; not signed, because it came from elsewhere: Authentication-Results of ours has {against}"
        message.mode = MessageMode.NONE
        return
    signing = plan(
        env.settings,
        env.keystore,
        env.published,
        who,
        message.client,
        relaxed_only=relaxed_only,
    )
    message.signing = signing
    message.why = f"{message.why}; {signing.why}"
    if signing.signers:
        message.signer = dkim.MessageSigner(message.fields, signing.signers, now=int(env.clock()))
        relayed.begin(message, who)
    elif signing.refusal is None:
        message.mode = MessageMode.NONE


def finish(message: Message, *, may_add: bool) -> tuple[Action, ...]:
    """What is to be done with mail that is not verified, at its end. `may_add`: the MTA lets fields be added."""
    signing = message.signing
    if signing is not None and signing.refusal is not None:
        return (signing.refusal,)
    if (refusal := relayed.finish(message)) is not None:
        return (refusal,)
    inserts: list[Action] = []
    signed: tuple[tuple[str, str], ...] = ()
    if message.mode is MessageMode.SIGN and message.signer is not None and signing is not None:
        # The last key's signature is inserted first, so that the keystore's order reads from the top down.
        for signature in reversed(message.signer.finish()):
            name, value = signature.name.decode("ascii"), signature.value.decode("ascii").removeprefix(" ")
            inserts.append(InsertHeader(0, name, value))
        signed = message.signer.signed
        if len(signed) < len(signing.signers):
            message.why += "; a valid signature of ours was there before and is not doubled"
        if signed and not may_add:
            message.why += "; the MTA lets no header field be added, so its mail waits"
            return (UNSIGNABLE,)
    settings = message.env.settings
    user = message.client.auth_user
    if user and message.origin is Origin.OURS and settings.authentication_results.authenticated:
        message.results = Results(auth=user)
        value = authres.field_value(message.authserv_id, message.results)
        inserts.append(InsertHeader(0, AUTHENTICATION_RESULTS, value))
    # What a user hands in can't have been checked by us before; what our networks re-inject may have been, so
    # there a genuine field stays, but for mail that we sign: a signature must not vouch for a forged one.
    removes = message.origin is Origin.OURS and (signed or user is not None)
    removed = deletions(message) if removes else ()
    message.signed = signed
    if signed and signing is not None:
        made = {(signer.domain, signer.selector): signer.key.algorithm for signer in signing.signers}
        message.algorithms = tuple([made[name] for name in signed])
    return (*removed, *inserts)


def _verdict_against(message: Message, who: Author) -> str:
    """See `reinjected.verdict_against`. What a user submits is the user's own, whatever it contains."""
    settings = message.env.settings.signing
    if settings.on_own_verdict is OnOwnVerdict.SIGN or message.client.auth_user is not None:
        return ""
    return verdict_against(message.fields, who, own_ids(message))
