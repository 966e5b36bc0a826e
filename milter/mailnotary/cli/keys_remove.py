"""`mailnotary keys remove`: takes a key that no longer signs out of the keystore."""

import sys
from pathlib import Path

from mailnotary.cli import CommandError
from mailnotary.cli.common import not_of_source, read_configuration
from mailnotary.cli.keygen import names
from mailnotary.config.keystore import KeyState
from mailnotary.dkim.publish import key_record_name
from mailnotary.keys import histories
from mailnotary.keys.create import EntryKeys, locked, store


def remove(config: Path | None, domain_text: str, selector_text: str) -> int:
    """Removes one key. Its file stays, for its signatures may still have to be explained."""
    domain, selector = names(domain_text, selector_text)
    with locked(read_configuration(config).settings.keystore):
        configuration = read_configuration(config)  # again, now that no other command changes it
        entry = configuration.keystore.entries.get(domain)
        key = next((key for key in entry.keys if key.selector.lower() == selector), None) if entry else None
        if entry is None:
            not_of_source(configuration.settings, domain)
        if entry is None or key is None:
            raise CommandError(f"the keystore has no key {selector} of {domain}: `mailnotary keys` lists its keys")
        published = histories.remembered(configuration.settings.state_dir, configuration.keystore)
        if not key.fault and not entry.idle(key, published):
            advice = f"write `state: retired` there first, or replace it with `mailnotary rotate {domain}`"
            raise CommandError(f"{selector} of {domain} signs: {advice}")
        for other in entry.keys:
            if other.retire_after == key.selector and other.state is not KeyState.RETIRED:
                raise CommandError(f"{other.selector} of {domain} retires after {selector}: remove that first")
        change = EntryKeys(entry.name, entry.domain, removed=[key.selector])
        store(configuration.settings.keystore, [change], owner=None, source=Path(entry.source))
    if len(entry.keys) == 1:
        print(f"mailnotary keys: warning: {domain} has no key left: its mail leaves unsigned", file=sys.stderr)
    print(f"removed {key_record_name(entry.domain, key.selector)} from {entry.source}")
    print(f"Its file is still there: {key.file}. Reload the daemon (systemctl reload mailnotary).")
    return 0
