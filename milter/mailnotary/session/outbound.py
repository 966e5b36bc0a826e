"""Our own mail: whether a message is ours, and who signs it.

The chain of decisions, in order: exempt, ours (authenticated, network, daemon name), one author domain, the
keystore's entry for it, what that entry allows, its keys. Each step that ends the chain says why, for the log and for
`explain`."""

from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache

from mailnotary import dkim
from mailnotary.config.keystore import Allow, KeyEntry, KeyStore, Published, StoredKey
from mailnotary.config.private_key import load_key
from mailnotary.config.settings import Mode, OnBadAuthor, OnRefused, Settings, SigningSettings
from mailnotary.crypto import KeyLoadError
from mailnotary.domain import to_ascii
from mailnotary.frozen import frozen
from mailnotary.mail.address import Author
from mailnotary.session.outcome import MessageMode
from mailnotary.session.policy import Address, Reply, containing, reply

# RFC 3463 section 3.4, X.3.5: system incorrectly configured. The log says more than the client should know.
UNSIGNABLE = reply(451, "3.5", "this message can't be signed at present, please try again later")


class Origin(StrEnum):
    """Whose mail a message is."""

    EXEMPT = "exempt"
    OURS = "ours"
    FOREIGN = "foreign"


@frozen
class Client:
    """Who hands a message over. `auth_user` is None without SMTP AUTH, "" where the login name is not known."""

    address: Address | None
    auth_user: str | None
    daemon_name: str | None
    mail_from: str  # without the angle brackets
    cert_subject: str | None = None  # of its TLS certificate, if the MTA trusts that


def origin(settings: Settings, client: Client) -> tuple[Origin, str]:
    """Whose mail this is, and why."""
    if network := containing(settings.exempt.networks, client.address):
        return Origin.EXEMPT, f"{client.address} is in exempt.networks ({network})"
    if client.daemon_name is not None and client.daemon_name in settings.exempt.daemon_names:
        return Origin.EXEMPT, f"it came through the daemon {client.daemon_name} of exempt.daemon_names"
    if client.auth_user is not None and settings.sign_for.authenticated:
        return Origin.OURS, f"authenticated as {client.auth_user}" if client.auth_user else "authenticated"
    if client.cert_subject is not None and client.cert_subject in settings.sign_for.tls_clients:
        return Origin.OURS, f"its TLS certificate of {client.cert_subject} is in sign_for.tls_clients"
    if network := containing(settings.sign_for.networks, client.address):
        return Origin.OURS, f"{client.address} is in sign_for.networks ({network})"
    if client.daemon_name is not None and client.daemon_name in settings.sign_for.daemon_names:
        return Origin.OURS, f"it came through the daemon {client.daemon_name} of sign_for.daemon_names"
    return Origin.FOREIGN, "the client is not authenticated and in none of sign_for.networks"


def bare_address(sender: bytes) -> str:
    """The envelope sender without its angle brackets (submissions by the command `sendmail` come without any). Octets
    that are not UTF-8 are kept as lone surrogates: they match nothing and are escaped where they are shown."""
    text = sender.decode("utf-8", "surrogateescape").strip()
    return text[1:-1] if text.startswith("<") and text.endswith(">") else text


def mode_of(mode: Mode, whose: Origin, why: str) -> tuple[MessageMode, str]:
    """What is to be done with mail of this origin while one half may be switched off."""
    if whose is Origin.OURS and mode is Mode.OBSERVE:
        return MessageMode.NONE, f"{why}; mode is observe"
    if whose is Origin.OURS:
        return (MessageMode.NONE, f"{why}; mode is verify") if mode is Mode.VERIFY else (MessageMode.SIGN, why)
    if whose is Origin.FOREIGN:
        return (MessageMode.NONE, f"{why}; mode is sign") if mode is Mode.SIGN else (MessageMode.VERIFY, why)
    return MessageMode.NONE, why


def relay(settings: Settings, client: Client) -> str:
    """Why a client is a trusted relay, whose mail is that of somebody else; "" where it is none."""
    trusted = settings.trusted_relays
    if network := containing(trusted.networks, client.address):
        return f"relayed by {client.address}, which is in trusted_relays.networks ({network})"
    if client.daemon_name is not None and client.daemon_name in trusted.daemon_names:
        return f"relayed through the daemon {client.daemon_name} of trusted_relays.daemon_names"
    return ""


@frozen
class SigningPlan:
    """Who signs a message of ours. No signers and no refusal: it goes out as it is, for the reason in `why`."""

    why: str
    signers: tuple[dkim.Signer, ...] = ()
    refusal: Reply | None = None


def plan(
    settings: Settings,
    keystore: KeyStore,
    published: Published,
    author: Author,
    client: Client,
    *,
    relaxed_only: bool,
) -> SigningPlan:
    """Decides who signs. `published` are the auto keys whose record DNS was seen serving.
    A key that can't be used holds the message back, even if others of the entry can be."""
    if author.problem is not None:
        return _without_author(settings.signing, keystore, author, client)
    domain = author.domains[0]
    if keystore.must_wait(domain):
        return SigningPlan(f"the source of keys has not yet said whether it has {domain}", refusal=UNSIGNABLE)
    entry = keystore.find(domain)
    if entry is None:
        return SigningPlan(f"no entry of the keystore covers the author domain {domain}")
    if refused := refusal(entry.allow, client):
        why = f"{refused}, so it is not signed as {entry.name}"
        if settings.signing.on_refused is OnRefused.REJECT:
            return SigningPlan(why, refusal=reply(550, "7.1", f"not allowed to send as {domain}"))
        return SigningPlan(why)
    if entry.faulty is not None:
        return _unusable(entry, entry.faulty.fault)
    keys, idle = signing_keys(entry, published)
    if not keys:
        return SigningPlan(f"no key of the entry {entry.name} signs: {idle}")
    try:
        signers = tuple(signer_of(entry.domain, key, settings.signing, relaxed_only=relaxed_only) for key in keys)
    except KeyLoadError as error:
        return _unusable(entry, str(error))
    return SigningPlan(f"the author domain {domain} is covered by the entry {entry.name}", signers)


def _unusable(entry: KeyEntry, fault: str) -> SigningPlan:
    why = f"a key of the entry {entry.name} can't be used, so its mail waits: {fault}"
    return SigningPlan(why, refusal=UNSIGNABLE)


def _without_author(settings: SigningSettings, keystore: KeyStore, author: Author, client: Client) -> SigningPlan:
    """A message of ours without one author domain is never signed. It is held back where it claims, in whatever
    part could be read, a domain that we sign for: such mail must not leave unsigned."""
    claimed = list(author.domains)
    if not claimed and (sender := to_ascii(client.mail_from.rpartition("@")[2])):
        claimed.append(sender)
    for domain in claimed:
        if keystore.may_cover(domain):
            return _held_back(settings, author, f"{domain} is signed for")
    if author.more and keystore.signs:
        return _held_back(settings, author, "it may show more domains than are looked for, ours among them")
    return SigningPlan(f"no single author domain: {author.reason}")


def _held_back(settings: SigningSettings, author: Author, but: str) -> SigningPlan:
    code = 550 if settings.on_bad_author is OnBadAuthor.REJECT else 451
    why = f"no single author domain ({author.reason}), but {but}"
    return SigningPlan(why, refusal=reply(code, "7.1", f"can't be signed: {author.reason}"))


def refusal(allow: Allow, client: Client) -> str:
    """Why an entry does not allow this client to sign, "" where it does: a listed user or network is enough, and the
    envelope sender has to match too where patterns for it are given."""
    if allow.auth_users or allow.networks:
        user = client.auth_user
        by_user = bool(user) and any(_matches(user or "", pattern) for pattern in allow.auth_users)
        if not by_user and not containing(allow.networks, client.address):
            who = f"user {user}" if user else "an unauthenticated client"
            return f"{who} at {client.address} matches neither allow.auth_users nor allow.networks"
    if allow.envelope_from and not any(_matches(client.mail_from, pattern) for pattern in allow.envelope_from):
        return f"the envelope sender <{client.mail_from}> matches nothing in allow.envelope_from"
    return ""


def _matches(text: str, pattern: str) -> bool:
    return fnmatchcase(text.lower(), pattern.lower())


def signing_keys(entry: KeyEntry, published: Published) -> tuple[list[StoredKey], str]:
    """The keys of an entry that sign, and why each of the others does not."""
    idle = [(key, entry.idle(key, published)) for key in entry.keys]
    keys = [key for key, why in idle if not why]
    return keys, "; ".join(why for _, why in idle if why) or "it has none"


@lru_cache(maxsize=512)  # a key in use takes 11 KB; to make it ready again takes less than a signature
def signer_of(domain: str, key: StoredKey, settings: SigningSettings, *, relaxed_only: bool = False) -> dkim.Signer:
    """The signer of a key, kept for the next message. `relaxed_only`: the MTA withholds the space after the
    colon, so that "simple" header canonicalization would sign a guess. Raises crypto.KeyLoadError."""
    canonicalization = settings.canonicalization
    if relaxed_only:
        canonicalization = "relaxed/" + (canonicalization.partition("/")[2] or "simple")
    return dkim.Signer(
        domain,
        key.selector,
        load_key(key),
        headers=settings.headers,
        oversign=settings.oversign,
        canonicalization=canonicalization,
        expire_after=settings.expire_after,
    )
