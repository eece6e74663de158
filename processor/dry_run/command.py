"""`icaze replay --dry-run`: what another policy would have decided of what the archive holds.

Reads the policy file and the segments of one or more folders; writes nothing, and asks no store.
"""

import argparse
import gc
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from permits.calendar import BAKU, rfc3339
from permits.messages import AuditSettled
from permits.policy import Policy, PolicyError
from permits.policy import load as load_policy
from processor.archive import segments
from processor.dry_run.comparison import Comparison
from processor.dry_run.report import Report, reported, show
from processor.dry_run.trail import Decided, Period, UnusableTrailError, begins_ms, decided
from runtime.errors import StartupError
from runtime.settings import load as load_settings

COMPARED, WRONG, UNUSABLE = 0, 1, 2


def configure(parser: argparse.ArgumentParser) -> None:
    """A policy, and which decisions to judge by it."""
    parser.add_argument("--dry-run", action="store_true", required=True, help="this command, and not the trace's")
    parser.add_argument("--policy", type=Path, required=True, metavar="FILE", help="the other policy")
    parser.add_argument(
        "--dir", type=Path, action="append", metavar="DIR", help="a worker's archive folder; again for each"
    )
    parser.add_argument(
        "--from", dest="since", type=_moment, metavar="TIME", help="RFC 3339, without a zone Baku's; decided since then"
    )
    parser.add_argument("--until", type=_moment, metavar="TIME", help="decided before")
    parser.add_argument("--json", action="store_true", help="one object for programs")


def run(arguments: argparse.Namespace) -> int:
    """Exit code: 0 compared, 1 the policy does not repeat its own decisions, 2 an input cannot be used."""
    gc.disable()  # nothing that is kept goes in circles, and to look for them takes a tenth of the time
    try:
        policy = load_policy(arguments.policy)
        folders: list[Path] = arguments.dir or [load_settings().archive]
        report = compare(policy, folders, Period(arguments.since or 0, arguments.until))
    except (StartupError, PolicyError, UnusableTrailError, msgspec.ValidationError, OSError) as error:
        sys.stderr.write(f"icaze replay: {error}\n")
        return UNUSABLE
    finally:
        gc.enable()
    if arguments.json:
        print(msgspec.json.encode(report).decode())
    else:
        show(report, policy, Console())
    control = report.control
    for example in control.examples:
        sys.stderr.write(f"icaze replay: {example}\n")
    if control.differing:
        sys.stderr.write(
            f"icaze replay: {control.differing} decisions of this very policy do not come out alike: the archive has "
            "gaps (`icaze audit verify`), or another release decided them\n"
        )
    return WRONG if control.differing else COMPARED


def compare(policy: Policy, folders: Sequence[Path], period: Period) -> Report:
    """Judge a period of the archive by another policy; UnusableTrailError where it cannot be read."""
    stored = {tag: segments.segments(folders, tag, "audit") for tag in segments.tags(folders)}
    sizes = {tag: sum(one.path.stat().st_size for one in found) for tag, found in stored.items() if found}
    if not sizes:
        raise UnusableTrailError(f"no archived decisions in {', '.join(map(str, folders))}")
    began_s, worked_s = time.monotonic(), time.process_time()
    found, notes = Comparison(policy), list[str]()
    console = Console(stderr=True)
    columns = (TextColumn("judging"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[rows]:,} decisions"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("judging", total=sum(sizes.values()), rows=0)

        def watched(batches: Iterator[Decided | AuditSettled]) -> Iterator[Decided | AuditSettled]:
            for batch in batches:
                yield batch
                bar.update(task, rows=found.rows)

        for tag, size in sizes.items():
            begins = begins_ms(folders, tag)
            if begins > period.since_ms:
                notes.append(
                    f"partition {tag}: older segments are missing; what was decided before {rfc3339(begins)} is taken "
                    "as it was"
                )
            since_ms = max(begins, period.since_ms)
            found.feed(watched(decided(folders, tag, msgspec.structs.replace(period, since_ms=since_ms))))
            bar.advance(task, size)
    return reported(
        found,
        policy,
        partitions=len(sizes),
        notes=notes,
        seconds=time.monotonic() - began_s,
        worked_s=time.process_time() - worked_s,
    )


def _moment(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=BAKU)).timestamp() * 1000)
