"""How long the reports of a day of many messages take, on one core, and how much memory.

    PYTHONPATH=tests python -m bench.reports [--messages 1000000] [--domains 50000] [--keep DIRECTORY]

The messages come from so many policy domains, each of which gets a report, and from 50,000 clients, most of them from
few (Zipf); one in thirty fails. Each report is written as XML, compressed and signed with RSA-2048, as it is when it is
sent; only DNS and the mail server are left out.
"""

import argparse
import os
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from mailnotary import dkim
from mailnotary.config.settings import ReportsSettings
from mailnotary.crypto import load_private_key
from mailnotary.history.store import DAY, Message, Numbering, Store
from mailnotary.history.story import row_of, story_of
from mailnotary.reports import message
from mailnotary.reports.gather import gathering
from mailnotary.reports.names import Reporter
from mailnotary.reports.outgoing import messages_of, only, outgoing
from mailnotary.reports.period import Period
from mailnotary.resolver import ZoneResolver
from support.mail import rsa_pem
from support.messages import refused, verified
from support.reports import BEGIN, asking

BATCH = 4000
CLIENTS = 50_000
SECONDS_BAR, MEMORY_BAR = 300, 256  # seconds of CPU, MiB
DAY_OF_REPORTS = Period(BEGIN, BEGIN + DAY)


def messages(count: int, domains: int) -> Iterator[list[Message]]:
    """Batches of messages, evenly spread over the day; the first of them come from a domain each."""
    chance = random.Random(7)
    number = Numbering()
    asked = [asking(record, "mailto:dmarc@example.org") for record in (verified(), refused(domain="example.org"))]
    rows, stories = [row_of(record) for record in asked], [story_of(record, str) for record in asked]
    step = DAY * 1_000_000 / count
    for first in range(0, count, BATCH):
        batch = []
        for place in range(first, min(first + BATCH, count)):
            fails = chance.random() < 1 / 30
            domain = f"d{place if place < domains else int(domains ** chance.random())}.example"
            client = int(CLIENTS ** chance.random())
            row = rows[fails]._replace(
                time=int(BEGIN * 1_000_000 + place * step),
                queue_id=f"4X{place:08X}",
                domain=domain,
                client=f"198.{18 + client // 65536}.{client // 256 % 256}.{client % 256}",
            )
            batch.append((number(row), row, stories[fails].replace("example.org", domain)))
        yield batch


def make(store: Store) -> tuple[int, int]:
    """Makes all reports; how many, and their octets as mails."""
    reporter = Reporter("Benchmark", "example.net", "dmarc@example.net", "", "0a1b2c")
    signer = dkim.Signer("example.net", "rsa", load_private_key(rsa_pem()))
    count = octets = 0
    with gathering(only(())) as gatherer:
        began = time.monotonic()
        gatherer.add(messages_of(store, DAY_OF_REPORTS))
        domains = gatherer.finish()
        print(f"{time.monotonic() - began:7.1f} s  to count the messages of {domains} policy domains", flush=True)
        began = time.monotonic()
        for one in outgoing(gatherer, DAY_OF_REPORTS, ReportsSettings(), ZoneResolver({})):
            text = message.compose(
                *(one.report, one.period, reporter),
                sender="dmarc@example.net",
                recipient=str(one.destinations[0].mailboxes[0]),
                message_id=f"{count}@example.net",
                now=BEGIN + DAY,
            )
            octets += len(message.signed(text, [signer], BEGIN + DAY))
            count += 1
        print(f"{time.monotonic() - began:7.1f} s  to write, compress and sign them", flush=True)
    return count, octets


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--domains", type=int, default=50_000)
    parser.add_argument("--keep", type=Path, help="where the store is made, and stays for the next time")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with TemporaryDirectory(prefix="mailnotary-bench-", dir="/var/tmp") as temporary:
        path = (arguments.keep or Path(temporary)) / "history.db"
        fresh = not path.exists()
        store = Store.open(str(path), host="mx1")
        for batch in messages(arguments.messages, arguments.domains) if fresh else ():
            store.add(batch)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, cpu = time.monotonic(), time.process_time()
        count, octets = make(store)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        store.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{seconds:7.1f} s  in all, {cpu:.1f} s of CPU, for {count} reports of {octets / 2**20:.0f} MiB as mails")
    print(f"{memory / 1024:7.1f} MiB of memory at most (before: {before / 1024:.1f})")
    return int(cpu > SECONDS_BAR or memory / 1024 > MEMORY_BAR)


if __name__ == "__main__":
    raise SystemExit(main())
