"""Rows of earlier calls in a file: what stands there for the same sources is not made again, a failure stays."""

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from tests.system.laboratory.conduct import Row

ROOT: Final = Path(__file__).parents[3]
SUFFIXES: Final = (".py", ".lua", ".toml", ".lock")
"""Of files that an experiment's outcome may hang on."""


def source(root: Path = ROOT) -> str:
    """Fingerprint of the sources as they are now, changes that are not committed too; 12 hexadecimal digits."""
    found = hashlib.blake2b(digest_size=6)
    roots = [path for path in root.iterdir() if not path.name.startswith(".")]
    paths = (path for one in roots for path in ([one] if one.is_file() else one.rglob("*")))
    for path in sorted(path for path in paths if path.suffix in SUFFIXES and path.is_file()):
        content = path.read_bytes()
        found.update(f"{path.relative_to(root)} {len(content)}\n".encode() + content)
    return found.hexdigest()


def kept(path: Path | None, of: str) -> list[Row]:
    """The rows of earlier calls on the same sources, those that failed too; ValueError where a line is no row."""
    if path is None or not path.exists():
        return []
    rows = [msgspec.json.decode(line, type=Row) for line in path.read_bytes().splitlines()]
    return [row for row in rows if row.source == of]


def keep(path: Path | None, row: Row) -> None:
    """Append a row that was made; one that was skipped is to be tried again."""
    if path is not None and row.skipped is None:
        with path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")
