"""DNS records as people publish them: as lines of a zone file, and as one line for a web panel."""

import re
import shlex
from pathlib import Path

from mailnotary.dkim.publish import zone_lines


def show_record(name: str, value: str) -> None:
    """Prints a TXT record both ways."""
    print(f"In a zone file:\n\n{zone_lines(name, value)}\n")
    print(f"In a web panel (type TXT; many ask for the name without the domain):\n\n{name}\n{value}")


def record_json(name: str, value: str) -> dict[str, str]:
    """A TXT record for JSON."""
    return {"name": name, "type": "TXT", "value": value}


def config_option(path: Path | None) -> str:
    """The option with which a suggested command finds the same configuration."""
    return "" if path is None else f" -c {shlex.quote(str(path))}"


def with_config(advice: str, path: Path | None) -> str:
    """The advice with -c in the commands of ours that it suggests, so that they find the same configuration."""
    return re.sub(r"(`mailnotary [^`]+)`", lambda match: f"{match[1]}{config_option(path)}`", advice)
