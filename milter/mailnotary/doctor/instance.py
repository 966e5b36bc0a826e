"""What postconf(1) reports about a Postfix."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_PUBLIC = {"smtp", "25", "smtps", "submissions", "465", "submission", "587"}  # where mail comes in, in master.cf
RESTRICTIONS = (
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_recipient_restrictions",
    "smtpd_data_restrictions",
    "smtpd_end_of_data_restrictions",
)


@dataclass(frozen=True, slots=True)
class Postfix:
    """The settings as postconf reports them. `overrides` are those of master.cf: "submission/inet/smtpd_milters" to the
    value; `chrooted`: the processes that call milters (smtpd, cleanup) run in the queue directory; `services`:
    "smtp/inet" to the name of the command; `commands`: to the command with its arguments."""

    settings: Mapping[str, str]
    overrides: Mapping[str, str]
    chrooted: bool
    services: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.settings.get(name, "")

    def of(self, service: str, name: str) -> str:
        """A setting as a service of master.cf has it."""
        return self.overrides.get(f"{service}/{name}", self[name])


def public(service: str) -> bool:
    """Whether other hosts or our users submit mail to this service of master.cf."""
    return service.partition("/")[0].rpartition(":")[2] in _PUBLIC


def assignments(text: str) -> dict[str, str]:
    """Lines of "name = value", as postconf prints them."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}
