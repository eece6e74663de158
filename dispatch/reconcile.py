"""`icaze reconcile`: does the Ministry have what we have sent it? Counter-examples where it does not.

Reads `feed:{p}`, `outbox:{p}`, `epochs` and `epochs_fed`, and asks the Ministry where there is one. Writes nothing,
but with `--rebuild-index` first adds all permits that stand to `org:{p}:<tin>` and `person:{p}:<fin>`.
"""

import argparse
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import msgspec
import uvloop
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import Progress

from dispatch.ministry.http import HttpMinistry, MinistryError, Reckoning, Tally, http_ministry
from dispatch.outbox.entries import entries
from dispatch.outbox.index import Index
from dispatch.reckoning import Account, Counters, Feed, Range, account, joined
from lua.keys import EPOCHS, EPOCHS_FED, LAYOUT, PartitionKeys, partition_keys
from runtime import embedded, keyring, layout, settings
from runtime.connection import shown
from runtime.errors import StartupError
from runtime.settings import Settings
from runtime.shared import SharedWire
from runtime.topology import wire_to

PAGE: Final = 1000
AGREES, DISAGREES, UNUSABLE = 0, 1, 2


class Reconciliation(msgspec.Struct, frozen=True):
    """One object for programs."""

    ok: bool
    ministry: str
    """`asked`, `off`, or why it gave no answer."""
    epochs: int
    epochs_transmitted: int
    disagreements: list[str]
    """Of the epochs; each partition has its own."""
    partitions: list[Account]


class _Advance(Protocol):
    def __call__(self) -> None: ...


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--json", action="store_true", help="one object for programs")
    parser.add_argument(
        "--rebuild-index", action="store_true", help="first add every permit that stands to the index of the lists"
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit code: 0 all agrees, 1 something does not, 2 the store or the Ministry does not answer."""
    current = settings.load()
    url = current.redis_url or embedded.url(current.data)
    try:
        found = uvloop.run(_connected(current, url, rebuild=arguments.rebuild_index))
    except StartupError as error:
        sys.stderr.write(f"reconcile: {error}\n")
        return UNUSABLE
    except (RedisError, OSError) as error:
        sys.stderr.write(f"reconcile: store {shown(url)}: {error}\n")
        return UNUSABLE
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        _print(found)
    if not found.ok:
        return DISAGREES
    return AGREES if found.ministry in ("asked", "off") else UNUSABLE


async def _connected(current: Settings, url: str, *, rebuild: bool) -> Reconciliation:
    ministry = http_ministry(current, keyring.load(current)) if current.ministry == "http" else None
    store = SharedWire(wire_to(url))
    try:
        raw: bytes | None = await store.execute_command("GET", LAYOUT)
        if raw is None:
            raise StartupError(f"store {shown(url)}: no icaze data in it")
        partitions = [partition_keys(tag) for tag in msgspec.json.decode(raw, type=layout.Layout).tags]
        if rebuild:
            route = layout.route(current)
            index = Index(store, route=route, partitions=await layout.settle(store, route))
            with _progress("index", len(partitions)) as advance:
                permits = await index.rebuild(advance)
            sys.stderr.write(f"reconcile: {permits:,} permits in the index\n")
        return await reconcile(store, partitions, ministry)
    finally:
        await store.close()
        if ministry is not None:
            await ministry.close()


async def reconcile(
    store: SharedWire, partitions: Sequence[PartitionKeys], ministry: HttpMinistry | None
) -> Reconciliation:
    """Read everything of ours, ask the Ministry, and read the counters once more."""
    fed_before = await _epochs_fed(store)
    before = await _counters(store, partitions)
    waiting: list[tuple[list[Range], int | None]] = []
    with _progress("outboxes", len(partitions)) as advance:
        for names in partitions:
            waiting.append(await _waiting(store, names))
            advance()
    reckoning, said = await _asked(ministry)
    after = await _counters(store, partitions)
    now_ms = time.time_ns() // 1_000_000
    accounts: list[Account] = []
    for number, (ranges, oldest_ms) in enumerate(waiting):
        tally = None if reckoning is None else reckoning.partitions.get(number, Tally())
        feed = Feed(number, before[number], after[number], ranges, oldest_ms)
        accounts.append(account(feed, tally, now_ms=now_ms))
    epochs = int(await store.execute_command("LLEN", EPOCHS))
    disagreements: list[str] = []
    if reckoning is not None:
        if not fed_before <= reckoning.epoch <= epochs:
            disagreements.append(
                f"the Ministry's last epoch is {reckoning.epoch}, we transmitted {fed_before} of {epochs}"
            )
        strange = sorted(set(reckoning.partitions) - set(range(len(partitions))))
        if strange:
            disagreements.append(f"the Ministry has partitions that there are not: {strange[:10]}")
    return Reconciliation(
        ok=not disagreements and not any(one.disagreements for one in accounts),
        ministry=said,
        epochs=epochs,
        epochs_transmitted=fed_before,
        disagreements=disagreements,
        partitions=accounts,
    )


async def _asked(ministry: HttpMinistry | None) -> tuple[Reckoning | None, str]:
    if ministry is None:
        return None, "off"
    try:
        return await ministry.reckoning(), "asked"
    except MinistryError as error:
        return None, f"no answer: {error}"


async def _epochs_fed(store: SharedWire) -> int:
    return int(await store.execute_command("GET", EPOCHS_FED) or 0)


async def _counters(store: SharedWire, partitions: Sequence[PartitionKeys]) -> list[Counters]:
    names = Counters.__struct_fields__
    replies: list[Any] = await store.ask([["HMGET", keys.feed, *names] for keys in partitions])
    return [Counters(*(int(value or 0) for value in values)) for values in replies]


async def _waiting(store: SharedWire, names: PartitionKeys) -> tuple[list[Range], int | None]:
    """Numbers on one outbox, and the age of the first."""
    ranges: list[Range] = []
    oldest_ms: int | None = None
    after = b"-"
    while True:
        page = await store.execute_command("XRANGE", names.outbox, after, "+", "COUNT", PAGE)
        numbered = [entry.event for entry in entries(page) if entry.event is not None and entry.event.number]
        if numbered and oldest_ms is None:
            oldest_ms = numbered[0].at_ms
        ranges = joined([*ranges, *((event.number, event.number) for event in numbered)])
        if len(page) < PAGE:
            return ranges, oldest_ms
        after = b"(" + page[-1][0]


@contextmanager
def _progress(what: str, total: int) -> Generator[_Advance]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)

        def advance() -> None:
            bar.advance(task)

        yield advance


def _print(found: Reconciliation) -> None:
    partitions = found.partitions
    waiting = sum(one.waiting for one in partitions)
    oldest_s = max((one.oldest_s or 0 for one in partitions), default=0)
    print(
        f"{sum(one.numbered for one in partitions):,} numbered, {sum(one.taken for one in partitions):,} taken, "
        f"{sum(one.refused for one in partitions):,} refused, {sum(one.off for one in partitions):,} with no Ministry, "
        f"{waiting:,} waiting" + (f", the oldest for {oldest_s:,} s" if waiting else "")
    )
    print(f"epochs: {found.epochs_transmitted} of {found.epochs} transmitted")
    print(f"Ministry: {found.ministry}")
    for line in found.disagreements:
        print(f"DISAGREES  {line}")
    for one in partitions:
        for line in one.disagreements:
            print(f"DISAGREES  partition {one.partition}: {line}")
    if found.ok:
        print("our own books agree" if found.ministry != "asked" else "all agrees")
