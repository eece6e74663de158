"""Replies stay until every registered group is done with them; a group that stops reading is dropped by name."""

import pytest

from lua import calls
from lua.keys import PartitionKeys, partition_keys
from lua.store import Store
from runtime.connection import Client

KEYS: PartitionKeys = partition_keys("t")
START_MS = 3_800_000_000_000
HOUR_MS = 3_600_000
SILENCE_MS = 24 * HOUR_MS


async def add(store: Store, *texts: str) -> list[bytes]:
    return [await store.execute_command("XADD", KEYS.replies, "*", "m", text) for text in texts]


async def left(store: Store) -> list[bytes]:
    return [entry_id for entry_id, _ in await store.execute_command("XRANGE", KEYS.replies, "-", "+")]


async def read(store: Store, group: str, count: int) -> None:
    await store.execute_command("XREADGROUP", "GROUP", group, "one", "COUNT", count, "STREAMS", KEYS.replies, ">")


async def ack(store: Store, group: str, *ids: bytes) -> None:
    await store.execute_command("XACK", KEYS.replies, group, *ids)


async def register(store: Store, group: str) -> bool:
    return await calls.register(store, KEYS, group=group, now_ms=START_MS)


async def trim(store: Store, after_ms: int = 0) -> tuple[int, list[str]]:
    return await calls.trim(store, KEYS, now_ms=START_MS + after_ms, silence_ms=SILENCE_MS)


async def test_registering_makes_the_group_once_and_from_the_beginning(store: Store) -> None:
    await add(store, "a", "b")
    assert await register(store, "dispatch") is True
    assert await register(store, "dispatch") is False
    await read(store, "dispatch", 9)
    assert (await store.execute_command("XPENDING", KEYS.replies, "dispatch"))["pending"] == 2
    assert set(await store.execute_command("HGETALL", KEYS.groups)) == {b"dispatch"}


async def test_a_group_that_others_made_keeps_its_place(store: Store) -> None:
    ids = await add(store, "a", "b")
    await store.execute_command("XGROUP", "CREATE", KEYS.replies, "dispatch", ids[0])
    assert await register(store, "dispatch") is True
    assert await trim(store) == (1, [])
    assert await left(store) == ids[1:]


async def test_a_group_may_register_before_the_first_reply(store: Store) -> None:
    assert await register(store, "dispatch") is True
    assert await trim(store) == (0, [])
    ids = await add(store, "a")
    assert await trim(store) == (0, [])
    assert await left(store) == ids


async def test_entries_go_when_they_are_acknowledged(store: Store) -> None:
    await register(store, "dispatch")
    ids = await add(store, *"abcd")
    await read(store, "dispatch", 3)
    assert await trim(store) == (0, [])
    await ack(store, "dispatch", *ids[:3])
    assert await trim(store) == (3, [])
    assert await left(store) == ids[3:]
    assert await trim(store) == (0, [])


async def test_a_pending_entry_holds_all_that_follow(store: Store) -> None:
    await register(store, "dispatch")
    ids = await add(store, *"abcd")
    await read(store, "dispatch", 4)
    await ack(store, "dispatch", ids[0], ids[2], ids[3])
    assert await trim(store) == (1, [])
    assert await left(store) == ids[1:]
    await ack(store, "dispatch", ids[1])
    assert await trim(store) == (3, [])


async def test_the_slower_of_two_groups_holds(store: Store) -> None:
    await register(store, "dispatch")
    await register(store, "operator")
    ids = await add(store, *"abcd")
    await read(store, "dispatch", 4)
    await ack(store, "dispatch", *ids)
    assert await trim(store) == (0, [])
    await read(store, "operator", 2)
    await ack(store, "operator", *ids[:2])
    assert await trim(store) == (2, [])
    assert await left(store) == ids[2:]


async def test_a_group_that_never_registered_does_not_hold(store: Store) -> None:
    await register(store, "dispatch")
    ids = await add(store, "a", "b")
    await store.execute_command("XGROUP", "CREATE", KEYS.replies, "curious", "0")
    await read(store, "dispatch", 2)
    await ack(store, "dispatch", *ids)
    assert await trim(store) == (2, [])


@pytest.mark.parametrize("curious", [False, True])
async def test_nothing_is_trimmed_with_no_group_registered(store: Store, curious: bool) -> None:
    ids = await add(store, "a", "b")
    if curious:
        await store.execute_command("XGROUP", "CREATE", KEYS.replies, "curious", "$")
    assert await trim(store) == (0, [])
    assert await left(store) == ids


async def test_on_an_empty_store_there_is_nothing_to_trim(store: Store) -> None:
    assert await trim(store) == (0, [])
    assert await store.execute_command("EXISTS", KEYS.replies, KEYS.groups) == 0


async def test_a_silent_group_is_dropped_after_the_patience_and_named(store: Store) -> None:
    await register(store, "dispatch")
    await register(store, "gone")
    ids = await add(store, "a", "b")
    await read(store, "dispatch", 2)
    await ack(store, "dispatch", *ids)
    assert await trim(store) == (0, [])
    assert await trim(store, SILENCE_MS) == (0, [])
    assert await trim(store, SILENCE_MS + 1) == (2, ["gone"])
    assert await trim(store, SILENCE_MS + 2) == (0, [])
    assert set(await store.execute_command("HGETALL", KEYS.groups)) == {b"dispatch"}


async def test_a_group_is_not_silent_while_nothing_came_for_it(store: Store) -> None:
    await register(store, "patient")
    assert await trim(store) == (0, [])
    came_ms = START_MS + 10 * SILENCE_MS
    await store.execute_command("XADD", KEYS.replies, f"{came_ms}-0", "m", "a")
    assert await trim(store, 10 * SILENCE_MS + 1000) == (0, [])
    assert await trim(store, 11 * SILENCE_MS) == (0, [])
    assert await trim(store, 11 * SILENCE_MS + 1) == (0, ["patient"])


async def test_a_group_stuck_on_a_pending_entry_is_silent(store: Store) -> None:
    await register(store, "stuck")
    ids = await add(store, "a", "b")
    await read(store, "stuck", 2)
    await ack(store, "stuck", ids[1])
    await trim(store)
    assert await trim(store, SILENCE_MS + 1) == (0, ["stuck"])
    assert await left(store) == ids


async def test_each_step_forward_renews_the_patience(store: Store) -> None:
    await register(store, "slow")
    ids = await add(store, *"abc")
    await trim(store)
    for step, entry_id in enumerate(ids, 1):
        await read(store, "slow", 1)
        await ack(store, "slow", entry_id)
        assert await trim(store, step * (SILENCE_MS - HOUR_MS)) == (1, [])


async def test_a_group_with_nothing_to_do_is_never_dropped(store: Store) -> None:
    await register(store, "idle")
    ids = await add(store, "a")
    await read(store, "idle", 1)
    await ack(store, "idle", *ids)
    for hours in range(0, 100, 7):
        assert (await trim(store, hours * HOUR_MS))[1] == []


async def test_its_patience_begins_with_its_next_work(store: Store) -> None:
    await register(store, "idle")
    for hours in range(0, 100, 10):
        await trim(store, hours * HOUR_MS)
    await add(store, "a")
    assert (await trim(store, 110 * HOUR_MS))[1] == []
    assert (await trim(store, 90 * HOUR_MS + SILENCE_MS + 1))[1] == ["idle"]


async def test_waiting_writes_nothing(redis: Client) -> None:
    await register(redis, "waiting")
    await add(redis, "a")
    await trim(redis)
    before = (await redis.execute_command("INFO", "persistence"))["rdb_changes_since_last_save"]
    for hours in range(1, 20):
        await trim(redis, hours * HOUR_MS)
    assert (await redis.execute_command("INFO", "persistence"))["rdb_changes_since_last_save"] == before


async def test_a_registered_group_whose_stream_group_was_destroyed_is_dropped(store: Store) -> None:
    await register(store, "dispatch")
    await register(store, "destroyed")
    ids = await add(store, "a")
    await store.execute_command("XGROUP", "DESTROY", KEYS.replies, "destroyed")
    await read(store, "dispatch", 1)
    await ack(store, "dispatch", *ids)
    assert await trim(store) == (1, ["destroyed"])


async def test_a_dropped_group_can_register_again(store: Store) -> None:
    await register(store, "back")
    ids = await add(store, "a")
    await trim(store)
    assert await trim(store, SILENCE_MS + 1) == (0, ["back"])
    assert await register(store, "back") is True
    await read(store, "back", 1)
    await ack(store, "back", *ids)
    assert await trim(store, SILENCE_MS + 2) == (1, [])
