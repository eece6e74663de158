"""Applications in the test's own process: permits that wait for the registry, loops at work, what came of it."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import msgspec
import pytest

from lua.keys import partition_keys, tags
from lua.store import Store
from permits.employees import Actor, AuditAct, Employee, Epoch, Request
from permits.messages import DEAD_DECODER, OUTBOX_DECODER, DeadLetter, OutboxEvent
from permits.partition import Route
from processor.application_loop import ApplicationLoop
from processor.registry.http import HttpRegistry
from processor.registry.port import Registry
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from runtime.employment import Employment
from runtime.keyring import Keyring
from runtime.permit_changes import Versioned
from runtime.shared import SharedWire
from tests.eventually import eventually
from tests.integration.registry_simulator import Simulator, simulating

ROUTING_KEY: Final = b"r" * 32
ROUTE: Final = Route(key=ROUTING_KEY, partitions=4)
PARTITIONS: Final = [partition_keys(tag) for tag in tags(4)]
KEYRING: Final = Keyring({"k1": b"k" * 32}, "k1")
TIN: Final = "1234567890"
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ACTOR: Final = Actor("seal", trace=TRACE)
DAY_MS: Final = 86_400_000
_ACT: Final = msgspec.json.Decoder(AuditAct)


def now_ms() -> int:
    """Wall clock."""
    return time.time_ns() // 1_000_000


def fin(number: int) -> str:
    """The FIN of the n-th employee."""
    return f"{number:07d}"


class Desk:
    """An organisation that asks, and loops that have its employees confirmed."""

    def __init__(self, client: Client, url: str, *, keyring: Keyring = KEYRING) -> None:
        self.client = client
        self.url = url
        self.wire = SharedWire(Wire(url))
        self.employment = _employment(self.wire, keyring)

    async def asks(self, count: int, *, first: int = 0, partition: int | None = None) -> list[str]:
        """Permits of so many employees, submitted: their codes."""
        everybody = (Employee(fin=fin(n), document=f"AA{n:07d}", name=f"Employee {n}") for n in itertools.count(first))
        some = (one for one in everybody if partition in (None, ROUTE.of_document(one.document)[0]))
        now = now_ms()
        requests = [
            Request(employee=one, from_ms=now, until_ms=now + 30 * DAY_MS) for one in itertools.islice(some, count)
        ]
        created = await self.employment.create(TIN, "Zavod", requests, actor=ACTOR, now_ms=now)
        return [one.standing.permit.code for one in created if one.standing is not None]

    async def stands(self, code: str) -> Versioned:
        """A permit as it is now."""
        (found,) = await self.employment.load([code])
        assert found is not None
        return found

    async def edits(self, code: str, **fields: Any) -> None:
        """What the employer does to a permit."""
        done = await self.employment.amend(await self.stands(code), deed="edit", actor=ACTOR, now_ms=now_ms(), **fields)
        assert done is not None

    async def statuses(self, codes: Sequence[str]) -> Counter[str]:
        """How many permits have which status."""
        return Counter(one.permit.status for one in await self.employment.load(codes) if one is not None)

    async def waiting(self) -> int:
        """Applications that are not settled."""
        return sum([await self.client.execute_command("XLEN", keys.applications) for keys in PARTITIONS])

    async def settled(self, *, within_s: float = 20.0) -> None:
        """Returns when no application waits."""

        async def done() -> bool:
            return await self.waiting() == 0

        await eventually(done, within_s=within_s)

    async def acts(self) -> list[AuditAct]:
        """The registry's acts."""
        found = [_ACT.decode(raw) for raw in await raws(self.client, "acts")]
        return [act for act in found if act.actor == "registry"]

    async def each_judged_once(self, codes: Sequence[str]) -> None:
        """Every permit has one word of the registry, and stands under it; each confirmation is on the feed once."""
        acts = await self.acts()
        assert Counter(act.code for act in acts) == Counter(codes)
        stand = {one.permit.code: one.permit.status for one in await self.employment.load(codes) if one is not None}
        assert stand == {act.code: act.status for act in acts}
        confirmed = {code for code, status in stand.items() if status == "confirmed"}
        assert Counter(event.code for event in await self.fed()) == Counter(confirmed)

    async def fed(self) -> list[OutboxEvent]:
        """What goes to the Ministry."""
        events = [OUTBOX_DECODER.decode(raw) for raw in await raws(self.client, "outbox")]
        return [event for event in events if event.number]

    async def dead(self) -> list[DeadLetter]:
        """All dead letters."""
        return [DEAD_DECODER.decode(raw) for raw in await raws(self.client, "dead")]

    @asynccontextmanager
    async def working(
        self,
        registry: Registry,
        *,
        held: Sequence[int] = range(4),
        keyring: Keyring = KEYRING,
        wire: Wire | None = None,
    ) -> AsyncGenerator["asyncio.Task[None]"]:
        """A loop until the end of the block; then it is cut off, wherever it is."""
        store = SharedWire(wire or Wire(self.url))
        loop = ApplicationLoop(
            store,
            held=lambda: held,
            partitions=PARTITIONS,
            employment=_employment(store, keyring),
            registry=registry,
            wall_ms=now_ms,
        )
        task = asyncio.create_task(loop.run())
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await store.close()


def _employment(wire: SharedWire, keyring: Keyring) -> Employment:
    return Employment(wire.send, route=ROUTE, partitions=PARTITIONS, keyring=keyring, epochs=list[Epoch]())


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and back-offs shorter than usual."""
    monkeypatch.setattr("processor.application_loop.LOOK_S", 0.01)
    monkeypatch.setattr("processor.application_loop.PAUSE_S", (0.01, 0.1))
    monkeypatch.setattr("processor.application_loop.STORE_PAUSE_S", 0.05)
    monkeypatch.setattr("processor.application_queue.WAIT_S", (0.05, 0.2))


@pytest.fixture
async def desk(redis: Client, server: EmbeddedStore) -> AsyncGenerator[Desk]:
    one = Desk(redis, server.url)
    yield one
    await one.wire.close()


@pytest.fixture
async def simulator() -> AsyncGenerator[Simulator]:
    async with simulating() as one:
        yield one


@pytest.fixture
async def registry(simulator: Simulator) -> AsyncGenerator[HttpRegistry]:
    one = simulator.client(patience_s=0.3)
    yield one
    await one.close()


async def raws(store: Store, stream: str) -> list[bytes]:
    """All entries of a stream, partition by partition."""
    return [
        fields[b"m"]
        for keys in PARTITIONS
        for _, fields in await store.execute_command("XRANGE", getattr(keys, stream), "-", "+")
    ]


async def asked(simulator: Simulator, question: Sequence[str] = ()) -> None:
    """Returns when this question, or any, has come."""

    async def is_asked() -> bool:
        return question in simulator.questions if question else bool(simulator.questions)

    await eventually(is_asked)


async def left(desk: Desk, count: int) -> None:
    """Returns when so many applications wait."""

    async def are_left() -> bool:
        return await desk.waiting() == count

    await eventually(are_left)
