"""Whatever the functions leave on the server stands in the key table, with the end that the table states."""

import re

from lua import calls
from lua.keys import KEY_TABLE, KeySpec, members
from tests.lua.batches import Ask, Partition

UNTIMED = ("none", "trimmed", "entries go")
"""How the table says that a key has no expiry: one of a fixed number, or a stream that is cut."""


def pattern(spec: KeySpec) -> re.Pattern[str]:
    """What key names of a row look like."""
    name = re.escape(spec.name).replace(re.escape("{p}"), r"\{[0-9a-z]+\}")
    return re.compile(name.replace("<YYYYMMDD>", r"\d{8}").replace("<role>", "(decide|dispatch)"))


async def test_every_key_is_in_the_key_table_and_ends_as_it_says(partition: Partition) -> None:
    store, keys = partition.store, partition.keys
    await partition.decide(Ask(id="1"), Ask(id="1"), Ask(id="2"), Ask(id="3", outcome="X"), Ask(id="4", outcome="M"))
    await partition.push(Ask(id="5"))
    await calls.lease(
        store, lease_key=keys.lease("dispatch"), fence_key=keys.fence("dispatch"), owner="one", ttl_ms=5_000
    )
    await calls.join(store, members_key=members("decide"), member="one", ttl_ms=30_000)
    await calls.register(store, keys, group="dispatch", now_ms=1)
    await calls.trim(store, keys, now_ms=2, silence_ms=1_000)

    seen = set[str]()
    for name in [key.decode() for key in await store.execute_command("KEYS", "*")]:
        [spec] = [spec for spec in KEY_TABLE if pattern(spec).fullmatch(name)]
        seen.add(spec.name)
        assert (await store.execute_command("TYPE", name)).decode() == spec.type, name
        assert (await store.execute_command("PTTL", name) == -1) == spec.ttl.startswith(UNTIMED), name
    assert seen == {spec.name for spec in KEY_TABLE} - {"layout"}


async def test_a_released_lease_and_a_quiet_partition_leave_only_fence_and_streams(partition: Partition) -> None:
    await calls.release(partition.store, lease_key=partition.keys.lease("decide"), owner="lane")
    assert await partition.store.execute_command("KEYS", "*") == [b"fence:decide:{t}"]
