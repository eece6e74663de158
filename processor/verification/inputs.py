"""Files that a check reads: NDJSON, line by line, refused by name and line number where one does not fit."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

Line = TypeVar("Line")


class UnusableInputError(ValueError):
    """What stands in a file or stream cannot be read; the message says where."""


def read_lines(path: Path, kind: type[Line]) -> Iterator[Line]:
    """Each line decoded; empty lines count but are passed over. UnusableInputError names file and line."""
    decode = msgspec.json.Decoder(kind).decode
    number = 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                if not line.isspace():
                    yield decode(line)
    except OSError as error:
        raise UnusableInputError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableInputError(f"{path}, line {number}: {error}") from None
