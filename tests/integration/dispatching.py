"""A dispatcher in the test's own process: queued replies, operators that misbehave, and what the store holds after."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bench.sink import Behaviour, build_app
from dispatch.dispatcher import Dispatcher
from dispatch.operators.http import HttpOperator
from dispatch.operators.port import Operator, Outcome, Parcel
from lua import calls
from lua.keys import DISPATCH_GROUP, PartitionKeys, partition_keys, tags
from lua.store import Store
from permits.messages import DEAD_DECODER
from runtime.connection import Client, connect
from runtime.sealing import opened_letter
from runtime.settings import Settings
from tests.day_keys import every_day
from tests.eventually import eventually

PARTITIONS: Final = [partition_keys(tag) for tag in tags(4)]
PHONE: Final = "+994501234567"
DAY_KEYS: Final = every_day()
SETTINGS: Final = Settings(operator_timeout_s=5.0, drain_s=10.0)
Post = dict[str, Any]


def reply(name: str, **fields: Any) -> bytes:
    """A reply as it stands on the stream; `fields` are other than usual."""
    usual = {
        "id": name,
        "to": PHONE,
        "in_reply_to": f"agg-{name}",
        "lang": "az",
        "purpose": 2,
        "document_tail": "1111",
        "verdict": "approved",
        "reason": None,
        "permit": "AB23CD45EF",
        "valid_from": "2026-01-01T08:00:00.000Z",
        "valid_until": "2099-01-01T11:00:00.000Z",
        "expires_at": "2099-01-01T11:00:00.000Z",
        "text": "İcazə verildi",
    }
    return json.dumps(usual | fields, ensure_ascii=False, separators=(",", ":")).encode()


async def register(store: Store, partitions: Sequence[PartitionKeys] = PARTITIONS) -> None:
    """What a dispatcher does before its first read."""
    for keys in partitions:
        await calls.register(store, keys, group=DISPATCH_GROUP, now_ms=0)


async def queue(
    store: Store,
    count: int,
    *,
    first: int = 0,
    partitions: Sequence[PartitionKeys] = PARTITIONS,
    came_ms: int | None = None,
    **fields: Any,
) -> list[str]:
    """Put replies on the streams, partition by partition in turn, as if they had come then: their ids."""
    names = [f"r-{number}" for number in range(first, first + count)]
    for number, name in enumerate(names):
        entry_id = "*" if came_ms is None else f"{came_ms}-{number}"
        await append(store, reply(name, **fields), partitions[number % len(partitions)], entry_id)
    return names


async def append(store: Store, body: bytes, keys: PartitionKeys = PARTITIONS[0], entry_id: str = "*") -> bytes:
    """One entry as it stands."""
    return await store.execute_command("XADD", keys.replies, entry_id, "m", body)


async def pending(store: Store, partitions: Sequence[PartitionKeys] = PARTITIONS) -> int:
    """Replies that were read and not acknowledged."""
    found = [await store.execute_command("XPENDING", keys.replies, DISPATCH_GROUP) for keys in partitions]
    return sum(one["pending"] for one in found)


async def left(store: Store, partitions: Sequence[PartitionKeys] = PARTITIONS) -> int:
    """Entries on the reply streams."""
    return sum([await store.execute_command("XLEN", keys.replies) for keys in partitions])


async def until_empty(store: Store, partitions: Sequence[PartitionKeys] = PARTITIONS, within_s: float = 20) -> None:
    """Wait until every reply is settled and trimmed."""

    async def is_empty() -> bool:
        return await left(store, partitions) == 0

    await eventually(is_empty, within_s=within_s)
    assert await pending(store, partitions) == 0


async def dead(store: Store, partitions: Sequence[PartitionKeys] = PARTITIONS) -> list[Post]:
    """The dead letters, opened."""
    found: list[Post] = []
    for keys in partitions:
        entries: list[tuple[bytes, dict[bytes, bytes]]] = await store.execute_command("XRANGE", keys.dead, "-", "+")
        found += [msgspec.to_builtins(opened_letter(DAY_KEYS, DEAD_DECODER.decode(e[b"m"]))) for _, e in entries]
    return found


class Running:
    """A dispatcher under way."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(dispatcher.run(self._stop))

    async def stop(self) -> None:
        """Send what is queued, then end."""
        self._stop.set()
        await self.task


@asynccontextmanager
async def dispatching(
    url: str,
    operator: Operator,
    *,
    partitions: Sequence[PartitionKeys] = PARTITIONS,
    settings: Settings = SETTINGS,
) -> AsyncGenerator[Running, None]:
    """A dispatcher on all partitions, until the end of the block; it looks round more often than usual."""
    client: Client = connect(url)
    patch = pytest.MonkeyPatch()
    patch.setattr("dispatch.ledger.TRIM_EVERY_S", 0.05)
    patch.setattr("dispatch.reply_lane.BLOCK_S", 0.1)
    try:
        await register(client, partitions)
        running = Running(_dispatcher(client, url, operator, partitions, settings))
        try:
            yield running
        finally:
            await running.stop()
    finally:
        patch.undo()
        await client.aclose()
        await operator.close()


def _dispatcher(
    client: Client, url: str, operator: Operator, partitions: Sequence[PartitionKeys], settings: Settings
) -> Dispatcher:
    return Dispatcher(client, url, operator=operator, partitions=partitions, settings=settings, day_keys=DAY_KEYS)


class Sink:
    """An operator behind http, and what it has logged as taken over."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    def operator(self, *, timeout_s: float = 5.0, connections: int = 8) -> HttpOperator:
        """A way to it."""
        return HttpOperator(self.url, timeout_s=timeout_s, connections=connections)

    @property
    def lines(self) -> list[Post]:
        """One for each reply taken over, in order."""
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []

    @property
    def names(self) -> list[str]:
        """Their ids."""
        return [line["id"] for line in self.lines]


@asynccontextmanager
async def sinking(log: Path, behaviour: Behaviour | None = None) -> AsyncGenerator[Sink, None]:
    """The gateway of the benches, misbehaving as told."""
    async with TestServer(build_app(log=log, behaviour=behaviour)) as server:
        yield Sink(str(server.make_url("/")), log)


Answer = Callable[[list[Post]], Awaitable[web.StreamResponse]]


class Gateway:
    """An http operator that answers as the test has it; it keeps every post."""

    def __init__(self, answer: Answer) -> None:
        self.posts: list[list[Post]] = []
        self.url = ""
        self._answer = answer

    async def take(self, request: web.Request) -> web.StreamResponse:
        """One POST."""
        post: list[Post] = await request.json()
        self.posts.append(post)
        return await self._answer(post)

    def operator(self, *, timeout_s: float = 5.0) -> HttpOperator:
        """A way to it."""
        return HttpOperator(self.url, timeout_s=timeout_s, connections=8)

    @property
    def seen(self) -> list[tuple[str, bool]]:
        """(id, whether it was marked ambiguous) of every reply posted, in order."""
        return [(one["id"], one.get("ambiguous", False)) for post in self.posts for one in post]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncGenerator[Gateway, None]:
    """A gateway on a port of its own."""
    gateway = Gateway(answer)
    app = web.Application()
    app.router.add_post("/", gateway.take)
    async with TestServer(app) as server:
        gateway.url = str(server.make_url("/"))
        yield gateway


def accepted(post: list[Post]) -> web.Response:
    """All of a post is taken."""
    return web.json_response({"results": [{"id": one["id"], "status": "accepted"} for one in post]})


class Recorder:
    """An operator without a network: accepts everything, and keeps what it got."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []
        self.batches: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        self.under_way = 0
        self.most_under_way = 0

    async def send(self, parcels: Sequence[Parcel]) -> Outcome:
        """Take a batch, at once; answer it while the operator is open."""
        self.seen += [(parcel.id, parcel.ambiguous) for parcel in parcels]
        self.batches.append(len(parcels))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.open.wait()
        finally:
            self.under_way -= 1
        return Outcome(accepted=frozenset(parcel.id for parcel in parcels))

    async def close(self) -> None:
        """Nothing is held."""

    @property
    def names(self) -> list[str]:
        """Ids of what it got, in order."""
        return [name for name, _ in self.seen]

    def sent_once(self, names: Sequence[str]) -> bool:
        """Whether it got each of these once, unmarked, and nothing else."""
        return Counter(self.seen) == Counter((name, False) for name in names)


def twice_unmarked(seen: Sequence[tuple[str, bool]]) -> list[str]:
    """Ids that were posted again without the mark."""
    found: list[str] = []
    known: set[str] = set()
    for name, ambiguous in seen:
        if name in known and not ambiguous:
            found.append(name)
        known.add(name)
    return found
