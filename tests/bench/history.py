"""How large a history of many messages is, and how long it takes to ask it.

    PYTHONPATH=tests python -m bench.history [--messages 5000000] [--keep DIRECTORY]

The messages of 30 days come from 20,000 domains and 50,000 clients, most of them from few (Zipf); one in thirty fails
DMARC. Each question is asked three times, of a connection of its own, and the median is shown; then each page of
`mailnotary web` is.
"""

import argparse
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from mailnotary.config.settings import Settings
from mailnotary.history.keeper import FILE
from mailnotary.history.store import DAY, Message, Numbering, Search, Store
from mailnotary.history.story import row_of, story_of
from mailnotary.web.application import Site, create_app
from support.messages import refused, verified

BATCH = 4000
DOMAINS, CLIENTS = 20_000, 50_000
BAR = 0.3  # seconds
PAGES = (
    *("/", "/?period=week", "/?period=month", "/keys", "/disagreements", "/messages", "/messages?q=4X00001000"),
    *("/messages?q=d2.example", "/messages?q=d19999.example", "/messages?q=198.18.0.9"),
    *("/messages?q=d2.example&result=dmarc%3Dfail", "/messages?q=198.18.0.9&result=dmarc%3Dfail"),
    *("/messages?result=dmarc%3Dfail", "/messages?result=spf%3Dfail", "/messages?result=spf%3Dnone"),
    *("/messages?result=dkim%3Dnone", "/messages?action=reject", "/messages?action=accept&result=dmarc%3Dfail"),
)


def messages(count: int, until: float) -> Iterator[list[Message]]:
    """Batches of messages, evenly spread over 30 days."""
    chance = random.Random(7)
    number = Numbering()
    good, bad = verified(), refused()
    stories = story_of(good, str), story_of(bad, str)
    rows = row_of(good), row_of(bad)
    step = 30 * DAY * 1_000_000 / count
    start = (until - 30 * DAY) * 1_000_000
    for first in range(0, count, BATCH):
        batch = []
        for place in range(first, min(first + BATCH, count)):
            fails = chance.random() < 1 / 30
            domain = f"d{int(DOMAINS ** chance.random())}.example"
            client = int(CLIENTS ** chance.random())
            row = rows[fails]._replace(
                time=int(start + place * step),
                queue_id=f"4X{place:08X}",
                domain=domain,
                client=f"198.{18 + client // 65536}.{client // 256 % 256}.{client % 256}",
            )
            batch.append((number(row), row, stories[fails].replace("example.org", domain)))
        yield batch


def questions(now: float) -> dict[str, Callable[[Store], object]]:
    """What is asked."""

    def newest(**search: object) -> Callable[[Store], object]:
        return lambda store: len(list(store.newest(Search(**search), 100)))  # type: ignore[arg-type]

    return {
        "one message by its queue id": newest(queue_id="4X00001000"),
        "the newest 100": newest(),
        "the newest 100 of a common domain": newest(domain="d2.example"),
        "the newest 100 of a rare domain": newest(domain="d19999.example"),
        "the newest 100 of a client": newest(client="198.18.0.9"),
        "the newest 100 with dmarc=fail": newest(result=("dmarc", "fail")),
        "the newest 100 that were refused, of the last day": newest(action="reject", since=now - DAY),
        "traffic of 30 days": lambda store: len(store.traffic(now - 30 * DAY, now)),
        "20 domains that fail most, in 30 days": lambda store: len(store.domains(now - 30 * DAY, now, "fail", 20)),
        "agreement with other filters": lambda store: len(store.agreement(now - 30 * DAY, now)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--keep", type=Path, help="where the store is made, and stays")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="mailnotary-bench-") as temporary:
        directory = arguments.keep or Path(temporary)
        (directory / FILE).parent.mkdir(exist_ok=True)
        path = str(directory / FILE)
        now = time.time()
        store = Store.open(path, host="mx1")
        began, cpu = time.monotonic(), 0.0
        for batch in messages(arguments.messages, now):
            before = time.process_time()
            store.add(batch)
            cpu += time.process_time() - before
        store.give_back()
        octets = store.octets()
        store.close()
        print(f"{arguments.messages} messages: {octets / 2**20:.0f} MiB, {octets / arguments.messages:.0f} octets each")
        print(f"stored in {time.monotonic() - began:.0f} s, {cpu / arguments.messages * 1e6:.1f} us of CPU each")
        slow = [took for took in (*ask(path, now), *look(directory)) if took > BAR]
    return int(bool(slow))


def ask(path: str, now: float) -> Iterator[float]:
    """The seconds that each question takes."""
    for name, question in questions(now).items():
        times = []
        for _ in range(3):
            reader = Store.open(path, read_only=True)
            began = time.monotonic()
            found = question(reader)
            times.append(time.monotonic() - began)
            reader.close()
        print(f"{median(times) * 1000:8.1f} ms  {name}: {found}", flush=True)
        yield median(times)


def look(directory: Path) -> Iterator[float]:
    """The seconds that each page takes, without the network."""
    client = create_app(Site(Settings(state_dir=directory, keystore=directory / "keystore.yaml"))).test_client()
    story = re.search(r'href="(/message/[^"]*)"', client.get("/messages").text)
    assert story is not None
    for page in (*PAGES, story[1]):
        times = []
        for _ in range(3):
            began = time.monotonic()
            answer = client.get(page)
            times.append(time.monotonic() - began)
            assert answer.status_code == 200, answer.text
        print(f"{median(times) * 1000:8.1f} ms  {page}", flush=True)
        yield median(times)


if __name__ == "__main__":
    raise SystemExit(main())
