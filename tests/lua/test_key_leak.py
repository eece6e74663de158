"""Whatever the functions leave on the server stands in the key table, with the end that the table states."""

import re

from lua import archives, blocked, calls, changes, policies
from lua.blocked import Listed, Listing
from lua.changes import Change
from lua.keys import KEY_TABLE, KeySpec, members
from tests.lua.batches import DECIDED_MS, Ask, Partition, owner

UNTIMED = ("none", "trimmed", "entries go")
"""How the table says that a key has no expiry: one of a fixed number, or a stream that is cut."""
WRITTEN_ELSEWHERE = {
    "layout",
    "org:{p}:<tin>",
    "person:{p}:<person>",
    "epochs_fed",
    "phone:{p}:<phone>:<YYYYMMDD>",
    "day_keys:{p}",
    "mark:{p}",
    "spools:{p}",
}
"""By plain commands: the first start writes the layout, a worker its phones, the dispatcher its indexes and epochs,
whoever needs it a day's key, ingest what it replays, and the mark is tested with real replicas.
"""


def pattern(spec: KeySpec) -> re.Pattern[str]:
    """What key names of a row look like."""
    name = re.escape(spec.name).replace(re.escape("{p}"), r"\{[0-9a-z]+\}")
    for variable, shape in {
        "<YYYYMMDD>": r"\d{8}",
        "<YYYYMMDDHH>": r"\d{10}",
        "<role>": "(decide|dispatch)",
        "<field>": "[0-9a-f]{8}",
        "<tin>": r"\d{10}",
        "<person>": "[0-9a-f]{16}",
        "<id>": "[0-9a-f]{32}",
    }.items():
        name = name.replace(variable, shape)
    return re.compile(name)


async def test_every_key_is_in_the_key_table_and_ends_as_it_says(partition: Partition) -> None:
    store, keys = partition.store, partition.keys
    await partition.decide(Ask(id="1"), Ask(id="1"), Ask(id="2"), Ask(id="3", outcome="X"), Ask(id="4", outcome="M"))
    await partition.decide(Ask(id="6", owner=owner("AZE2222222"), hold_minutes=15))
    await partition.push(Ask(id="5"))
    await calls.lease(
        store, lease_key=keys.lease("dispatch"), fence_key=keys.fence("dispatch"), owner="one", ttl_ms=5_000
    )
    await calls.join(store, members_key=members("decide"), member="one", ttl_ms=30_000)
    await calls.register(store, keys, group="dispatch", now_ms=1)
    await calls.trim(store, keys, now_ms=2, silence_ms=1_000)
    everything = Change(
        hash=keys.holder(b"same"),
        field="o01",
        record=changes.written(1, b"{}"),
        member="73616d65",
        ends_s=1,
        act=b"{}",
        event=b"{}",
        feed=b'{"code":""}',
        application=b"{}",
        reply=b"{}",
        dead=b"{}",
        senders=keys.senders("2090061412"),
        sender=b"0123456789",
        number=b"sealed",
        number_until_s=DECIDED_MS // 1000 + 3600,
    )
    assert await changes.change(store, keys, everything) == changes.Done(number=1)
    organisation = Change(hash=keys.organisations, field="1234567890", record=changes.written(1, b"{}"))
    assert await changes.change(store, keys, organisation) == changes.Done(number=0)
    await store.execute_command(*policies.enact_command(keys, stood=0, item=b'{"at_ms":0}', act=b'{"at_ms":0}'))
    await store.execute_command(*changes.proclaim_command(number=1, epoch=b'{"request":"r"}', request="r"))
    await store.execute_command("HSET", keys.bulk("0" * 32), "chunk:0", "sealed")  # as the api does before it enlists
    await store.execute_command("EXPIRE", keys.bulk("0" * 32), 7 * 86_400)
    assert await changes.enlist(store, keys, name="0" * 32, head=b"{}", entry=b"{}")
    place = Listing(1, DECIDED_MS // 1000, 0)
    command = blocked.block_command(keys, owner=b"12345678", listing=place, now_s=1, act=b"{}", look=b"{}")
    assert blocked.blocked_reply(await store.execute_command(*command)) == Listed(changed=True, listing=place)
    moved = await archives.archived(store, keys, epoch=partition.epoch, trail="acts", standing=b"", head=b"{}")
    assert moved == "moved"

    seen = set[str]()
    for name in [key.decode() for key in await store.execute_command("KEYS", "*")]:
        [spec] = [spec for spec in KEY_TABLE if pattern(spec).fullmatch(name)]
        seen.add(spec.name)
        assert (await store.execute_command("TYPE", name)).decode() == spec.type, name
        assert (await store.execute_command("PTTL", name) == -1) == spec.ttl.startswith(UNTIMED), name
    assert seen == {spec.name for spec in KEY_TABLE} - WRITTEN_ELSEWHERE


async def test_a_holder_without_records_leaves_no_key(partition: Partition) -> None:
    store, keys = partition.store, partition.keys
    record = Change(
        hash=keys.holder(b"same"), field="o01", record=changes.written(1, b"{}"), member="73616d65", ends_s=1
    )
    await changes.change(store, keys, record)
    before = await store.execute_command("KEYS", "*{t}*")
    assert sorted(before) == [b"ends:{t}", b"fence:decide:{t}", b"holder:{t}:73616d65", b"lease:decide:{t}"]
    held = keys.holder(b"same")
    assert await changes.forget(store, keys, hash_key=held, member="73616d65", look_s=9, records=[("o01", 1)]) == 0
    assert sorted(await store.execute_command("KEYS", "*")) == [b"fence:decide:{t}", b"lease:decide:{t}"]


async def test_a_released_lease_and_a_quiet_partition_leave_only_fence_and_streams(partition: Partition) -> None:
    await calls.release(partition.store, lease_key=partition.keys.lease("decide"), owner="lane")
    assert await partition.store.execute_command("KEYS", "*") == [b"fence:decide:{t}"]
