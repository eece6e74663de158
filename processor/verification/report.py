"""The result of a verification, for programs and for people."""

import msgspec
from rich.console import Console
from rich.text import Text

from processor.verification.finding import Finding


class Totals(msgspec.Struct, frozen=True):
    """Entries of the trail by what became of them, under the names of the monitor."""

    decided: int
    """Approved, refused and cancelled."""
    approved: int
    refused: int
    cancelled: int
    """SMS by which a permit was cancelled."""
    dead: int
    duplicate: int
    shed: int
    moved: int


class Report(msgspec.Struct, frozen=True):
    """One object for programs."""

    ok: bool
    """Nothing is violated; what was not checked is said beside."""
    rows: int
    acknowledged: int | None
    """Distinct ids in the journal; None without one."""
    approved: int
    refused: dict[str, int]
    totals: Totals
    sent: int | None
    """Sends in the operator's log; None without one."""
    ambiguous: int | None
    notices: int | None
    """Sends that are an officer's."""
    checks: list[Finding]
    seconds: float


def show(report: Report, console: Console) -> None:
    """Print one line a check, its counter-examples below."""
    counted = [f"{report.rows:,} rows", f"{report.approved:,} approved", f"{sum(report.refused.values()):,} refused"]
    if report.totals.cancelled:
        counted.append(f"{report.totals.cancelled:,} cancelled")
    if report.acknowledged is not None:
        counted.append(f"{report.acknowledged:,} acknowledged")
    if report.sent is not None:
        counted.append(
            f"{report.sent:,} sent, {report.ambiguous:,} of them marked ambiguous and {report.notices:,} notices"
        )
    _line(console, f"{', '.join(counted)}; {report.seconds:.1f} s")
    for finding in report.checks:
        _line(console, _in_words(finding), {"ok": "green", "violated": "bold red"}.get(finding.status, "yellow"))
        for example in finding.examples:
            _line(console, f"     {example}")
        if finding.violations > len(finding.examples):
            _line(console, f"     ... {finding.violations:,} in all")


def _in_words(finding: Finding) -> str:
    name = f"{finding.invariant} {finding.what}:"
    if finding.status == "not checked":
        return f"{name} not checked: {finding.note}"
    left_out = f"; {finding.note}" if finding.note else ""
    if finding.status == "violated":
        return f"{name} VIOLATED {finding.violations:,} ({finding.checked:,} checked{left_out}): {finding.says}"
    return f"{name} ok ({finding.checked:,} checked{left_out}): {finding.says}"


def _line(console: Console, line: str, style: str = "") -> None:
    console.print(Text(line, style=style), soft_wrap=True)
