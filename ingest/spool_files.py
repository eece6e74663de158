"""What the spool does with files and folders, safe whenever it is cut short."""

import itertools
import os
import zlib
from pathlib import Path
from typing import IO


def position(folder: Path) -> int:
    """The number of the next record to replay; 0, from the begin, where it cannot be read."""
    try:
        text, _, check = (folder / "position").read_bytes().strip().partition(b" ")
    except FileNotFoundError:
        return 0
    return int(text) if check == b"%08x" % zlib.crc32(text) and text.isdigit() else 0


def keep_position(folder: Path, position: int) -> None:
    """Replace the kept position at once; OSError where there is no room."""
    text = str(position).encode()
    new = folder / "position.new"
    with created(new) as file:
        file.write(b"%b %08x\n" % (text, zlib.crc32(text)))
        file.flush()
        os.fdatasync(file.fileno())
    new.replace(folder / "position")
    sync_folder(folder)


def created(path: Path, *, new: bool = False) -> IO[bytes]:
    """An empty file, its owner's alone; each write goes to its end, after a cut too. `new`: FileExistsError of one."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_EXCL if new else os.O_TRUNC)
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def aside(path: Path, why: str) -> Path:
    """A name, not yet in use, for what cannot be read of a segment."""
    names = (path.with_suffix(f".{why}{number or ''}") for number in itertools.count())
    return next(name for name in names if not name.exists())


def write(descriptor: int, data: bytes) -> None:
    """All of it; OSError where there is no room."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Names in a folder are on disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
