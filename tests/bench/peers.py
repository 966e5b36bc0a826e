"""The filters that mailnotary is measured beside, where they are installed, each with the benchmark's DNS and keys.

pyspf-milter and OpenDMARC take their nameserver from /etc/resolv.conf alone. Each runs in a mount namespace with one of
its own, which takes root and a nameserver on port 53.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_PLUGINS = Path("/usr/share/rspamd/plugins")

_OPENDKIM = """\
Mode {mode}
Socket local:{socket}
Syslog no
AuthservID mx.rcpt.example
RequireSafeKeys false
Canonicalization relaxed/relaxed
UMask 000
AlwaysAddARHeader yes
TestDNSData file:{zone}
"""
_OPENDKIM_SIGNER = """\
Domain good.example
Selector {selector}
KeyFile {key}
InternalHosts 0.0.0.0/0
SignatureAlgorithm {algorithm}
"""

_RSPAMD = """\
options {{
  pidfile = "{directory}/rspamd.pid"; filters = "dkim"; cache_file = "{directory}/symbols.cache";
  dns {{ nameserver = ["{nameserver}"]; timeout = 2s; sockets = 8; retransmits = 2; }}
  local_addrs = [{local}]; url_tld = "{directory}/tld.dat"; tempdir = "{directory}";
  control_socket = "{directory}/control.sock mode=0600"; hs_cache_dir = "{directory}/"; history_rows = 1;
  stats_file = "{directory}/stats.ucl"; rrd = "{directory}/rrd"; dynamic_conf = "{directory}/dynamic";
  allow_raw_input = true;
  task_timeout = 30s;
}}
logging {{ type = "file"; filename = "{directory}/log"; level = "error"; }}
worker "rspamd_proxy" {{
  bind_socket = "{socket} mode=0666"; milter = yes; timeout = 120s; count = {processes}; max_retries = 1;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
actions {{ reject = 10000; add_header = 9000; greylist = 8000; }}
dkim {{ dkim_cache_size = 2k; }}
spf {{ spf_cache_size = 2k; }}
modules {{ path = "{directory}/plugins"; }}
"""
_RSPAMD_VERIFIER = """\
dmarc { }
arc { sign_inbound = false; sign_local = false; }
milter_headers { use = ["authentication-results"]; skip_local = false; skip_authenticated = false;
  routines { authentication-results { remove = 1; } } }
"""
_RSPAMD_SIGNER = """\
dkim_signing {{ sign_local = true; use_domain = "header"; allow_hdrfrom_mismatch = true; try_fallback = true;
  allow_username_mismatch = true; path = "{key}"; selector = "{selector}"; use_esld = false; check_pubkey = false; }}
"""

_PYSPF = """\
debugLevel = 0
TestOnly = 1
HELO_reject = False
Mail_From_reject = False
PermError_reject = False
TempError_Defer = False
skip_addresses = 127.0.0.0/8
Authserv_Id = mx.rcpt.example
Header_Type = AR
Socket = local:{directory}/socket
PidFile = {directory}/pid
UserID = root
InternalHosts = 127.0.0.1
"""

_OPENDMARC = """\
Socket local:{directory}/socket
PidFile {directory}/pid
AuthservID mx.rcpt.example
TrustedAuthservIDs mx.rcpt.example
Syslog false
UMask 000
RejectFailures false
"""


class Peer:
    """A filter that runs until the end of a `with`."""

    def __init__(self, directory: Path, words: list[str]) -> None:
        self._socket = directory / "socket"
        self.address = f"unix:{self._socket}"
        with open(directory / "output", "wb") as output:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        deadline = time.monotonic() + 20
        while not self._socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise RuntimeError(f"{self._process.args!r} does not start: see {self._socket.parent}")
            time.sleep(0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):  # for all of its processes
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)


def version(name: str) -> str:
    """The version of an installed filter by its program, "" where none is told."""
    commands = {"OpenDKIM": ["opendkim", "-V"], "rspamd": ["rspamd", "--version"]}
    program = shutil.which(commands[name][0], path="/usr/sbin:/usr/bin") if name in commands else None
    if program is None:
        return ""
    said = subprocess.run(
        [program, *commands[name][1:]], capture_output=True, text=True, check=False, timeout=10
    ).stdout
    found = re.search(r"\d+(?:\.\d+)+", said)
    return found[0] if found else ""


def opendkim(directory: Path, records: Mapping[str, str], selector: str = "", key: Path | None = None) -> Peer | None:
    """OpenDKIM that verifies, or with a key signs; None where it is not installed."""
    program = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
    if program is None:
        return None
    directory.mkdir()
    (directory / "zone").write_text("".join(f"{name} {text}\n" for name, text in records.items()))
    config = _OPENDKIM.format(mode="s" if key else "v", socket=directory / "socket", zone=directory / "zone")
    if key is not None:
        algorithm = "ed25519-sha256" if selector == "ed" else "rsa-sha256"
        config += _OPENDKIM_SIGNER.format(selector=selector, key=key, algorithm=algorithm)
    (directory / "config").write_text(config)
    return Peer(directory, [program, "-f", "-x", str(directory / "config")])


def rspamd(
    directory: Path, nameserver: str, selector: str = "", key: Path | None = None, *, processes: int = 1
) -> Peer | None:
    """rspamd with SPF, DKIM and DMARC alone, or with a key with DKIM signing alone; None where it is not installed.
    It comes with one process for the mail."""
    program = shutil.which("rspamd")
    if program is None or not _PLUGINS.is_dir():
        return None
    (directory / "plugins").mkdir(parents=True)
    for name in ("spf", "dmarc", "arc", "milter_headers") if key is None else ("dkim_signing",):
        (directory / "plugins" / f"{name}.lua").symlink_to(_PLUGINS / f"{name}.lua")
    (directory / "tld.dat").write_text("com\norg\nexample\n")
    local = "10.0.0.0/8" if key is None else "192.0.2.0/24"
    config = _RSPAMD.format(
        processes=processes, directory=directory, nameserver=nameserver, socket=directory / "socket", local=local
    )
    config += _RSPAMD_VERIFIER if key is None else _RSPAMD_SIGNER.format(key=key, selector=selector)
    (directory / "config").write_text(config)
    return Peer(directory, [program, "-f", "-i", "-c", str(directory / "config")])


def pyspf_milter(directory: Path, nameserver: str) -> Peer | None:
    """pyspf-milter; None where it is not installed or we cannot give it a nameserver."""
    return _with_resolv_conf(directory, nameserver, "pyspf-milter", _PYSPF, [])


def opendmarc(directory: Path, nameserver: str, config: str = _OPENDMARC) -> Peer | None:
    """OpenDMARC; None where it is not installed or we cannot give it a nameserver. The socket of `config` has to be
    {directory}/socket."""
    return _with_resolv_conf(directory, nameserver, "opendmarc", config, ["-f", "-c"])


def _with_resolv_conf(directory: Path, nameserver: str, name: str, config: str, options: list[str]) -> Peer | None:
    program = shutil.which(name, path="/usr/sbin:/usr/bin")
    host, _, port = nameserver.rpartition(":")
    if program is None or os.geteuid() != 0 or port != "53":
        return None
    directory.mkdir()
    (directory / "config").write_text(config.format(directory=directory))
    (directory / "resolv.conf").write_text(f"nameserver {host}\n")
    mount = f"mount --bind {shlex.quote(str(directory / 'resolv.conf'))} /etc/resolv.conf"
    words = shlex.join([program, *options, str(directory / "config")])
    return Peer(directory, ["unshare", "-m", "sh", "-c", f"{mount} && exec {words}"])


def bare(directory: Path) -> Peer:
    """pymilter and SHA-256, as many processes as cores: the least that a filter in Python can do."""
    directory.mkdir()
    return Peer(directory, [sys.executable, str(Path(__file__).with_name("bare_filter.py")), str(directory / "socket")])
