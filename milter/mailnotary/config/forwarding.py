"""The section `arc:` of mailnotary.yaml: whose chains may outweigh DMARC."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ArcSettings:
    """ARC (RFC 8617): whether chains are validated, and the sealers (d= of their seals, A-labels) that are believed
    when they say that a message passed DMARC."""

    verify: bool = True
    trusted_sealers: tuple[str, ...] = ()
