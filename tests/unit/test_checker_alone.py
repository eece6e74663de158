"""The checker imports the standard library, redis-py and itself: nothing that it checks."""

import ast
import sys
from pathlib import Path

CHECKER = Path(__file__).parents[1] / "system" / "checker"
ITSELF = "tests.system.checker"


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
            assert root in sys.stdlib_module_names | {"redis"} or name.startswith(ITSELF), f"{path.name}: {name}"


def test_no_file_of_it_is_a_room_for_everything() -> None:
    assert all(len(path.read_text().splitlines()) <= 300 for path in CHECKER.glob("*.py"))
