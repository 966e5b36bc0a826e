"""When a process of the daemon's own that has ended is started again."""

import time
from dataclasses import dataclass


@dataclass(slots=True)
class Restarts:
    """After a short life a process is started again `first` seconds later, and after each further one in a row twice as
    late as before, up to `longest` seconds. After a life of `healthy` seconds that begins anew."""

    first: float
    longest: float
    healthy: float
    deaths: int = 0  # in a row
    started: float = 0.0  # the monotonic time of the last attempt
    _due: float = 0.0
    _delay: float = 0.0

    @property
    def wait(self) -> float:
        """Seconds until the process is to be started, 0.0 if that is now."""
        return max(self._due - time.monotonic(), 0.0)

    def begin(self) -> None:
        """It is being started."""
        self.started = time.monotonic()

    def ended(self) -> float:
        """It has ended, or could not be started. Gives the seconds for which it lived."""
        now = time.monotonic()
        lived = now - self.started
        if lived >= self.healthy:
            self.deaths = 0
        self._delay = min(self._delay * 2, self.longest) if self.deaths else self.first
        self._due = now + self._delay
        self.deaths += 1
        return lived

    def ended_as_told(self) -> None:
        """It has ended because it was told to: it may be started again at once."""
        self.deaths, self._due = 0, 0.0
