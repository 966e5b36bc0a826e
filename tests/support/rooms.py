"""The rooms of the package and who imports whom, read from the code; `make rooms` draws them, and the exceptions, into
ARCHITECTURE.md."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from support import exceptions

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "milter" / "mailnotary"
PAGE = ROOT / "ARCHITECTURE.md"

Arrows = dict[str, set[str]]


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a module imports; of `from a import b` both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    """The room that a module of the package is in: its directory, or its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def arrows() -> Arrows:
    """Each room with the rooms that it imports from. The package's own `__init__` and `__main__` are none."""
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__", "__main__"}
    found: Arrows = {room: set() for room in sorted(rooms)}
    for path in PACKAGE.rglob("*.py"):
        room = room_of(path)
        for name in imports(path):
            package, *parts = name.split(".")
            if package == "mailnotary" and parts and room in rooms and parts[0] in rooms - {room}:
                found[room].add(parts[0])
    return found


def floors(found: Arrows) -> list[list[str]]:
    """The rooms from the bottom up, each as low as what it imports allows. ValueError where imports go in a circle."""
    height: dict[str, int] = {}
    while len(height) < len(found):
        ready = [room for room in found if room not in height and all(other in height for other in found[room])]
        if not ready:
            raise ValueError(f"imports in a circle among {sorted(set(found) - set(height))}")
        height.update({room: 1 + max((height[other] for other in found[room]), default=-1) for room in ready})
    return [sorted(room for room in height if height[room] == floor) for floor in range(max(height.values()) + 1)]


def reduced(found: Arrows) -> Arrows:
    """Without the arrows that others imply."""

    def below(room: str) -> set[str]:
        seen: set[str] = set()
        todo = [room]
        while todo:
            new = found[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    return {room: others - {far for other in others for far in below(other)} for room, others in found.items()}


def picture(found: Arrows) -> str:
    """The rooms as a Mermaid graph in Markdown, the top floor first."""
    direct = reduced(found)
    lines = ["```mermaid", "flowchart TD"]
    for floor in reversed(floors(found)):
        lines += [f"    {room} --> {other}" for room in floor for other in sorted(direct[room])]
    return "\n".join([*lines, "```", ""])


def drawn(page: str) -> str:
    """The page with its pictures drawn anew, each between two comments that name it."""
    for name, text in (("rooms", picture(arrows())), ("exceptions", exceptions.tree())):
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = before + begin + text + end + after
    return page


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"{sum(map(len, arrows().values()))} arrows between {len(arrows())} rooms\n")
