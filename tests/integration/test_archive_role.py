"""`icaze process` archives the trails of its partitions, and trims what is old and safely there."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from aiohttp.test_utils import unused_port

from processor import app
from processor.archive import archiver, segments
from runtime import settings
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.ingest_door import KEYS, no_logging, settings_of

OLD, YOUNG = b"1600000000000-0", b"4000000000000-0"


async def test_a_worker_archives_what_it_holds_and_trims_what_is_old(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = settings_of(tmp_path, server.url, process_port=unused_port())
    monkeypatch.setattr(settings, "load", lambda: msgspec.structs.replace(current, drain_s=0.1))
    monkeypatch.setattr(app, "start_logging", no_logging)
    monkeypatch.setattr("processor.housekeeping.HOUSEKEEPING_S", 0.05)
    monkeypatch.setattr(archiver, "ROUND_S", 0.05)
    streams = [stream for keys in KEYS for _, stream in archiver.trails(keys)]
    for stream in streams:
        for entry_id in (OLD, YOUNG):
            await redis.execute_command("XADD", stream, entry_id, "m", stream)
    stop = asyncio.Event()
    role = asyncio.create_task(app.serve(stop))

    async def trimmed() -> bool:
        if role.done():
            role.result()
        return {await redis.execute_command("XLEN", stream) for stream in streams} == {1}

    await eventually(trimmed)
    stop.set()
    assert await role == 0
    for keys in KEYS:
        for trail, stream in archiver.trails(keys):
            found = list(segments.read([current.archive], keys.tag, trail))
            assert found == [(OLD.decode(), {"m": stream.encode()}), (YOUNG.decode(), {"m": stream.encode()})]
