"""Group commit: concurrent requests share a write, and each is told about its own entries only."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.exceptions import InvalidResponse

from ingest.group_commit import MAX_ENTRIES, MOST_WAITING, GroupCommit, NotStoredError
from runtime.connection import Client, Wire, connect
from runtime.embedded import EmbeddedStore


class CountingWire(Wire):
    """A wire that remembers how many commands went out in each write, and may fail instead."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.writes: list[int] = []
        self.fault: Exception | None = None

    async def call(self, *commands: Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        """As the wire's, counted."""
        self.writes.append(len(commands))
        if self.fault is not None:
            raise self.fault
        return await super().call(*commands, timeout_s=timeout_s, replicas=replicas)


@pytest.fixture
def wire(server: EmbeddedStore) -> CountingWire:
    return CountingWire(server.url)


@pytest.fixture
async def commit(wire: CountingWire, redis: Client) -> AsyncIterator[GroupCommit]:
    writer = GroupCommit(wire)
    yield writer
    await writer.close()


async def entries(client: Client, stream: str = "inbound") -> list[bytes]:
    return [fields[b"m"] for _, fields in await client.execute_command("XRANGE", stream, "-", "+")]


async def test_concurrent_appends_share_a_few_writes(commit: GroupCommit, wire: CountingWire, redis: Client) -> None:
    await asyncio.gather(*(commit.append([("inbound", b"%d" % n)]) for n in range(500)))
    assert sorted(await entries(redis), key=int) == [b"%d" % n for n in range(500)]
    assert len(wire.writes) <= 3
    assert sum(wire.writes) == 500


async def test_the_entries_of_a_request_stay_in_order(commit: GroupCommit, redis: Client) -> None:
    wanted = {n: [b"%d-%d" % (n, k) for k in range(50)] for n in range(20)}
    await asyncio.gather(*(commit.append([("inbound", one) for one in batch]) for batch in wanted.values()))
    found = await entries(redis)
    for n, batch in wanted.items():
        assert [one for one in found if one.startswith(b"%d-" % n)] == batch


async def test_a_write_is_bounded_and_no_request_is_torn(commit: GroupCommit, wire: CountingWire) -> None:
    await asyncio.gather(*(commit.append([("inbound", b"x")] * 1000) for _ in range(10)))
    assert max(wire.writes) <= MAX_ENTRIES
    assert all(size % 1000 == 0 for size in wire.writes)
    await commit.append([("inbound", b"x")] * (MAX_ENTRIES + 1))
    assert wire.writes[-1] == MAX_ENTRIES + 1


async def test_of_many_that_wait_half_are_written(commit: GroupCommit, wire: CountingWire) -> None:
    await asyncio.gather(*(commit.append([("inbound", b"x")] * 100) for _ in range(40)))
    assert wire.writes == [2000, 1000, 500, 400, 100]


async def test_an_entry_that_fails_fails_its_own_request_only(commit: GroupCommit, redis: Client) -> None:
    await redis.execute_command("SET", "wrong", "no stream")
    results = await asyncio.gather(
        commit.append([("inbound", b"before")]),
        commit.append([("inbound", b"with"), ("wrong", b"x"), ("inbound", b"after")]),
        commit.append([("inbound", b"behind")]),
        return_exceptions=True,
    )
    assert [type(one) for one in results] == [type(None), NotStoredError, type(None)]
    assert "WRONGTYPE" in str(results[1])
    assert await entries(redis) == [b"before", b"with", b"after", b"behind"]


async def test_a_caller_who_goes_away_disturbs_nobody(commit: GroupCommit, redis: Client) -> None:
    await redis.execute_command("CLIENT PAUSE", 60_000, "WRITE")
    appends = [asyncio.create_task(commit.append([("inbound", b"%d" % n)])) for n in range(3)]
    await redis.execute_command("PING")
    later = asyncio.create_task(commit.append([("inbound", b"later")]))
    appends[1].cancel()
    await redis.execute_command("CLIENT UNPAUSE")
    results = await asyncio.gather(*appends, later, return_exceptions=True)
    assert [type(one) for one in results] == [type(None), asyncio.CancelledError, type(None), type(None)]
    assert {b"0", b"2", b"later"} <= set(await entries(redis))


async def test_what_is_not_answered_in_time_is_not_stored_for_sure(
    commit: GroupCommit, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.group_commit.ANSWER_S", 0.05)
    await redis.execute_command("CLIENT PAUSE", 60_000, "WRITE")
    try:
        with pytest.raises(NotStoredError, match="store away"):
            await commit.append([("inbound", b"x")])
    finally:
        await redis.execute_command("CLIENT UNPAUSE")
    monkeypatch.undo()
    await commit.append([("inbound", b"y")])
    assert b"y" in await entries(redis)


@pytest.mark.parametrize(
    "fault",
    [InvalidResponse("garbage"), ConnectionResetError(), OSError(28, "No space left"), RuntimeError("a fault of ours")],
)
async def test_no_fault_leaves_a_request_waiting(
    fault: Exception, commit: GroupCommit, wire: CountingWire, redis: Client
) -> None:
    wire.fault = fault
    with pytest.raises(NotStoredError, match=type(fault).__name__):
        await asyncio.wait_for(commit.append([("inbound", b"x")]), 5)
    wire.fault = None
    await asyncio.wait_for(commit.append([("inbound", b"y")]), 5)
    assert await entries(redis) == [b"y"]


async def test_a_store_that_goes_away_and_comes_back_is_found_again(own_store: EmbeddedStore) -> None:
    commit = GroupCommit(Wire(own_store.url))
    await commit.append([("inbound", b"1")])
    own_store.kill()
    with pytest.raises(NotStoredError, match="store away"):
        await commit.append([("inbound", b"2")])
    with pytest.raises(NotStoredError, match="store away"):
        await commit.append([("inbound", b"3")])
    await own_store.start()
    await commit.append([("inbound", b"4")])
    await commit.close()
    client = connect(own_store.url)
    assert await entries(client) == [b"1", b"4"]
    await client.aclose()


async def test_closing_without_a_single_append_is_fine(wire: CountingWire) -> None:
    await GroupCommit(wire).close()


async def test_when_the_store_is_away_everyone_who_waits_is_told_at_once(
    commit: GroupCommit, wire: CountingWire
) -> None:
    wire.fault = ConnectionError("away")
    waiting = [commit.append([("inbound", b"x")] * MAX_ENTRIES) for _ in range(5)]
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, NotStoredError) for one in told)
    assert len(wire.writes) == 1


async def test_more_than_can_be_written_soon_is_refused(commit: GroupCommit, redis: Client) -> None:
    batches = MOST_WAITING // MAX_ENTRIES
    told = await asyncio.gather(
        *(commit.append([("inbound", b"x")] * MAX_ENTRIES) for _ in range(batches + 2)), return_exceptions=True
    )
    assert [type(one) for one in told] == [type(None)] * batches + [NotStoredError] * 2
    await commit.append([("inbound", b"later")])
    assert len(await entries(redis)) == batches * MAX_ENTRIES + 1
