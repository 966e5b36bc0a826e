"""The exceptions of the package as a tree, read from the code; `make rooms` draws it into ARCHITECTURE.md."""

import ast
import builtins
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "milter" / "mailnotary"
ROOT = "MailnotaryError"
_STANDARD = {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)}


@dataclass(frozen=True)
class Raised:
    """One exception class: its module below the package, its base classes, and the first sentence of its docstring."""

    name: str
    module: str
    bases: tuple[str, ...]
    meaning: str


def classes() -> dict[str, Raised]:
    """Every exception class of the package by its name: those whose base classes lead to one of Python's own."""
    defined = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = tuple(ast.unparse(base).rpartition(".")[2] for base in node.bases)
                defined[node.name] = Raised(node.name, module, bases, _first_sentence(ast.get_docstring(node) or ""))

    def is_raised(name: str) -> bool:
        return name in _STANDARD or (name in defined and any(map(is_raised, defined[name].bases)))

    return {name: one for name, one in defined.items() if is_raised(name)}


def _first_sentence(docstring: str) -> str:
    text = " ".join(docstring.split("\n\n")[0].split())
    for end in (";", ": ", ". "):
        text = text.partition(end)[0]
    return text.rstrip(".")


def strays(found: dict[str, Raised]) -> list[str]:
    """The exceptions that do not lead to the root."""
    children = {ROOT}
    while new := {name for name, one in found.items() if name not in children and children & set(one.bases)}:
        children |= new
    return sorted(set(found) - children)


def tree() -> str:
    """The public exceptions as nested lists in Markdown."""
    found = classes()

    def lines(name: str, depth: int) -> list[str]:
        one = found[name]
        also = [f"`{base}`" for base in one.bases if base in _STANDARD and base != "Exception"]
        where = f"`{one.module}`" + (f", also a {' and a '.join(also)}" if also else "")
        below = sorted(child for child, other in found.items() if name in other.bases and not child.startswith("_"))
        own = f"{'  ' * depth}- `{name}` ({where}): {one.meaning}"
        return [own] + [line for child in below for line in lines(child, depth + 1)]

    return "\n".join([*lines(ROOT, 0), ""])
