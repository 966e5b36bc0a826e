"""Whether a change makes the daemon slower: two commits, in turn, in one run.

    PYTHONPATH=tests python -m bench.compare REVISION [--rounds 9] [--seconds 1.5] [--only WORD]

Each piece of work of `bench.throughput` is done by the daemon of REVISION and by that of this tree, round after round.
`CPU` is milliseconds a message of all of a daemon's processes, or the time between two messages where DNS is far away;
`change` the median over the rounds of now by before, `spread` the range of the middle half of them. A change is named
where that range is more than 1 % away from no change.
Compared with HEAD and an unchanged tree, it shows how noisy the machine is.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from bench.messages import SELECTORS, pem
from bench.senders import Senders
from bench.throughput import WORK, Filters, Work, in_turn
from support.mail import record_of
from support.milter_load import Load

ROOT = Path(__file__).parents[2]
LEAST = 0.01  # a smaller change is never called one


def check_out(revision: str, directory: Path) -> Path:
    """Puts the package as it was at this revision into the directory; the directory to import it from."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", revision, "milter"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"cannot read the revision {revision}: {done.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", str(directory)], input=done.stdout, check=True)
    return directory / "milter"


def cost(work: Work, one: Load) -> float:
    """Milliseconds a message."""
    return 1000 / one.rate if work.far and one.rate else one.cpu


def row(name: str, before: Sequence[float], now: Sequence[float]) -> str:
    """The change of what one piece of work cost, as a row of the table."""
    ratios = [new / old for old, new in zip(before, now, strict=True) if old and new]
    if len(ratios) < 2:  # the least that has a spread
        return f"| {name} | - | - | - | not measured | |"
    low, _, high = quantiles(ratios, n=4, method="inclusive")
    verdict = "slower" if low > 1 + LEAST else "faster" if high < 1 - LEAST else ""
    costs = f"{median(before):.3f} | {median(now):.3f}"
    return f"| {name} | {costs} | {median(ratios):.2f} | {low:.2f} to {high:.2f} | {verdict} |"


def ours(works: Sequence[Work]) -> list[tuple[Work, str]]:
    """Each piece of work with each kind of our daemon that does it."""
    return [(work, name) for work in works for name in work.filters if "mailnotary" in name.split()[:2]]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("revision", help="the commit to compare this tree with")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--only", default="", metavar="WORD", help="the rows with this in their name")
    options = parser.parse_args()
    records = {selector: record_of(pem(algorithm)) for selector, algorithm in SELECTORS.items()}
    with tempfile.TemporaryDirectory(prefix="mailnotary-bench-") as name, Senders(records) as senders:
        for part in ("before", "now", "source"):
            Path(name, part).mkdir()
        source = check_out(options.revision, Path(name, "source"))
        with Filters(Path(name, "before"), senders, source) as before, Filters(Path(name, "now"), senders) as now:
            print(f"| work | CPU ms at {options.revision} | now | change | spread | |\n|---|--:|--:|--:|--:|---|")
            for work, kind in ours([work for work in WORK if options.only in work.name]):
                subjects = [found for filters in (before, now) if (found := filters.get(kind)) is not None]
                loads = in_turn(work, subjects, options.rounds, options.seconds)
                costs = [[cost(work, one) for one in found] for found in loads]
                label = work.name if len(work.filters) < 2 or kind == work.filters[0] else f"{work.name}: {kind}"
                print(row(label, *costs), flush=True)


if __name__ == "__main__":
    main()
