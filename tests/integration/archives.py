"""Archivers for tests: workers with folders of their own on one partition of the real server, and what they stored."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from lua import archives
from lua.archives import Head, Trail
from processor.archive import segments
from processor.archive.archiver import Archiver, trim
from processor.archive.chain import Fault
from processor.archive.proof import Proof, prove
from runtime.connection import Client, Wire
from runtime.leases import Lease
from tests.integration.ingest_door import KEYS
from tests.integration.lanes import Floor

PARTITION: Final = KEYS[1]
T0: Final = 1_800_000_000_000
"""A moment of the tests' entries, in milliseconds."""


def entry(n: int) -> str:
    """The id of the n-th entry."""
    return f"{T0 + n}-0"


class Archive:
    """One partition, archived by any number of workers in turn."""

    def __init__(self, client: Client, url: str, base: Path) -> None:
        self.client = client
        self.url = url
        self.base = base
        self.folders: list[Path] = []

    def folder(self, name: str) -> Path:
        """A worker's folder."""
        folder = self.base / name
        if folder not in self.folders:
            self.folders.append(folder)
        return folder

    async def add(self, *numbers: int, trail: Trail = "audit") -> None:
        """Entries of a trail."""
        stream = PARTITION.audit if trail == "audit" else PARTITION.acts
        for n in numbers:
            await self.client.execute_command("XADD", stream, entry(n), "m", b'{"rows":[%d]}' % n, "v", "a" * n)

    async def lease(self, owner: str = "one") -> Lease:
        """Take the partition from whoever holds it."""
        return await Floor(self.client, self.url).lease(1, owner=owner)

    @asynccontextmanager
    async def worker(self, name: str = "a") -> AsyncGenerator[Archiver]:
        """A worker that has taken the partition, and its folder."""
        lease = await self.lease(name)
        wire = Wire(self.url)
        yield Archiver(wire, folder=self.folder(name), leases=lambda: [lease])
        await wire.close()

    async def archive(self, *numbers: int, name: str = "a") -> None:
        """Entries, archived at once by a worker that starts for it: a member of a segment of its own."""
        await self.add(*numbers)
        async with self.worker(name) as archiver:
            await archiver.round()

    async def head(self, trail: Trail = "audit") -> Head | None:
        """How far the archive reaches, as the store knows."""
        return archives.read(await archives.standing(self.client, PARTITION, trail))

    async def last(self) -> int:
        """Number of the last archived entry; 0 for none."""
        head = await self.head()
        return 0 if head is None else int(head.last.partition("-")[0]) - T0

    def archived(self) -> list[int]:
        """Numbers of the entries in the segments, as a reader gets them."""
        read = segments.read(self.folders, PARTITION.tag, "audit")
        return [segments.entry_id(name)[0] - T0 for name, _ in read]

    def files(self, name: str = "a") -> list[Path]:
        """A worker's segments of decisions, oldest first."""
        return [one.path for one in segments.segments([self.folder(name)], PARTITION.tag, "audit")]

    async def stored(self) -> list[int]:
        """Numbers of the entries that stand in the store."""
        found = await self.client.execute_command("XRANGE", PARTITION.audit, "-", "+")
        return [int(name.partition(b"-")[0]) - T0 for name, _ in found]

    async def trim(self, before: int) -> None:
        """What housekeeping does, with that entry as the oldest to keep."""
        await trim(self.client, PARTITION, before_ms=T0 + before)

    async def proof(self, *, offline: bool = False, folders: Sequence[Path] | None = None) -> Proof:
        """What `icaze audit verify` finds."""
        tags = [keys.tag for keys in KEYS]
        store = None if offline else self.client
        return await prove(self.folders if folders is None else folders, store=store, tags=tags, advance=_nothing)

    async def faults(self, *, offline: bool = False) -> list[Fault]:
        """What is wrong."""
        proof = await self.proof(offline=offline)
        assert proof.ok == (not proof.faults)
        return proof.faults


def _nothing(_: int) -> None:
    return
