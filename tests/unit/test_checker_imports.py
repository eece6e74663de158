"""The checker shares nothing with what it checks: no module of it imports anything of the project."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

CHECKER: Final = Path("tests/system/checker")
ALLOWED: Final = frozenset({*sys.stdlib_module_names, "redis"})
OWN: Final = "tests.system.checker"
AROUND: Final = frozenset(("importlib", "runpy", "ctypes"))
"""Ways past an import that is written down."""


def foreign(source: str) -> Iterator[str]:
    """What a module imports beside the standard library, redis and the checker."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}"]
        elif isinstance(node, ast.Name) and node.id in ("__import__", "exec", "eval"):
            names = [f"{node.id}()"]
        for name in names:
            first = name.partition(".")[0]
            if not (name == OWN or name.startswith(f"{OWN}.")) and (first not in ALLOWED or first in AROUND):
                yield name


@pytest.mark.parametrize("path", sorted(CHECKER.glob("*.py")), ids=lambda path: path.name)
def test_the_checker_imports_nothing_of_the_project(path: Path) -> None:
    assert list(foreign(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import permits",
        "from permits.sms import read",
        "import lua.keys as keys",
        "from tests.system.house import House",
        "from tests.system.checkers import x",
        "from . import trail",
        "def f():\n    from runtime import settings",
        "__import__('bench')",
        "import importlib",
        "import msgspec",
    ],
)
def test_an_import_of_the_project_would_be_seen(source: str) -> None:
    assert list(foreign(source))


def test_there_is_a_checker_to_read() -> None:
    assert len(list(CHECKER.glob("*.py"))) > 10
