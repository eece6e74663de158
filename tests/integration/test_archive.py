"""The archiver: each entry once and in order, whatever fails between its steps, and nothing trimmed too early."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lua import archives
from permits.calendar import DAY_MS
from processor.archive import archiver, segments
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from runtime.telemetry import REGISTRY
from tests.eventually import eventually
from tests.integration.archives import PARTITION, Archive, entry


@pytest.fixture
def archive(redis: Client, server: EmbeddedStore, tmp_path: Path) -> Archive:
    return Archive(redis, server.url, tmp_path)


class KilledError(Exception):
    """The process ends here."""


async def killed(*_: Any, **__: Any) -> Any:
    raise KilledError


def failures(cause: str) -> float:
    return REGISTRY.get_sample_value("icaze_archive_failures_total", {"cause": cause}) or 0.0


async def test_what_stands_in_the_trails_goes_into_segments(archive: Archive) -> None:
    await archive.add(1, 2, 3)
    await archive.add(5, trail="acts")
    async with archive.worker() as worker:
        await worker.round()
        await archive.add(4)
        await worker.round()
        await worker.round()
    assert archive.archived() == [1, 2, 3, 4]
    assert [path.name for path in archive.files()] == [f"{entry(1)}.1.tsv.gz"]
    head, acts = await archive.head(), await archive.head("acts")
    assert head is not None
    assert (head.last, head.number, head.entries, head.skipped) == (entry(4), 2, 4, 0)
    assert acts is not None
    assert (acts.last, acts.number) == (entry(5), 1)
    assert await archive.faults() == []
    assert await archive.stored() == [1, 2, 3, 4]


async def test_an_entry_is_read_as_it_stood(archive: Archive) -> None:
    fields = {b"m": b'{"a":"\\t"}', b"v": b"ad", b"w": b"01", b"raw": bytes(range(256))}
    await archive.client.execute_command(
        "XADD", PARTITION.audit, entry(1), *(x for pair in fields.items() for x in pair)
    )
    await archive.archive()
    [(name, found)] = segments.read(archive.folders, PARTITION.tag, "audit")
    assert (name, found) == (entry(1), {key.decode(): value for key, value in fields.items()})


async def test_a_large_backlog_becomes_many_members(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiver, "MEMBER_BYTES", 1000)
    await archive.archive(*range(1, 101))
    assert archive.archived() == list(range(1, 101))
    head = await archive.head()
    assert head is not None
    assert head.number > 3
    assert len(archive.files()) == 1
    assert await archive.faults() == []


async def test_a_segment_ends_with_its_size_or_its_day(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    async with archive.worker() as worker:
        for n in (1, 2, DAY_MS):
            await archive.add(n) if n < DAY_MS else await archive.client.execute_command(
                "XADD", PARTITION.audit, entry(n), "m", "next day"
            )
            await worker.round()
        assert [path.name.partition(".")[0] for path in archive.files()] == [entry(1), entry(DAY_MS)]
        monkeypatch.setattr(archiver, "SEGMENT_BYTES", 100)
        await archive.client.execute_command("XADD", PARTITION.audit, entry(DAY_MS + 1), "m", "next segment")
        await worker.round()
    assert len(archive.files()) == 3
    assert await archive.faults() == []


async def test_a_trail_that_was_trimmed_before_goes_on_from_there(archive: Archive) -> None:
    await archive.add(1, 2, 3)
    await archive.client.execute_command("XTRIM", PARTITION.audit, "MINID", entry(3))
    await archive.archive(4)
    head = await archive.head()
    assert head is not None
    assert (head.entries, head.skipped) == (2, 2)
    assert await archive.faults() == []


@pytest.mark.parametrize("step", ["read", "pack", "write", "sync", "move"])
async def test_a_worker_killed_at_a_step_costs_and_doubles_nothing(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await archive.archive(1, 2)
    await archive.add(3, 4)
    with monkeypatch.context() as patch:
        await _kill_at(patch, step)
        async with archive.worker() as worker:
            await worker.round()
    assert await archive.last() == 2
    assert await archive.faults() == []  # what stands beyond the head stands in the store
    await archive.archive(5, name="b")
    assert archive.archived() == [1, 2, 3, 4, 5]
    assert await archive.last() == 5
    assert await archive.faults() == []
    assert await archive.faults(offline=True) == []


async def _kill_at(patch: pytest.MonkeyPatch, step: str) -> None:
    def now(*_: Any) -> Any:
        raise KilledError

    def write_half(path: Path, at: int, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(data[: len(data) // 2])
        raise KilledError

    match step:
        case "read":
            patch.setattr(archiver.Archiver, "_unarchived", killed)
        case "pack":
            patch.setattr(segments, "member", now)
        case "write":
            patch.setattr(archiver, "append", write_half)
        case "sync":
            patch.setattr(archiver, "_sync", now)
        case _:
            patch.setattr(archives, "archived", killed)


async def test_a_lost_answer_of_the_head_is_looked_up(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = archives.archived

    async def answer_lost(*args: Any, **named: Any) -> Any:
        await whole(*args, **named)
        raise ConnectionError

    await archive.add(1)
    async with archive.worker() as worker:
        with monkeypatch.context() as patch:
            patch.setattr(archives, "archived", answer_lost)
            await worker.round()
        await archive.add(2)
        await worker.round()
    proof = await archive.proof()
    assert archive.archived() == [1, 2]
    assert (proof.ok, proof.entries, proof.notes) == (True, 2, [])


async def test_a_partition_that_moves_is_archived_on_by_another_worker(archive: Archive) -> None:
    async with archive.worker("a") as first:
        await archive.add(1, 2)
        await first.round()
        async with archive.worker("b") as second:
            await archive.add(3)
            await first.round()  # it has not noticed yet: what it writes is no part of the chain
            assert await archive.last() == 2
            await archive.add(4)
            await second.round()
        assert await archive.last() == 4
    await archive.archive(5, name="a")
    assert archive.archived() == [1, 2, 3, 4, 5]
    proof = await archive.proof()
    assert (proof.ok, proof.entries, len(proof.notes)) == (True, 5, 1)
    assert "1 entries in members beside the chain" in proof.notes[0]
    assert (await archive.proof(offline=True)).ok


async def test_two_workers_may_share_a_folder(archive: Archive) -> None:
    async with archive.worker("a") as first:
        await archive.add(1)
        await first.round()
        lease = await archive.lease("b")
        second = archiver.Archiver(wire := Wire(archive.url), folder=archive.folder("a"), leases=lambda: [lease])
        await archive.add(2)
        await first.round()
        await second.round()
        await wire.close()
    assert len(archive.files()) == 2
    assert archive.archived() == [1, 2]
    assert await archive.faults() == []


async def test_a_partition_that_comes_back_gets_a_segment_of_its_own(archive: Archive) -> None:
    leases = [await archive.lease()]
    worker = archiver.Archiver(wire := Wire(archive.url), folder=archive.folder("a"), leases=lambda: leases)
    for n in (1, 2):
        await archive.add(n)
        await worker.round()
        leases[0] = await archive.lease()
    await wire.close()
    assert [path.name for path in archive.files()] == [f"{entry(1)}.1.tsv.gz", f"{entry(2)}.2.tsv.gz"]
    assert await archive.faults() == []


async def test_folders_are_merged_by_copying(archive: Archive) -> None:
    await archive.archive(1, 2, name="a")
    await archive.archive(3, name="b")
    for path in archive.files("b"):
        (archive.files("a")[0].parent / path.name).write_bytes(path.read_bytes())
    proof = await archive.proof(folders=[archive.folder("a")])
    assert (proof.ok, proof.entries) == (True, 3)
    assert (await archive.proof()).ok  # twice the same is no fault


async def test_a_full_disk_stops_the_archive_and_nothing_else(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = failures("OSError")
    async with archive.worker() as worker:
        await archive.add(1)
        await worker.round()
        size = archive.files()[0].stat().st_size
        await archive.add(2, 3)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            await worker.round()
            await worker.round()
        assert failures("OSError") == before + 2
        assert await archive.last() == 1
        assert archive.files()[0].stat().st_size == size
        await archive.trim(9)
        assert await archive.stored() == [2, 3]
        assert (await archive.proof()).ok
        await worker.round()  # there is room again
    assert archive.archived() == [1, 2, 3]
    assert await archive.faults() == []


async def test_a_segment_that_was_tampered_with_while_it_grew_is_left(archive: Archive) -> None:
    async with archive.worker() as worker:
        await archive.add(1)
        await worker.round()
        archive.files()[0].write_bytes(b"")
        await archive.add(2)
        await worker.round()
        await worker.round()
    assert await archive.last() == 2
    assert [fault.kind for fault in await archive.faults()] == ["missing"]


async def test_a_store_that_is_away_is_waited_for(archive: Archive) -> None:
    lease = await archive.lease()
    nowhere = archiver.Archiver(Wire("unix:///nowhere/store.sock"), folder=archive.folder("a"), leases=lambda: [lease])
    before = failures("ConnectionError")
    await nowhere.round()
    assert failures("ConnectionError") == before + 1


async def test_a_head_that_cannot_be_read_stops_the_archive_and_is_told(archive: Archive) -> None:
    await archive.archive(1)
    await archive.client.execute_command("HSET", PARTITION.archive, "audit", "not ours")
    await archive.archive(2)
    assert archive.archived() == [1]
    assert [fault.where for fault in await archive.faults()] == [PARTITION.archive]


async def test_nothing_is_trimmed_ahead_of_the_head(archive: Archive) -> None:
    await archive.add(1, 2, 3)
    await archive.trim(9)
    assert await archive.stored() == [1, 2, 3]
    async with archive.worker() as worker:
        await worker.round()
        await archive.add(4, 5)
        await archive.trim(3)
        assert await archive.stored() == [3, 4, 5]
        await archive.trim(9)
        assert await archive.stored() == [4, 5]
        await worker.round()
        await archive.trim(9)
    assert await archive.stored() == []
    assert await archive.faults() == []
    assert archive.archived() == [1, 2, 3, 4, 5]


async def test_a_worker_archives_as_long_as_it_runs(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiver, "ROUND_S", 0.01)
    async with archive.worker() as worker:
        running = asyncio.create_task(worker.run())
        for n in (1, 2, 3):
            await archive.add(n)
            await eventually(_reached(archive, n))
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled()
    assert archive.archived() == [1, 2, 3]


def _reached(archive: Archive, n: int) -> Callable[[], Any]:
    async def reached() -> bool:
        return await archive.last() == n

    return reached


async def test_an_expired_lease_archives_nothing(archive: Archive) -> None:
    await archive.add(1)
    lease = await archive.lease()
    lease.until_mono_s = 0.0
    wire = Wire(archive.url)
    await archiver.Archiver(wire, folder=archive.folder("a"), leases=lambda: [lease]).round()
    await wire.close()
    assert archive.archived() == []
