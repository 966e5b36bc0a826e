"""`mailnotary import-opendkim` on the configurations that people have."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailnotary.cli import main
from mailnotary.config import keystore_file, yaml_nodes
from mailnotary.config.keystore import KeyStore
from mailnotary.config.load import Configuration, load_configuration
from mailnotary.config.settings import InternalError, LogTarget, Mode
from mailnotary.opendkim import OpendkimError, convert
from mailnotary.opendkim.conf import DataSet, SigningTable
from support.mail import ed_pem

DATA = Path(__file__).parents[1] / "data" / "opendkim"


class Setup:
    """The sample files in a directory of their own, with keys."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keys = directory / "keys"
        for sample in DATA.iterdir():
            text = sample.read_text().replace("@HERE@", str(directory)).replace("@KEYS@", str(self.keys))
            (directory / sample.name).write_text(text)

    def key(self, *names: str) -> None:
        for name in names:
            path = self.keys / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(ed_pem())

    def imported(self, name: str) -> tuple[Configuration, str]:
        """What the daemon loads of it, and the notes."""
        assert main(["import-opendkim", str(self.directory / name), "--output", str(self.directory / "out")]) == 0
        settings_file = self.directory / "out" / "mailnotary.yaml"
        settings_file.write_text(settings_file.read_text() + "user: root\n")
        return load_configuration(settings_file), "\n".join(convert(self.directory / name).notes)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def signed(keystore: KeyStore, domain: str) -> list[tuple[str, str]]:
    """The domains (d=) and selectors that sign for an author domain."""
    entry = keystore.find(domain)
    return [] if entry is None else [(entry.domain, key.selector) for key in entry.keys]


def test_one_domain_with_one_key(setup: Setup) -> None:
    setup.key("example.private")
    configuration, notes = setup.imported("basic.conf")
    found = configuration.settings
    assert signed(configuration.keystore, "example.com") == [("example.com", "2020")]
    assert signed(configuration.keystore, "sub.example.com") == []
    assert [str(network) for network in found.sign_for.networks] == ["192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12"]
    assert found.mode is Mode.BOTH
    assert found.signing.canonicalization == "relaxed/simple"
    assert found.signing.oversign == ("From",)
    assert found.listen == "unix:/run/opendkim/opendkim.sock"
    assert found.socket.mode == 0o660
    assert found.dns.nameservers == (("127.0.0.1", 53),)
    assert found.log.to is LogTarget.SYSLOG
    assert "TrustAnchorFile" in notes
    assert "PidFile" in notes


def test_the_tables_of_the_how_tos(setup: Setup) -> None:
    setup.key(*(f"{name}/mail.private" for name in ("example.com", "example.net", "example.org")))
    configuration, notes = setup.imported("howto.conf")
    keystore = configuration.keystore
    assert {name: signed(keystore, name) for name in ("example.com", "a.b.example.com", "example.net")} == {
        "example.com": [("example.com", "mail")],
        "a.b.example.com": [("example.com", "mail")],
        "example.net": [("example.net", "mail")],
    }
    assert signed(keystore, "sub.example.net") == []
    networks = [str(network) for network in configuration.settings.sign_for.networks]
    assert networks == ["127.0.0.1/32", "127.0.0.0/8", "::1/128", "192.168.0.0/24", "2001:db8::/32"]
    assert "*.example.com: write its addresses" in notes
    assert configuration.settings.listen == "inet:12301@localhost"


def test_a_user_with_a_key_of_their_own(setup: Setup) -> None:
    setup.key("president", "excom", "exnet")
    configuration, notes = setup.imported("per-user.conf")
    assert signed(configuration.keystore, "example.com") == [("example.com", "bar")]
    assert "president@example.com preskey: a user's own key has no match" in notes
    only = configuration.keystore.entries["example.net"]
    assert only.allow.envelope_from == ("news@example.net",)
    assert configuration.settings.listen == "inet:8891@0.0.0.0"


def test_a_plain_table_with_several_signatures_and_all_that_has_no_match(setup: Setup) -> None:
    setup.key("shared.rsa", "shared.rsa2", "relay")
    configuration, notes = setup.imported("flat.conf")
    found, keystore = configuration.settings, configuration.keystore
    both = [("example.com", "rsa1"), ("example.com", "rsa2")]
    assert signed(keystore, "example.com") == signed(keystore, "sub.example.com") == both
    assert signed(keystore, "example.net") == [("example.net", "rsa1")]
    assert signed(keystore, "other.example") == [("relay.example", "r1")]
    assert signed(keystore, "example.org") == [("relay.example", "r1")]
    assert [str(network) for network in found.sign_for.networks] == ["192.0.2.1/32", "2001:db8::1/128"]
    assert [str(network) for network in found.exempt.networks] == ["198.51.100.0/24"]
    assert found.sign_for.daemon_names == ("MSA", "submission")
    assert found.authserv_id == "mx.example.com"
    assert found.verify.min_rsa_bits == 1024
    assert found.verify.max_signatures == 5
    assert found.signing.expire_after == 604800
    assert found.signing.canonicalization == "simple/simple"  # OpenDKIM's default
    assert "X-Campaign" in found.signing.headers
    assert "Sender" not in found.signing.headers
    assert found.signing.oversign == ("From", "Subject")
    assert found.authentication_results.remove_from == ("old.example.com",)
    assert found.on_internal_error is InternalError.ACCEPT
    assert found.log.to is LogTarget.STDERR
    words = ("!192.0.2.9", "mail.example.com", "On-BadSignature", "DontSignMailTo", ".example.net:", "never matched")
    for word in words:
        assert word in notes, word
    assert "unsafe_keys: true" in (setup.directory / "out" / "keystore.yaml").read_text()


def test_a_key_file_for_each_domain(setup: Setup) -> None:
    setup.key("many/a.example.key", "many/b.example.key", "many/README")
    configuration, _ = setup.imported("percent.conf")
    assert list(configuration.keystore.entries) == ["a.example", "b.example"]
    assert signed(configuration.keystore, "a.example") == [("a.example", "s1")]


@pytest.mark.parametrize(
    "path",
    ["/etc/opendkim.conf"]
    + [f"/usr/share/doc/opendkim/examples/opendkim.conf.{name}" for name in ("sample", "simple", "simple-verify")],
)
def test_the_files_of_debians_package(path: str) -> None:
    if not Path(path).exists():
        pytest.skip("Debian's package opendkim is not installed")
    imported = convert(Path(path))
    report = yaml_nodes.Report("mailnotary.yaml")
    yaml_nodes.parse(imported.settings.encode(), report)
    yaml_nodes.parse(imported.keystore.encode(), report)
    assert report.problems == []


def test_nothing_is_overwritten(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    out = setup.directory / "out"
    out.mkdir()
    (out / "keystore.yaml").write_text("mine")
    assert main(["import-opendkim", str(setup.directory / "howto.conf"), "--output", str(out)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["keystore.yaml"]
    assert (out / "keystore.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("KeyTable dsn:mysql://x\nSigningTable *\n", "a database"),
        ("KeyTable /nowhere/KeyTable\nSigningTable refile:/nowhere/x\n", "can't be read"),
        ("Include opendkim.conf\n", "include each other"),
        ("Domain \0\n", "not a text file"),
    ],
)
def test_what_can_not_be_read_is_said(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "opendkim.conf").write_text(text)
    with pytest.raises(OpendkimError, match=why):
        convert(tmp_path / "opendkim.conf")


def test_a_database_of_hosts_is_a_note_alone(tmp_path: Path) -> None:
    (tmp_path / "opendkim.conf").write_text("InternalHosts ldap://x\nUnknown \x1b[31m\n")
    notes = convert(tmp_path / "opendkim.conf").notes
    assert any("a database" in note for note in notes)
    assert all("\x1b" not in note for note in notes)


def test_odd_rows_of_the_tables_are_notes(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(
        "short example.com:s\nbad ex..ample:s:/k\nsel example.com:s s:/k\ninline example.com:s:MIIB\n"
        "other b.example:s:/k2\nfine a.example:s:/k1\n"
    )
    (tmp_path / "signing").write_text(
        "*@a.example fine\n*@a.example other\n*@m.example missing\n*@i.example inline\n*@s.example sel\n"
        "*@bad.example bad\n*@*.sub.example fine\nx@* fine\nu@only.example missing\n"
        "*@e.*.example fine\nuser@*.q.example fine\n"
    )
    conf = tmp_path / "opendkim.conf"
    conf.write_text(f"KeyTable {tmp_path}/keys\nSigningTable refile:{tmp_path}/signing\nMultipleSignatures yes\n")
    notes = "\n".join(convert(conf).notes)
    for word in (
        "short: not domain:selector:file",
        "ex..ample is not a domain name",
        "s s is not a selector",
        "save it as a file",
        "KeyTable has no missing",
        "a second signature as b.example",
        "names below sub.example had keys of their own",
        "x@* fine: a pattern",
        "*@e.*.example fine: a pattern",
    ):
        assert word in notes, word


# --- the meaning ----------------------------------------------------------------------------------------------------

DOMAINS = ("a.example", "sub.a.example", "b.example")
refile = st.sampled_from(
    ["*", "*@*"] + [form.replace("D", name) for name in DOMAINS for form in ("*@D", "*@*.D", "*D", "u@D", "*@*D")]
)
flat = st.sampled_from(
    ["*"] + [form.replace("D", name) for name in DOMAINS for form in ("D", ".D", "u@D", "u@.D", "*@D")]
)
ASKED = ("a.example", "sub.a.example", "deep.sub.a.example", "b.example", "x.b.example", "other.example")


@given(
    st.booleans().flatmap(
        lambda wild: st.tuples(st.just(wild), st.lists(refile if wild else flat, min_size=1, max_size=5))
    ),
    st.booleans(),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_is_signed_that_opendkim_does_not_sign(
    tmp_path: Path, rules: tuple[bool, list[str]], several: bool
) -> None:
    wildcards, patterns = rules
    directory = tmp_path / "case"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    key = directory / "k"
    key.touch(mode=0o600)
    key.write_bytes(ed_pem())
    (directory / "keys").write_text("".join(f"k{i} signer{i}.example:s{i}:{key}\n" for i in range(len(patterns))))
    (directory / "signing").write_text("".join(f"{one} k{i}\n" for i, one in enumerate(patterns)))
    conf = directory / "opendkim.conf"
    kind = "refile:" if wildcards else ""
    yes = "yes" if several else "no"
    conf.write_text(f"KeyTable {directory}/keys\nSigningTable {kind}{directory}/signing\nMultipleSignatures {yes}\n")
    imported = convert(conf)
    report = yaml_nodes.Report("keystore.yaml")
    out = directory / "keystore.yaml"
    out.write_text(imported.keystore)
    keystore = keystore_file.read(out, report, uid=os.geteuid(), gids=(os.getegid(),))
    assert report.problems == [], imported.keystore
    items = tuple((one, f"k{i}") for i, one in enumerate(patterns))
    table = SigningTable(DataSet(items, wildcards), several=several)
    for name in ASKED:
        entry = keystore.find(name)
        wanted = [(f"signer{rule.key[1:]}.example", f"s{rule.key[1:]}") for rule in table.match(f"anybody@{name}")]
        got = signed(keystore, name)
        if entry is not None and entry.allow.envelope_from:
            continue
        assert not got or wanted, imported.keystore  # what OpenDKIM lets out unsigned stays so
        if not imported.notes:
            assert got == wanted, imported.keystore


DIRECTIVES = (
    *("Domain", "Selector", "KeyFile", "SubDomains", "Mode", "Canonicalization", "Socket", "UMask", "InternalHosts"),
    *("PeerList", "MTA", "SignHeaders", "OmitHeaders", "OversignHeaders", "SignatureTTL", "MinimumKeyBits", "Odd"),
    *("MaximumSignaturesToVerify", "RemoveARFrom", "AuthservID", "Nameservers", "DNSTimeout", "MaximumHeaders"),
    *("Syslog", "On-InternalError", "RequireSafeKeys", "SignatureAlgorithm", "KeyTable", "SigningTable"),
)
VALUES = (
    *("a.example", "yes", "no", "1024", "-1", "9" * 30, "inet:8891@localhost", "local:/x", "*,+From,-To", "[::1]"),
    *("::ffff:192.0.2.1", "!192.0.2.1", "192.0.2.0/24", "refile:tables", "file:tables", "tables", "/dev/null", "077"),
    *("x=y:z:/k", "*@a.example=x", '"quoted" #', "off", "0x1f", "{a: b}", "- x", "&a", "*", "relaxed", "sv"),
)
values = st.text(max_size=20) | st.sampled_from(VALUES)


@given(st.lists(st.tuples(st.sampled_from(DIRECTIVES), values), max_size=8), st.lists(values, max_size=3))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_there_the_files_can_be_read_or_it_is_said_why_not(
    tmp_path: Path, lines: list[tuple[str, str]], rows: list[str]
) -> None:
    (tmp_path / "tables").write_text("\n".join(rows), errors="replace")
    conf = tmp_path / "opendkim.conf"
    conf.write_text("\n".join(f"{name} {value}" for name, value in lines), errors="replace")
    try:
        imported = convert(conf)
    except OpendkimError:
        return
    for text in (imported.settings, imported.keystore):
        report = yaml_nodes.Report("file.yaml")
        yaml_nodes.parse(text.encode(), report)
        assert report.problems == [], text
