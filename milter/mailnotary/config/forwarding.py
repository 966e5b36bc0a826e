"""The section `arc:` of mailnotary.yaml: whose chains may outweigh DMARC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailnotary.config.yaml_nodes import Report, YamlMapping

if TYPE_CHECKING:
    from mailnotary.config.keystore import KeyStore


@dataclass(frozen=True, slots=True)
class ArcSettings:
    """ARC (RFC 8617): whether chains are validated, and the sealers (d= of their seals, A-labels) that are believed
    when they say that a message passed DMARC. `seal`: the domain of the keystore whose key seals mail from elsewhere;
    None: no mail is sealed. (To seal, chains are validated whatever `verify` says.)"""

    verify: bool = True
    trusted_sealers: tuple[str, ...] = ()
    seal: str | None = None


def check_keystore(arc: ArcSettings, keystore: KeyStore, root: YamlMapping, report: Report) -> None:
    """Warns if mail can't be sealed. Not an error: it goes on without."""
    section = root.get("arc")
    if arc.seal is not None and isinstance(section, YamlMapping) and keystore.find(arc.seal) is None:
        report.warn(
            section.get("seal"),
            f"the keystore has no entry for {arc.seal}, so nothing is sealed: make a key with "
            f"`mailnotary keygen {arc.seal} SELECTOR`",
        )
