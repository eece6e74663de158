"""A writer with a spool and its replay, for tests, on a store that may go away."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ingest import spool
from ingest.group_commit import GroupCommit
from ingest.spool import Spool
from ingest.spool_replay import Replay
from runtime.connection import Client, Wire
from runtime.settings import Settings
from tests.eventually import eventually

SHOWN_AT: Final = "spools"


class Writer:
    """What one ingest process writes with."""

    def __init__(self, url: str, spooled: Spool, wire: Wire | None) -> None:
        self.spool = spooled
        self.commit = GroupCommit(wire or Wire(url), spooled)
        self.full: str | None = None
        self.replay = Replay(spooled, Wire(url), full=lambda: self.full, shown_at=SHOWN_AT)

    async def empty(self, *, within_s: float = 20.0) -> None:
        """Returns when the store has all, and its files are gone."""

        async def ended() -> bool:
            return not self.spool.holds and len(self.spool.slots) == 1 and not self.spool.own.bytes

        await eventually(ended, within_s=within_s)

    async def close(self) -> None:
        """End both writers; the spool is closed apart."""
        await self.commit.close()
        await self.replay.close()


@asynccontextmanager
async def writing(
    url: str, folder: Path, *, spool_mb: int = 64, wire: Wire | None = None, replaying: bool = True
) -> AsyncGenerator[Writer]:
    """A writer at work, as the role has it."""
    spooled = await spool.opened(Settings(spool_dir=str(folder), spool_mb=spool_mb))
    writer = Writer(url, spooled, wire)
    task = asyncio.create_task(writer.replay.run() if replaying else asyncio.sleep(0))
    try:
        yield writer
    finally:
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        await writer.close()
        await spooled.close()
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in results), results


async def entries(client: Client, stream: str = "inbound") -> list[bytes]:
    """All payloads of a stream."""
    return [fields[b"m"] for _, fields in await client.execute_command("XRANGE", stream, "-", "+")]
