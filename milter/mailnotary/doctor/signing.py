"""Whether the keystore's keys sign, and whether receivers can verify what they sign."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from mailnotary.config.keystore import KeyEntry, KeyState, KeyStore, StoredKey
from mailnotary.config.private_key import load_key
from mailnotary.config.settings import Mode, Require, Settings, SignFor
from mailnotary.dkim.publish import key_record_name
from mailnotary.doctor.finding import Finding, error, ok, unknown, warning
from mailnotary.keys import histories
from mailnotary.keys.observe import KeyObservation, KeyRecordStatus, observe
from mailnotary.resolver import Resolver

MAX_KEYS = 200  # whose records are looked up; `mailnotary keys` looks at all
MAX_NAMED = 3  # in one finding
AT_ONCE = 16
WIDE_IPV4, WIDE_IPV6 = 24, 48  # a shorter prefix is more than the hosts of one site


def check(settings: Settings, keystore: KeyStore, resolver: Resolver) -> Iterator[Finding]:
    """The keys of all entries. An `auto` key signs once the daemon has seen its record."""
    if settings.mode is Mode.VERIFY or not keystore.entries:
        return
    try:
        published = histories.remembered(settings.state_dir, keystore)
    except histories.StateError as problem:
        yield unknown("signing", f"the state of the daemon is not known: {problem}", "run this as root")
        published = frozenset()
    entries = [entry for entry in keystore.entries.values() if entry.faulty is None]  # of those the configuration tells
    signing = [(entry, key) for entry in entries for key in entry.keys if not entry.idle(key, published)]
    able = {entry.name for entry, _ in signing}
    for entry in islice((entry for entry in entries if entry.name not in able), MAX_NAMED):
        yield error("signing", f"no key of {entry.name} signs: its mail leaves unsigned", _remedy(entry))
    if (silent := len(entries) - len(able)) > MAX_NAMED:
        yield error("signing", f"nor does any of {silent - MAX_NAMED} more domains", "`mailnotary keys` shows all")
    yield from _records(signing[:MAX_KEYS], resolver)
    yield from _oracle(settings.sign_for)


def _oracle(sign_for: SignFor) -> Iterator[Finding]:
    """Whether so many hosts are ours that some of them may pass on the mail of others."""
    wide = [
        network
        for network in sign_for.networks
        if network.is_global and network.prefixlen < (WIDE_IPV4 if network.version == 4 else WIDE_IPV6)
    ]
    if wide and sign_for.require is Require.NOTHING:
        shown = ", ".join(str(network) for network in wide[:MAX_NAMED]) + (", ..." if len(wide) > MAX_NAMED else "")
        text = f"{shown}: whatever these hosts pass on is signed, mail of others with your domain in From, too"
        yield warning(
            "sign_for", text, "set sign_for.require to dmarc (config/filters.md says what for), or name fewer"
        )


def _remedy(entry: KeyEntry) -> str:
    if any(key.state is KeyState.AUTO for key in entry.keys):
        return f"publish the record (`mailnotary dns {entry.domain}`); the daemon signs once it has seen it"
    return f"make a key: `mailnotary keygen {entry.domain} SELECTOR`"


def _records(signing: Sequence[tuple[KeyEntry, StoredKey]], resolver: Resolver) -> Iterator[Finding]:
    def look(pair: tuple[KeyEntry, StoredKey]) -> KeyObservation:
        entry, key = pair
        return observe(resolver, entry.domain, key.selector, load_key(key))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = list(zip(signing, pool.map(look, signing), strict=True))
    for make, statuses, harm in (
        (error, {KeyRecordStatus.MISMATCH, KeyRecordStatus.MISSING}, "receivers cannot verify what it signs"),
        (error, {KeyRecordStatus.EXPOSED}, "anybody can sign as you"),
        (unknown, {KeyRecordStatus.ERROR}, "its record could not be looked up"),
    ):
        bad = [(entry, key, look) for (entry, key), look in seen if look.result in statuses]
        for entry, key, observation in bad[:MAX_NAMED]:
            text = f"{key_record_name(entry.domain, key.selector)}: {harm}: {observation.reason}"
            yield make("signing", text, f"`mailnotary dns {entry.domain}` has the record to publish")
        if len(bad) > MAX_NAMED:
            yield make(
                "signing", f"the same is true of {len(bad) - MAX_NAMED} more keys", "`mailnotary keys` shows all"
            )
    good = sum(look.result is KeyRecordStatus.MATCH for _, look in seen)
    if good and good == len(seen):
        yield ok("signing", f"{good} key{'s' * (good != 1)} sign{'s' * (good == 1)}, and DNS serves the record of each")
