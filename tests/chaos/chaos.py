"""A minute of everything at once: `python tests/chaos/chaos.py [SECONDS]`.

Ten connections send mail without a pause while workers are killed and stopped, configurations are broken and fixed,
reloads come, and DNS goes and returns. Each message must end in a reply of the daemon or in a closed connection, after
which an MTA tries again; none may be accepted unsigned that must be signed, and none with a forged result in it.
Prints the counts; exit status 1 if a promise was broken.
"""

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import load
from support.daemon import FAULTY, Daemon
from support.dns_server import DnsServer
from support.milter_client import MilterClient, MilterClosedError, MilterTimeoutError

CONNECTIONS = 10
ANSWER_WITHIN = 25.0  # seconds; a stopped worker is killed after STALE
STALE = "5"


class Chaos:
    """One run."""

    def __init__(self, seconds: float, directory: Path) -> None:
        self.until = time.monotonic() + seconds
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []  # promises
        self.lock = threading.Lock()
        self.scene = load.make_scene(directory)
        self.dns = DnsServer(self.scene.zone).start()
        self.daemon = Daemon(
            directory,
            command=FAULTY,
            env={"STALE": STALE},
            keystore=self.scene.keystore,
            dns={"nameservers": [self.dns.nameserver], "timeout": 1, "cache_entries": 50},
            limits={"message_seconds": 5, "spf_seconds": 4},
        ).start()

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def run(self) -> None:
        senders = [threading.Thread(target=self.send, args=(number,)) for number in range(CONNECTIONS)]
        for thread in senders:
            thread.start()
        rng = random.Random(1)
        deeds = [
            self.kill,
            self.kill,
            self.stop_worker,
            self.break_config,
            self.fix_config,
            self.fix_config,
            self.toggle_dns,
            self.slow_dns,
        ]
        while time.monotonic() < self.until:
            time.sleep(rng.uniform(0.1, 1.0))
            rng.choice(deeds)(rng)
        for thread in senders:
            thread.join()
        self.calm_down()

    # -- the mail

    def send(self, number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < self.until:
            try:
                with MilterClient(self.daemon.address, timeout=ANSWER_WITHIN) as client:
                    ours = rng.random() < 0.5
                    for _ in range(rng.randrange(1, 50)):
                        if time.monotonic() >= self.until:
                            return
                        self.send_one(client, rng, ours=ours)
            except MilterTimeoutError as error:
                self.broken.append(f"a message hung: {error}")
            except MilterClosedError:
                self.count("connection closed, to be tried again")
            except ConnectionError:
                self.count("connection refused, to be tried again")
                time.sleep(0.05)
            except Exception as error:
                self.broken.append(f"{type(error).__name__}: {error}")

    def send_one(self, client: MilterClient, rng: random.Random, *, ours: bool) -> None:
        if ours:
            outcome = load.send_outgoing(client, load.body(rng))
        else:
            outcome = load.send_incoming(client, self.scene, rng.randrange(200))
        kind = "outgoing" if ours else "incoming"
        if outcome.reply is not None:
            self.count(f"{kind}, replied {outcome.reply.code}")
            if outcome.reply.code != 451:
                self.broken.append(f"{kind} mail was refused: {outcome.reply}")
        elif ours:
            self.count("outgoing, signed")
            if not load.is_signed(outcome, self.scene if rng.random() < 0.05 else None):
                self.broken.append(f"accepted unsigned: {outcome.inserted}")
        else:
            self.count("incoming, judged")
            if not load.is_judged(outcome):
                self.broken.append(f"accepted with a forged result or none of ours: {outcome.message[:500]!r}")

    # -- the trouble

    def kill(self, rng: random.Random) -> None:
        if workers := self.daemon.workers():
            self.count("deed: worker killed")
            self.hit(rng.choice(workers), signal.SIGKILL)

    def stop_worker(self, rng: random.Random) -> None:
        if rng.random() < 0.3 and (workers := self.daemon.workers()):
            self.count("deed: worker stopped (until the supervisor kills it)")
            self.hit(rng.choice(workers), signal.SIGSTOP)

    def hit(self, pid: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def break_config(self, rng: random.Random) -> None:
        self.count("deed: faulty configuration, reload")
        if rng.random() < 0.5:
            self.daemon.write_keystore({"domains": {"ours.example": {"keys": [{"selector": "x", "file": "none.pem"}]}}})
        else:
            self.daemon.write_config(nonsense=1)
        self.daemon.signal(signal.SIGHUP)

    def fix_config(self, rng: random.Random) -> None:
        self.count("deed: good configuration, reload")
        self.daemon.config.pop("nonsense", None)
        self.daemon.write_keystore(self.scene.keystore)
        self.daemon.write_config(authserv_id=load.AUTHSERV_ID, spf={"void_lookups": rng.randrange(1, 5)})
        self.daemon.signal(signal.SIGHUP)

    def toggle_dns(self, rng: random.Random) -> None:
        self.count("deed: DNS stopped and started again")
        self.dns.stop()
        time.sleep(rng.uniform(0.1, 2))
        while True:
            with suppress(OSError):  # somebody has its port at the moment
                self.dns.start()
                return
            time.sleep(0.05)

    def slow_dns(self, rng: random.Random) -> None:
        self.count("deed: DNS loses questions")
        self.dns.faults.drop = rng.randrange(50)

    def calm_down(self) -> None:
        """After all that, the daemon works as if nothing had been."""
        self.dns.faults.drop = 0
        self.fix_config(random.Random(2))
        time.sleep(float(STALE) + 3)
        died = len(self.daemon.lines("a worker has ended"))
        for _ in range(20):
            with MilterClient(self.daemon.address) as client:
                if not load.is_signed(load.send_outgoing(client, b"after\n"), self.scene):
                    self.broken.append("not signed after the chaos")
            with MilterClient(self.daemon.address) as client:
                if not load.is_judged(load.send_incoming(client, self.scene, 0)):
                    self.broken.append("not judged after the chaos")
        if len(self.daemon.lines("a worker has ended")) != died:
            self.broken.append("workers still die after the chaos")
        status = self.daemon.stop()
        if status != 0:
            self.broken.append(f"exit status {status}")
        self.dns.stop()
        for line in self.daemon.text().splitlines():
            if "defect" in line or "Traceback" in line:
                self.broken.append(f"in the log: {line[:300]}")


def main() -> int:
    """The command."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with tempfile.TemporaryDirectory(prefix="mailnotary-chaos-") as directory:
        chaos = Chaos(seconds, Path(directory))
        try:
            chaos.run()
        finally:
            if chaos.daemon.process is not None and chaos.daemon.process.poll() is None:
                chaos.daemon.kill()
        for what, number in sorted(chaos.counts.items()):
            print(f"{number:8} {what}")
        for promise in chaos.broken[:20]:
            print(f"BROKEN: {promise}")
        print("chaos:", f"{len(chaos.broken)} promises broken" if chaos.broken else "every promise was kept")
    return 1 if chaos.broken else 0


if __name__ == "__main__":
    sys.exit(main())
