"""How the program writes."""

import ast
from pathlib import Path

import monitor

ROOT = Path(monitor.__file__).parent


def begins_to_write(source: Path) -> bool:
    """Return whether a module opens a transaction by itself."""
    nodes = [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.AsyncWith)]
    opened = [ast.unparse(item.context_expr) for node in nodes for item in node.items]
    return any(".write(" in each for each in opened)


def test_everything_that_is_written_is_tried_again() -> None:
    """A block cannot be run twice: what another replica may get in the way of goes through `transact`.

    A store in memory has no others.
    """
    writers = {
        source.relative_to(ROOT).as_posix() for source in ROOT.rglob("*.py") if begins_to_write(source)
    }
    assert writers == {"store/database.py", "store/scratch.py"}
