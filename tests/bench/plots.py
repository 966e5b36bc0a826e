"""Pictures of how fast mailnotary is beside OpenDKIM and rspamd, as far as these are installed.

    PYTHONPATH=tests python -m bench.plots DIRECTORY [--rounds 3] [--seconds 2]

Writes `speed-rate.svg`, messages a second over connections, and `speed-cpu.svg`, CPU over the size of a message; both
tell their date and the versions of what was measured.
"""

import argparse
import os
import platform
import time
from pathlib import Path

import mailnotary
from bench import peers, svg
from bench.throughput import VERIFIERS, Filters, Work, measure, started

CONNECTIONS = (1, 2, 5, 10, 20, 50)
SIZES = (4_000, 50_000, 500_000, 2_000_000, 10_000_000)


def plots(directory: Path, filters: Filters, rounds: int, seconds: float) -> None:
    """Measures each filter in turn and writes the pictures."""
    directory.mkdir(parents=True, exist_ok=True)
    subjects = [found for name in VERIFIERS if (found := filters.get(name)) is not None]
    rates: dict[str, list[tuple[float, float]]] = {subject.name: [] for subject in subjects}
    cpus: dict[str, list[tuple[float, float]]] = {subject.name: [] for subject in subjects}
    for connections in CONNECTIONS:
        work = Work("", 4_000, VERIFIERS, connections=connections)
        for subject, one in zip(subjects, measure(work, subjects, rounds, seconds), strict=True):
            rates[subject.name].append((connections, one.rate))
    for size in SIZES:
        work = Work("", size, VERIFIERS, connections=4)
        for subject, one in zip(subjects, measure(work, subjects, rounds, seconds), strict=True):
            cpus[subject.name].append((size, one.cpu))
    versions = [f"{subject.name} {peers.version(subject.name) or mailnotary.__version__}" for subject in subjects]
    note = ", ".join([time.strftime("%Y-%m-%d"), f"Python {platform.python_version()}", *versions])
    title = f"Messages of 4 KB verified in a second ({os.cpu_count()} cores)"
    (directory / "speed-rate.svg").write_text(svg.plot(title, "connections", "messages/s", rates, note=note))
    plot = svg.plot("CPU to verify a message", "octets of the message", "milliseconds", cpus, log_y=True, note=note)
    (directory / "speed-cpu.svg").write_text(plot)
    print(f"wrote {directory / 'speed-rate.svg'} and {directory / 'speed-cpu.svg'}")


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    with started() as filters:
        plots(options.directory, filters, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
