"""A call repeated, out of date, out of place or on the wrong type of key changes nothing at all."""

import asyncio

import pytest
from redis.exceptions import ResponseError

from lua.calls import Applied, Decided, Fenced, Gap
from permits.calendar import DAY_MS
from tests.lua.batches import NOON_MS, Ask, Partition, dump

ASKS = (Ask(id="1"), Ask(id="2"), Ask(id="3", outcome="X"), Ask(id="4", outcome="m"), Ask(id="1"))


async def test_the_same_call_twice_changes_nothing_the_second_time(partition: Partition) -> None:
    batch = partition.batch(await partition.push(*ASKS))
    assert isinstance(await partition.call(batch), Decided)
    before = await dump(partition.store)
    assert await partition.call(batch) == Applied()
    assert await dump(partition.store) == before


async def test_the_same_call_after_others_changes_nothing(partition: Partition) -> None:
    entries = await partition.push(*ASKS)
    batch = partition.batch(entries[:2])
    await partition.call(batch)
    assert await partition.call(batch) == Applied()
    await partition.call(partition.batch(entries[2:]))
    await partition.push(Ask(id="9"))
    before = await dump(partition.store)
    assert await partition.call(batch) == Applied()
    assert await dump(partition.store) == before


async def test_an_older_epoch_is_fenced_and_changes_nothing(partition: Partition) -> None:
    batch = partition.batch(await partition.push(*ASKS))
    await partition.store.execute_command("DEL", partition.keys.lease("decide"))
    assert await partition.lease("another") == "2"
    before = await dump(partition.store)
    assert await partition.call(batch, epoch="1") == Fenced(epoch="2")
    assert await dump(partition.store) == before
    assert isinstance(await partition.call(batch), Decided)


@pytest.mark.parametrize("epoch", ["0", "2", "10", "", "1 "])
async def test_only_the_epoch_in_force_decides(partition: Partition, epoch: str) -> None:
    batch = partition.batch(await partition.push(*ASKS))
    partition.epoch = epoch
    before = await dump(partition.store)
    assert await partition.call(batch) == Fenced(epoch="1")
    assert await dump(partition.store) == before


async def test_without_a_fence_nothing_is_decided(partition: Partition) -> None:
    batch = partition.batch(await partition.push(*ASKS))
    await partition.store.execute_command("DEL", partition.keys.fence("decide"))
    assert await partition.call(batch) == Fenced(epoch="")
    assert await partition.undecided() == len(ASKS)


async def test_a_batch_behind_the_head_of_the_stream_is_a_gap(partition: Partition) -> None:
    entries = await partition.push(*ASKS)
    before = await dump(partition.store)
    assert await partition.call(partition.batch(entries[1:])) == Gap()
    assert await dump(partition.store) == before


@pytest.mark.parametrize("gone", [1, 4])
async def test_a_batch_of_which_a_part_is_decided_is_a_gap(partition: Partition, gone: int) -> None:
    entries = await partition.push(*ASKS)
    await partition.call(partition.batch(entries[:gone]))
    before = await dump(partition.store)
    assert await partition.call(partition.batch(entries)) == Gap()
    assert await dump(partition.store) == before
    assert isinstance(await partition.call(partition.batch(entries[gone:])), Decided)


async def test_a_batch_whose_head_was_deleted_is_a_gap(partition: Partition) -> None:
    entries = await partition.push(*ASKS)
    await partition.store.execute_command("XDEL", partition.keys.inbound, entries[0][0])
    before = await dump(partition.store)
    assert await partition.call(partition.batch(entries)) == Gap()
    assert await dump(partition.store) == before


async def test_the_reply_tells_of_an_entry_deleted_or_left_out_in_the_middle(partition: Partition) -> None:
    entries = await partition.push(*ASKS)
    await partition.store.execute_command("XDEL", partition.keys.inbound, entries[1][0])
    assert await partition.call(partition.batch(entries)) == Decided(
        letters="aqXmD", ids_reused=0, removed=4, unanswered=0
    )
    entries = await partition.push(Ask(id="5"), Ask(id="6"), Ask(id="7"))
    reply = await partition.call(partition.batch([entries[0], entries[2]]))
    assert reply == Decided(letters="qq", ids_reused=0, removed=3, unanswered=0)


async def test_on_an_empty_stream_everything_was_applied(partition: Partition) -> None:
    batch = partition.batch(await partition.push(*ASKS))
    await partition.store.execute_command("DEL", partition.keys.inbound)
    before = await dump(partition.store)
    assert await partition.call(batch) == Applied()
    assert await dump(partition.store) == before


async def test_entries_appended_meanwhile_stay(partition: Partition) -> None:
    batch = partition.batch(await partition.push(*ASKS))
    await partition.push(Ask(id="5"), Ask(id="6"))
    assert isinstance(await partition.call(batch), Decided)
    assert await partition.texts(partition.keys.inbound) == ["5", "6"]


@pytest.mark.parametrize(
    "key",
    [
        "fence:decide:{t}",
        "inbound:{t}",
        "replies:{t}",
        "audit:{t}",
        "dead:{t}",
        "counts:{t}:20900614",
        "day:{t}:20900614",
        "day:{t}:20900611",
        "day:{t}:20900615",
        "senders:{t}:2090061412",
    ],
)
async def test_a_key_of_the_wrong_type_stops_the_call_before_it_writes(partition: Partition, key: str) -> None:
    batch = partition.batch(await partition.push(*ASKS, Ask(id="7", arrived_ms=NOON_MS + DAY_MS)))
    await partition.store.execute_command("DEL", key)
    await partition.store.execute_command("SADD", key, "not", "ours")
    before = await dump(partition.store)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await partition.call(batch)
    assert await dump(partition.store) == before


async def test_a_counter_that_is_no_number_starts_anew(partition: Partition) -> None:
    await partition.store.execute_command("HSET", "counts:{t}:20900614", "a2", "many", "q2", "9007199254740990")
    assert await partition.decide(*ASKS) == "aqXmD"
    assert await partition.counts() == {"a2": 1, "q2": 9007199254740991, "X2": 1, "m2": 1, "D2": 1}


async def test_many_calls_of_one_batch_at_once_decide_it_once(partition: Partition) -> None:
    batch = partition.batch(await partition.push(*ASKS))
    replies = await asyncio.gather(*(partition.call(batch) for _ in range(10)))
    assert sum(isinstance(reply, Decided) for reply in replies) == 1
    assert replies.count(Applied()) == 9
