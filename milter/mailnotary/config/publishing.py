"""The section `publish:` of mailnotary.yaml as frozen values: how records get into DNS."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


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
