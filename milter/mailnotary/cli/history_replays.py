"""`mailnotary history --replays`: signatures that came from many networks."""

import time
from collections.abc import Sequence

from rich.table import Table

from mailnotary.cli.common import print_json
from mailnotary.cli.output import Console, Text, print_table
from mailnotary.escape import printable
from mailnotary.history.uses import Replay


def show_replays(found: Sequence[Replay], *, as_json: bool) -> int:
    """Shows them, the latest first; 1 where there is none."""
    if as_json:
        print_json({"replays": [replay._asdict() for replay in found]})
        return 0 if found else 1
    if not found:
        return 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("NETWORKS", "MESSAGES"):
        table.add_column(name, justify="right")
    for name in ("FIRST", "LAST", "SELECTOR", "DOMAIN"):
        table.add_column(name, overflow="fold")
    for replay in found:
        table.add_row(
            *(str(replay.networks), str(replay.messages), _time(replay.first), _time(replay.last)),
            *(Text(printable(text)) for text in (replay.selector, replay.domain)),
        )
    print_table(Console(), table)
    return 0


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
