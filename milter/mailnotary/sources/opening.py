"""The source that the settings name, with its secrets read from their files."""

from collections.abc import Collection
from pathlib import Path

from mailnotary.config.private_key import read_secret
from mailnotary.config.settings_source import without_password
from mailnotary.config.source import SourceSettings
from mailnotary.crypto import MAX_SEAL_FILE, KeyLoadError, Sealer
from mailnotary.escape import printable
from mailnotary.sources.asking import Source, SourceError
from mailnotary.sources.program import Program
from mailnotary.sources.sql import Database

_MAX_PASSWORD = 4096  # octets


def origin(settings: SourceSettings) -> str:
    """The source as messages show it: its URL without a password, or its program."""
    return printable(
        without_password(settings.sql) if settings.sql else settings.program[0] if settings.program else ""
    )


def open_source(settings: SourceSettings, uid: int, gids: Collection[int]) -> Source:
    """Raises SourceError. `uid` and `gids`: who may have access to its password (see `private_key.read_secret`)."""
    if settings.sql is None:
        return Program(settings.program, settings.timeout)
    password = None
    if settings.password_file is not None:
        octets = _secret(settings.password_file, _MAX_PASSWORD, uid, gids)
        password = octets.decode("utf-8", "surrogateescape").rstrip("\r\n")
    return Database(settings, password)


def open_sealer(settings: SourceSettings, uid: int, gids: Collection[int]) -> Sealer | None:
    """What opens sealed keys, where the settings name its key. Raises SourceError."""
    if settings.seal_file is None:
        return None
    try:
        return Sealer(_secret(settings.seal_file, MAX_SEAL_FILE, uid, gids))
    except KeyLoadError as error:
        raise SourceError(f"{printable(str(settings.seal_file))}: {error}") from error


def _secret(path: Path, octets: int, uid: int, gids: Collection[int]) -> bytes:
    try:
        return read_secret(str(path), uid, gids, octets)
    except KeyLoadError as error:
        raise SourceError(f"{printable(str(path))}: {error}") from error
