"""A dead letter's end: put back or dropped, once, with its act, and on a full store too."""

import asyncio

import pytest
from redis.exceptions import ResponseError

from lua.dead import Return, drop_command, requeue_command
from lua.keys import partition_keys
from lua.store import Store
from runtime.connection import Client

KEYS = partition_keys("t")


async def bury(store: Store) -> str:
    """One letter: the id of its entry."""
    entry: bytes = await store.execute_command("XADD", KEYS.dead, "*", "m", "letter")
    return entry.decode()


async def requeue(store: Store, entry_id: str, back: Return) -> int:
    return await store.execute_command(*requeue_command(KEYS, entry_id=entry_id, act=b"act", back=back))


async def drop(store: Store, entry_id: str) -> int:
    return await store.execute_command(*drop_command(KEYS, entry_id=entry_id, act=b"act"))


async def stands(store: Store, stream: str) -> list[bytes]:
    return [fields[b"m"] for _, fields in await store.execute_command("XRANGE", stream, "-", "+")]


async def test_a_letter_goes_back_once_with_its_act(store: Store) -> None:
    first, other = await bury(store), await bury(store)
    assert await requeue(store, first, Return(KEYS.inbound, b"sms")) == 1
    assert await requeue(store, first, Return(KEYS.inbound, b"sms")) == 0
    assert await stands(store, KEYS.inbound) == [b"sms"]
    assert await stands(store, KEYS.acts) == [b"act"]
    left = await store.execute_command("XRANGE", KEYS.dead, "-", "+")
    assert [name.decode() for name, _ in left] == [other]


async def test_a_letter_is_dropped_once_with_its_act(store: Store) -> None:
    entry = await bury(store)
    assert [await drop(store, entry) for _ in range(2)] == [1, 0]
    assert await requeue(store, entry, Return(KEYS.inbound, b"sms")) == 0
    assert (await stands(store, KEYS.acts), await stands(store, KEYS.inbound)) == ([b"act"], [])


async def test_of_many_who_act_at_once_one_does(redis: Client) -> None:
    entry = await bury(redis)
    back = Return(KEYS.inbound, b"sms")
    acting = [requeue(redis, entry, back) for _ in range(20)] + [drop(redis, entry) for _ in range(20)]
    assert sum(await asyncio.gather(*acting)) == 1
    assert await stands(redis, KEYS.acts) == [b"act"]


async def test_a_held_approval_waits_again_and_one_that_waits_keeps_its_time(store: Store) -> None:
    first, second = await bury(store), await bury(store)
    assert await requeue(store, first, Return(KEYS.held, b"member", due_ms=7)) == 1
    assert await requeue(store, second, Return(KEYS.held, b"member", due_ms=9)) == 1
    assert await store.execute_command("ZSCORE", KEYS.held, b"member") == 7


@pytest.mark.parametrize("spoilt", ["inbound", "acts"])
async def test_a_key_of_another_type_stops_it_before_the_first_write(store: Store, spoilt: str) -> None:
    entry = await bury(store)
    await store.execute_command("SET", getattr(KEYS, spoilt), "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await requeue(store, entry, Return(KEYS.inbound, b"sms"))
    assert await store.execute_command("XLEN", KEYS.dead) == 1


async def test_on_a_full_store_too(redis: Client) -> None:
    first, second = await bury(redis), await bury(redis)
    most = await redis.execute_command("CONFIG GET", "maxmemory")
    await redis.execute_command("CONFIG", "SET", "maxmemory", 1)
    try:
        assert await requeue(redis, first, Return(KEYS.inbound, b"sms")) == 1
        assert await drop(redis, second) == 1
    finally:
        await redis.execute_command("CONFIG", "SET", "maxmemory", most["maxmemory"])
