"""Whatever the configurations of other programs say: what `mailnotary import` writes of them passes check-config, and
trusts no address that they do not trust."""

import shutil
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailnotary.cli import main
from mailnotary.config.load import Configuration, load_configuration
from mailnotary.config.settings import Network
from mailnotary.importing import SourceError, convert
from support.mail import ed_pem

ADDRESSES = [f"10.0.0.{number}" for number in range(8)] + [f"2001:db8::{number}" for number in range(4)] + ["127.0.0.1"]
entries = st.builds(
    lambda mark, address, length: f"{mark}{ip_network(f'{address}/{length}', strict=False)}",
    st.sampled_from(["", "", "!"]),
    st.sampled_from(ADDRESSES),
    st.integers(28, 32),
) | st.sampled_from(
    ["[10.0.0.1]", "10.0.0.1/29", "10.0.0.2", "[2001:db8::1]", "!10.0.0.3", "mail.example", "localhost"]
)
lists = st.lists(entries, max_size=6)

names = st.sampled_from(["a.example", "A.Example", "x.a.example", "bücher.example", "one", "b.example.", "*", "%", "-"])
selectors = st.sampled_from(["s1", "S1", "sü", "a b", "", "z" * 64])
values = st.sampled_from(
    [
        *("yes", "no", "True", "False", "Fail", "1024", "-1", "0", "9" * 30, "local:/run/x/y.sock", "local:relative"),
        *("inet:99999", "inet:8891@localhost", "inet6:8891@[::1]", "opendkim:postfix", "opendkim:root", "nobody:none"),
        *("007", "9", "&a", "{a: b}", "- x", '"quoted" #', "[]", "*", "relaxed/simple", "mx.example.org", "HOSTNAME"),
        *("\u00fc", "a,b", "null", "/run/x.sock", "x" * 200),
    ]
)

FORM = {  # a line that tells the program, how lines look, names
    "opendkim.conf": (
        "KeyTable file:DIR/keys",
        "{} {}",
        "SigningTable Mode Canonicalization Socket UserID UMask AuthservID SignHeaders OversignHeaders PeerList MTA "
        "MinimumKeyBits Nameservers DNSTimeout Syslog On-InternalError RequireSafeKeys SignatureTTL",
    ),
    "opendmarc.conf": (
        "PublicSuffixList /x",
        "{} {}",
        "RejectFailures HoldQuarantinedMessages RejectMultiValueFrom RequiredHeaders AuthservID TrustedAuthservIDs "
        "UMask Socket UserID Syslog DNSTimeout IgnoreMailFrom IgnoreAuthenticatedClients HistoryFile FailureReports",
    ),
    "policyd-spf.conf": (
        "debugLevel = 1",
        "{} = {}",
        "HELO_reject Mail_From_reject PermError_reject TempError_Defer TestOnly Whitelist HELO_Whitelist Void_Limit "
        "Lookup_Time Authserv_Id Header_Type Socket Reject_Not_Pass_Domains No_Mail",
    ),
    "dkimpy-milter.conf": (
        "SelectorEd25519 s2",
        "{} {}",
        "Domain Selector KeyFile KeyFileEd25519 Mode Socket UserID UMask SubDomains Canonicalization SignHeaders "
        "MacroList MacroListVerify AuthservID MinimumKeyBits DNSTimeout Syslog",
    ),
    "dkim_signing.conf": (
        'symbol = "X"; path = "DIR/$domain.$selector.key";',
        "{} = {!r};",
        "selector use_esld sign_local sign_authenticated allow_username_mismatch allow_hdrfrom_mismatch use_domain "
        "try_fallback allow_envfrom_empty use_redis",
    ),
    "50-user": (
        "$enable_dkim_signing = 1;",
        "${} = {!r};",
        "mydomain enable_dkim_signing enable_dkim_verification",
    ),
}


class Sources:
    """Files of other programs in a directory that is made anew for each example."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for name in ("k1", "k2", "a.example.s1.key"):
            (directory / name).touch(mode=0o600)
            (directory / name).write_bytes(ed_pem())

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text.replace("DIR", str(self.directory)))
        return path

    def load(self, *paths: Path) -> Configuration | None:
        """What the daemon loads; None where the import says that it can't take something over."""
        try:
            convert(paths)
        except SourceError:
            return None
        out = self.directory / "out"
        assert main(["import", *map(str, paths), "--output", str(out)]) == 0
        written = out / "mailnotary.yaml"
        written.write_text(written.read_text() + "user: root\n")
        configuration = load_configuration(written)  # it raises ConfigError for what check-config refuses
        assert configuration.faults == ()
        return configuration


def tables(sources: Sources, rows: list[tuple[str, str]]) -> dict[str, str]:
    """Keys in the form of each program."""
    sources.write("keys", "".join(f"k{n} {name}:{selector}:DIR/k1\n" for n, (name, selector) in enumerate(rows)))
    blocks = "".join(f'"{name}" {{ path = "DIR/k1"; selector = "{selector}"; }}\n' for name, selector in rows)
    return {
        "opendkim.conf": "",
        "dkim_signing.conf": f"domain {{\n{blocks}}}\n",
        "50-user": "".join(f"dkim_key('{name}', '{selector}', 'DIR/k1');\n" for name, selector in rows),
    }


@pytest.mark.parametrize("name", FORM)
@given(
    data=st.data(),
    rows=st.lists(st.tuples(names, selectors), max_size=4),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_check_config_accepts_whatever_is_written(
    tmp_path: Path, name: str, data: st.DataObject, rows: list[tuple[str, str]]
) -> None:
    sources = Sources(tmp_path / "case")
    first, form, words = FORM[name]
    lines = data.draw(st.lists(st.tuples(st.sampled_from(words.split()), values), max_size=6))
    text = first + "\n" + "".join(form.format(*line) + "\n" for line in lines) + tables(sources, rows).get(name, "")
    sources.load(sources.write(name, text))


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_check_config_accepts_what_several_make(tmp_path: Path, data: st.DataObject) -> None:
    sources = Sources(tmp_path / "case")
    sources.write("keys", "k0 a.example:s1:DIR/k1\n")
    paths = []
    for name in data.draw(
        st.permutations(["opendmarc.conf", "policyd-spf.conf", data.draw(st.sampled_from(list(FORM)))])
    ):
        first, form, words = FORM[name]
        lines = data.draw(st.lists(st.tuples(st.sampled_from(words.split()), values), max_size=4))
        paths.append(sources.write(name, first + "\n" + "".join(form.format(*line) + "\n" for line in lines)))
    sources.load(*paths)


# --- whom they trust ------------------------------------------------------------------------------------------------

TRUST: dict[str, Callable[[list[str]], str]] = {
    "opendkim.conf": lambda hosts: f"Mode sv\nInternalHosts csl:{','.join(hosts)}\n",
    "dkimpy-milter.conf": lambda hosts: f"SelectorEd25519 s\nInternalHosts csl:{','.join(hosts)}\n",
    "50-user": lambda hosts: f"@mynetworks = qw( {' '.join(hosts)} );\n",
    "dkim_signing.conf": lambda hosts: (
        f"sign_local = false;\nsign_networks = [{', '.join(map(repr, hosts))}];\n".replace("'", '"')
    ),
}


def network_of(entry: str) -> Network | None:
    try:
        return ip_network(entry.lstrip("!").replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return None


@pytest.mark.parametrize("name", TRUST)
@given(hosts=lists.filter(bool))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_address_is_trusted_that_is_not_listed(tmp_path: Path, name: str, hosts: list[str]) -> None:
    sources = Sources(tmp_path / "case")
    configuration = sources.load(sources.write(name, TRUST[name](hosts)))
    assert configuration is not None
    listed = [network for one in hosts if not one.startswith("!") and (network := network_of(one)) is not None]
    excluded = [network for one in hosts if one.startswith("!") and (network := network_of(one)) is not None]
    for address in map(ip_address, ADDRESSES):
        if not any(address in network for network in configuration.settings.sign_for.networks):
            continue
        around = [network for network in listed if address in network]
        assert around or (str(address) == "127.0.0.1" and "localhost" in hosts)
        smallest = max((network.prefixlen for network in around), default=32)
        against = [network for network in excluded if address in network]
        if name == "opendkim.conf":  # the smaller one decides
            against = [network for network in against if network.prefixlen >= smallest]
        assert against == []
    assert configuration.settings.exempt.networks == configuration.settings.trusted_relays.networks == ()


@given(hosts=lists, skipped=lists)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_those_that_only_check_trust_this_host_at_most(tmp_path: Path, hosts: list[str], skipped: list[str]) -> None:
    sources = Sources(tmp_path / "case")
    sources.write("hosts", "\n".join(hosts))
    opendmarc = sources.write("opendmarc.conf", "IgnoreHosts DIR/hosts\n")
    policyd = sources.write("policyd-spf.conf", f"HELO_reject = Fail\nskip_addresses = {','.join(skipped)}\n")
    configuration = sources.load(opendmarc, policyd)
    assert configuration is not None
    trusted = configuration.settings.sign_for.networks
    assert {str(network) for network in trusted} <= {"127.0.0.1/32", "::1/128"}
    if trusted:
        assert any(one in ("localhost", "127.0.0.1/32") or "127.0.0" in one for one in hosts)
        assert any("127.0.0" in one for one in skipped)
    for network in configuration.settings.dmarc.exempt.networks:
        around = [known for one in hosts if (known := network_of(one)) is not None and not one.startswith("!")]
        assert any(network.version == known.version and network.network_address in known for known in around) or (
            "localhost" in hosts and network.network_address.is_loopback
        )
