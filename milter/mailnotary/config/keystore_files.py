"""The files of a keystore: keystore.yaml, those of keystore.d beside it, and the key files that they name."""

import mmap
import os
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from mailnotary.config import yaml_file
from mailnotary.config.keystore import file_digest
from mailnotary.config.private_key import read_key
from mailnotary.config.yaml_nodes import Report, YamlMapping
from mailnotary.crypto import KeyLoadError, PrivateKey, load_private_key
from mailnotary.domain import to_ascii

MAX_BYTES = 64 * 1_048_576  # of one file; 10,000 domains take 3 MB
KEYS_DIRECTORY = "keys"  # beside the keystore, where commands put keys
DIGEST = 32  # octets of a SHA-256
WEAK_RSA_BITS = 2048  # RFC 8301 section 3.2: signers SHOULD use at least as many


def directory_of(path: Path) -> Path:
    """The directory beside a keystore with more files of its kind: keystore.d for keystore.yaml."""
    return path.with_suffix(".d")


def files(path: Path) -> list[Path]:
    """The keystore (unless only its directory exists), then the files of its directory whose names end with .yaml, by
    name. Raises OSError."""
    try:
        names = sorted(os.listdir(directory_of(path)))
    except (FileNotFoundError, NotADirectoryError):
        return [path]
    others = [directory_of(path) / name for name in names if name.endswith(".yaml") and not name.startswith(".")]
    return [path, *others] if path.exists() else others


def sources(path: Path) -> dict[str, Path]:
    """The file of each entry of a keystore that is in its directory, in whatever state the files are."""
    found: dict[str, Path] = {}
    with suppress(OSError):
        for file in files(path):
            root = yaml_file.read(file, Report(file), MAX_BYTES) if file != path else None
            domains = root.get("domains") if root is not None else None
            for key, _ in domains.items if isinstance(domains, YamlMapping) else ():
                found.setdefault(to_ascii(key.text) or key.text, file)
    return found


class CheckedKeys:
    """What was found out about keys when a keystore was last read, so that a reload checks only those that are new. A
    key is known by the SHA-256 of all octets of its file: nothing else says that it is still the same. Those with a
    fault are never known."""

    def __init__(self) -> None:
        # The digests one behind the other, in a mapping of their own: what is in the middle or on top of a load's
        # memory keeps all of that from being given back.
        self._digests: dict[str, mmap.mmap] = {}  # by what the log says about these keys

    def warnings(self) -> dict[bytes, str]:
        """What to say about each known key, by its digest; "" for nothing."""
        return {
            digests[start : start + DIGEST]: warning
            for warning, digests in self._digests.items()
            for start in range(0, len(digests), DIGEST)
        }

    def keep(self, warnings: Mapping[bytes, str]) -> None:
        """These are the known keys from now on, and no others."""
        by_warning: defaultdict[str, list[bytes]] = defaultdict(list)
        for digest, warning in warnings.items():
            by_warning[warning].append(digest)
        self._digests.clear()
        for warning, digests in by_warning.items():
            # Private: a worker, which has it too, can't change what the supervisor takes for checked.
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            memory = self._digests[warning] = mmap.mmap(-1, DIGEST * len(digests), flags=flags)
            memory.write(b"".join(digests))


class KeyFiles:
    """Reads each key file once, however many domains share it. `known`: what to say about keys that need not be checked
    again, by their digest (see `CheckedKeys`)."""

    def __init__(self, directory: Path, uid: int, gids: Collection[int], known: Mapping[bytes, str]) -> None:
        self._directory = os.path.join(directory, "")  # with a slash at its end
        self._uid, self._gids, self._known = uid, gids, known
        self.checked: dict[bytes, str] = {}  # what to say about each key that can be used, by its digest
        self._copies = self.path(KEYS_DIRECTORY)
        self.unsafe = False  # whether the rules of access are waived
        self._read: dict[tuple[str, bool], tuple[bytes, str]] = {}
        self.warnings: dict[str, str] = {}  # by path

    def path(self, name: str) -> str:
        """The absolute path of a key file as the keystore names it."""
        return os.path.normpath(name if name.startswith("/") else self._directory + name)

    def load(self, path: str) -> tuple[bytes, str]:
        """The octets of a key file, and why it can't be used, "" if it can."""
        outcome = self._read.get((path, self.unsafe))
        if outcome is None:
            outcome = self._read[path, self.unsafe] = self._load(path)
        return outcome

    def _load(self, path: str) -> tuple[bytes, str]:
        try:
            data = read_key(path, self._uid, self._gids, unsafe=self.unsafe, copies=self._copies)
            digest = file_digest(data)
            warning = self._known.get(digest)
            if warning is None:
                warning = weakness(load_private_key(data, path))
        except KeyLoadError as error:
            return b"", str(error)
        self.checked[digest] = warning
        if warning:
            self.warnings[path] = warning
        return data, ""


def weakness(key: PrivateKey) -> str:
    """What to say about a key that can be used, "" for nothing."""
    if key.algorithm == "rsa" and key.bits < WEAK_RSA_BITS:
        return f"RSA with {key.bits} bits: make a key of {WEAK_RSA_BITS} (RFC 8301)"
    return ""


class ClosedKeyFiles(KeyFiles):
    """For those whom the keys do not concern: opens no key file, as if each were empty and without fault."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, 0, (), {})

    def _load(self, path: str) -> tuple[bytes, str]:  # noqa: ARG002
        return b"", ""
