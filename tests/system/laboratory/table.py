"""The rows for people."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.system.laboratory.conduct import Row

COLUMNS = (
    "experiment",
    "runs",
    "struck",
    "acknowledged",
    "decided",
    "sent",
    "lost",
    "doubled",
    "stall",
    "recovery",
    "",
)


def show(rows: Sequence[Row], console: Console) -> None:
    """The table, and below it why rows failed or were skipped."""
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number in (0, 10) else "right", no_wrap=True)
    for row in rows:
        verdict = "skipped" if row.skipped else "ok" if row.ok else "FAILED"
        numbers = (row.runs, row.struck, row.acknowledged, row.decided, row.sent, row.lost, row.doubled)
        times = (row.longest_stall_s, row.recovered_s)
        table.add_row(
            row.experiment,
            *(f"{number:,}" for number in numbers),
            *("" if seconds is None else f"{seconds:.1f} s" for seconds in times),
            verdict,
        )
    console.print(table)
    for row in rows:
        for line in [f"skipped: {row.skipped}"] if row.skipped else row.failures:
            console.print(f"{row.experiment} (seed {row.seed}): {line}", markup=False, soft_wrap=True)
