"""With its memory full the store takes no more SMS, and still decides those it has."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.exceptions import OutOfMemoryError

from lua import calls
from lua.library import ensure_loaded
from processor.app import make_groups
from runtime.connection import connect
from runtime.embedded import EmbeddedStore
from tests.lua.batches import Ask, Partition, owner


@pytest.fixture
async def full() -> AsyncIterator[Partition]:
    """A partition with a thousand undecided SMS, on a server without room for one more."""
    with tempfile.TemporaryDirectory(prefix="icaze-") as folder:
        server = EmbeddedStore(Path(folder), fsync=False, memory_mb=8)
        await server.start()
        client = connect(server.url)
        await ensure_loaded(client)
        partition = Partition(client)
        await partition.lease()
        yield partition
        await client.aclose()
        await server.stop()


async def fill(partition: Partition) -> None:
    size = 100_000
    while size:
        try:
            await partition.store.execute_command("RPUSH", "ballast", "x" * size)
        except OutOfMemoryError:
            size //= 10


async def test_a_full_store_refuses_sms_and_still_decides(full: Partition) -> None:
    entries = await full.push(*(Ask(id=str(i), owner=owner(f"AZE{i:07d}")) for i in range(1000)))
    await fill(full)
    with pytest.raises(OutOfMemoryError):
        await full.push(Ask(id="one more"))

    for at in (0, 500):
        reply = await full.call(full.batch(entries[at : at + 500]))
        assert isinstance(reply, calls.Decided)
        assert reply.letters == "a" * 500
    assert await full.undecided() == 0
    assert len(await full.replies()) == 1000
    with pytest.raises(OutOfMemoryError):
        await full.push(Ask(id="one more"))


async def test_a_full_store_still_lets_roles_take_over_and_drain_replies(full: Partition) -> None:
    await full.decide(Ask(id="1"))
    await fill(full)
    store, keys = full.store, full.keys
    lease = {"lease_key": keys.lease("dispatch"), "fence_key": keys.fence("dispatch")}
    assert await calls.lease(store, **lease, owner="new", ttl_ms=5_000) == "1"
    assert await calls.join(store, members_key="members:dispatch", member="new", ttl_ms=30_000) == 1
    assert await calls.register(store, keys, group="dispatch", now_ms=1) is True
    read = await store.execute_command("XREADGROUP", "GROUP", "dispatch", "one", "STREAMS", keys.replies, ">")
    await store.execute_command("XACK", keys.replies, "dispatch", read[0][1][0][0])
    assert await calls.trim(store, keys, now_ms=2, silence_ms=1000) == (1, [])
    assert await calls.release(store, lease_key=keys.lease("dispatch"), owner="new") is True


async def test_a_worker_starts_on_a_full_store_that_it_once_prepared(full: Partition) -> None:
    await make_groups(full.store, [full.keys])
    await fill(full)
    await ensure_loaded(full.store)
    await make_groups(full.store, [full.keys])
