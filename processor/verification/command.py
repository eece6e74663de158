"""`icaze verify`: reads everything once, shows it to the checks, and prints what they found.

Reads the store, the policy file, and, where given, the journal and the operator's log. Writes nothing.
"""

import argparse
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import uvloop
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import Progress

from lua.keys import PartitionKeys, partition_keys
from lua.store import Store
from permits.calendar import DAY_MS, day_name
from permits.policy import DEFAULT_FILE, Policy, PolicyError
from permits.policy import load as load_policy
from processor.verification import store_at_rest, trail
from processor.verification.checks import Checks
from processor.verification.inputs import UnusableInputError
from processor.verification.journal import Journal, read_journal
from processor.verification.report import Report, show
from processor.verification.sink_log import SinkLog, read_sink_log
from runtime import embedded
from runtime.connection import STORE_ERRORS
from runtime.errors import StartupError
from runtime.policies import load_all
from runtime.settings import Settings
from runtime.settings import load as load_settings
from runtime.topology import client_to

HELD, VIOLATED, UNUSABLE = 0, 1, 2


class _Advance(Protocol):
    def __call__(self, entries: int) -> None: ...


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--journal", type=Path, metavar="FILE", help="what ingest acknowledged, as `replay` writes it")
    parser.add_argument("--sink", type=Path, metavar="FILE", help="what the operator saw, a line a send")
    parser.add_argument("--json", action="store_true", help="one object for programs")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 nothing violated, 1 something is, 2 an input cannot be used."""
    try:
        settings = load_settings()
        policy = load_policy(Path(settings.policy_file) if settings.policy_file else DEFAULT_FILE)
        report = uvloop.run(_connected(settings, policy, args.journal, args.sink))
    except (StartupError, PolicyError, UnusableInputError) as error:
        sys.stderr.write(f"verify: {error}\n")
        return UNUSABLE
    except (RedisError, *STORE_ERRORS) as error:
        sys.stderr.write(f"verify: the store: {error}\n")
        return UNUSABLE
    if args.json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        show(report, Console())
    return HELD if report.ok else VIOLATED


async def _connected(settings: Settings, policy: Policy, journal: Path | None, sink: Path | None) -> Report:
    client = client_to(settings.redis_url or embedded.url(settings.data))
    try:
        return await verify(
            client,
            policy=policy,
            journal=journal,
            sink=sink,
            now_ms=time.time_ns() // 1_000_000,
        )
    finally:
        await client.aclose()


async def verify(
    store: Store,
    *,
    policy: Policy,
    journal: Path | None,
    sink: Path | None,
    now_ms: int,
) -> Report:
    """Hold the promises against a store at rest; `policy` is the file's, which held before any version was stored."""
    started_s = time.monotonic()
    layout = await store_at_rest.read_layout(store)
    policies = {**await load_all(store, partition_keys(layout.tags[0]).policies), policy.version: policy}
    # A version that keeps the trail longer than the one before it does not bring back what was trimmed.
    trimmed_to_ms = now_ms - min(held.retention.audit_days for held in policies.values()) * DAY_MS
    partitions: list[tuple[trail.Partition, PartitionKeys]] = []
    entries, known_from_ms = 0, 0
    for number, tag in enumerate(layout.tags):
        names = partition_keys(tag)
        length, trimmed = await store_at_rest.entries_of(store, names.audit)
        partition = trail.Partition(number, tag, trimmed_to_ms if trimmed else 0)
        partitions.append((partition, names))
        entries += length
        known_from_ms = max(known_from_ms, partition.known_from_ms)
    acknowledged = None if journal is None else Journal(lambda: read_journal(journal), known_from_ms)
    sink_log = None if sink is None else SinkLog(read_sink_log(sink), layout.tags)
    checks = Checks(policies=policies, journal=acknowledged, sink_log=sink_log, now_ms=now_ms)
    record_days = await store_at_rest.days_of(store, "day")
    count_days = await store_at_rest.days_of(store, "counts")
    with _progress(entries) as advance:
        for partition, names in partitions:
            checks.begin(partition)
            async for page in trail.pages(store, names.audit):
                for entry in page:
                    if isinstance(entry, trail.AuditEntry):
                        checks.feed(entry)
                    else:
                        checks.settle(entry)
                advance(len(page))
            acts_from_ms = await _show_acts(store, names, checks, trimmed_to_ms)
            days = record_days.get(names.tag, set()), count_days.get(names.tag, set())
            await _close(store, names, checks, *days, acts_from_ms)
    findings = checks.findings()
    return Report(
        ok=all(finding.status != "violated" for finding in findings),
        rows=checks.rows,
        acknowledged=None if acknowledged is None else acknowledged.acknowledged,
        approved=checks.approved,
        refused=checks.refused,
        totals=checks.totals,
        sent=None if sink_log is None else sink_log.sent,
        ambiguous=None if sink_log is None else sink_log.ambiguous,
        notices=None if sink_log is None else sink_log.notified,
        checks=findings,
        seconds=round(time.monotonic() - started_s, 3),
    )


async def _show_acts(store: Store, names: PartitionKeys, checks: Checks, trimmed_to_ms: int) -> int:
    """Show a partition's acts where notices were sent; since when all stand, 0: since ever."""
    if not checks.notified:  # with every check of the police there are many more acts than notices
        return 0
    _, trimmed = await store_at_rest.entries_of(store, names.acts)
    async for code, deed in store_at_rest.acts(store, names):
        checks.act(code, deed)
    return trimmed_to_ms if trimmed else 0


async def _close(
    store: Store,
    names: PartitionKeys,
    checks: Checks,
    record_days: set[int],
    count_days: set[int],
    acts_from_ms: int,
) -> None:
    for day in sorted(record_days):
        async for field, value in store_at_rest.records(store, names.day(day_name(day))):
            checks.record(day, field, value)
    needed = checks.unsent or checks.unsettled or checks.buried
    dead = await store_at_rest.dead(store, names) if needed else store_at_rest.NO_DEAD
    checks.end(
        await store_at_rest.read_at_rest(store, names, {day: day_name(day) for day in count_days}),
        record_days=record_days,
        acts_from_ms=acts_from_ms,
        dead=dead.replies if checks.unsent or checks.unsettled else (),
        waiting=await store_at_rest.waiting_replies(store, names) if checks.unsent else (),
        held=await store_at_rest.held_entries(store, names) if checks.unsettled else {},
        letters=dead.letters if checks.buried else None,
    )


@contextmanager
def _progress(entries: int) -> Generator[_Advance]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("audit trail", total=entries)

        def advance(entries: int) -> None:
            bar.advance(task, entries)

        yield advance
