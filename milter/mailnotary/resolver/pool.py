"""A few threads for work that nobody need wait for."""

import threading
from collections import deque
from collections.abc import Callable

IDLE_TIME = 10.0  # seconds without work after which a thread ends


class Pool:
    """Runs jobs in at most so many daemon threads, which start when they are needed and never hold up the exit of
    the process. A job must not raise."""

    def __init__(self, threads: int, queue: int, name: str) -> None:
        self._max_threads = threads
        self._max_queue = queue
        self._name = name
        self._jobs: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._threads = 0
        self._idle = 0

    def submit(self, job: Callable[[], None]) -> bool:
        """Takes a job on; False if too many wait already."""
        with self._wake:
            if len(self._jobs) >= self._max_queue:
                return False
            if self._idle <= len(self._jobs) and self._threads < self._max_threads:
                try:
                    threading.Thread(target=self._work, name=self._name, daemon=True).start()
                except RuntimeError:  # no more threads can be started, or the interpreter is about to end
                    if not self._threads:
                        return False
                else:
                    self._threads += 1
            self._jobs.append(job)
            self._wake.notify()
            return True

    def _work(self) -> None:
        while True:
            with self._wake:
                self._idle += 1
                working = self._wake.wait_for(lambda: self._jobs, timeout=IDLE_TIME)
                self._idle -= 1
                if not working:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            job()
