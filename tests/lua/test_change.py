"""One record changes by compare-and-set, in one step with all that follows from the change, or nothing changes."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from redis.exceptions import OutOfMemoryError, ResponseError

from lua import changes
from lua.changes import ANY_VERSION, Change, Done, Full, Gone, Stale, change, written
from lua.keys import EPOCHS, PartitionKeys, partition_keys
from lua.store import Store
from runtime.connection import Client
from tests.lua.batches import dump

KEYS: PartitionKeys = partition_keys("t")
HELD = KEYS.holder(b"same")
MEMBER = b"same".hex()
SENDERS = KEYS.senders("2090061412")
HOUR_S = 3_800_000_000
NEW = Change(hash=HELD, field="o01", record=written(1, b'{"a":1}'), member=MEMBER, ends_s=1000)


async def texts(store: Store, stream: str) -> list[bytes]:
    return [fields[b"m"] for _, fields in await store.execute_command("XRANGE", stream, "-", "+")]


async def record(store: Store, field: str = "o01") -> bytes | None:
    return await store.execute_command("HGET", HELD, field)


async def unchanged(store: Store, asked: Change) -> Any:
    """The answer to a change that must not touch anything."""
    before = await dump(store)
    answer = await change(store, KEYS, asked)
    assert await dump(store) == before
    return answer


# --- the record


def test_a_record_is_its_version_and_its_json() -> None:
    assert written(12, b'{"a": 1}') == b'12 {"a": 1}'
    assert changes.read(b'12 {"a": 1}') == (12, b'{"a": 1}')
    with pytest.raises(ValueError, match="invalid literal"):
        changes.read(b"none")


async def test_a_new_record_stands_and_its_hash_is_looked_at_again(store: Store) -> None:
    assert await change(store, KEYS, NEW) == Done(number=0)
    assert await record(store) == NEW.record
    assert await store.execute_command("ZRANGE", KEYS.ends, 0, -1) == [MEMBER.encode()]
    assert sorted(await store.execute_command("KEYS", "*")) == [KEYS.ends.encode(), HELD.encode()]


async def test_a_change_needs_the_version_that_stands(store: Store) -> None:
    assert await unchanged(store, replace(NEW, expected=1)) == Stale(record=b"")
    await change(store, KEYS, NEW)
    assert await unchanged(store, NEW) == Stale(record=NEW.record)
    second = replace(NEW, expected=1, record=written(2, b"{}"))
    assert await change(store, KEYS, second) == Done(number=0)
    assert await unchanged(store, second) == Stale(record=b"2 {}")
    assert await unchanged(store, replace(second, expected=22)) == Stale(record=b"2 {}")
    assert await record(store) == b"2 {}"


async def test_any_version_can_be_asked_for(store: Store) -> None:
    whatever = replace(NEW, expected=ANY_VERSION)
    assert await change(store, KEYS, whatever) == Done(number=0)
    assert await change(store, KEYS, replace(whatever, record=b"9 {}")) == Done(number=0)
    assert await record(store) == b"9 {}"


async def test_without_a_record_what_stands_is_left_and_only_the_rest_happens(store: Store) -> None:
    await change(store, KEYS, NEW)
    assert await change(store, KEYS, Change(hash=HELD, field="o01", expected=1, act=b"{}")) == Done(number=0)
    assert await record(store) == NEW.record
    assert await texts(store, KEYS.acts) == [b"{}"]
    assert await change(store, KEYS, Change(hash=HELD, expected=ANY_VERSION, act=b"[]")) == Done(number=0)
    assert await store.execute_command("HLEN", HELD) == 1


async def test_a_hash_takes_no_more_records_than_it_may_but_those_it_has_still_change(store: Store) -> None:
    for at in range(2):
        await change(store, KEYS, replace(NEW, field=f"o0{at}", most=2))
    assert await unchanged(store, replace(NEW, field="o02", most=2, act=b"{}")) == Full()
    assert await change(store, KEYS, replace(NEW, field="o00", expected=1, most=2)) == Done(number=0)
    assert await change(store, KEYS, replace(NEW, field="o02")) == Done(number=0)


async def test_a_hash_is_looked_at_again_when_the_first_of_its_records_ends(store: Store) -> None:
    for ends_s, stands in ((1000, 1000), (2000, 1000), (500, 500)):
        await change(store, KEYS, replace(NEW, expected=ANY_VERSION, ends_s=ends_s))
        assert float(await store.execute_command("ZSCORE", KEYS.ends, MEMBER)) == stands


# --- what follows


@pytest.mark.parametrize(
    ("part", "stream"),
    [
        ("event", KEYS.outbox),
        ("application", KEYS.applications),
        ("reply", KEYS.replies),
        ("dead", KEYS.dead),
        ("act", KEYS.acts),
    ],
)
async def test_each_text_goes_to_its_stream_and_to_no_other(part: str, stream: str, store: Store) -> None:
    body = '{"text":"\\u0000 \\" ə"}'.encode()
    assert await change(store, KEYS, replace(NEW, **{part: body})) == Done(number=0)
    assert await texts(store, stream) == [body]
    assert sorted(await store.execute_command("KEYS", "*")) == sorted(
        [HELD.encode(), KEYS.ends.encode(), stream.encode()]
    )


async def test_events_for_the_ministry_are_numbered_without_a_gap(store: Store) -> None:
    for version in range(1, 4):
        fed = replace(NEW, expected=version - 1, record=written(version, b"{}"), feed=b'{"code":"c"}')
        assert await change(store, KEYS, fed) == Done(number=version)
        assert isinstance(await unchanged(store, fed), Stale)
    assert await texts(store, KEYS.outbox) == [b'{"number":%d,"code":"c"}' % number for number in (1, 2, 3)]
    assert await store.execute_command("HGETALL", KEYS.feed) == {b"numbered": b"3"}


@pytest.mark.parametrize("ack", ["taken", "refused", "off"])
async def test_an_outbox_entry_is_settled_and_counted_once(ack: Any, store: Store) -> None:
    entry_id: bytes = await store.execute_command("XADD", KEYS.outbox, "*", "m", "{}")
    settles = Change(hash=HELD, expected=ANY_VERSION, done=entry_id, ack=ack, act=b"{}")
    assert await change(store, KEYS, settles) == Done(number=0)
    assert await texts(store, KEYS.outbox) == []
    assert await unchanged(store, settles) == Gone()
    assert await store.execute_command("HGETALL", KEYS.feed) == {ack.encode(): b"1"}
    assert len(await texts(store, KEYS.acts)) == 1


async def test_an_application_is_settled_once(store: Store) -> None:
    first: bytes = await store.execute_command("XADD", KEYS.applications, "*", "m", "one")
    await store.execute_command("XADD", KEYS.applications, "*", "m", "two")
    settles = replace(NEW, applied=first, feed=b'{"code":"c"}')
    assert await change(store, KEYS, settles) == Done(number=1)
    assert await texts(store, KEYS.applications) == [b"two"]
    assert await unchanged(store, replace(settles, expected=1)) == Gone()


async def test_a_settled_entry_of_a_record_that_changed_meanwhile_stays(store: Store) -> None:
    await change(store, KEYS, NEW)
    entry_id: bytes = await store.execute_command("XADD", KEYS.applications, "*", "m", "{}")
    assert await unchanged(store, replace(NEW, expected=7, applied=entry_id)) == Stale(record=NEW.record)


async def test_a_sealed_number_is_kept_until_its_hour_which_a_later_one_does_not_put_off(store: Store) -> None:
    numbered = replace(NEW, senders=SENDERS, sender=b"same123456", number=bytes(16), number_until_s=HOUR_S)
    assert await change(store, KEYS, numbered) == Done(number=0)
    other = replace(numbered, expected=1, sender=b"same654321", number=b"\xff" * 16, number_until_s=HOUR_S + 9)
    assert await change(store, KEYS, other) == Done(number=0)
    kept = {b"same123456": bytes(16), b"same654321": b"\xff" * 16}
    assert await store.execute_command("HGETALL", SENDERS) == kept
    assert await store.execute_command("EXPIRETIME", SENDERS) == HOUR_S


@pytest.mark.parametrize(
    "key",
    [HELD, KEYS.ends, KEYS.outbox, KEYS.feed, KEYS.applications, KEYS.replies, KEYS.acts, KEYS.dead, SENDERS],
)
async def test_a_key_of_the_wrong_type_stops_the_change_before_it_writes(key: str, store: Store) -> None:
    await store.execute_command("SADD", key, "not", "ours")
    everything = replace(
        NEW,
        act=b"{}",
        event=b"{}",
        feed=b"{}",
        application=b"{}",
        reply=b"{}",
        dead=b"{}",
        senders=SENDERS,
        sender=b"s",
        number=b"n",
        number_until_s=HOUR_S,
    )
    before = await dump(store)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await change(store, KEYS, everything)
    assert await dump(store) == before


async def test_of_many_changes_of_one_version_one_is_made(store: Store) -> None:
    await change(store, KEYS, NEW)
    rivals = [replace(NEW, expected=1, record=written(2, b'"%d"' % at), feed=b'{"code":"c"}') for at in range(20)]
    answers = await asyncio.gather(*(change(store, KEYS, rival) for rival in rivals))
    [won] = [at for at, answer in enumerate(answers) if answer == Done(number=1)]
    assert [answer for answer in answers if answer == Stale(record=rivals[won].record)] == answers[:won] + answers[
        won + 1 :
    ]
    assert len(await texts(store, KEYS.outbox)) == 1


# --- forget


async def forget(store: Store, *records: tuple[str, int], look_s: int = 5000) -> int:
    return await changes.forget(store, KEYS, hash_key=HELD, member=MEMBER, look_s=look_s, records=records)


async def test_records_that_stand_unchanged_are_forgotten_and_the_rest_is_looked_at_again(store: Store) -> None:
    for field in ("o01", "o02", "o03"):
        await change(store, KEYS, replace(NEW, field=field))
    await change(store, KEYS, replace(NEW, field="o02", expected=1, record=b"2 {}"))
    assert await forget(store, ("o01", 1), ("o02", 1), ("o09", 1)) == 2
    assert set(await store.execute_command("HKEYS", HELD)) == {b"o02", b"o03"}
    assert float(await store.execute_command("ZSCORE", KEYS.ends, MEMBER)) == 5000
    assert await forget(store, ("o02", 2), ("o03", 1)) == 0
    assert await store.execute_command("KEYS", "*") == []


async def test_with_nothing_to_forget_the_hash_is_only_looked_at_later(store: Store) -> None:
    await change(store, KEYS, NEW)
    assert await forget(store, look_s=700) == 1
    assert float(await store.execute_command("ZSCORE", KEYS.ends, MEMBER)) == 700
    assert await record(store) == NEW.record


@pytest.mark.parametrize("key", [HELD, KEYS.ends])
async def test_forgetting_on_the_wrong_type_changes_nothing(key: str, store: Store) -> None:
    await change(store, KEYS, NEW)
    await store.execute_command("DEL", key)
    await store.execute_command("SADD", key, "not", "ours")
    before = await dump(store)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await forget(store, ("o01", 1))
    assert await dump(store) == before


# --- proclaim and enlist


async def proclaim(store: Store, number: int, request: str) -> int | None:
    epoch = b'{"number":%d,"request":"%b"}' % (number, request.encode())
    command = changes.proclaim_command(number=number, epoch=epoch, request=request)
    return changes.proclaim_reply(await store.execute_command(*command))


async def test_epochs_stand_in_order_each_request_once(store: Store) -> None:
    assert await proclaim(store, 1, "aa") == 1
    assert await proclaim(store, 2, "bb") == 2
    before = await dump(store)
    assert await proclaim(store, 3, "aa") == 1
    assert await proclaim(store, 2, "bb") == 2
    assert await proclaim(store, 2, "cc") is None
    assert await proclaim(store, 4, "cc") is None
    assert await dump(store) == before
    assert await proclaim(store, 3, "cc") == 3
    assert len(await store.execute_command("LRANGE", EPOCHS, 0, -1)) == 3


async def test_of_many_that_proclaim_at_once_each_number_is_one_requests(store: Store) -> None:
    numbers = await asyncio.gather(*(proclaim(store, 1, f"request-{at % 2}") for at in range(10)))
    assert sorted(number or 0 for number in numbers) == [0] * 5 + [1] * 5


async def test_an_import_is_handed_over_once(store: Store) -> None:
    async def enlist(head: bytes) -> bool:
        return await changes.enlist(store, KEYS, name="0" * 32, head=head, entry=b'{"import":"0"}')

    await store.execute_command("HSET", KEYS.bulk("0" * 32), "chunk:0", "rows")
    assert await enlist(b"first") is True
    before = await dump(store)
    assert await enlist(b"second") is False
    assert await dump(store) == before
    assert await store.execute_command("HGET", KEYS.bulk("0" * 32), "head") == b"first"
    assert await texts(store, KEYS.imports) == [b'{"import":"0"}']


async def test_an_import_is_not_handed_over_on_the_wrong_type(store: Store) -> None:
    await store.execute_command("SADD", KEYS.imports, "not", "ours")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await changes.enlist(store, KEYS, name="0" * 32, head=b"{}", entry=b"{}")
    assert await store.execute_command("EXISTS", KEYS.bulk("0" * 32)) == 0


async def test_a_full_store_settles_changes_and_takes_no_permit_no_epoch_and_no_import(redis: Client) -> None:
    await redis.execute_command("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            await redis.execute_command(*changes.create_command(KEYS, NEW))
        assert await change(redis, KEYS, NEW) == Done(number=0)
        assert await forget(redis, ("o01", 1)) == 0
        with pytest.raises(OutOfMemoryError):
            await proclaim(redis, 1, "aa")
        with pytest.raises(OutOfMemoryError):
            await changes.enlist(redis, KEYS, name="0" * 32, head=b"{}", entry=b"{}")
    finally:
        await redis.execute_command("CONFIG", "SET", "maxmemory", "512mb")
