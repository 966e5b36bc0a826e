"""The list of public suffixes (publicsuffix.org) that rspamd reduces domains with. mailnotary itself needs none."""

from collections.abc import Iterable
from pathlib import Path

from mailnotary.domain import to_ascii
from mailnotary.importing.source import SourceError, read_lines

LISTS = (Path("/usr/share/rspamd/effective_tld_names.dat"), Path("/usr/share/publicsuffix/public_suffix_list.dat"))


class PublicSuffixes:
    """The rules of a list."""

    def __init__(self, rules: Iterable[str]) -> None:
        self._rules = {self._in_ascii(rule) for rule in rules}
        self._above = {rule.split(".", n)[-1] for rule in self._rules for n in range(1, rule.count(".") + 1)}

    @staticmethod
    def _in_ascii(rule: str) -> str:
        name = rule.lstrip("!*.")
        return rule[: len(rule) - len(name)] + (to_ascii(name) or name)

    def registrable(self, domain: str) -> str:
        """The domain reduced to one label below the public suffix; as it is where no rule is about it, or where it is a
        suffix itself."""
        labels = domain.split(".")
        for start in range(len(labels)):  # the longest rule first
            name = ".".join(labels[start:])
            wild = ".".join(["*", *labels[start + 1 :]])
            if "!" + name in self._rules:
                return name
            if name in self._rules or (wild in self._rules and start + 1 < len(labels)):
                return ".".join(labels[max(start - 1, 0) :])
        return domain

    def has_suffix_below(self, domain: str) -> bool:
        """Whether some names below a domain are suffixes, so that they are not reduced to it."""
        return domain in self._above

    def knows(self, domain: str) -> bool:
        """Whether a rule is about the domain's last label."""
        last = domain.rpartition(".")[2]
        return last in self._rules or last in self._above


def read_list() -> PublicSuffixes | None:
    """rspamd's list, or Debian's; None where there is neither."""
    for path in LISTS:
        try:
            lines = read_lines(path)
        except SourceError:
            continue
        return PublicSuffixes(rule for line in lines if (rule := line.partition("//")[0].strip()))
    return None
