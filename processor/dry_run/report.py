"""The result of a dry run, for programs and for people."""

from collections import Counter
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from permits.outcomes import NAME_OF
from permits.policy import Policy
from processor.dry_run.comparison import Comparison, Control

LIMITS: Final = (
    "It judges decisions alone: how long a permit runs, when its reply goes out and what it says are not compared.",
    "That a document stood on a status list is known only where it was refused as blocked. There it stays so if the "
    "policy bars any list from the purpose; every other SMS is judged as if its document stood on none.",
    "What was refused as abuse_sender stays so if the policy limits the documents of a phone; nothing else becomes so.",
    "Texts are not kept: an SMS that a cancel word made a cancellation stays what it was, and no other becomes one.",
    "Under other rules people would have written other SMS.",
)


class Change(msgspec.Struct, frozen=True):
    """Decisions under one purpose that would have been others."""

    purpose: int
    """Of the decision, or where that knew none, of the other policy; 0: none."""
    before: str
    after: str
    count: int
    share: float
    """Of all decisions judged under this purpose."""


class Total(msgspec.Struct, frozen=True):
    """Decisions of one outcome."""

    outcome: str
    before: int
    after: int


class Report(msgspec.Struct, frozen=True):
    """One object for programs."""

    policy: str
    """Version of the other policy."""
    partitions: int
    rows: int
    judged: int
    changed: int
    changes: list[Change]
    """Most first within a purpose."""
    totals: list[Total]
    unanswered_before: int
    unanswered_after: int
    kept_out: dict[str, int]
    """Rows that no policy could have decided otherwise, and cancellations."""
    taken: int
    """Rows before the period: not judged, but the past of those that are."""
    control: Control
    notes: list[str]
    limits: tuple[str, ...]
    seconds: float
    rows_per_s: int
    """Of this process's own time, on one core."""


def reported(
    found: Comparison, policy: Policy, *, partitions: int, notes: list[str], seconds: float, worked_s: float
) -> Report:
    """What a comparison comes to. `worked_s` is the processor's time it took."""
    by_purpose, before, after = Counter[int](), Counter[str](), Counter[str]()
    for (purpose, was, now), count in found.pairs.items():
        by_purpose[purpose] += count
        before[was] += count
        after[now] += count
    changed = sorted((purpose, -count, was, now) for (purpose, was, now), count in found.pairs.items() if was != now)
    return Report(
        policy=policy.version,
        partitions=partitions,
        rows=found.rows,
        judged=by_purpose.total(),
        changed=-sum(count for _, count, _, _ in changed),
        changes=[
            Change(purpose, NAME_OF[was], NAME_OF[now], -count, round(-count / by_purpose[purpose], 6))
            for purpose, count, was, now in changed
        ],
        totals=[Total(NAME_OF[one], before[one], after[one]) for one in NAME_OF if before[one] or after[one]],
        unanswered_before=found.silent_before,
        unanswered_after=found.silent_after,
        kept_out={NAME_OF[one]: count for one, count in sorted(found.kept_out.items())},
        taken=found.taken,
        control=found.control,
        notes=notes,
        limits=LIMITS,
        seconds=round(seconds, 3),
        rows_per_s=round(found.rows / worked_s),
    )


def show(report: Report, policy: Policy, console: Console) -> None:
    """Print the tables, and what they leave out."""
    share = report.changed / report.judged if report.judged else 0.0
    _line(
        console,
        f"{report.judged:,} decisions judged under {report.policy}: {report.changed:,} ({share:.2%}) would have been "
        "others",
        "bold",
    )
    if report.changes:
        console.print(_changes(report, policy))
    console.print(_totals(report))
    _line(console, f"refusals unanswered: {report.unanswered_before:,} before, {report.unanswered_after:,} after")
    left_out = ", ".join(f"{count:,} {name}" for name, count in report.kept_out.items()) or "none"
    _line(console, f"kept out, as they were: {left_out}")
    if report.taken:
        _line(console, f"from before the period, as they were: {report.taken:,}")
    for note in report.notes:
        _line(console, f"note: {note}", "yellow")
    _line(console, "what a dry run cannot tell:", "dim")
    for limit in report.limits:
        _line(console, f"- {limit}", "dim")
    _line(console, *_told(report.control))
    speed = f"{report.seconds:.1f} s, {report.rows_per_s:,} a second of one core's time"
    _line(console, f"{report.rows:,} rows of {report.partitions} partitions in {speed}", "dim")


def _changes(report: Report, policy: Policy) -> Table:
    table = Table("purpose", "before", "after", title="decided otherwise", title_justify="left")
    table.add_column("decisions", justify="right")
    table.add_column("of purpose", justify="right")
    names = {purpose.code: purpose.names["en"] for regime in policy.regimes for purpose in regime.purposes}
    last = None
    for change in report.changes:
        if last not in (None, change.purpose):
            table.add_section()
        named = f"{change.purpose} {names.get(change.purpose, '')}" if change.purpose else "none read"
        shown = named if change.purpose != last else ""
        table.add_row(shown, change.before, change.after, f"{change.count:,}", f"{change.share:.2%}")
        last = change.purpose
    return table


def _totals(report: Report) -> Table:
    table = Table("outcome", title="all decisions", title_justify="left")
    for name in ("before", "after", "difference"):
        table.add_column(name, justify="right")
    for total in report.totals:
        table.add_row(total.outcome, f"{total.before:,}", f"{total.after:,}", _signed(total.after - total.before))
    return table


def _signed(difference: int) -> str:
    return f"{difference:+,}" if difference else "0"


def _told(control: Control) -> tuple[str, str]:
    if not control.checked:
        return "control: none of them was made under this very policy", "dim"
    if not control.differing:
        return f"control: {control.checked:,} were made under this very policy, and all come out alike", "green"
    said = f"control: {control.differing:,} of {control.checked:,} made under this very policy do not come out alike"
    return said, "bold red"


def _line(console: Console, line: str, style: str = "") -> None:
    console.print(Text(line, style=style), soft_wrap=True)
