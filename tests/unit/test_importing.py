"""`mailnotary import`: which program a file is for, what each program's configuration means, several together."""

import cProfile
import json
from ipaddress import ip_address
from pathlib import Path

import pytest

from mailnotary.cli import main
from mailnotary.config.keystore import KeyStore
from mailnotary.config.load import Configuration, load_configuration
from mailnotary.config.settings import DmarcAction, DmarcMode, Mode, OnAuthor, OnTemperror, SpfAction
from mailnotary.importing import SourceError, convert
from mailnotary.importing.public_suffix import PublicSuffixes
from mailnotary.importing.recognize import recognize
from support.mail import ed_pem


class Place:
    """A directory with the files of other programs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.notes = ""

    def file(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("DIR", str(self.directory)))
        return path

    def key(self, *names: str) -> None:
        for name in names:
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(ed_pem())

    def imported(self, *paths: Path) -> Configuration:
        """What the daemon loads of it; `notes` gets the notes."""
        out = self.directory / f"out{len(list(self.directory.glob('out*')))}"
        assert main(["import", *map(str, paths), "--output", str(out)]) == 0
        settings_file = out / "mailnotary.yaml"
        settings_file.write_text(settings_file.read_text() + "user: root\n")
        self.notes = "\n".join(map(str, convert(paths).notes))
        return load_configuration(settings_file)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def signed(keystore: KeyStore, domain: str) -> list[tuple[str, str]]:
    """The domains (d=) and selectors that sign for an author domain."""
    entry = keystore.find(domain)
    return [] if entry is None else [(entry.domain, key.selector) for key in entry.keys]


def networks(configuration: Configuration) -> list[str]:
    return [str(network) for network in configuration.settings.sign_for.networks]


# --- which program --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "program"),
    [
        ("a.conf", "Syslog true\nRejectFailures false\nSocket local:/x\n", "OpenDMARC"),
        ("opendmarc.conf", "Syslog true\nSocket local:/x\n", "OpenDMARC"),
        ("a.conf", "Syslog true\nSocket local:/x\n", "OpenDKIM"),
        ("a.conf", "KeyTable /k\nSigningTable refile:/s\n", "OpenDKIM"),
        ("a.conf", "debugLevel = 1\nHELO_reject = Fail\n", "policyd-spf"),
        ("a.conf", "Domain a.example\nSelectorEd25519 e\n", "dkimpy-milter"),
        ("dkimpy-milter.conf", "Domain a.example\nSelector e\n", "dkimpy-milter"),
        ("main.cf", "myhostname = mx.example.org\nmynetworks = 127.0.0.0/8\n", "Postfix"),
        ("master.cf", "smtp inet n - y - - smtpd\n", "Postfix"),
        ("a.conf", 'dkim_signing {\n  selector = "dkim";\n}\n', "rspamd"),
        ("a.conf", 'path = "/k/$domain.$selector.key";\n', "rspamd"),
        ("a.conf", "local_addrs = [10.0.0.0/8];\n", "rspamd"),
        ("50-user", "use strict;\ndkim_key('a.example','s','/k');\n1;\n", "Amavis"),
    ],
)
def test_a_file_says_whose_it_is(place: Place, name: str, text: str, program: str) -> None:
    assert recognize(place.file(name, "# a comment\n" + text)) == program


@pytest.mark.parametrize(
    "text",
    ["", "name = value\n", "root:x:0:0:root:/root:/bin/bash\n", "example.org example.org:s:/k\n", "[main]\nx=y\n"],
)
def test_what_is_none_of_them_is_refused(place: Place, text: str) -> None:
    with pytest.raises(SourceError, match="not a configuration that is known"):
        convert([place.file("x", text)])


def test_postfix_alone_is_explained(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    path = place.file(
        "main.cf",
        "myhostname = mx.example.org\nsmtpd_milters = unix:opendkim/opendkim.sock,\n  unix:opendmarc/opendmarc.sock\n"
        "smtpd_recipient_restrictions = reject_unauth_destination,\n  check_policy_service unix:private/policyd-spf\n",
    )
    assert main(["import", str(path), "--output", str(place.directory / "out")]) == 1
    said = capsys.readouterr().err
    assert f"{path}:2: smtpd_milters = unix:opendkim/opendkim.sock, unix:opendmarc/opendmarc.sock: " in said
    assert f"{path}:4: check_policy_service unix:private/policyd-spf: remove it" in said
    assert not (place.directory / "out").exists()


def test_the_old_name_of_the_command_is_one_for_it(place: Place) -> None:
    path = place.file("opendkim.conf", "Mode sv\n")
    assert main(["import-opendkim", str(path), "--output", str(place.directory / "out")]) == 0


def test_json_has_the_place_of_each_note(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    path = place.file("opendkim.conf", "Mode sv\nLogWhy yes\n")
    out = place.directory / "out"
    assert main(["import", str(path), "--output", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["programs"] == [{"program": "OpenDKIM", "files": [str(path)]}]
    assert told["wrote"] == [str(out / "mailnotary.yaml"), str(out / "keystore.yaml")]
    assert {"place": f"{path}:2", "text": "LogWhy yes: each message's log line says why"} in told["notes"]
    assert isinstance(told["problems"], list)


# --- OpenDMARC ------------------------------------------------------------------------------------------------------


def test_opendmarc_refuses_and_holds_as_it_was_told(place: Place) -> None:
    place.file("hosts", "127.0.0.1\n192.0.2.0/24\n!192.0.2.7\nmail.example.org\n")
    path = place.file(
        "opendmarc.conf",
        "RejectFailures true\nHoldQuarantinedMessages true\nIgnoreHosts DIR/hosts\nRejectMultiValueFrom yes\n"
        "RequiredHeaders yes\nAuthservID mx.example.org\nTrustedAuthservIDs mx1.example.org\nIgnoreMailFrom a.example\n"
        "HistoryFile /x\nDNSTimeout 7\nOdd 1\n",
    )
    found = place.imported(path).settings
    assert found.mode is Mode.VERIFY
    policy = (found.dmarc.mode, found.dmarc.reject, found.dmarc.quarantine, found.dmarc.temperror)
    assert policy == (DmarcMode.ENFORCE, DmarcAction.REJECT, DmarcAction.HOLD, OnTemperror.TEMPFAIL)
    spared = found.dmarc.exempt.networks
    assert sum(network.num_addresses for network in spared) == 256
    assert not any(ip_address("192.0.2.7") in network for network in spared)
    assert found.authors.several_domains is found.authors.none is OnAuthor.REJECT
    assert found.authserv_id == "mx.example.org"
    assert found.dns.timeout == 7
    for line, word in (
        (7, "TrustedAuthservIDs"),
        (8, "IgnoreMailFrom"),
        (9, "HistoryFile"),
        (11, "Odd 1: has no match"),
    ):
        assert f"{path}:{line}: {word}" in place.notes
    assert f"{place.directory}/hosts:4: IgnoreHosts mail.example.org: names" in place.notes


@pytest.mark.parametrize(
    ("text", "mode", "quarantine"),
    [
        ("RejectFailures false\n", DmarcMode.MONITOR, DmarcAction.TAG),
        ("PublicSuffixList /x\n", DmarcMode.MONITOR, DmarcAction.TAG),
        ("HoldQuarantinedMessages true\n", DmarcMode.MONITOR, DmarcAction.TAG),
        ("RejectFailures true\n", DmarcMode.ENFORCE, DmarcAction.TAG),
    ],
)
def test_opendmarc_does_no_more_than_it_was_told(
    place: Place, text: str, mode: DmarcMode, quarantine: DmarcAction
) -> None:
    configuration = place.imported(place.file("opendmarc.conf", text))
    assert (configuration.settings.dmarc.mode, configuration.settings.dmarc.quarantine) == (mode, quarantine)
    assert networks(configuration) == ["127.0.0.1/32"]  # what OpenDMARC ignores by default


# --- policyd-spf ----------------------------------------------------------------------------------------------------


def test_policyd_spf_refuses_fail_by_default(place: Place) -> None:
    configuration = place.imported(place.file("policyd-spf.conf", "debugLevel = 1\nAuthserv_Id = mx.example.org\n"))
    spf = configuration.settings.spf
    assert (spf.fail, spf.helo_fail) == (SpfAction.REJECT, SpfAction.REJECT)
    assert (spf.softfail, spf.permerror, spf.temperror) == (SpfAction.ACCEPT,) * 3
    assert configuration.settings.authserv_id == "mx.example.org"
    assert networks(configuration) == ["127.0.0.1/32", "::1/128"]


def test_policyd_spf_with_everything_on(place: Place) -> None:
    path = place.file(
        "policyd-spf.conf",
        "HELO_reject = No_Check\nMail_From_reject = SPF_Not_Pass\nPermError_reject = True\nTempError_Defer = True\n"
        "Void_Limit = 4\nLookup_Time = 10\nskip_addresses = 127.0.0.0/8,::1,192.0.2.0/24\nHeader_Type = AR\nX = 1\n"
        "Reject_Not_Pass_Domains = a.example\n",
    )
    found = place.imported(path).settings
    assert (found.spf.fail, found.spf.softfail, found.spf.permerror) == (SpfAction.REJECT,) * 3
    assert found.spf.temperror is SpfAction.TEMPFAIL
    assert (found.spf.check_helo, found.spf.void_lookups, found.limits.spf_seconds) == (False, 4, 10)
    assert f"{path}:7: skip_addresses = 127.0.0.0/8,::1,192.0.2.0/24: 192.0.2.0/24: to skip SPF alone" in place.notes
    for line, word in ((2, "Mail_From_reject"), (8, "Header_Type"), (9, "X"), (10, "Reject_Not_Pass_Domains")):
        assert f"{path}:{line}: {word}" in place.notes


@pytest.mark.parametrize(
    "line",
    ["TestOnly = 0", "defaultSeedOnly = 0", "Whitelist = 192.0.2.1", "HELO_Whitelist = a.example", "No_Mail = True"],
)
def test_mail_that_policyd_spf_spares_is_not_refused(place: Place, line: str) -> None:
    path = place.file("policyd-spf.conf", f"HELO_reject = Fail\nMail_From_reject = Fail\n{line}\n")
    spf = place.imported(path).settings.spf
    assert (spf.fail, spf.helo_fail) == (SpfAction.ACCEPT, SpfAction.ACCEPT)
    assert f"{path}:3: {line}" in place.notes


# --- dkimpy-milter --------------------------------------------------------------------------------------------------


def test_dkimpy_signs_with_two_keys(place: Place) -> None:
    place.key("rsa", "ed")
    path = place.file(
        "dkimpy-milter.conf",
        "Domain a.example,b.example\nSelector r\nKeyFile DIR/rsa\nSelectorEd25519 e\nKeyFileEd25519 DIR/ed\n"
        "SubDomains yes\nInternalHosts 10.0.0.0/8,!10.1.0.0/16,10.1.2.0/24\nCanonicalization simple\n",
    )
    configuration = place.imported(path)
    assert signed(configuration.keystore, "x.a.example") == [("a.example", "r"), ("a.example", "e")]
    assert signed(configuration.keystore, "b.example") == [("b.example", "r"), ("b.example", "e")]
    assert configuration.settings.signing.canonicalization == "simple/simple"
    trusted = configuration.settings.sign_for.networks
    assert not any(ip_address(one) in network for network in trusted for one in ("10.1.0.0", "10.1.2.3"))
    assert sum(network.num_addresses for network in trusted) == 2**24 - 2**16


def test_dkimpy_with_tables_and_daemons(place: Place) -> None:
    place.key("rsa", "ed")
    place.file("k", "one a.example:r:DIR/rsa\n")
    place.file("e", "one a.example:e:DIR/ed\n")
    place.file("s", "*@a.example one\nnews*@b.example one\n*@c.example %:one\n")
    path = place.file(
        "dkimpy-milter.conf",
        "KeyTable DIR/k\nKeyTableEd25519 DIR/e\nSigningTable refile:DIR/s\nMacroList daemon_name|ORIGINATING\n"
        "MacroListVerify daemon_name|VERIFYING\n",
    )
    configuration = place.imported(path)
    assert signed(configuration.keystore, "a.example") == [("a.example", "r"), ("a.example", "e")]
    assert signed(configuration.keystore, "b.example") == []
    assert signed(configuration.keystore, "c.example") == [("a.example", "r"), ("a.example", "e")]
    assert configuration.settings.sign_for.daemon_names == ("ORIGINATING",)
    assert networks(configuration) == []
    assert not configuration.settings.sign_for.authenticated
    assert f"{place.directory}/s:2: SigningTable news*@b.example: not taken over" in place.notes


# --- Amavis ---------------------------------------------------------------------------------------------------------

AMAVIS = """use strict;
$mydomain = 'example.org';
$enable_dkim_signing = 1;
$enable_dkim_verification = 1;
# dkim_key('comment.example', 's', 'DIR/k1');
dkim_key('example.org', 'first', 'DIR/k1');
dkim_key("$mydomain", 'second', 'DIR/k2');
dkim_key('b.example', 'b', 'DIR/k3');
dkim_key(qr/x/, 'r', 'DIR/k3');
@dkim_signature_options_bysender_maps = ( {
  'c.example' => { d => 'b.example' },
  '.d.example' => { d => 'b.example', ttl => 3*24*3600 },
  'news@e.example' => { d => 'b.example' },
  '.' => { a => 'rsa-sha256', c => 'relaxed/relaxed', ttl => 21*24*3600 },
} );
@mynetworks = qw( 127.0.0.0/8 [::1] !10.1.0.0/16 10.0.0.0/8 );
$policy_bank{'ORIGINATING'} = {
  originating => 1,  # users who log in
};
=pod
dkim_key('pod.example', 's', 'DIR/k1');
=cut
1;
"""


def test_amavis_signs_for_those_that_its_options_choose(place: Place) -> None:
    place.key("k1", "k2", "k3")
    path = place.file("50-user", AMAVIS)
    configuration = place.imported(path)
    keystore = configuration.keystore
    assert signed(keystore, "example.org") == [("example.org", "first")]
    assert signed(keystore, "x.example.org") == []
    assert signed(keystore, "c.example") == [("b.example", "b")]
    assert signed(keystore, "x.c.example") == []
    assert signed(keystore, "d.example") == signed(keystore, "x.d.example") == [("b.example", "b")]
    assert not {"comment.example", "pod.example", "e.example"} & keystore.entries.keys()
    assert configuration.settings.mode is Mode.BOTH
    assert configuration.settings.signing.canonicalization == "relaxed/relaxed"
    assert configuration.settings.signing.expire_after == 21 * 24 * 3600
    assert configuration.settings.sign_for.authenticated
    assert not any(str(one).startswith("10.1.") for one in configuration.settings.sign_for.networks)
    for line, word in ((7, "second of example.org signs nothing"), (9, "can't be read"), (10, "news@e.example")):
        assert f"{path}:{line}: " in place.notes
        assert word in place.notes


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("dkim_key('a.example', 's', 'DIR/k');\n", "is not on"),
        ("$enable_dkim_signing = 1;\ndkim_key('*', 's', 'DIR/k');\n", "name the domains"),
        (
            "$enable_dkim_signing = 1;\ndkim_key('a.example', 's', 'DIR/k');\n"
            "@dkim_signature_options_bysender_maps = ( read_hash('/x') );\n",
            "no key is taken over",
        ),
        ("$enable_dkim_signing = 1;\ndkim_key('a.example', 's');\n", "not (domain, selector, file)"),
        ("$enable_dkim_signing = 1;\nif (0) { dkim_key('a.example', 's', 'DIR/k'); }\n", "only one that begins a line"),
    ],
)
def test_amavis_grants_nothing_that_is_not_known(place: Place, text: str, word: str) -> None:
    place.key("k")
    configuration = place.imported(place.file("50-user", text))
    assert configuration.keystore.entries == {}
    assert networks(configuration) == ["127.0.0.1/32", "::1/128"]
    assert not configuration.settings.sign_for.authenticated
    assert word in place.notes


# --- rspamd ---------------------------------------------------------------------------------------------------------

SUFFIXES = PublicSuffixes(["org", "uk", "co.uk", "*.ck", "!www.ck", "host.net", "net", "deep.name.org"])


@pytest.fixture(autouse=True)
def _suffixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailnotary.importing.rspamd.read_list", lambda: SUFFIXES)


@pytest.mark.parametrize(
    ("domain", "registrable"),
    [
        ("a.b.org", "b.org"),
        ("b.org", "b.org"),
        ("org", "org"),
        ("a.b.co.uk", "b.co.uk"),
        ("a.b.c.ck", "b.c.ck"),
        ("www.ck", "www.ck"),
        ("x.www.ck", "www.ck"),
        ("a.host.net", "a.host.net"),
        ("a.b.unknown", "a.b.unknown"),
    ],
)
def test_domains_are_reduced_as_rspamd_does_it(domain: str, registrable: str) -> None:
    assert SUFFIXES.registrable(domain) == registrable


def test_rspamd_signs_for_users_of_the_domain(place: Place) -> None:
    place.key("k1", "k2", "k3", "dkim/d.org.dkim.key", "dkim/sub.e.org.dkim.key")
    place.file("selectors", "b.co.uk sel\n")
    path = place.file(
        "dkim_signing.conf",
        '# comment\npath = "DIR/dkim/$domain.$selector.key";\nselector_map = "DIR/selectors";\n'
        'path_map = { b.co.uk = "DIR/k3"; }\n/* more */ domain {\n  a.org {\n    selectors [\n'
        '      { path = "DIR/k1"; selector = "one"; },\n      { path = "DIR/k2"; selector = "two"; }\n    ]\n  }\n}\n'
        'symbol = "X"; vault_token = "s3cret"; odd_thing = "s3cret";\n',
    )
    options = place.file("options.inc", 'local_addrs = [192.168.0.0/16, 10.0.0.0/8];\nfilters = "dkim";\n')
    configuration = place.imported(path, options)
    entry = configuration.keystore.entries["a.org"]
    assert [key.selector for key in entry.keys] == ["one", "two"]
    assert entry.include_subdomains
    assert entry.allow.auth_users == entry.allow.envelope_from == ("*@a.org", "*@*.a.org")
    assert entry.allow.networks == ()
    assert signed(configuration.keystore, "b.co.uk") == [("b.co.uk", "sel")]
    assert signed(configuration.keystore, "d.org") == [("d.org", "dkim")]
    assert "sub.e.org" not in configuration.keystore.entries
    assert configuration.settings.mode is Mode.SIGN
    assert networks(configuration) == ["127.0.0.1/32", "::1/128", "192.168.0.0/16", "10.0.0.0/8"]
    assert "use_esld reduces sub.e.org to e.org" in place.notes
    assert f"{path}:13: odd_thing: has no match" in place.notes
    assert "s3cret" not in place.notes


def test_rspamd_without_its_checks_of_users_and_senders(place: Place) -> None:
    place.key("k")
    path = place.file(
        "dkim_signing.conf",
        'domain { a.b.org { path = "DIR/k"; selector = "s"; } }\nuse_esld = false;\nallow_username_mismatch = true;\n'
        "allow_hdrfrom_mismatch = true;\nallow_envfrom_empty = false;\nsign_local = false;\ntry_fallback = false;\n"
        'sign_networks = ["192.0.2.0/24", "2001:db8::/32"];\nsign_authenticated = false;\n',
    )
    configuration = place.imported(path)
    entry = configuration.keystore.entries["a.b.org"]
    assert (entry.include_subdomains, entry.allow.auth_users, entry.allow.envelope_from) == (False, (), ("?*",))
    assert networks(configuration) == ["192.0.2.0/24", "2001:db8::/32"]
    assert not configuration.settings.sign_for.authenticated


@pytest.mark.parametrize(
    "line",
    [
        "use_redis = true;",
        'sign_condition = "return function(task) return true end";',
        'use_domain = "auth";',
        'use_domain_sign_local = "x.org";',
        'signing_table = ["*@a.org a.org"];',
        "enabled = false;",
    ],
)
def test_rspamd_grants_nothing_where_something_else_decides(place: Place, line: str) -> None:
    place.key("k")
    path = place.file("dkim_signing.conf", f'domain {{ a.org {{ path = "DIR/k"; selector = "s"; }} }}\n{line}\n')
    assert place.imported(path).keystore.entries == {}
    assert f"{path}:2: " in place.notes
    assert "no key is taken over" in place.notes or "nothing is signed" in place.notes


def test_a_key_in_the_file_of_rspamd_is_not_shown(place: Place) -> None:
    path = place.file("dkim_signing.conf", 'domain { a.org { path = "MC4CAQAw"; selector = "s"; } }\n')
    assert place.imported(path).keystore.entries == {}
    assert "MC4CAQAw" not in place.notes
    assert f"{path}:1: the key of a.org: not an absolute path" in place.notes


def test_rspamd_with_one_key_for_all_and_a_name_in_capitals(place: Place) -> None:
    place.key("k")
    path = place.file("dkim_signing.conf", 'path = "DIR/k";\ndomain { A.org { selector = "s"; } }\n')
    assert place.imported(path).keystore.entries == {}
    assert f"{path}:1: path: signing any author's domain" in place.notes
    assert f"{path}:2: domain: A.org is compared as it is written" in place.notes


@pytest.mark.parametrize("text", ["path = [", "path {", "domain { a {" * 50, "path = [[" * 50, "path }", "= x"])
def test_a_broken_file_of_rspamd_is_told_with_its_line(place: Place, text: str) -> None:
    path = place.file("dkim_signing.conf", 'selector = "s";\n' + text)
    with pytest.raises(SourceError, match=f"{path}:2: "):
        convert([path])


@pytest.mark.parametrize(
    ("name", "first", "row", "last"),
    [
        ("50-user", "$enable_dkim_signing = 1;\n", "dkim_key('d{n}.example', 's', '/k{n}');\n", ""),
        ("dkim_signing.conf", "domain {{\n", 'd{n}.example {{ path = "/k{n}"; selector = "s"; }}\n', "}\n"),
    ],
)
def test_the_time_grows_as_the_number_of_keys_does(place: Place, name: str, first: str, row: str, last: str) -> None:
    def calls(count: int) -> int:
        path = place.file(name, first.format() + "".join(row.format(n=n) for n in range(count)) + last)
        profile = cProfile.Profile()
        profile.runcall(convert, [path])
        return sum(entry.callcount for entry in profile.getstats())

    few, many = calls(200), calls(1000)
    assert many < 7 * few


# --- several --------------------------------------------------------------------------------------------------------


def test_several_make_one_configuration(place: Place) -> None:
    place.key("k")
    opendkim = place.file(
        "opendkim.conf",
        "Domain a.example\nSelector s\nKeyFile DIR/k\nMode s\nInternalHosts 192.0.2.0/24\nPeerList 198.51.100.1\n"
        "Socket inet:8891@localhost\nAuthservID mx.example.org\nUMask 007\n",
    )
    opendmarc = place.file(
        "opendmarc.conf",
        "RejectFailures true\nSocket local:/run/opendmarc/opendmarc.sock\nUMask 002\nAuthservID other.example.org\n"
        "IgnoreAuthenticatedClients false\n",
    )
    policyd = place.file("policyd-spf.conf", "Mail_From_reject = False\n")
    configuration = place.imported(policyd, opendmarc, opendkim)
    found = configuration.settings
    assert (found.mode, found.listen, found.authserv_id) == (Mode.BOTH, "inet:8891@localhost", "mx.example.org")
    assert networks(configuration) == ["192.0.2.0/24"]
    assert found.sign_for.authenticated
    assert found.exempt.networks == ()
    assert (found.dmarc.mode, found.spf.fail, found.spf.helo_fail) == (
        DmarcMode.ENFORCE,
        SpfAction.ACCEPT,
        SpfAction.REJECT,
    )
    assert signed(configuration.keystore, "a.example") == [("a.example", "s")]
    assert f"{opendkim}:6: PeerList 198.51.100.1: not taken over" in place.notes
    for program in ("OpenDMARC", "policyd-spf"):
        assert (
            f"{opendkim}:5: InternalHosts 192.0.2.0/24: mail of these is signed, and not checked as {program}"
            in place.notes
        )
    assert f"{opendmarc}:4: AuthservID other.example.org: authserv_id is mx.example.org, for OpenDKIM" in place.notes
    assert "/run/mailnotary" not in place.notes  # nothing of the socket that is not ours


def test_of_two_that_verify_only_this_host_is_spared(place: Place) -> None:
    place.file("hosts", "192.0.2.0/24\n127.0.0.1\n")
    opendmarc = place.file("opendmarc.conf", "IgnoreHosts DIR/hosts\n")
    configuration = place.imported(opendmarc, place.file("policyd-spf.conf", "HELO_reject = Fail\n"))
    assert networks(configuration) == ["127.0.0.1/32"]


def test_two_that_sign_are_refused(place: Place) -> None:
    first = place.file("opendkim.conf", "Domain a.example\nSelector s\nKeyFile /k\n")
    second = place.file("dkimpy-milter.conf", "Domain a.example\nSelectorEd25519 s\n")
    with pytest.raises(SourceError, match="signs too"):
        convert([first, second])
    with pytest.raises(SourceError, match="is of OpenDKIM too"):
        convert([first, place.file("other.conf", "Domain a.example\nSelector s\n")])
