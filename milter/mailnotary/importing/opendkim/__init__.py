"""OpenDKIM's configuration.

Mail that OpenDKIM does not sign must not be signed, for a table may be what keeps customers apart.
"""

from pathlib import Path

from mailnotary.importing.conf import read_conf
from mailnotary.importing.draft import Draft
from mailnotary.importing.opendkim.keys import read_keys
from mailnotary.importing.opendkim.settings import fill


def read(path: Path) -> Draft:
    """Reads opendkim.conf with the tables that it names. Raises SourceError."""
    conf = read_conf(path)
    draft = fill(conf)
    draft.entries, draft.key_notes = read_keys(conf)
    return draft
