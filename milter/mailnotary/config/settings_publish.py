"""Reads the sections `publish:` and `rotation:` of mailnotary.yaml."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailnotary.config.publishing import DAY, PublishSettings, RotationSettings
from mailnotary.config.values import (
    Converter,
    Section,
    domain,
    integer,
    list_of,
    mapping_of,
    nameserver,
    optional,
    scalar,
    seconds,
    text,
    values,
)
from mailnotary.config.yaml_nodes import Report, YamlMapping, YamlNode, shown
from mailnotary.domain import is_domain_name

if TYPE_CHECKING:
    from mailnotary.config.settings import Settings

QUEUE_TIME = 7 * DAY  # mail may wait for five days (RFC 5321 section 4.5.4.1), and be verified even later
_EXAMPLE = "example.net: {server: 192.0.2.53, key: tsig.key}"


def _program(node: YamlNode, report: Report) -> tuple[str, ...]:
    argv = _command(node, report)
    if argv and not Path(argv[0]).is_absolute():
        raise ValueError(f"{shown(argv[0])} is not an absolute path: write one like /usr/local/bin/publish")
    return argv


def _key_file(node: YamlNode, report: Report) -> Path:
    return Path(text("the file of a TSIG key, like tsig.key")(node, report))


def _selector(text: str) -> str:
    name = text.lower()
    if not is_domain_name(name) or name.endswith("."):
        raise ValueError(f"{shown(text)} is not a selector: write letters, digits and hyphens, like s1")
    return name


def _selectors(node: YamlNode, report: Report) -> tuple[str, ...]:
    found = list_of(scalar(_selector, "a selector like s1"), "s1, s2")(node, report)
    if len(found) == 1 == len(getattr(node, "items", ())) or len(set(found)) < len(found):
        raise ValueError("selectors are used in turn: write at least two different ones, like [s1, s2], or []")
    return found


_command = list_of(text("a word of the command"), "/usr/local/bin/publish")
_servers = list_of(scalar(nameserver, "an address like 192.0.2.53"), "192.0.2.53")
_RULE: dict[str, Converter[Any]] = {
    "server": optional(scalar(nameserver, "an address like 192.0.2.53")),
    "zone": optional(scalar(domain, "a zone like example.org")),
    "key": optional(_key_file),
    "ttl": integer(1, 604_800),
    "program": _program,
    "nameservers": _servers,
}


def _rule(node: YamlNode, report: Report) -> PublishSettings:
    """One way to publish, whole."""
    rule = PublishSettings(**values(node, report, _RULE))
    _check_rule(rule, node, report)
    return rule


def _check_rule(rule: PublishSettings, node: YamlNode, report: Report) -> None:
    if rule.server is not None and rule.program:
        report.error(node, "server and program are two ways to publish: remove one of them")
    elif rule.server is not None and rule.key is None:
        report.error(node, "updates need a TSIG key (RFC 8945): write its file as 'key: tsig.key'")


def _domains(node: YamlNode, report: Report) -> dict[str, PublishSettings]:
    rules: dict[str, PublishSettings] = {}
    for key, value in mapping_of(node, _EXAMPLE).items:
        try:
            name = domain(key.text)
            if name in rules:
                raise ValueError(f"duplicate {name}: remove one of them")
            rules[name] = _rule(value, report)
        except ValueError as error:
            report.error(key, str(error))
    return rules


PUBLISH = Section(PublishSettings, **_RULE, domains=_domains)
ROTATION = Section(
    RotationSettings,
    rotate_every=optional(seconds(1, 3650 * DAY)),
    remove_after=seconds(1, 3650 * DAY),
    selectors=_selectors,
    exclude=list_of(scalar(domain, "a domain"), "example.net"),
    reload=_command,
)


def absolute(publish: PublishSettings, directory: Path) -> PublishSettings:
    """The settings with paths below the directory of the configuration."""
    domains = {name: absolute(rule, directory) for name, rule in publish.domains.items()}
    return replace(publish, key=None if publish.key is None else directory / publish.key, domains=domains)


def check(settings: "Settings", root: YamlMapping, report: Report) -> None:
    """Reports values that do not fit together."""
    if isinstance(node := root.get("publish"), YamlMapping):
        _check_rule(settings.publish, node, report)
    rotation, section = settings.rotation, root.get("rotation")
    if rotation.rotate_every is None or not isinstance(section, YamlMapping):
        return
    if rotation.remove_after < QUEUE_TIME:
        report.warn(
            section.get("remove_after"), "mail may wait in queues for days, and could not be verified then: write 14d"
        )
    if rotation.remove_after >= rotation.rotate_every:
        report.warn(section, "keys are replaced before the last ones are removed: write a shorter remove_after")
