"""The versions of the rules in the store: appended in order, with their act, by the store's own time."""

import time

import msgspec
import pytest
from redis.exceptions import ResponseError

from lua.keys import partition_keys
from lua.policies import Enacted, EnactReply, Late, Overtaken, enact_command, enact_reply
from lua.store import Store
from runtime.connection import Client

KEYS = partition_keys("t")
ITEM = b'{"did":"proposed","at_ms":0,"text":"\\"at_ms\\":0"}'
ACT = b'{"at_ms":0,"actor":"anna"}'


async def enact(store: Store, *, stood: int = 0, last_ms: int = 0) -> EnactReply:
    command = enact_command(KEYS, stood=stood, item=ITEM, act=ACT, last_ms=last_ms)
    return enact_reply(await store.execute_command(*command))


async def standing(store: Store) -> tuple[int, int]:
    """Items and acts."""
    policies, acts = await store.execute_command("LLEN", KEYS.policies), await store.execute_command("XLEN", KEYS.acts)
    return policies, acts


async def test_an_item_is_appended_with_its_act_at_the_store_s_time(store: Store) -> None:
    before_ms = time.time_ns() // 1_000_000
    enacted = await enact(store)
    assert isinstance(enacted, Enacted)
    assert before_ms - 1000 <= enacted.at_ms <= time.time_ns() // 1_000_000 + 1000
    [item] = await store.execute_command("LRANGE", KEYS.policies, 0, -1)
    assert msgspec.json.decode(item) == {"did": "proposed", "at_ms": enacted.at_ms, "text": '"at_ms":0'}
    [(_, fields)] = await store.execute_command("XRANGE", KEYS.acts, "-", "+")
    assert msgspec.json.decode(fields[b"m"]) == {"at_ms": enacted.at_ms, "actor": "anna"}


@pytest.mark.parametrize("stood", [0, 2])
async def test_it_is_appended_behind_the_items_that_its_maker_knew_or_not_at_all(store: Store, stood: int) -> None:
    await enact(store)
    assert await enact(store, stood=stood) == Overtaken()
    assert await standing(store) == (1, 1)
    assert isinstance(await enact(store, stood=1), Enacted)
    assert await standing(store) == (2, 2)


async def test_it_is_appended_in_time_or_not_at_all(store: Store) -> None:
    now_ms = time.time_ns() // 1_000_000
    assert await enact(store, last_ms=now_ms - 5_000) == Late()
    assert await enact(store, last_ms=1) == Late()
    assert await standing(store) == (0, 0)
    assert isinstance(await enact(store, last_ms=now_ms + 60_000), Enacted)


@pytest.mark.parametrize("key", [KEYS.policies, KEYS.acts])
async def test_a_key_of_another_type_changes_nothing(redis: Client, key: str) -> None:
    await redis.execute_command("SET", key, "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await enact(redis)
    other = KEYS.acts if key == KEYS.policies else KEYS.policies
    assert await redis.execute_command("EXISTS", other) == 0


async def test_a_full_store_takes_no_new_rules(redis: Client) -> None:
    await redis.execute_command("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(ResponseError, match="maxmemory"):
            await enact(redis)
    finally:
        await redis.execute_command("CONFIG", "SET", "maxmemory", "512mb")
