"""How long work shows itself to people: a bar on a terminal, else a plain line every five seconds.

Writes to standard error, so that standard output holds nothing but the result.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
_PLAIN_EVERY_S = 5.0
_BAR_EVERY_S = 0.25
_STEP = 10_000
"""Between two looks of a loop at its bar, which cost it time."""


async def show(done: Callable[[], int], total: int | None, *, what: str, more: Callable[[], str] = str) -> None:
    """Shows how many are done until cancelled, and `more`; `total` is None where the end is not known."""
    console = Console(stderr=True)
    started_s = time.monotonic()

    def figures() -> str:
        return f"{_rate(done(), started_s):,.0f}/s{more()}"

    if not console.is_terminal:
        await _lines(done, total, what, figures, started_s)
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total, figures="")
        try:
            while True:
                await asyncio.sleep(_BAR_EVERY_S)
                progress.update(task, completed=done(), figures=figures())
        finally:
            progress.update(task, completed=done())


async def _lines(
    done: Callable[[], int], total: int | None, what: str, figures: Callable[[], str], started_s: float
) -> None:
    while True:
        await asyncio.sleep(_PLAIN_EVERY_S)
        rate = _rate(done(), started_s)
        eta = f", ETA {(total - done()) / rate:.0f} s" if total and rate else ""
        of = f" of {total:,}" if total else ""
        print(f"{done():,}{of} {what}, {figures()}{eta}", file=sys.stderr, flush=True)


def _rate(done: int, started_s: float) -> float:
    return done / (time.monotonic() - started_s)


def passed_on(items: Iterable[T], total: int, *, doing: str, each: int = 1) -> Iterator[T]:
    """Passes items on, with a bar where standard error is a terminal; an item counts for `each` of the total."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from items
        return
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(doing, total=total)
        for count, item in enumerate(items):
            if count * each % _STEP == 0:
                progress.update(task, completed=count * each)
            yield item
        progress.update(task, completed=total)


def count_lines(path: Path) -> int | None:
    """Counts a trace's lines for the progress display; None where reading it would use it up (a pipe)."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
