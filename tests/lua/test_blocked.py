"""A document's place on a status list: put, moved, taken away and forgotten, each with its act, or the look at it."""

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError

from lua import blocked
from lua.blocked import Listed, Listing, listings
from lua.keys import PartitionKeys, partition_keys
from lua.store import Store
from runtime.connection import Client
from tests.lua.batches import dump

KEYS: PartitionKeys = partition_keys("t")
OWNER = b"\0owner\xff\x01"
NOW_S = 3_800_000_000
INFECTED, TRAVELLER = 1, 2


async def block(store: Store, listing: Listing, *, owner: bytes = OWNER, now_s: int = NOW_S) -> object:
    """The answer to a place on a list."""
    command = blocked.block_command(KEYS, owner=owner, listing=listing, now_s=now_s, act=b"block", look=b"look")
    return blocked.blocked_reply(await store.execute_command(*command))


async def unblock(store: Store, number: int = INFECTED, *, owner: bytes = OWNER, now_s: int = NOW_S) -> object:
    """The answer to its end."""
    command = blocked.unblock_command(KEYS, owner=owner, number=number, now_s=now_s, act=b"unblock", look=b"look")
    return blocked.blocked_reply(await store.execute_command(*command))


async def stands(store: Store, owner: bytes = OWNER) -> list[Listing]:
    """What the store has of a document."""
    return listings(await store.execute_command("HGET", KEYS.blocked, owner) or b"")


async def acts(store: Store) -> list[bytes]:
    return [fields[b"m"] for _, fields in await store.execute_command("XRANGE", KEYS.acts, "-", "+")]


def place(number: int = INFECTED, from_s: int = NOW_S, until_s: int = 0) -> Listing:
    return Listing(number, from_s, until_s)


async def test_a_place_stands_as_decide_reads_it_and_leaves_an_act(store: Store) -> None:
    listing = place(from_s=0x01020304, until_s=0xF1F2F3F4)
    assert await block(store, listing) == Listed(changed=True, listing=listing)
    raw = await store.execute_command("HGETALL", KEYS.blocked)
    assert raw in ({OWNER: b"\x01\1\2\3\4\xf1\xf2\xf3\xf4"}, [OWNER, b"\x01\1\2\3\4\xf1\xf2\xf3\xf4"])
    assert await acts(store) == [b"block"]


async def test_the_same_again_changes_nothing_and_is_a_look(store: Store) -> None:
    await block(store, place())
    assert await block(store, place()) == Listed(changed=False, listing=place())
    assert await stands(store) == [place()]
    assert await acts(store) == [b"block", b"look"]


async def test_a_later_repeat_keeps_the_moment_since_when_it_stands(store: Store) -> None:
    await block(store, place())
    later_s = NOW_S + 60
    assert await block(store, place(from_s=later_s), now_s=later_s) == Listed(changed=False, listing=place())
    moved = place(until_s=NOW_S + 900)
    assert await block(store, place(from_s=later_s, until_s=NOW_S + 900), now_s=later_s) == Listed(True, moved)
    assert await stands(store) == [moved]


async def test_a_place_to_come_can_be_moved(store: Store) -> None:
    await block(store, place(from_s=NOW_S + 60))
    assert await block(store, place(from_s=NOW_S + 30)) == Listed(True, place(from_s=NOW_S + 30))
    assert await block(store, place(), now_s=NOW_S) == Listed(True, place())
    assert await block(store, place(from_s=NOW_S + 90)) == Listed(False, place())
    assert await stands(store) == [place()]


async def test_lists_are_apart(store: Store) -> None:
    await block(store, place())
    await block(store, place(TRAVELLER, until_s=NOW_S + 60))
    assert await stands(store) == [place(), place(TRAVELLER, until_s=NOW_S + 60)]
    assert await unblock(store, INFECTED) == Listed(changed=True, listing=place())
    assert await stands(store) == [place(TRAVELLER, until_s=NOW_S + 60)]


async def test_the_last_place_leaves_no_field(store: Store) -> None:
    await block(store, place())
    assert await unblock(store) == Listed(changed=True, listing=place())
    assert await store.execute_command("EXISTS", KEYS.blocked) == 0
    assert await unblock(store) == Listed(changed=False, listing=None)
    assert await acts(store) == [b"block", b"unblock", b"look"]


async def test_documents_are_apart(store: Store) -> None:
    other = OWNER[:7] + b"\2"
    await block(store, place())
    await block(store, place(until_s=NOW_S + 60), owner=other)
    await unblock(store)
    assert await stands(store, other) == [place(until_s=NOW_S + 60)]


async def test_a_document_stands_on_sixteen_lists_at_most(store: Store) -> None:
    for number in range(1, 16):
        await block(store, place(number))
    await block(store, place(16, until_s=NOW_S + 60))
    assert await block(store, place(17)) == "full"
    assert (await acts(store))[-1] == b"look"
    assert await block(store, place(3, until_s=NOW_S + 9)) == Listed(True, place(3, until_s=NOW_S + 9))
    assert len(await stands(store)) == 16
    assert await block(store, place(17), now_s=NOW_S + 60) == Listed(changed=True, listing=place(17))
    assert sorted(listing.list for listing in await stands(store)) == [1, 2, *range(4, 16), 17]


async def test_what_is_over_counts_no_more_and_goes_with_the_next_change(store: Store) -> None:
    await block(store, place(until_s=NOW_S + 60))
    await block(store, place(TRAVELLER))
    over_s = NOW_S + 60
    assert await unblock(store, now_s=over_s) == Listed(changed=False, listing=None)
    await block(store, place(from_s=over_s), now_s=over_s)
    assert await stands(store) == [place(TRAVELLER), place(from_s=over_s)]


async def test_a_list_that_is_only_added_to_gives_up_what_is_over(redis: Client) -> None:
    for number in range(2_000):
        now_s = NOW_S + number
        await block(redis, place(from_s=now_s, until_s=now_s + 100), owner=number.to_bytes(8), now_s=now_s)
    assert 100 <= await redis.execute_command("HLEN", KEYS.blocked) < 300
    (found,) = await stands(redis, (1_999).to_bytes(8))
    assert found.from_s == NOW_S + 1_999


async def test_documents_whose_places_are_not_over_stay(redis: Client) -> None:
    for number in range(300):
        await block(redis, place(until_s=NOW_S + 1000 if number % 2 else 0), owner=number.to_bytes(8))
    assert await redis.execute_command("HLEN", KEYS.blocked) == 300


@pytest.mark.parametrize("key", [KEYS.acts, KEYS.blocked])
async def test_a_key_of_another_type_fails_before_anything_is_written(redis: Client, key: str) -> None:
    await redis.execute_command("SET", key, "text")
    before = await dump(redis)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await block(redis, place())
    assert await dump(redis) == before


async def test_a_full_store_takes_no_new_place_and_gives_one_up(redis: Client) -> None:
    await block(redis, place())
    await redis.execute_command("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(OutOfMemoryError):
            await block(redis, place(TRAVELLER))
        assert await unblock(redis) == Listed(changed=True, listing=place())
    finally:
        await redis.execute_command("CONFIG", "SET", "maxmemory", str(512 << 20))


def test_an_unknown_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="block answered"):
        blocked.blocked_reply([b"other"])
