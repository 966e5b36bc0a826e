"""OpenDKIM's SigningTable: whose mail is signed with which key."""

import re
from collections import defaultdict
from dataclasses import dataclass

from mailnotary.domain import to_ascii
from mailnotary.importing.conf import DataSet
from mailnotary.importing.source import Note


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of SigningTable: whose mail, which key ("%": the one named like the author's domain), and the i= that was
    asked for ("" for none). `number` is its position in the table, `place` its line."""

    pattern: str
    key: str
    identity: str
    number: int
    place: str = ""

    def note(self, why: str) -> Note:
        """What becomes of the row."""
        return Note(self.place, f"SigningTable {self.pattern} {self.key}: {why}")

    def key_for(self, domain: str) -> str:
        """The name in KeyTable of the key that signs for an author domain."""
        return domain if self.key == "%" else self.key


class SigningTable:
    """The rules, matched against author addresses as OpenDKIM does it. A look-up takes as long for one rule as for many
    thousands that are about other domains."""

    def __init__(self, table: DataSet, *, several: bool) -> None:
        self.wildcards = table.wildcards
        self.several = several  # MultipleSignatures
        self.rules: list[Rule] = []
        self._of_text: dict[str, list[Rule]] = defaultdict(list)
        self._of_domain: dict[str, list[Rule]] = defaultdict(list)
        self._users: dict[str, list[Rule]] = defaultdict(list)
        for number, item in enumerate(table.items):
            key, _, identity = item.value.partition(":")
            rule = Rule(_in_ascii(item.key.lower()), key.strip(), identity.strip(), number, item.place)
            self.rules.append(rule)
            self._of_text[_index(rule.pattern) if self.wildcards else rule.pattern].append(rule)
            domain = self.domain_of(rule)
            self._of_domain[domain].append(rule)
            user, at, host = rule.pattern.rpartition("@")
            if at and user not in ("", "*") and host == domain:
                self._users[domain].append(rule)

    def match(self, address: str) -> list[Rule]:
        """The rules that sign for an address: the first one; with MultipleSignatures the last one, too. (That is to be
        all of them, and OpenDKIM 2.11.0-beta2 of Debian and Ubuntu loses those between when it lists them.)"""
        rules = self._by_pattern(address) if self.wildcards else self._by_key(address)
        return [*rules[:1], *rules[1:][-1:]] if self.several else rules[:1]

    def _by_pattern(self, address: str) -> list[Rule]:
        ends = {address[i:] for i in range(len(address) + 1)} | {address[:i] + "*" for i in range(len(address) + 1)}
        rules = (rule for end in ends for rule in self._of_text.get(end, ()) if _matches(rule.pattern, address))
        return sorted(rules, key=lambda rule: rule.number)

    def _by_key(self, address: str) -> list[Rule]:
        """user@host, host, for each parent user@.parent and .parent, user@*, *; the first row of each."""
        user, _, host = address.rpartition("@")
        labels = host.split(".")
        parents = ["." + ".".join(labels[i:]) for i in range(1, len(labels))]
        wanted = [address, host, *(key for parent in parents for key in (f"{user}@{parent}", parent)), f"{user}@*", "*"]
        return [rule for key in wanted for rule in self._of_text.get(key, ())[:1]]

    def domains(self) -> dict[str, str]:
        """The domains that rules name, in order, with the place of the first rule of each."""
        return {domain: rules[0].place for domain, rules in self._of_domain.items() if domain}

    def domain_of(self, rule: Rule) -> str:
        """The domain that a rule is about, "" where it is about any, or about what no domain name says."""
        host = rule.pattern.rpartition("@")[2]
        if self.wildcards and "@" not in rule.pattern:
            host = host.lstrip("*")
        elif self.wildcards:
            host = host.removeprefix("*.")
        host = host.lstrip(".")
        return host if host and "*" not in host else ""

    def users_of(self, domain: str) -> list[Rule]:
        """The rules for single users of a domain."""
        return self._users.get(domain, [])


def _in_ascii(pattern: str) -> str:
    """A pattern with the A-labels of its domain (RFC 5890): the same domain, whichever way it is written."""
    if pattern.isascii():
        return pattern
    user, at, host = pattern.rpartition("@")
    name = host.lstrip("*.")
    return user + at + host[: len(host) - len(name)] + (to_ascii(name) or name)


def _index(pattern: str) -> str:
    """The text by which a pattern is found: what follows its last asterisk, or if nothing does, what precedes the
    first."""
    return pattern.rpartition("*")[2] or pattern.partition("*")[0] + "*"


def _matches(pattern: str, address: str) -> bool:
    """ "Matching all text except that the asterisk character is considered a wildcard"; case makes no difference."""
    literals, text = re.split(r"\*+", pattern), address.lower()
    first, last = literals[0], literals[-1]
    if len(literals) == 1:
        return text == first
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    place, end = len(first), len(text) - len(last)
    for literal in literals[1:-1]:
        place = text.find(literal, place, end)
        if place < 0:
            return False
        place += len(literal)
    return True
