"""The periods of reports: a UTC day, or an equal part of one (RFC 9990 section 3.1.1.4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

DAY: Final = 86_400
HOUR: Final = 3600


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """From the second `begin` since the epoch to before `end`."""

    begin: int
    end: int

    @property
    def last(self) -> int:
        """The last second, which is what reports call the end: "periods SHOULD NOT overlap"."""
        return self.end - 1

    def __str__(self) -> str:
        begin = datetime.fromtimestamp(self.begin, UTC)
        if self.end - self.begin == DAY:
            return f"{begin:%Y-%m-%d}"
        return f"{begin:%Y-%m-%d %H:%M} to {datetime.fromtimestamp(self.end, UTC):%H:%M} UTC"


def periods_of(day: date, hours: int) -> list[Period]:
    """The periods of a day, each of so many hours."""
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    step = hours * HOUR
    return [Period(start, start + step) for start in range(begin, begin + DAY, step)]


def ended(now: float, hours: int, days: int) -> Iterator[Period]:
    """The periods of the last so many days that are over, the oldest first."""
    step = hours * HOUR
    until = int(now) // step * step
    for begin in range(until - days * DAY, until, step):
        yield Period(begin, begin + step)
