"""`mailnotary import` on the OpenDKIM configurations that people have."""

import cProfile
import os
import shutil
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailnotary.cli import main
from mailnotary.config import keystore_file, yaml_file, yaml_nodes
from mailnotary.config.keystore import KeyStore
from mailnotary.config.load import Configuration, load_configuration
from mailnotary.config.settings import InternalError, LogTarget, Mode
from mailnotary.importing import Imported, SourceError
from mailnotary.importing import convert as convert_all
from mailnotary.importing.conf import DataSet, Item
from mailnotary.importing.hosts import OPENDKIM, read_hosts
from mailnotary.importing.listen import RUN, SPOOL, socket_of
from mailnotary.importing.opendkim.signing_table import SigningTable
from support.mail import ed_pem

DATA = Path(__file__).parents[1] / "data" / "opendkim"


def convert(path: Path) -> Imported:
    return convert_all([path])


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
        assert main(["import", str(self.directory / name), "--output", str(self.directory / "out")]) == 0
        settings_file = self.directory / "out" / "mailnotary.yaml"
        settings_file.write_text(settings_file.read_text() + "user: root\n")
        return load_configuration(settings_file), "\n".join(map(str, convert(self.directory / name).notes))


@pytest.fixture(autouse=True)
def _no_postfix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailnotary.importing.listen.has_postfix", lambda: False)


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
    assert found.listen == "unix:/run/mailnotary/mailnotary.sock"
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
    assert networks == ["127.0.0.1/32", "::1/128", "2001:db8::/32"]
    assert "*.example.com: names and ranges have no match" in notes
    assert "192.168.0.1/24: host bits are set, so it never matches: write 192.168.0.0/24" in notes
    assert configuration.settings.listen == "inet:12301@localhost"


def test_a_user_with_a_key_of_their_own(setup: Setup) -> None:
    setup.key("president", "excom", "exnet")
    configuration, notes = setup.imported("per-user.conf")
    assert signed(configuration.keystore, "example.com") == [("example.com", "bar")]
    assert "president@example.com preskey: a user's own key has no match" in notes
    assert "example.net" not in configuration.keystore.entries
    assert "news@example.net netkey: signed for this author alone" in notes
    assert configuration.settings.listen == "inet:8891@0.0.0.0"


def test_a_plain_table_with_several_signatures_and_all_that_has_no_match(setup: Setup) -> None:
    setup.key("shared.rsa", "shared.rsa2", "relay")
    configuration, notes = setup.imported("flat.conf")
    found, keystore = configuration.settings, configuration.keystore
    # Of three, OpenDKIM signs with the first and the last, and that is another domain's.
    assert signed(keystore, "example.com") == signed(keystore, "sub.example.com") == [("example.com", "rsa1")]
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
    words = ("mail.example.com", "On-BadSignature", "DontSignMailTo", ".example.net:", "never matched")
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
    yaml_file.parse(imported.settings.encode(), report)
    yaml_file.parse(imported.keystore.encode(), report)
    assert report.problems == []


def test_nothing_is_overwritten(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    out = setup.directory / "out"
    out.mkdir()
    (out / "keystore.yaml").write_text("mine")
    assert main(["import", str(setup.directory / "howto.conf"), "--output", str(out)]) == 1
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
    with pytest.raises(SourceError, match=why):
        convert(tmp_path / "opendkim.conf")


def test_a_database_of_hosts_is_a_note_alone(tmp_path: Path) -> None:
    (tmp_path / "opendkim.conf").write_text("InternalHosts ldap://x\nUnknown \x1b[31m\n")
    notes = convert(tmp_path / "opendkim.conf").notes
    assert any("a database" in note.text for note in notes)
    assert all("\x1b" not in note.text for note in notes)


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
    notes = "\n".join(map(str, convert(conf).notes))
    for word in (
        "keys:1: KeyTable: this row is not NAME domain:selector:file",
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
    items = tuple(Item(one, f"k{i}") for i, one in enumerate(patterns))
    table = SigningTable(DataSet(items, wildcards), several=several)
    for name in ASKED:
        wanted = [(f"signer{rule.key[1:]}.example", f"s{rule.key[1:]}") for rule in table.match(f"anybody@{name}")]
        got = signed(keystore, name)
        assert not got or wanted, imported.keystore  # what OpenDKIM lets out unsigned stays so
        if not imported.notes:
            assert got == wanted, imported.keystore


DIRECTIVES = (
    *(
        "Domain",
        "Selector",
        "KeyFile",
        "SubDomains",
        "Mode",
        "Canonicalization",
        "Socket",
        "UMask",
        "InternalHosts",
        OPENDKIM,
    ),
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
    except SourceError:
        return
    for text in (imported.settings, imported.keystore):
        report = yaml_nodes.Report("file.yaml")
        yaml_file.parse(text.encode(), report)
        assert report.problems == [], text


# --- what it writes, check-config accepts ---------------------------------------------------------------------------

names = st.sampled_from(
    ["a.example", "A.Example", "bücher.example", "xn--bcher-kva.example", "one", "a.example.", "x" * 60 + ".example"]
)
patterns = st.sampled_from(["*@D", "*@*.D", "*D", "D", "u@D", "n?ws@D", "[u]@D", ".D", "*", "*@*", "u@*.D"])
selectors = st.sampled_from(
    ["s1", "S1", "s2", "sü", "s." + "y" * 60, "z" * 63 + "." + "z" * 63 + "." + "z" * 63, "a b"]
)
SETS = (
    "OversignHeaders",
    "SignHeaders",
    "OmitHeaders",
    "RemoveARFrom",
    "MTA",
    "InternalHosts",
    "PeerList",
    "MacroList",
)
items = st.lists(
    st.sampled_from(
        ["From", "from", "X-\u00fc", "*", "+to", "-Cc", ".a.example", "a*", "::1", "!::1", "10.0.0.0/8", "$"]
    ),
    max_size=4,
)


@given(
    st.lists(st.tuples(names, st.sampled_from(["%", "a.example", "b.example"]), selectors, st.booleans()), max_size=4),
    st.lists(st.tuples(patterns, names, st.sampled_from(["k0", "k1", "k2", "%", ""])), max_size=5),
    st.lists(names, max_size=3),
    st.lists(st.tuples(st.sampled_from(SETS), items), max_size=4),
    st.sampled_from(["file:", "refile:"]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_check_config_accepts_whatever_is_written(
    tmp_path: Path,
    keys: list[tuple[str, str, str, bool]],
    rules: list[tuple[str, str, str]],
    domains: list[str],
    lists: list[tuple[str, list[str]]],
    kind: str,
    tables: bool,
) -> None:
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    for key in ("a", "b"):
        (tmp_path / key).touch(mode=0o600)
        (tmp_path / key).write_bytes(ed_pem())
    lines = [f"{name} {','.join(values)}" for name, values in lists]
    if tables:
        rows = [
            f"{name if number % 2 else f'k{number}'} {domain}:{selector}:{tmp_path}/{'a' if same else 'b'}"
            for number, (name, domain, selector, same) in enumerate(keys)
        ]
        (tmp_path / "keys").write_text("\n".join(rows))
        (tmp_path / "rules").write_text("\n".join(f"{one.replace('D', name)} {key}" for one, name, key in rules))
        lines += [f"KeyTable file:{tmp_path}/keys", f"SigningTable {kind}{tmp_path}/rules", "MultipleSignatures yes"]
    else:
        lines += [f"Domain {','.join(domains)}", "Selector s1", f"KeyFile {tmp_path}/a"]
    (tmp_path / "opendkim.conf").write_text("\n".join(lines))
    assert main(["import", str(tmp_path / "opendkim.conf"), "--output", str(tmp_path / "out")]) == 0
    written = tmp_path / "out" / "mailnotary.yaml"
    written.write_text(written.read_text() + "user: root\n")
    assert load_configuration(written).faults == ()  # it raises ConfigError for what check-config refuses


@pytest.mark.parametrize("family", [4, 6])
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_no_address_is_trusted_that_opendkim_does_not_trust(family: int, data: st.DataObject) -> None:
    base, bits = (("10.0.0.", 32), ("2001:db8::", 128))[family == 6]
    addresses = [f"{base}{number}" for number in range(10)]
    entry = st.tuples(st.sampled_from(["", "!"]), st.sampled_from(addresses), st.integers(bits - 4, bits))
    entries = [f"{mark}{address}/{length}" for mark, address, length in data.draw(st.lists(entry, max_size=8))]
    hosts = read_hosts([Item(one, "") for one in entries], "InternalHosts", OPENDKIM)
    networks = [ip_network(one) for one in hosts.networks]
    for address in addresses:
        for length in range(bits, -1, -1):  # as dkimf_checkip asks: the smallest network first, the exclusion before it
            around = str(ip_network(f"{address}/{length}", strict=False))
            if "!" + around in entries or around in entries:
                trusted = "!" + around not in entries
                break
        else:
            trusted = False
        found = any(ip_address(address) in network for network in networks)
        assert not found or trusted
        written_well = all(str(ip_network(one.lstrip("!"), strict=False)) == one.lstrip("!") for one in entries)
        assert found == trusted or not written_well


@pytest.mark.parametrize(
    "entry",
    [
        *("192.168.0.1/24", "10.0.0.0/0.255.255.255", "10.0.0.0/255.0.0.0", "2001:DB8:0::1", "::ffff:192.0.2.1", "a.b"),
        *("[192.0.2.1]", "[192.0.2.0/24]", "010.0.0.0/8", "10.0.0.0/08"),
    ],
)
def test_what_opendkim_never_matches_is_not_trusted_but_told(entry: str) -> None:
    hosts = read_hosts([Item(entry, "")], "InternalHosts", OPENDKIM)
    assert (hosts.networks, len(hosts.notes)) == ([], 1)


def test_without_a_list_of_hosts_this_host_alone_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "opendkim.conf").write_text("Mode sv\n")
    text = convert(tmp_path / "opendkim.conf").settings
    assert "networks: [" in text
    assert "127.0.0.0/8" not in text


def case(tmp_path: Path, conf: str, **tables: str) -> str:
    """The notes on a configuration with these tables."""
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "opendkim.conf").write_text(conf.replace("DIR", str(tmp_path)))
    return "\n".join(map(str, convert(tmp_path / "opendkim.conf").notes))


def test_each_rule_that_does_nothing_is_told(tmp_path: Path) -> None:
    conf = "KeyTable DIR/keys\nSigningTable refile:DIR/rules\nKeyFile /k\nSyslogFacility mail\nDomain a.example\n"
    rules = "a.example k1\n*@* k1\n*@b.example k2\n*@c.example\n"
    notes = case(tmp_path, conf, keys="k1 a.example:s:/a:rsa-sha256\nk2 b.example:s:/b\n", rules=rules)
    for word in (
        "a.example k1: never matched",
        "*@b.example k2: not taken over: another rule precedes it",
        "*@c.example : it names no key",
        "the fourth field (rsa-sha256)",
        "KeyFile /k: not used beside SigningTable",
        "SyslogFacility mail: ",
    ):
        assert word in notes, word
    assert "Domain *: signing for any domain" in case(tmp_path, "Domain *\nSelector s\nKeyFile /k\n")


def test_keys_that_are_named_after_the_authors_domain(setup: Setup) -> None:
    setup.key("a", "b")
    here = setup.directory
    (here / "t").write_text(f"example.org %:s1:{here}/keys/a\nexample.com %:s2:{here}/keys/b\n")
    (here / "s").write_text("* %\n")
    (here / "x.conf").write_text(f"KeyTable {here}/t\nSigningTable refile:{here}/s\n")
    configuration, notes = setup.imported("x.conf")
    assert signed(configuration.keystore, "example.org") == [("example.org", "s1")]
    assert signed(configuration.keystore, "example.com") == [("example.com", "s2")]
    assert signed(configuration.keystore, "sub.example.org") == []
    assert "SigningTable" not in notes


def test_the_macro_of_the_daemons_name_is_ours_too(tmp_path: Path) -> None:
    notes = case(tmp_path, "MacroList daemon_name=ORIGINATING|MSA,x=y\n")
    assert "daemon_names: [ORIGINATING, MSA]" in convert(tmp_path / "opendkim.conf").settings
    assert "x: of the macros" in notes


@pytest.mark.parametrize("conf", ["PeerList dsn:mysql://u:secret@h/d\n", "LDAPBindPassword secret\n"])
def test_no_password_of_a_database_is_shown(tmp_path: Path, conf: str) -> None:
    case(tmp_path, conf)
    imported = convert(tmp_path / "opendkim.conf")
    assert "secret" not in imported.settings + imported.keystore + "".join(map(str, imported.notes))
    with pytest.raises(SourceError) as raised:
        case(tmp_path, "KeyTable dsn:mysql://u:secret@h/d\nSigningTable x\n")
    assert "secret" not in str(raised.value)


def test_no_line_of_a_private_key_is_shown(tmp_path: Path) -> None:
    conf = "KeyTable DIR/keys\nSigningTable refile:DIR/rules\n"
    case(tmp_path, conf, keys="k d.example:s:" + ed_pem().decode(), rules="*@d.example k\n")
    imported = convert(tmp_path / "opendkim.conf")
    shown = imported.settings + imported.keystore + "".join(map(str, imported.notes))
    assert not any(line in shown for line in ed_pem().decode().splitlines())


def test_the_time_grows_as_the_number_of_domains_does(tmp_path: Path) -> None:
    def calls(count: int) -> int:
        keys = "".join(f"k{n} d{n}.example:s:/k{n}\n" for n in range(count))
        rules = "".join(f"*@d{n}.example k{n}\n" for n in range(count))
        profile = cProfile.Profile()
        profile.runcall(case, tmp_path, "KeyTable DIR/keys\nSigningTable refile:DIR/rules\n", keys=keys, rules=rules)
        return sum(entry.callcount for entry in profile.getstats())

    few, many = calls(200), calls(1000)
    assert many < 7 * few


@pytest.mark.parametrize(
    ("socket", "user", "listen", "word"),
    [
        ("local:/var/spool/postfix/opendkim/o.sock", "opendkim", SPOOL, "unix:mailnotary/mailnotary.sock"),
        ("local:/run/opendkim/o.sock", "opendkim:postfix", SPOOL, "unix:mailnotary/mailnotary.sock"),
        ("local:/run/opendkim/o.sock", "opendkim:no-such-group", RUN, "there is no group no-such-group"),
        ("local:/run/opendkim/o.sock", "opendkim:root", RUN, "its group is root"),
    ],
)
def test_the_socket_is_one_that_the_unit_can_open(socket: str, user: str, listen: str, word: str) -> None:
    made = socket_of(socket, user, "007")
    assert made.listen == f"unix:{listen}/mailnotary.sock"
    assert word in " ".join(made.notes)
    assert 'mode: "0660"' in made.section


def test_where_postfix_runs_the_socket_is_in_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailnotary.importing.listen.has_postfix", lambda: True)
    assert socket_of("local:/run/opendkim/o.sock", "opendkim", "007").listen == f"unix:{SPOOL}/mailnotary.sock"


def test_keys_are_copied_and_stay_where_they_are(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    setup.key("example.private")
    out = setup.directory / "out"
    command = ["import", str(setup.directory / "basic.conf"), "--output", str(out), "--copy-keys"]
    assert main(command) == 0
    copy = out / "keys" / "example.com.2020.pem"
    assert copy.read_bytes() == (setup.keys / "example.private").read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o600
    settings_file = out / "mailnotary.yaml"
    settings_file.write_text(settings_file.read_text() + "user: root\n")
    assert load_configuration(settings_file).keystore.entries["example.com"].keys[0].file == str(copy)
    for name in ("mailnotary.yaml", "keystore.yaml"):
        (out / name).unlink()
    copy.write_text("mine")
    assert main(command) == 1
    assert "exists already" in capsys.readouterr().err
    assert copy.read_text() == "mine"
    assert not settings_file.exists()
