"""Which cores the daemon's processes run on."""

import os
from pathlib import Path

from support.daemon import Daemon


def test_each_worker_keeps_to_a_core_and_they_take_all_in_turn(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    with Daemon(tmp_path, workers=len(cores) + 1) as daemon:
        workers = daemon.wait_for_workers(len(cores) + 1)
        kept = [os.sched_getaffinity(pid) for pid in workers]
        assert all(len(one) == 1 for one in kept)
        assert set().union(*kept) == set(cores)
        assert os.sched_getaffinity(daemon.pid) == set(cores)
