"""The sections `publish:` and `rotation:` of mailnotary.yaml as frozen values: how records get into DNS, and when keys
are replaced."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """How the records of a domain get into DNS: by dynamic updates (RFC 2136) to `server`, of `zone` (None: found in
    DNS), with the TSIG key in the file `key`; or by `program`, with its first arguments; or by hand, if there is
    neither. `nameservers` are asked whether they serve a record, none: all of the zone's NS records. `domains` has
    other values for a domain and all below it, each complete in itself."""

    server: tuple[str, int] | None = None
    zone: str | None = None
    key: Path | None = None  # absolute once loaded
    ttl: int = 3600
    program: tuple[str, ...] = ()
    nameservers: tuple[tuple[str, int], ...] = ()
    domains: Mapping[str, "PublishSettings"] = field(default_factory=dict)

    def of(self, name: str) -> "PublishSettings":
        """What is in force for a name: the nearest of `domains`, or these settings themselves."""
        while name:
            if (found := self.domains.get(name)) is not None:
                return found
            name = name.partition(".")[2]
        return self


@dataclass(frozen=True, slots=True)
class RotationSettings:
    """When keys are replaced: those of a domain at least every `rotate_every` seconds (None: never by themselves), not
    those of `exclude` and below. A replaced key and its record are removed `remove_after` seconds after its last
    signature. `selectors` are used in turn, for CNAMEs that lead to a zone of one's own; none: a new one with the date
    each time. `reload` is the command that has the daemon read its files again."""

    rotate_every: float | None = None
    remove_after: float = 14 * DAY
    selectors: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    reload: tuple[str, ...] = ("systemctl", "try-reload-or-restart", "mailnotary")

    def includes(self, domain: str) -> bool:
        """Whether the keys of a domain are replaced by themselves."""
        excluded = any(domain == name or domain.endswith(f".{name}") for name in self.exclude)
        return self.rotate_every is not None and not excluded
