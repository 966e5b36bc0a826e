"""The section `dmarc:` of mailnotary.yaml: what becomes of mail that fails, for all domains and for single ones."""

from dataclasses import replace
from typing import Any

from mailnotary.config.settings import DmarcAction, DmarcExempt, DmarcMode, DmarcSettings, OnTemperror
from mailnotary.config.values import Converter, Section, choice, domain, list_of, mapping_of, networks, scalar, values
from mailnotary.config.yaml_nodes import Report, YamlMapping, YamlNode, YamlScalar

_WRITE_REJECT = (
    "enforce needs an explicit 'reject:', because receivers must not reject on p=reject alone (RFC 9989 "
    "section 7.4: mailing lists break): write 'reject: tag' to mark such mail, 'reject: hold' to have it held, "
    "or 'reject: reject' to reject it anyway"
)
_RULE: dict[str, Converter[Any]] = {
    "mode": choice(DmarcMode),
    "reject": choice(DmarcAction),
    "quarantine": choice(DmarcAction),
    "temperror": choice(OnTemperror),
}


def read(node: YamlNode, report: Report) -> DmarcSettings:
    """The section's converter."""
    fields = values(node, report, KEYS)
    overrides: dict[str, dict[str, Any]] = fields.pop("domains", {})
    settings = DmarcSettings(**fields)
    written = mapping_of(node)
    _demand_reject(written, None, report)
    for _, override in _entries(written.get("domains")):
        _demand_reject(override, written, report)
    return replace(settings, domains={name: replace(settings, **rule) for name, rule in overrides.items()})


def _demand_reject(rule: YamlMapping, parent: YamlMapping | None, report: Report) -> None:
    mode, written = rule.get("mode"), rule.get("reject") or (parent and parent.get("reject"))
    if not written and isinstance(mode, YamlScalar) and mode.text == DmarcMode.ENFORCE:
        report.error(mode, _WRITE_REJECT)


def _entries(node: YamlNode | None) -> list[tuple[YamlScalar, YamlMapping]]:
    items = node.items if isinstance(node, YamlMapping) else []
    return [(key, value) for key, value in items if isinstance(value, YamlMapping)]


def _domains(node: YamlNode, report: Report) -> dict[str, dict[str, Any]]:
    rules: dict[str, dict[str, Any]] = {}
    for key, value in mapping_of(node, "example.org: {mode: monitor}").items:
        try:
            name = domain(key.text)
            if name in rules:
                raise ValueError(f"duplicate {name}: remove one of them")
        except ValueError as error:
            report.error(key, str(error))
            continue
        try:
            rules[name] = values(value, report, _RULE)
        except ValueError as error:
            report.error(value, str(error))
    return rules


KEYS: dict[str, Converter[Any]] = _RULE | {
    "exempt": Section(
        DmarcExempt,
        networks=networks,
        dkim_domains=list_of(scalar(domain, "a domain"), "lists.example.org"),
    ),
    "domains": _domains,
}
