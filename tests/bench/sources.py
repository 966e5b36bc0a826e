"""What a source of keys costs the daemon: time and memory for many domains, and how soon a change is in force.

PYTHONPATH=tests python -m bench.sources [--domains 100000]
"""

import argparse
import sqlite3
import tempfile
import time
from pathlib import Path

from support.daemon import Daemon, children
from support.mail import rsa_pem
from support.milter_client import MilterClient

QUERY = "SELECT domain, selector, key, 'active' AS state, changed FROM dkim"


def memory(pid: int, name: str) -> float:
    """A line of /proc/PID/smaps_rollup or status, in MiB."""
    for file in ("smaps_rollup", "status"):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(below for child in children(pid) for below in tree(child))]


def selector(at: Daemon, domain: str) -> str:
    """Of the signature that a message of this domain gets, "" for none."""
    with MilterClient(at.address) as client:
        message = f"From: a@{domain}\r\n\r\nhi\r\n".encode()
        done = client.send_message(message, client_ip="127.0.0.1", mail_from=f"a@{domain}")
    signatures = done.headers("DKIM-Signature")
    return signatures[0].partition("s=")[2].partition(";")[0] if signatures else ""


def wait(at: Daemon, domain: str, wanted: str) -> float:
    """Seconds until messages of this domain are signed with this selector."""
    began = time.monotonic()
    while selector(at, domain) != wanted:
        time.sleep(0.02)
    return time.monotonic() - began


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--domains", type=int, default=100_000)
    count = parser.parse_args().domains
    with tempfile.TemporaryDirectory(prefix="mailnotary-bench-") as name:
        directory, path = Path(name), Path(name, "keys.db")
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE dkim (domain TEXT PRIMARY KEY, selector TEXT, key TEXT, changed INTEGER)")
            key = rsa_pem().decode()
            rows = ((f"d{number}.example", "s1", f"d{number}\n{key}", 1) for number in range(count))
            database.executemany("INSERT INTO dkim VALUES (?, ?, ?, ?)", rows)
            database.execute("CREATE INDEX dkim_changed ON dkim (changed)")
        database.close()
        source = {"sql": f"sqlite://{path}", "query": QUERY, "check_seconds": 3600, "changes_seconds": 0.2}
        began = time.monotonic()
        with Daemon(directory, keystore={"domains": {}}, state_dir=name, source=source) as at:
            at.wait_for("the keys of the source have changed", seconds=600)
            wait(at, f"d{count - 1}.example", "s1")
            print(f"{count:,} domains in force after {time.monotonic() - began:.1f} s")
            for pid in tree(at.pid):
                shown = Path(f"/proc/{pid}/comm").read_text().strip()
                print(f"  {shown:<16} {memory(pid, 'Pss'):6.1f} MiB (PSS), peak {memory(pid, 'VmHWM'):.1f}")
            print(f"  on the disk {(directory / 'source.keys').stat().st_size / 2**20:.0f} MiB")
            for number in (2, 3, 4):
                with sqlite3.connect(path) as database:
                    sql = "UPDATE dkim SET selector = ?, changed = ? WHERE domain = 'd5.example'"
                    database.execute(sql, (f"s{number}", number))
                database.close()
                print(f"a change is in force after {wait(at, 'd5.example', f's{number}'):.2f} s")
            began = time.monotonic()
            at.stop()
            at.start(ready=False)
            at.wait_until_served()
            wait(at, f"d{count - 1}.example", "s1")
            print(f"stopped, started and signing again after {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
