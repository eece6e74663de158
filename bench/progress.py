"""How a replay shows itself to people: a bar on a terminal, else a plain line every five seconds.

Writes to standard error, so that standard output holds nothing but the result.
"""

import asyncio
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.push import Tally

_PLAIN_EVERY_S = 5.0
_BAR_EVERY_S = 0.25


async def show(tally: Tally, total: int | None) -> None:
    """Shows the tally until cancelled; `total` is None where the end is not known."""
    console = Console(stderr=True)
    if console.is_terminal:
        await _bar(tally, total, console)
    else:
        await _lines(tally, total)


async def _bar(tally: Tally, total: int | None, console: Console) -> None:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    started_s = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("replay", total=total, figures="")
        try:
            while True:
                await asyncio.sleep(_BAR_EVERY_S)
                done = tally.accepted + tally.rejected
                rate = done / (time.monotonic() - started_s)
                progress.update(task, completed=done, figures=_figures(tally, rate))
        finally:
            progress.update(task, completed=tally.accepted + tally.rejected)


async def _lines(tally: Tally, total: int | None) -> None:
    started_s = time.monotonic()
    while True:
        await asyncio.sleep(_PLAIN_EVERY_S)
        done = tally.accepted + tally.rejected
        rate = done / (time.monotonic() - started_s)
        eta = f", ETA {(total - done) / rate:.0f} s" if total and rate else ""
        of = f" of {total:,}" if total else ""
        print(f"{done:,}{of} messages, {_figures(tally, rate)}{eta}", file=sys.stderr, flush=True)


def _figures(tally: Tally, rate: float) -> str:
    return f"{rate:,.0f}/s, {tally.rejected:,} rejected, {tally.retries:,} retries"


def count_lines(path: Path) -> int | None:
    """Counts a trace's lines for the progress display; None where reading it would use it up (a pipe)."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
