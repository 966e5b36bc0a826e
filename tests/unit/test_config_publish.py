"""The sections `publish:` and `rotation:` of mailnotary.yaml: values, errors, warnings."""

from pathlib import Path

import pytest

from mailnotary.config.publishing import PublishSettings, RotationSettings
from mailnotary.config.settings import Settings
from mailnotary.config.settings_file import load, read
from mailnotary.config.yaml_nodes import ConfigError, Report

DAY = 86_400


def settings(directory: Path, text: str) -> Settings:
    (directory / "m.yaml").write_text(text)
    return load(directory / "m.yaml")


def test_nothing_is_published_or_replaced_by_default(tmp_path: Path) -> None:
    found = settings(tmp_path, "")
    assert found.publish == PublishSettings()
    assert found.rotation == RotationSettings()
    assert found.rotation.remove_after == 14 * DAY
    assert not found.rotation.includes("example.org")


def test_each_key_is_read(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        """
publish:
  server: 192.0.2.53
  zone: Example.org
  key: tsig.key
  ttl: 300
  nameservers: [192.0.2.1, "[2001:db8::1]:5353"]
  domains:
    example.net: {program: [/usr/local/bin/hook, x]}
    dkim.example.net: {server: "192.0.2.54:5353", key: /etc/other.key}
rotation: {rotate_every: 180d, remove_after: 21d, selectors: [S1, s2], exclude: [example.com], reload: [touch, /x]}
""",
    )
    publish, rotation = found.publish, found.rotation
    assert (publish.server, publish.zone, publish.ttl) == (("192.0.2.53", 53), "example.org", 300)
    assert publish.key == tmp_path / "tsig.key"
    assert publish.nameservers == (("192.0.2.1", 53), ("2001:db8::1", 5353))
    assert publish.of("s1._domainkey.example.org") is publish
    assert publish.of("s1._domainkey.a.example.net").program == ("/usr/local/bin/hook", "x")
    nearest = publish.of("s1.dkim.example.net")
    assert (nearest.server, nearest.key, nearest.ttl) == (("192.0.2.54", 5353), Path("/etc/other.key"), 3600)
    assert (rotation.rotate_every, rotation.remove_after) == (180 * DAY, 21 * DAY)
    assert (rotation.selectors, rotation.reload) == (("s1", "s2"), ("touch", "/x"))
    assert rotation.includes("example.org")
    assert rotation.includes("anexample.com")
    assert not rotation.includes("example.com")
    assert not rotation.includes("a.example.com")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "publish: {server: 192.0.2.53}",
            "1:10: updates need a TSIG key (RFC 8945): write its file as 'key: tsig.key'",
        ),
        ("publish: {server: ns1.example.org, key: k}", "'ns1.example.org' is not a name server"),
        ("publish: {server: 192.0.2.53, key: k, program: [/x]}", "two ways to publish: remove one of them"),
        ("publish: {program: [hook]}", "'hook' is not an absolute path: write one like /usr/local/bin/publish"),
        ("publish: {program: hook}", "where a list is expected"),
        ("publish: {ttl: 0}", "'0' does not fit"),
        ("publish: {domains: {example.org: {server: 192.0.2.53}}}", "updates need a TSIG key"),
        ("publish: {domains: {a.example: {}, A.example: {}}}", "duplicate a.example"),
        ("publish: {domains: {'x!': {}}}", "'x!' is not a domain name"),
        ("publish: {domains: {a.example: {domains: {}}}}", "unknown key 'domains'"),
        ("rotation: {rotate_every: 0}", "'0' does not fit"),
        ("rotation: {rotate_every: soon}", "'soon' does not fit"),
        ("rotation: {selectors: [s1]}", "selectors are used in turn: write at least two different ones"),
        ("rotation: {selectors: [s1, S1]}", "at least two different ones"),
        ("rotation: {selectors: ['a b', s2]}", "'a b' is not a selector"),
        ("rotation: {retire_after: 14d}", "unknown key 'retire_after'"),
    ],
)
def test_each_mistake_has_its_place_and_its_cure(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text)
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rotation: {rotate_every: 180d, remove_after: 1d}", "1:46: mail may wait in queues for days"),
        ("rotation: {rotate_every: 10d}", "1:11: keys are replaced before the last ones are removed"),
    ],
)
def test_times_that_are_too_short_get_a_warning(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(text)
    report = Report("m.yaml")
    read(tmp_path / "m.yaml", report)
    assert [said in str(warning) for warning in report.warnings] == [True]
