"""Which cores the daemon's processes run on, and which of them goes first."""

import os
from pathlib import Path

from support.daemon import Daemon
from support.mail import ed_pem


def test_each_worker_keeps_to_a_core_and_they_take_all_in_turn(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    with Daemon(tmp_path, workers=len(cores) + 1) as daemon:
        workers = daemon.wait_for_workers(len(cores) + 1)
        kept = [os.sched_getaffinity(pid) for pid in workers]
        assert all(len(one) == 1 for one in kept)
        assert set().union(*kept) == set(cores)
        assert os.sched_getaffinity(daemon.pid) == set(cores)


def test_the_key_watch_goes_behind_mail(tmp_path: Path) -> None:
    key = tmp_path / "ed.pem"
    key.write_bytes(ed_pem())
    key.chmod(0o600)
    keystore = {"domains": {"example.org": {"keys": [{"selector": "ed", "file": str(key)}]}}}
    with Daemon(tmp_path, keystore=keystore) as daemon:
        (key_watch,) = daemon.key_watch()
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, key_watch) == min(own + 10, 19)
        assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in daemon.workers()} == {own}
