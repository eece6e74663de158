"""Imports for tests: what the api has stored, a worker's loop over it, and what came of the rows."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp.test_utils import TestClient, TestServer

from api.authority import Organisations
from api.delegates import DelegatesDoor
from api.door import routes
from api.employee_permits import PermitsDoor
from api.imports import Imports
from api.organisations import OrganisationsDoor
from api.wires import Wires
from lua import changes
from permits import policy as policies
from permits.applications import Row
from permits.employees import Actor, Epoch
from permits.imports import CHUNK_ROWS, Chunk, ImportEntry, ImportHead, ReportLine, WrittenRow
from permits.messages import DEAD_DECODER, ENCODER, DeadLetter
from processor.import_loop import ImportLoop
from runtime.connection import Client, Wire
from runtime.doors import new_app
from runtime.employment import Employment
from runtime.keyring import Keyring
from runtime.permit_changes import Versioned
from tests.integration.api_door import NOON_MS, Clock
from tests.integration.organisation_door import KEYRING, PARTITIONS, ROUTE, TIN, Bulk, House, employment, verify

ACCEPTS: Final = policies.load().documents.accepts
HOME: Final = PARTITIONS[ROUTE.of_organisation(TIN)]
NAME: Final = "0123456789abcdef0123456789abcdef"
ACTOR: Final = Actor(subject="seal", method="asan_imza", trace="trace")


def row(number: int, **fields: Any) -> Row:
    """One of many employees."""
    asked: dict[str, Any] = {
        "fin": f"1AA{number:04d}",
        "document": f"AZE{1000000 + number}",
        "name": f"Employee {number}",
        "valid_from": "2026-01-01",
        "valid_until": "2026-01-31",
    }
    return Row(**(asked | fields))


class ImportFloor:
    """The imports of one store."""

    def __init__(self, client: Client, url: str) -> None:
        self.client = client
        self.url = url
        self.epochs = list[Epoch]()

    def loop(self, wire: Wire | None = None, *, keyring: Keyring = KEYRING) -> ImportLoop:
        """A worker's loop, which holds every partition."""
        used = wire or Wire(self.url)
        return ImportLoop(
            used,
            held=lambda: PARTITIONS,
            employment=Employment(
                lambda commands: used.call(*commands),
                route=ROUTE,
                partitions=PARTITIONS,
                keyring=KEYRING,
                epochs=self.epochs,
            ),
            keyring=keyring,
            accepts=ACCEPTS,
            wall_ms=lambda: NOON_MS + 1000,
        )

    async def work(self, loop: ImportLoop) -> None:
        """Until nothing is left to do; the loop's connection ends with it."""
        while await loop.work():
            pass
        await loop.close()

    async def enlist(
        self, rows: Sequence[Row | WrittenRow], *, name: str = NAME, tin: str = TIN, actor: Actor = ACTOR
    ) -> None:
        """Store an import as the api does; the first row has line 2."""
        key, written = HOME.bulk(name), [one if isinstance(one, WrittenRow) else WrittenRow(one) for one in rows]
        starts = range(0, len(rows), CHUNK_ROWS)
        for at, start in enumerate(starts):
            some = written[start : start + CHUNK_ROWS]
            sealed = KEYRING.seal(ENCODER.encode(some), name)
            lines = tuple(range(start + 2, start + 2 + len(some)))
            await self.client.execute_command("HSET", key, f"chunk:{at}", ENCODER.encode(Chunk(lines, sealed)))
        head = ImportHead(
            tin=tin,
            employer="Günəş MMC",
            rows=len(rows),
            chunks=len(starts),
            actor=actor,
            requested_ms=NOON_MS,
            epochs=len(self.epochs),
        )
        entry = ENCODER.encode(ImportEntry(name))
        assert await changes.enlist(self.client, HOME, name=name, head=ENCODER.encode(head), entry=entry)

    async def report(self, name: str = NAME) -> list[ReportLine]:
        """All lines of a report so far."""
        fields: dict[bytes, bytes] = await self.client.execute_command("HGETALL", HOME.bulk(name))
        reports = sorted((int(field[7:]), raw) for field, raw in fields.items() if field.startswith(b"report:"))
        return [line for _, raw in reports for line in msgspec.json.decode(raw, type=list[ReportLine])]

    async def results(self, name: str = NAME) -> list[str]:
        """The result of each line."""
        return [line.result for line in await self.report(name)]

    async def permits(self) -> list[Versioned]:
        """Every permit in the store."""
        wires = Wires(self.url)
        found = employment(wires, self.epochs)
        loaded = await found.load([line.code for line in await self._created()])
        await wires.close()
        return [permit for permit in loaded if permit is not None]

    async def _created(self) -> list[Any]:
        return [
            application
            for keys in PARTITIONS
            for _, fields in await self.client.execute_command("XRANGE", keys.outbox, "-", "+")
            if (application := msgspec.json.decode(fields[b"m"], type=_Created)).deed == "create"
        ]

    async def traces(self) -> set[str]:
        """The traces that the events carry on."""
        return {event.trace for event in await self._created()}

    async def creations(self) -> Counter[str]:
        """How often each code was created."""
        return Counter(event.code for event in await self._created())

    async def dead(self) -> list[DeadLetter]:
        """The dead letters of the organisation's partition."""
        found = await self.client.execute_command("XRANGE", HOME.dead, "-", "+")
        return [DEAD_DECODER.decode(fields[b"m"]) for _, fields in found]

    async def waiting(self) -> int:
        """Imports that are not done."""
        return await self.client.execute_command("XLEN", HOME.imports)


class _Created(msgspec.Struct):
    deed: str
    code: str
    trace: str


@asynccontextmanager
async def serving(url: str, redis: Client) -> AsyncGenerator[House]:
    """The doors of organisations, delegates, permits and imports."""
    clock, wires, epochs = Clock(), Wires(url), list[Epoch]()
    organisations = Organisations(wires, partitions=PARTITIONS, route=ROUTE, now_ms=clock)
    imports = Imports(organisations, wires, route=ROUTE, keyring=KEYRING, epochs=epochs, now_ms=clock)
    permits = PermitsDoor(
        organisations,
        employment(wires, epochs),
        enlist=imports.enlist,
        accepts=ACCEPTS,
        epochs=epochs,
        now_ms=clock,
    )
    doors = [
        OrganisationsDoor(organisations, now_ms=clock),
        DelegatesDoor(organisations, keyring=KEYRING, now_ms=clock),
        permits,
        imports,
    ]

    async def readiness() -> dict[str, Any]:
        return {"ready": True}

    app = new_app(readiness=readiness)
    app.add_routes(routes([operation for door in doors for operation in door.operations()], verify=verify))
    async with TestClient(TestServer(app)) as http:
        yield House(http, redis, clock, wires, epochs, Bulk())
    await wires.close()
