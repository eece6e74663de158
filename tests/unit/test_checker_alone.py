"""The checker imports the standard library, redis-py, a cipher and itself.

It knows the keys as the documents tell them.
"""

import ast
import re
import sys
from pathlib import Path

from tests.system.checker import growth

ROOT = Path(__file__).parents[2]
CHECKER = Path(__file__).parents[1] / "system" / "checker"
ITSELF = "tests.system.checker"
LIBRARIES = {"redis", "cryptography"}


def imported(path: Path) -> set[str]:
    """All modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            found.add(node.module or "")
    return found


def test_it_imports_nothing_of_the_project() -> None:
    files = sorted(CHECKER.glob("*.py"))
    assert files
    for path in files:
        for name in imported(path):
            root = name.partition(".")[0]
            allowed = root in sys.stdlib_module_names | LIBRARIES or name.startswith(ITSELF)
            assert allowed, f"{path.name}: {name}"


def test_no_file_of_it_is_a_room_for_everything() -> None:
    assert all(len(path.read_text().splitlines()) <= 300 for path in CHECKER.glob("*.py"))


def test_it_knows_every_key_that_the_architecture_names() -> None:
    table = re.findall(
        r"^\| `([a-z_]+)[^|]*` \| (?:hash|list|set|stream|string|zset) ", (ROOT / "ARCHITECTURE.md").read_text(), re.M
    )
    known = growth.BY_AGE | growth.TRAILS | growth.PER_PARTITION | growth.SINGLE | growth.HOLDERS
    assert len(table) > 25
    assert set(table) <= known
