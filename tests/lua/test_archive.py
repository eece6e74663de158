"""The head of a trail's chain: moved on from the one that stands, by whoever holds the partition."""

import pytest
from redis.exceptions import ResponseError

from lua import archives, calls
from lua.archives import Head
from tests.lua.batches import Partition


async def move(partition: Partition, standing: bytes, head: bytes, *, epoch: str | None = None) -> str:
    epoch = partition.epoch if epoch is None else epoch
    return await archives.archived(
        partition.store, partition.keys, epoch=epoch, trail="audit", standing=standing, head=head
    )


async def standing(partition: Partition) -> bytes:
    return await archives.standing(partition.store, partition.keys, "audit")


async def test_a_head_moves_on_from_the_one_that_stands(partition: Partition) -> None:
    assert await standing(partition) == b""
    assert await move(partition, b"", b"one") == "moved"
    assert await move(partition, b"one", b"two") == "moved"
    assert await standing(partition) == b"two"
    assert await archives.standing(partition.store, partition.keys, "acts") == b""


@pytest.mark.parametrize("expected", [b"", b"zero", b"two"])
async def test_from_another_head_it_stays(partition: Partition, expected: bytes) -> None:
    await move(partition, b"", b"one")
    assert await move(partition, expected, b"three") == "differs"
    assert await standing(partition) == b"one"


async def test_a_head_that_was_never_set_does_not_move_on_from_one(partition: Partition) -> None:
    assert await move(partition, b"one", b"two") == "differs"
    assert await standing(partition) == b""


async def test_whoever_lost_the_partition_moves_nothing(partition: Partition) -> None:
    before = partition.epoch
    await calls.release(partition.store, lease_key=partition.keys.lease("decide"), owner="lane")
    await partition.lease()
    assert await move(partition, b"", b"one", epoch=before) == "fenced"
    assert await standing(partition) == b""
    assert await move(partition, b"", b"one") == "moved"


async def test_a_key_of_another_type_is_an_error_and_stays(partition: Partition) -> None:
    await partition.store.execute_command("SET", partition.keys.archive, "not ours")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await move(partition, b"", b"one")


def test_a_head_is_read_as_it_was_written() -> None:
    raw = b'{"last":"1-0","segment":"1-0.1.tsv.gz","number":2,"entries":3,"skipped":4,"hash":"ab"}'
    assert archives.read(raw) == Head("1-0", "1-0.1.tsv.gz", 2, 3, 4, "ab")
    assert archives.read(b"") is None
    with pytest.raises(ValueError, match="head of an archive"):
        archives.read(b"one")
