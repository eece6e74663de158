"""An outbox loop in the test's own process: permits that make events, and what the store holds after."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import pytest

from dispatch.ministry.off import NoMinistry
from dispatch.ministry.port import Ministry
from dispatch.outbox.outbox import Outbox
from lua import changes
from lua.keys import PartitionKeys, partition_keys, tags
from lua.store import Store
from permits.employees import Actor, Employee, EmployeePermit, Epoch, Request
from permits.messages import ENCODER
from permits.partition import Route
from runtime.connection import Wire
from runtime.employment import Employment
from runtime.epochs import Epochs
from runtime.keyring import Keyring
from runtime.leases import Lease
from runtime.permit_changes import Versioned
from runtime.shared import SharedWire
from tests.eventually import eventually
from tests.integration.ministry_simulator import KEYRING

ROUTE: Final = Route(key=b"r" * 32, partitions=4)
PARTITIONS: Final = [partition_keys(tag) for tag in tags(4)]
TIN: Final = "1234567891"
ACTOR: Final = Actor("seal")
DAY_MS: Final = 86_400_000
_numbers: Final = itertools.count(1)


def now_ms() -> int:
    """Wall clock."""
    return time.time_ns() // 1_000_000


class Office:
    """An organisation that asks for permits, and a registry that confirms them at once."""

    def __init__(self, wire: SharedWire) -> None:
        self.wire = wire
        self.epochs: list[Epoch] = []
        self.employment = self._sealed_by(KEYRING)

    def seals_by(self, keyring: Keyring) -> None:
        """From now on with other keys."""
        self.employment = self._sealed_by(keyring)

    def _sealed_by(self, keyring: Keyring) -> Employment:
        return Employment(self.wire.send, route=ROUTE, partitions=PARTITIONS, keyring=keyring, epochs=self.epochs)

    async def asks(self, count: int, *, days: int = 30, partition: int | None = None) -> list[Versioned]:
        """Permits of so many employees, submitted; all of one partition where it is given."""
        now = now_ms()
        requests = [
            Request(employee=employee, from_ms=now - DAY_MS, until_ms=now + days * DAY_MS)
            for employee in itertools.islice(_employees(partition), count)
        ]
        created = await self.employment.create(TIN, "Zavod", requests, actor=ACTOR, now_ms=now)
        return [one.standing for one in created if one.standing is not None]

    async def grants(self, count: int, *, days: int = 30, partition: int | None = None) -> list[Versioned]:
        """Permits of so many employees, confirmed."""
        asked = await self.asks(count, days=days, partition=partition)
        return list(await asyncio.gather(*(self.confirms(one) for one in asked)))

    async def confirms(self, standing: Versioned) -> Versioned:
        """What the registry does."""
        done = await self.employment.amend(
            standing, deed="confirm", actor=Actor("registry"), now_ms=now_ms(), status="confirmed"
        )
        assert done is not None
        return done

    async def edits(self, code: str, **fields: Any) -> Versioned:
        """What the employer does to a confirmed permit."""
        while True:
            done = await self.employment.amend(
                await self.stands(code), deed="edit", actor=ACTOR, now_ms=now_ms(), **fields
            )
            if done is not None:
                return done

    async def cancels(self, code: str) -> Versioned:
        """A permit that is needed no more."""
        while True:
            standing = await self.stands(code)
            done = await self.employment.amend(
                standing, deed="delete", actor=ACTOR, now_ms=now_ms(), status="cancelled", reason="left"
            )
            if done is not None:
                return done

    async def proclaims(self, epoch: Epoch) -> None:
        """An act on all permits, known here at once."""
        self.epochs.append(epoch)
        command = changes.proclaim_command(number=epoch.number, epoch=ENCODER.encode(epoch), request=epoch.request)
        await self.wire.ask([command])

    async def stands(self, code: str) -> Versioned:
        """The permit as it is now."""
        (found,) = await self.employment.load([code])
        assert found is not None
        return found

    def fin(self, permit: EmployeePermit) -> str:
        """Whose permit it is."""
        return self.employment.employee(permit).fin


def _employees(partition: int | None) -> Iterator[Employee]:
    for number in _numbers:
        employee = Employee(fin=f"{number:07d}", document=f"AA{number:07d}", name=f"Employee {number}")
        if partition is None or ROUTE.of_document(employee.document)[0] == partition:
            yield employee


@asynccontextmanager
async def office(url: str) -> AsyncGenerator[Office, None]:
    """An organisation on a connection of its own."""
    wire = SharedWire(Wire(url))
    try:
        yield Office(wire)
    finally:
        await wire.close()


class Running:
    """An outbox loop under way."""

    def __init__(self, outbox: Outbox, wire: SharedWire, ministry: Ministry | NoMinistry) -> None:
        self._wire = wire
        self._ministry = ministry
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(outbox.run(self._stop))

    async def stop(self) -> None:
        """Finish what is under way, then end."""
        self._stop.set()
        await self.task
        await self._close()

    async def kill(self) -> None:
        """End between any two steps."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        await self._close()

    async def _close(self) -> None:
        await self._wire.close()
        await self._ministry.close()


def known(wire: SharedWire, proclaimed: list[Epoch] | None) -> Epochs:
    """Epochs as if they had just been read."""
    epochs = Epochs(wire.execute_command)
    epochs.known = [] if proclaimed is None else proclaimed
    epochs.fresh = True
    return epochs


def tending(
    url: str,
    ministry: Ministry | NoMinistry,
    *,
    epochs: list[Epoch] | None = None,
    partitions: Sequence[PartitionKeys] = PARTITIONS,
    leases: Sequence[Lease] | None = None,
    replicas: int = 0,
) -> Running:
    """A loop on all partitions."""
    held = (
        [Lease(index, keys, "1", float("inf")) for index, keys in enumerate(partitions)] if leases is None else leases
    )
    wire = SharedWire(Wire(url))
    outbox = Outbox(
        wire,
        leases=lambda: held,
        ministry=ministry,
        route=ROUTE,
        partitions=partitions,
        keyring=KEYRING,
        epochs=known(wire, epochs),
        replicas=replicas,
    )
    return Running(outbox, wire, ministry)


@asynccontextmanager
async def outboxing(
    url: str, ministry: Ministry | NoMinistry, *, epochs: list[Epoch] | None = None
) -> AsyncGenerator[Running, None]:
    """A loop until the end of the block."""
    running = tending(url, ministry, epochs=epochs)
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and back-offs shorter than usual."""
    monkeypatch.setattr("dispatch.outbox.outbox.LOOK_S", 0.01)
    monkeypatch.setattr("dispatch.outbox.transmission.BACKOFF_S", (0.01, 0.1))
    monkeypatch.setattr("dispatch.post.ERROR_PAUSE_S", 0.01)
    monkeypatch.setattr("dispatch.post.MISCONFIGURED_PAUSE_S", 0.01)


async def waiting(store: Store) -> int:
    """Entries on all outboxes."""
    return sum([await store.execute_command("XLEN", keys.outbox) for keys in PARTITIONS])


async def until_settled(store: Store, *, within_s: float = 20.0) -> None:
    """Wait until nothing is on an outbox."""

    async def is_empty() -> bool:
        return await waiting(store) == 0

    await eventually(is_empty, within_s=within_s)


async def counters(store: Store) -> dict[str, int]:
    """`feed:{p}` of all partitions, summed."""
    found: dict[str, int] = {}
    for keys in PARTITIONS:
        values = await store.execute_command("HMGET", keys.feed, "numbered", "taken", "refused", "off")
        for name, value in zip(("numbered", "taken", "refused", "off"), values, strict=True):
            found[name] = found.get(name, 0) + int(value or 0)
    return found


async def listed(store: Store, tin: str = TIN) -> dict[str, int]:
    """Codes of an organisation's permits and their scores, as lists have them."""
    key = PARTITIONS[ROUTE.of_organisation(tin)].org(tin)
    return {code: int(score) for code, score in await scored(store, key)}


async def scored(store: Store, key: str) -> list[tuple[str, float]]:
    """Members of a sorted set and their scores."""
    flat: list[bytes] = await store.execute_command("ZRANGE", key, 0, -1, "WITHSCORES")
    return [(member.decode(), float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]


async def of_person(store: Store, fin: str) -> list[str]:
    """Codes of a person's permits."""
    partition, key = ROUTE.of_person(fin)
    return [code.decode() for code in await store.execute_command("ZRANGE", PARTITIONS[partition].person(key), 0, -1)]
