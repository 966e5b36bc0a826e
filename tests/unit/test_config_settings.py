"""mailnotary.yaml: defaults, every key's values, and errors with their place and cure."""

import pickle
import re
from dataclasses import fields, is_dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config.settings import (
    Dkim2Mode,
    DmarcAction,
    DmarcMode,
    InternalError,
    LogFormat,
    LogTarget,
    Mode,
    OnAuthor,
    OnBadAuthor,
    OnOwnVerdict,
    OnRefused,
    Settings,
    SpfAction,
)
from mailnotary.config.settings_dmarc import KEYS as DMARC_KEYS
from mailnotary.config.settings_file import _SETTINGS, MAX_BYTES, load, read
from mailnotary.config.values import Section
from mailnotary.config.yaml_nodes import ConfigError, Report
from mailnotary.dkim import DEFAULT_HEADERS, DEFAULT_OVERSIGN

CONFIG = Path(__file__).parents[2] / "config" / "mailnotary.yaml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "m.yaml"


def settings(file: Path, text: str) -> Settings:
    file.write_text(text)
    return load(file)


def errors(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    return [str(problem).removeprefix(f"{file}:") for problem in caught.value.problems]


def warnings(file: Path, text: str) -> list[str]:
    file.write_text(text)
    report = Report("m.yaml")
    read(file, report)
    report.raise_problems()
    return [str(warning).removeprefix("m.yaml:") for warning in report.warnings]


def test_an_empty_file_means_the_documented_defaults(file: Path) -> None:
    found = settings(file, "")
    assert found == replace(Settings(), keystore=file.parent / "keystore.yaml")
    assert found.listen == "inet:8891@127.0.0.1"
    assert found.socket.mode == 0o660
    assert found.user == "mailnotary"
    assert found.workers is None
    assert found.mode is Mode.BOTH
    assert found.authserv_id is None
    assert found.dns.nameservers == ()
    assert (found.dns.timeout, found.dns.cache_entries) == (5, 10_000)
    assert found.sign_for.networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert found.sign_for.authenticated
    assert found.dkim2.mode is Dkim2Mode.OFF
    assert (found.arc.verify, found.arc.trusted_sealers, found.arc.seal) == (True, (), None)
    assert (found.exempt.networks, found.exempt.daemon_names) == ((), ())
    assert found.signing.canonicalization == "relaxed/simple"
    assert (found.signing.headers, found.signing.oversign) == (DEFAULT_HEADERS, DEFAULT_OVERSIGN)
    assert found.signing.expire_after is None
    assert found.signing.on_refused is OnRefused.UNSIGNED
    assert found.signing.on_own_verdict is OnOwnVerdict.UNSIGNED
    assert (found.verify.max_signatures, found.verify.min_rsa_bits) == (10, 1024)
    assert found.spf.check_helo
    assert {found.spf.helo_fail, found.spf.fail, found.spf.softfail, found.spf.permerror, found.spf.temperror} == {
        SpfAction.ACCEPT
    }
    assert (found.dmarc.mode, found.dmarc.reject, found.dmarc.quarantine) == (
        DmarcMode.MONITOR,
        DmarcAction.REJECT,
        DmarcAction.TAG,
    )
    assert found.authentication_results.remove_from == ()
    assert not found.authentication_results.authenticated
    assert found.on_internal_error is InternalError.TEMPFAIL
    limits = found.limits
    assert (limits.header_bytes, limits.message_seconds, limits.spf_seconds) == (1_048_576, 30, 20)
    assert (found.log.level, found.log.format, found.log.to) == ("info", LogFormat.TEXT, LogTarget.STDERR)
    history = found.history
    assert (history.enabled, history.store, history.days, history.size) == (False, None, 30, 10 * 2**30)


def test_every_key_of_the_contract_is_read(file: Path) -> None:
    found = settings(
        file,
        """\
listen: unix:/run/mailnotary/m.sock
socket: {mode: "0666", group: postfix, peers: [127.0.0.1, 172.16.0.0/12]}
user: notary
workers: 4
stop_seconds: 1m
state_dir: /srv/state
key_check_seconds: 60
mode: verify
authserv_id: mx.example.org
dns: {nameservers: ["127.0.0.1:5353", 192.0.2.53, "::1", "[2001:db8::1]", "[::1]:54"], timeout: 0.5, cache_entries: 0}
sign_for: {networks: [192.0.2.0/24, 192.0.2.7, "2001:db8::/32", "::1"], authenticated: false, daemon_names: [A, "off"],
  tls_clients: [mail2.example.org]}
exempt: {networks: [127.0.0.2], daemon_names: [REINJECTED]}
trusted_relays: {networks: [192.0.2.25], daemon_names: [PROXIED]}
keystore: ../keys/ks.yaml
signing:
  canonicalization: simple/relaxed
  headers: [from, Subject, X-Own]
  oversign: [From]
  expire_after: 7d
  on_refused: reject
  on_bad_author: reject
  on_own_verdict: sign
verify: {max_signatures: 3, min_rsa_bits: 2048}
spf: {check_helo: no, helo_fail: reject, fail: reject, softfail: tempfail, permerror: reject, temperror: tempfail,
  void_lookups: 3}
dmarc:
  mode: enforce
  reject: hold
  quarantine: tag
  temperror: tempfail
  exempt: {networks: [198.51.100.7], dkim_domains: [Lists.Example.NET, bücher.example]}
  domains: {Bank.example: {reject: reject, temperror: accept}, friend.example: {mode: monitor}}
authors: {none: reject, several_fields: reject, several_domains: accept, unparsable: reject}
authentication_results: {remove_from: [mx2.example.org, mail], authenticated: true}
reports: {enabled: true, org_name: Example, from: dmarc@Example.org, contact: "https://example.org",
  exclude: [a.example], min_messages: 2, public_suffixes: true, period_hours: 6,
  submit_to: "[::1]:2525", bounces_to: b@example.org,
  spread_seconds: 30m}
reachable_recipients: [Postmaster, abuse@Bücher.example]
on_internal_error: accept
history: {enabled: true, store: "postgresql://db.example.org/mail", days: 7, size: 2G, addresses: hash,
  compare_with: [old.example]}
limits: {header_bytes: 512K, message_seconds: 60, spf_seconds: 10}
log: {level: debug, format: json, to: syslog}
""",
    )
    assert found.listen == "unix:/run/mailnotary/m.sock"
    assert (found.socket.mode, found.socket.group) == (0o666, "postfix")
    assert found.socket.peers == (ip_network("127.0.0.1"), ip_network("172.16.0.0/12"))
    assert (found.user, found.workers, found.stop_seconds) == ("notary", 4, 60)
    assert found.state_dir == Path("/srv/state")
    assert found.key_check_seconds == 60
    assert found.mode is Mode.VERIFY
    assert found.authserv_id == "mx.example.org"
    assert found.dns.nameservers == (
        ("127.0.0.1", 5353), ("192.0.2.53", 53), ("::1", 53), ("2001:db8::1", 53), ("::1", 54),
    )  # fmt: skip
    assert (found.dns.timeout, found.dns.cache_entries) == (0.5, 0)
    assert [str(network) for network in found.sign_for.networks] == [
        "192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32", "::1/128",
    ]  # fmt: skip
    assert (found.sign_for.authenticated, found.sign_for.daemon_names) == (False, ("A", "off"))
    assert (found.exempt.networks, found.exempt.daemon_names) == ((ip_network("127.0.0.2/32"),), ("REINJECTED",))
    assert found.sign_for.tls_clients == ("mail2.example.org",)
    assert found.trusted_relays.networks == (ip_network("192.0.2.25/32"),)
    assert found.trusted_relays.daemon_names == ("PROXIED",)
    assert found.keystore == file.parent / "../keys/ks.yaml"
    signing = found.signing
    assert (signing.canonicalization, signing.headers, signing.oversign) == (
        "simple/relaxed", ("from", "Subject", "X-Own"), ("From",),
    )  # fmt: skip
    assert signing.expire_after == 7 * 86400
    assert (signing.on_refused, signing.on_bad_author) == (OnRefused.REJECT, OnBadAuthor.REJECT)
    assert signing.on_own_verdict is OnOwnVerdict.SIGN
    assert (found.verify.max_signatures, found.verify.min_rsa_bits) == (3, 2048)
    spf = found.spf
    assert (spf.check_helo, spf.helo_fail, spf.fail, spf.softfail, spf.permerror, spf.temperror, spf.void_lookups) == (
        False, "reject", "reject", "tempfail", "reject", "tempfail", 3,
    )  # fmt: skip
    dmarc = found.dmarc
    assert (dmarc.mode, dmarc.reject, dmarc.quarantine, dmarc.temperror) == ("enforce", "hold", "tag", "tempfail")
    assert dmarc.exempt.networks == (ip_network("198.51.100.7/32"),)
    assert dmarc.exempt.dkim_domains == ("lists.example.net", "xn--bcher-kva.example")
    assert [rule.temperror for rule in dmarc.domains.values()] == ["accept", "tempfail"]
    assert {name: (rule.mode, rule.reject, rule.quarantine) for name, rule in dmarc.domains.items()} == {
        "bank.example": ("enforce", "reject", "tag"),
        "friend.example": ("monitor", "hold", "tag"),
    }
    authors = found.authors
    assert (authors.none, authors.several_fields, authors.several_domains, authors.unparsable) == (
        OnAuthor.REJECT, OnAuthor.REJECT, OnAuthor.ACCEPT, OnAuthor.REJECT,
    )  # fmt: skip
    assert found.authentication_results.remove_from == ("mx2.example.org", "mail")
    assert found.authentication_results.authenticated
    reports = found.reports
    assert (reports.enabled, reports.org_name, reports.from_) == (True, "Example", "dmarc@example.org")
    assert (reports.contact, reports.exclude, reports.min_messages) == ("https://example.org", ("a.example",), 2)
    assert (reports.public_suffixes, reports.period_hours, reports.submit_to) == (True, 6, "[::1]:2525")
    assert (reports.bounces_to, reports.spread_seconds) == ("b@example.org", 1800)
    history = found.history
    assert (history.enabled, history.store, history.days) == (True, "postgresql://db.example.org/mail", 7)
    assert (history.size, history.addresses, history.compare_with) == (2 * 2**30, "hash", ("old.example",))
    assert found.reachable_recipients == ("postmaster", "abuse@xn--bcher-kva.example")
    assert found.on_internal_error is InternalError.ACCEPT
    assert (found.limits.header_bytes, found.limits.message_seconds, found.limits.spf_seconds) == (524_288, 60, 10)
    assert (found.log.level, found.log.format, found.log.to) == ("debug", "json", "syslog")


def test_every_field_has_a_reader_and_every_reader_a_field() -> None:
    def check(cls: Any, converters: dict[str, Any]) -> None:
        assert {field.name.rstrip("_") for field in fields(cls)} == set(converters)
        for field in fields(cls):
            value = getattr(cls(), field.name)
            converter = converters[field.name.rstrip("_")]
            if is_dataclass(value):
                check(type(value), converter.converters if isinstance(converter, Section) else DMARC_KEYS)

    check(Settings, _SETTINGS)


def uncommented(text: str) -> str:
    """The example with its commented keys in force; prose has one space after its '#'."""
    return re.sub(r"^#(?! |\n)|^#(?=  )", "", text, flags=re.MULTILINE)


def test_the_example_unchanged_means_the_defaults() -> None:
    assert load(CONFIG) == replace(Settings(), keystore=CONFIG.absolute().parent / "keystore.yaml")


def test_the_example_shows_every_key_with_its_default(file: Path) -> None:
    text = uncommented(CONFIG.read_text())
    assert settings(file, text) == replace(Settings(), keystore=file.parent / "keystore.yaml")

    def check(converters: dict[str, Any], indent: str) -> None:
        for key, converter in converters.items():
            assert re.search(rf"^{indent}{key}:", text, re.MULTILINE), key
            if isinstance(converter, Section):
                inline = re.search(rf"^{indent}{key}: \{{", text, re.MULTILINE)
                if not inline:
                    check(converter.converters, indent + "  ")

    check(_SETTINGS, "")
    check(DMARC_KEYS, "  ")


def test_every_example_in_the_comments_is_valid(file: Path) -> None:
    examples = re.findall(r"Example: ([a-z_]+: .*)$", CONFIG.read_text(), re.MULTILINE)
    assert len(examples) >= 8
    parents = {
        "store": "history",
        "compare_with": "history",
        "nameservers": "dns",
        "expire_after": "signing",
        "remove_from": "authentication_results",
        "program": "source",
        "seal_file": "source",
    }
    for example in examples:
        key = example.partition(":")[0]
        parent = "dmarc" if "dkim_domains" in example or key == "domains" else parents.get(key)
        settings(file, f"{parent}: {{{example}}}\n" if parent else example)


@pytest.mark.parametrize(
    ("text", "mode"), [("0660", 0o660), ('"0660"', 0o660), ("660", 0o660), ("0o600", 0o600), ("'0777'", 0o777)]
)
def test_a_mode_is_octal_as_it_is_written(file: Path, text: str, mode: int) -> None:
    assert settings(file, f"socket: {{mode: {text}}}\n").socket.mode == mode


@pytest.mark.parametrize("word", ["true", "yes", "on", "True", "YES", "On", '"true"'])
def test_booleans_take_the_words_of_yaml(file: Path, word: str) -> None:
    assert settings(file, f"authentication_results: {{authenticated: {word}}}").authentication_results.authenticated
    opposite = {"true": "false", "yes": "no", "on": "off", '"true"': '"false"'}[word.lower()]
    assert not settings(file, f"spf: {{check_helo: {opposite}}}").spf.check_helo


def test_trusted_sealers_are_names_in_one_form(file: Path) -> None:
    found = settings(file, "arc: {verify: false, trusted_sealers: [Lists.Example, bücher.example]}").arc
    assert (found.verify, found.trusted_sealers) == (False, ("lists.example", "xn--bcher-kva.example"))
    assert settings(file, "arc: {seal: Example.org}").arc.seal == "example.org"


def test_off_without_quotes_is_the_word_off(file: Path) -> None:
    assert settings(file, "dmarc: {mode: off}").dmarc.mode is DmarcMode.OFF
    assert settings(file, "dkim2: {mode: off}").dkim2.mode is Dkim2Mode.OFF
    assert settings(file, "dkim2: {mode: observe}").dkim2.mode is Dkim2Mode.OBSERVE


@pytest.mark.parametrize("null", ["", "~", "null"])
def test_null_is_the_default_where_there_may_be_none(file: Path, null: str) -> None:
    text = (
        f"authserv_id: {null}\nsocket:\n  group: {null}\nsigning:\n  expire_after: {null}\ndns: {null}\ndmarc: {null}\n"
    )
    assert settings(file, text) == replace(Settings(), keystore=file.parent / "keystore.yaml")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("0.5", 0.5), ("500ms", 0.5), ("2s", 2), ("1m", 60), ("1 m", 60), ("0.25m", 15)],
)
def test_durations_have_units(file: Path, text: str, seconds: float) -> None:
    assert settings(file, f"dns: {{timeout: {text}}}").dns.timeout == seconds


@pytest.mark.parametrize(
    ("text", "octets"),
    [("65536", 65536), ("65_536", 65536), ("64K", 65536), ("64KiB", 65536), ("1M", 2**20), ("1 MB", 2**20)],
)
def test_sizes_have_units(file: Path, text: str, octets: int) -> None:
    assert settings(file, f"limits: {{header_bytes: {text}}}").limits.header_bytes == octets


@pytest.mark.parametrize(
    ("text", "canonicalization"),
    [("simple", "simple/simple"), ("relaxed", "relaxed/simple"), ("relaxed/relaxed", "relaxed/relaxed")],
)
def test_one_word_of_canonicalization_is_the_headers(file: Path, text: str, canonicalization: str) -> None:
    assert settings(file, f"signing: {{canonicalization: {text}}}").signing.canonicalization == canonicalization


@pytest.mark.parametrize(
    ("text", "authserv_id"),
    [("MX.example.org", "MX.example.org"), ("mail", "mail"), ("bücher.example", "xn--bcher-kva.example")],
)
def test_authserv_ids_are_tokens(file: Path, text: str, authserv_id: str) -> None:
    assert settings(file, f"authserv_id: {text}").authserv_id == authserv_id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # unknown keys, at the key
        ("lisen: x", "1:1: unknown key 'lisen': did you mean 'listen'?"),
        ("a: 1\nworkers: 2", "1:1: unknown key 'a': write "),
        ("dns: {time-out: 1}", "1:7: unknown key 'time-out': did you mean 'timeout'?"),
        ("min_rsa_bits: 2048", "1:1: unknown key 'min_rsa_bits' here: it belongs below 'verify:'"),
        ("dmarc:\n  modus: off", "2:3: unknown key 'modus': did you mean 'mode'?"),
        ("dmarc: {exempt: {domains: []}}", "1:18: unknown key 'domains': did you mean 'dkim_domains'?"),
        ('"a\\eb": 1', "1:1: unknown key 'a\\x1bb': "),
        ("dns: {timeout:5}", "1:7: unknown key 'timeout:5': write a space after the ':', like 'timeout: 5'"),
        # wrong kinds, at the value
        ("dns: 5", "1:6: '5' where keys are expected: write 'nameservers: ...' lines below it"),
        ("dns: [a]", "1:6: a list where keys are expected"),
        ("user: [a]", "1:7: a list where one value is expected: write a user like mailnotary"),
        ("user: {a: b}", "1:7: keys and values where one value is expected"),
        ("sign_for: {networks: 127.0.0.1}", "1:22: '127.0.0.1' where a list is expected: write [192.0.2.0/24]"),
        ("sign_for:\n  networks:\n", "2:12: no value: write [] for an empty list"),
        ("listen:", "1:8: no value: write inet:8891@127.0.0.1"),
        ("listen: ''", "1:9: no value: write inet:8891@127.0.0.1"),
        ("mode: ~", "1:7: '~' is not a known value: write both, sign, verify or observe"),
        # wrong values
        ("history: {store: history.db}", "1:18: 'history.db' is not a store: write an absolute path like"),
        ("history: {size: 10}", "1:17: '10' does not fit: write octets from 1048576"),
        ("history: {addresses: none}", "1:22: 'none' is not a known value: write full, domain or hash"),
        ("listen: 8891", "1:9: '8891' is not a socket: write inet:8891@127.0.0.1, inet6:8891@::1 or unix:"),
        ("listen: inet:8891@::1", "1:9: ::1 is an IPv6 address: write inet6:8891@::1"),
        ("socket: {mode: 0999}", "1:16: '0999' is not a mode that a socket can have: write an octal number like 0660"),
        ("socket: {mode: 0060}", "1:16: '0060' is not a mode that a socket can have"),
        ("socket: {mode: 1777}", "1:16: '1777' is not a mode that a socket can have"),
        ("socket: {peers: [mx.example.org]}", "1:18: 'mx.example.org' is not a "),
        (
            f"socket: {{peers: [{', '.join(['192.0.2.1'] * 65)}]}}",
            "1:17: 65 networks, but at most 64 are possible",
        ),
        ("socket: {group: 'a b'}", "1:17: 'a b' is not a user or group name"),
        ("user: ../x", "1:7: '../x' is not a user or group name: write one like mailnotary"),
        ("workers: 0", "1:10: '0' does not fit: write auto, or a number from 1 to 1024"),
        ("workers: 1025", "1:10: '1025' does not fit"),
        ("workers: 2.5", "1:10: '2.5' does not fit"),
        ("state_dir: state", "1:12: 'state' is not an absolute path: write one like /var/lib/mailnotary"),
        ("mode: all", "1:7: 'all' is not a known value: write both, sign, verify or observe"),
        ("mode: off", "1:7: 'off' is not a known value"),
        ("authserv_id: mx example", "1:14: 'mx example' is not an authserv-id: write a name like mx.example.org"),
        ("authserv_id: '{j}'", "1:14: '{j}' is not an authserv-id"),
        ("authserv_id: a;b", "1:14: 'a;b' is not an authserv-id"),
        ("dns: {nameservers: [localhost]}", "1:21: 'localhost' is not a name server: write its address"),
        ("dns: {nameservers: ['127.0.0.1:0']}", "1:21: '127.0.0.1:0' is not a name server"),
        ("dns: {nameservers: ['[127.0.0.1']}", "1:21: '[127.0.0.1' is not a name server"),
        ("dns: {nameservers: ['[::1]x']}", "1:21: '[::1]x' is not a name server"),
        ("dns: {timeout: 0}", "1:16: '0' does not fit: write seconds from 0.1 to 60"),
        ("dns: {timeout: 1:30}", "1:16: '1:30' does not fit"),
        ("dns: {timeout: .inf}", "1:16: '.inf' does not fit"),
        ("dns: {timeout: -1}", "1:16: '-1' does not fit"),
        ("dns: {cache_entries: 1e4}", "1:22: '1e4' does not fit: write a number from 0 to 10000000"),
        ("dns: {cache_entries: 0x10}", "1:22: '0x10' does not fit"),
        ("sign_for: {networks: [10.0.0.1/8]}", "1:23: '10.0.0.1/8' has host bits set: write 10.0.0.0/8"),
        ("exempt: {networks: ['2001:db8::1/32']}", "1:21: '2001:db8::1/32' has host bits set: write 2001:db8::/32"),
        ("exempt: {networks: [10.0.0.0/255.0.0.0]}", "1:21: '10.0.0.0/255.0.0.0' is not a network"),
        ("exempt: {networks: [10.0.0.0/33]}", "1:21: '10.0.0.0/33' is not a network"),
        ("exempt: {networks: [example.org]}", "1:21: 'example.org' is not a network"),
        ("exempt: {networks: ['fe80::1%eth0']}", "1:21: 'fe80::1%eth0' has a zone: remove '%eth0'"),
        (
            "exempt: {networks: ['::ffff:10.0.0.0/104']}",
            "1:21: '::ffff:10.0.0.0/104' is an IPv4-mapped network: write 10.0.0.0/8",
        ),
        ("exempt: {networks: [010.0.0.0/8]}", "1:21: '010.0.0.0/8' is not a network"),
        ("exempt: {networks: [[]]}", "1:21: a list where one value is expected"),
        ("sign_for: {authenticated: maybe}", "1:27: 'maybe' is neither true nor false: write true or false"),
        ("sign_for: {authenticated: 1}", "1:27: '1' is neither true nor false: write true or false"),
        ("keystore: ''", "1:11: no value: write a file like keystore.yaml"),
        ("signing: {canonicalization: nofws}", "1:29: 'nofws' is not a canonicalization: write relaxed/simple"),
        ("signing: {canonicalization: relaxed/}", "1:29: 'relaxed/' is not a canonicalization"),
        ("signing: {headers: [Subject]}", "1:20: From must be signed (RFC 6376 section 5.4): add it to the list"),
        ("signing: {headers: []}", "1:20: From must be signed"),
        ("signing: {headers: [From, 'a b']}", "1:27: 'a b' is not a header field's name"),
        ("signing: {headers: [From, 'a:']}", "1:27: 'a:' is not a header field's name"),
        ("signing: {headers: [From, a;b]}", "1:27: 'a;b' is not a header field's name"),
        ("signing: {headers: [From, Return-Path]}", "1:27: Return-Path can't be signed: the last hop replaces it"),
        ("signing: {headers: [From, dkim-signature]}", "1:27: dkim-signature can't be signed"),
        ("signing: {oversign: [From, Bcc]}", "1:28: Bcc can't be signed"),
        ("signing: {headers: [From, To, to]}", "1:31: duplicate 'to': remove one of them"),
        ("signing: {expire_after: 1s}", "1:25: '1s' does not fit: write seconds from 60 to"),
        ("signing: {on_refused: bounce}", "1:23: 'bounce' is not a known value: write unsigned or reject"),
        ("signing: {on_bad_author: unsigned}", "1:26: 'unsigned' is not a known value: write tempfail or reject"),
        ("verify: {min_rsa_bits: 512}", "1:24: '512' does not fit: write a number from 1024 to 4096"),
        ("verify: {max_signatures: 0}", "1:26: '0' does not fit: write a number from 1 to 100"),
        ("spf: {fail: hold}", "1:13: 'hold' is not a known value: write accept, reject or tempfail"),
        ("arc: {trusted_sealers: [a b]}", "1:25: 'a b' is not a domain name: write one like example.org"),
        ("arc: {trust: [a.example]}", "1:7: unknown key 'trust'"),
        ("dkim2: {mode: enforce}", "1:15: 'enforce' is not a known value: write off or observe"),
        ("dmarc: {mode: on}", "1:15: 'on' is not a known value: write off, monitor or enforce"),
        ("dmarc: {reject: accept}", "1:17: 'accept' is not a known value: write tag, hold or reject"),
        ("dmarc: {domains: {a_b: {}, 'x!': {}}}", "1:28: 'x!' is not a domain name: write one like example.org"),
        ("dmarc: {domains: {a.example: {}, A.Example: {}}}", "1:34: duplicate a.example: remove one of them"),
        ("dmarc: {domains: {a.example: enforce}}", "1:30: 'enforce' where keys are expected: write 'mode: ...'"),
        ("dmarc: {exempt: {dkim_domains: [-x]}}", "1:33: '-x' is not a domain name"),
        ("reachable_recipients: [a b]", "1:24: 'a b' is not a recipient: write a name like postmaster, or an address"),
        ("reachable_recipients: ['*']", "1:24: '*' is not a recipient: write a name like postmaster, or an address"),
        ("authors: {none: tag}", "1:17: 'tag' is not a known value: write policy, accept or reject"),
        (
            "authentication_results: {remove_from: ['*']}",
            "1:40: '*' is a pattern, but only whole names are compared: write out each name",
        ),
        ("authentication_results: {remove_from: ['mx?.example.org']}", "1:40: 'mx?.example.org' is a pattern"),
        ("on_internal_error: reject", "1:20: 'reject' is not a known value: write tempfail or accept"),
        ("limits: {header_bytes: 1T}", "1:24: '1T' does not fit: write octets from 4096 to 67108864"),
        ("limits: {header_bytes: 0}", "1:24: '0' does not fit"),
        ("limits: {spf_seconds: 301}", "1:23: '301' does not fit"),
        ("log: {level: verbose}", "1:14: 'verbose' is not a known value: write debug, info, warning or error"),
        ("log: {to: /var/log/x}", "1:11: '/var/log/x' is not a known value: write stderr or syslog"),
    ],
)
def test_what_is_wrong_has_its_place_and_its_cure(file: Path, text: str, expected: str) -> None:
    found = errors(file, text)
    assert found[0].startswith(expected)
    assert all(error.isprintable() for error in found)


ENFORCE = "enforce needs an explicit 'reject:'"


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("dmarc: {mode: enforce}", ["1:15"]),
        ("dmarc:\n  quarantine: tag\n  mode: enforce\n", ["3:9"]),
        ("dmarc: {mode: enforce, domains: {a.example: {mode: enforce}}}", ["1:15", "1:52"]),
        ("dmarc: {domains: {a.example: {mode: enforce}}}", ["1:37"]),
        ("dmarc: {mode: enforce, domains: {a.example: {reject: tag}}}", ["1:15"]),
    ],
)
def test_enforce_demands_that_reject_is_written_out(file: Path, text: str, places: list[str]) -> None:
    found = errors(file, text)
    assert [error.split(": ")[0] for error in found] == places
    assert all(ENFORCE in error and "RFC 9989" in error and "'reject: tag'" in error for error in found)


@pytest.mark.parametrize(
    "text",
    [
        "dmarc: {mode: enforce, reject: reject}",
        "dmarc: {reject: tag, mode: enforce, domains: {a.example: {mode: enforce}}}",
        "dmarc: {domains: {a.example: {mode: enforce, reject: reject}}}",
    ],
)
def test_enforce_with_reject_is_taken(file: Path, text: str) -> None:
    settings(file, text)


def test_all_errors_are_reported_at_once_in_the_order_of_the_file(file: Path) -> None:
    found = errors(file, "workers: 0\nlisen: x\nlog: {to: x, level: y}\nworkers: 1\n")
    assert [error.split(": ")[0] for error in found] == ["1:10", "2:1", "3:11", "3:21", "4:1"]


def test_errors_name_the_file_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.yaml").write_text("mode: x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^x\.yaml:1:7: "):
        load(Path("x.yaml"))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    said = "none.yaml: does not exist: create it, or check the name"
    with pytest.raises(ConfigError, match=said):
        load(tmp_path / "none.yaml")


def test_a_huge_file_is_an_error(file: Path) -> None:
    assert errors(file, "#" * (MAX_BYTES + 1))[0].strip().startswith("larger than")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sign_for: {networks: [0.0.0.0/0]}", "1:23: 0.0.0.0/0 includes every client on the Internet"),
        ("exempt: {networks: ['::/0']}", "1:21: ::/0 includes every client on the Internet"),
        ("signing: {headers: [From, Received]}", "1:27: signing received makes signatures fragile"),
        ("signing: {oversign: [Subject]}", "1:21: without From, a second From can be added"),
        ("limits: {spf_seconds: 30}", "1:23: Postfix waits 30 s for it"),
        ("limits: {message_seconds: 300}", "1:27: Postfix waits 300 s for it"),
    ],
)
def test_what_is_strange_is_a_warning(file: Path, text: str, expected: str) -> None:
    (found,) = warnings(file, text)
    assert found.startswith(expected)


def test_settings_travel_to_other_processes(file: Path) -> None:
    found = settings(file, "dmarc: {domains: {a.example: {mode: off}}}")
    assert pickle.loads(pickle.dumps(found)) == found


WORDS = st.sampled_from(
    [*_SETTINGS, *DMARC_KEYS, "x", "", "~", "0", "1.5", "true", "off", "::1", "10.0.0.0/8", "enforce"]
)
TREES = st.recursive(
    WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)


def flow(tree: Any) -> str:
    if isinstance(tree, dict):
        return "{" + ", ".join(f'"{key}": {flow(value)}' for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(flow(item) for item in tree) + "]"
    return '"' + "".join(f"\\U{ord(c):08x}" for c in tree) + '"'


@given(st.dictionaries(st.sampled_from(list(_SETTINGS)), TREES, max_size=6))
def test_any_tree_gives_settings_or_errors_with_places(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "tree.yaml"
    file.write_text(flow(tree))
    try:
        load(file)
    except ConfigError as error:
        for problem in error.problems:
            assert problem.line >= 1
            assert problem.column >= 1
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e]", str(problem))


REPORTS = "history: {enabled: true}\nreports: {enabled: true, org_name: X, from: d@example.org"


def test_reports_that_have_all_they_need(file: Path) -> None:
    assert settings(file, REPORTS + "}").reports.enabled
    assert settings(file, REPORTS + ", submit_to: sendmail}").reports.submit_to == "sendmail"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("history: {enabled: true}\nreports: {enabled: true, from: d@example.org}", "2:20: reports need org_name"),
        ("history: {enabled: true}\nreports: {enabled: true, org_name: X}", "2:20: reports need an author"),
        ("reports: {enabled: true, org_name: X, from: d@example.org}", "1:20: reports are made of the history: add"),
        (REPORTS.replace("true", "true, days: 2", 1) + "}", "2:20: history.days is 2"),
        ("mode: sign\n" + REPORTS + "}", "3:20: mode is sign, so there is nothing to report"),
        ("dmarc: {mode: off}\n" + REPORTS + "}", "3:20: dmarc.mode is off, so there is nothing to report"),
        ("reports: {from: d@}", "is not an address at a domain name: write one like dmarc-reports@example.org"),
        ("reports: {from: nobody}", "nobody is not an address: write one like"),
        ("reports: {bounces_to: x}", "x is not an address"),
        ("reports: {period_hours: 5}", "does not divide a day: write 1, 2, 3, 4, 6, 8, 12 or 24"),
        ("reports: {submit_to: mail.example.org}", "is not an address with a port"),
        ("reports: {exclude: ['*']}", "is not a domain name"),
    ],
)
def test_reports_that_lack_something(text: str, error: str, file: Path) -> None:
    assert any(error in found for found in errors(file, text))


def test_reports_that_leave_the_machine_without_tls_are_warned_of(file: Path) -> None:
    assert any("without TLS" in found for found in warnings(file, REPORTS + ", submit_to: 192.0.2.1:25}"))
