"""Many messages, and what they leave behind: `python tests/chaos/soak.py [MESSAGES]` (200,000).

Half is mail that gets signed, half is mail whose SPF, DKIM and DMARC are checked, with ever new names for DNS, over
connections that come and go. Prints each worker's own memory and descriptors as the messages go by; exit status 1 if
the memory still grows after the warm-up, a descriptor leaks, or a message was not answered as it should be.
"""

import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import load
from support.daemon import Daemon, descriptors, free_port, resident_kib
from support.milter_client import MilterClient

SENDERS = 4
REPORTS = 20
WARM = 0.3  # of all messages: caches have filled, the allocator has found its size
GROWTH_KIB = 4096  # between the warm-up and the end, in one worker
DESCRIPTORS = 10


def send(address: str, scene: load.Scene, number: int, messages: int, done: "Synchronized[int]") -> None:
    """One sender's part."""
    rng = random.Random(number)
    sent = 0
    while sent < messages:
        ours = rng.random() < 0.5
        with MilterClient(address, timeout=60) as client:
            for _ in range(min(rng.randrange(1, 60), messages - sent)):
                if ours:
                    good = load.is_signed(load.send_outgoing(client, load.body(rng)))
                else:
                    good = load.is_judged(load.send_incoming(client, scene, rng.randrange(1_000_000)))
                if not good:
                    raise AssertionError("a message was not answered as it should be")
                sent += 1
                with done.get_lock():
                    done.value += 1


def main() -> int:
    """The command."""
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory(prefix="mailnotary-soak-") as name:
        directory = Path(name)
        scene = load.make_scene(directory)
        zone, port = directory / "zone.yaml", free_port()
        zone.write_text(yaml.safe_dump(scene.zone))
        program = Path(__file__).parents[1] / "support" / "dns_server.py"
        dns = subprocess.Popen([sys.executable, str(program), str(zone), str(port)], stdout=subprocess.DEVNULL)
        nameservers = {"nameservers": [f"127.0.0.1:{port}"], "timeout": 2, "cache_entries": 2000}
        try:
            time.sleep(1)
            with Daemon(
                directory, keystore=scene.keystore, dns=nameservers, log={"level": "warning"}, arguments=()
            ) as daemon:
                return soak(daemon, scene, messages)
        finally:
            dns.terminate()
            dns.wait()


def soak(daemon: Daemon, scene: load.Scene, messages: int) -> int:
    """Sends it all and looks."""
    done: Synchronized[int] = multiprocessing.Value("l", 0)
    share = messages // SENDERS
    senders = [
        multiprocessing.Process(target=send, args=(daemon.address, scene, number, share, done))
        for number in range(SENDERS)
    ]
    workers = daemon.workers()
    started = time.monotonic()
    for sender in senders:
        sender.start()
    figures: list[tuple[int, list[int], list[int]]] = []
    print("messages   seconds   KiB of each process of the daemon   descriptors")
    for report in range(1, REPORTS + 1):
        while done.value < share * SENDERS * report // REPORTS and any(sender.is_alive() for sender in senders):
            time.sleep(0.1)
        figures.append((done.value, [resident_kib(pid) for pid in workers], [descriptors(pid) for pid in workers]))
        count, memory, files = figures[-1]
        print(f"{count:8}  {time.monotonic() - started:8.0f}   {memory}   {files}", flush=True)
    for sender in senders:
        sender.join()
    time.sleep(1)
    left = [descriptors(pid) for pid in workers]
    print(f"{share * SENDERS / (time.monotonic() - started):.0f} messages/s; descriptors at the end {left}")
    faults = []
    if any(sender.exitcode for sender in senders):
        faults.append("a sender failed")
    if daemon.workers() != workers:
        faults.append("a worker has died")
    warm = next(memory for count, memory, _ in figures if count >= WARM * share * SENDERS)
    faults += [
        f"memory grew from {a} to {b} KiB" for a, b in zip(warm, figures[-1][1], strict=True) if b - a > GROWTH_KIB
    ]
    faults += [f"{count} descriptors are open" for count in left if count > figures[0][2][0] + DESCRIPTORS]
    for fault in faults:
        print("BROKEN:", fault)
    print("soak:", "broken" if faults else "flat")
    return 1 if faults else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
