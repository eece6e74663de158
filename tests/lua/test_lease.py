"""Who works on a partition: leases, their epochs, and the members of a role."""

import asyncio

import pytest
from redis.exceptions import ResponseError

from lua import calls
from lua.store import Store
from runtime.connection import Client

LEASE, FENCE, MEMBERS = "lease:decide:{t}", "fence:decide:{t}", "members:decide"


async def take(store: Store, owner: str, ttl_ms: int = 5_000) -> str | None:
    return await calls.lease(store, lease_key=LEASE, fence_key=FENCE, owner=owner, ttl_ms=ttl_ms)


async def test_the_first_to_ask_holds_the_lease_and_others_get_none(store: Store) -> None:
    assert await take(store, "a") == "1"
    assert await take(store, "b") is None
    assert await store.execute_command("GET", LEASE) == b"a"
    assert await store.execute_command("GET", FENCE) == b"1"
    assert 0 < await store.execute_command("PTTL", LEASE) <= 5_000
    assert await store.execute_command("PTTL", FENCE) == -1


async def test_renewing_keeps_the_epoch_and_prolongs_the_lease(store: Store) -> None:
    await take(store, "a", ttl_ms=5_000)
    assert await take(store, "a", ttl_ms=60_000) == "1"
    assert await store.execute_command("PTTL", LEASE) > 5_000


async def test_a_new_holder_gets_a_new_epoch(store: Store) -> None:
    await take(store, "a")
    await store.execute_command("DEL", LEASE)  # as when it expires
    assert await take(store, "b") == "2"
    assert await take(store, "a") is None


async def test_a_lease_expires_by_itself(redis: Client) -> None:
    await take(redis, "a", ttl_ms=1)
    while await take(redis, "b") is None:
        pass
    assert await redis.execute_command("GET", FENCE) == b"2"


async def test_the_same_owner_after_expiry_gets_a_new_epoch(store: Store) -> None:
    await take(store, "a")
    await store.execute_command("DEL", LEASE)
    assert await take(store, "a") == "2"


async def test_only_the_holder_gives_a_lease_back(store: Store) -> None:
    await take(store, "a")
    assert await calls.release(store, lease_key=LEASE, owner="b") is False
    assert await calls.release(store, lease_key=LEASE, owner="a") is True
    assert await calls.release(store, lease_key=LEASE, owner="a") is False
    assert await store.execute_command("EXISTS", LEASE) == 0
    assert await take(store, "b") == "2"


async def test_of_a_hundred_callers_one_holds_the_lease(store: Store) -> None:
    epochs = await asyncio.gather(*(take(store, f"owner-{i}") for i in range(100)))
    assert sorted(epochs, key=str) == ["1", *[None] * 99]


async def test_a_fence_of_the_wrong_type_leaves_no_lease(store: Store) -> None:
    await store.execute_command("SADD", FENCE, "not ours")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await take(store, "a")
    assert await store.execute_command("EXISTS", LEASE) == 0


async def test_members_are_counted_while_they_live(store: Store) -> None:
    assert await calls.join(store, members_key=MEMBERS, member="a", ttl_ms=30_000) == 1
    assert await calls.join(store, members_key=MEMBERS, member="b", ttl_ms=30_000) == 2
    assert await calls.join(store, members_key=MEMBERS, member="a", ttl_ms=30_000) == 2
    assert 0 < await store.execute_command("PTTL", MEMBERS) <= 30_000


async def test_a_member_that_fell_silent_is_forgotten(store: Store) -> None:
    await calls.join(store, members_key=MEMBERS, member="a", ttl_ms=30_000)
    await store.execute_command("ZADD", MEMBERS, 1, "silent")
    assert await calls.join(store, members_key=MEMBERS, member="b", ttl_ms=30_000) == 2
    assert set(await store.execute_command("ZRANGE", MEMBERS, 0, -1)) == {b"a", b"b"}
