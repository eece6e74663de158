"""Approvals that are held back: nothing told before its time, all of it once, and what is withdrawn is free."""

import asyncio
from typing import Any

import msgspec
import pytest

from lua import held
from lua.held import Release
from lua.store import Store
from permits.calendar import DAY_MS, day_name, hour_end, hour_name
from permits.messages import ENCODER, HELD_DECODER, SETTLED_DECODER, AuditSettled, HeldApproval, settled_row
from permits.outcomes import APPROVED, HELD, WITHDRAWN
from permits.regimes import Limits
from tests.lua.batches import DECIDED_MS, NOON_MS, Ask, Entry, Partition, dump, owner

HOLD = 15
DUE_MS = DECIDED_MS + HOLD * 60_000
LATE_MS = DUE_MS + 7_000
"""When the tests release."""
AUDIT_START = b'{"partition":0,"at_ms":%d,"became":"released","rows":[' % LATE_MS


def holding(sms_id: str = "1", **other: Any) -> Ask:
    return Ask(id=sms_id, hold_minutes=HOLD, **other)


def member(entry: Entry) -> bytes:
    entry_id, ask = entry
    return ask.waiting(entry_id) + ask.sealed


def release(entry: Entry) -> Release:
    entry_id, ask = entry
    hour = hour_end(ask.ends_s(LATE_MS))
    waiting = held_approval(entry)
    return Release(
        member=member(entry),
        owner=ask.owner,
        digest=ask.digest,
        day=day_name(ask.arrival_day),
        ends_s=hour,
        hour=hour_name(hour),
        reply=b'{"id":"t-%b"}' % entry_id,
        audit_row=ENCODER.encode(settled_row(waiting)),
    )


def held_approval(entry: Entry) -> HeldApproval:
    return HELD_DECODER.decode(entry[1].waiting(entry[0]))


async def released(partition: Partition, *entries: Entry, store: Store | None = None) -> str:
    command = held.release_command(
        partition.keys, [release(entry) for entry in entries], now_s=LATE_MS // 1000, audit_start=AUDIT_START
    )
    return held.release_reply(await (store or partition.store).execute_command(*command))


async def withdrawn(partition: Partition, entry: Entry, *, notice: bytes = b'{"id":"notice"}') -> int:
    waiting = held_approval(entry)
    gone = AuditSettled(0, LATE_MS, "withdrawn", [settled_row(waiting)])
    command = held.withdraw_command(
        partition.keys,
        member=member(entry),
        owner=entry[1].owner,
        digest=entry[1].digest,
        day=day_name(entry[1].arrival_day),
        audit=ENCODER.encode(gone),
        act=b'{"deed":"cancel"}',
        notice=notice,
        field="s1",
        record=b'1 {"status":"cancelled"}',
        ends_s=LATE_MS // 1000,
    )
    return await partition.store.execute_command(*command)


async def decided(partition: Partition, *asks: Ask, at_ms: int = DECIDED_MS) -> tuple[str, list[Entry]]:
    entries = await partition.push(*asks)
    return (await partition.decided(partition.batch(entries, decided_ms=at_ms))).letters, entries


async def waiting(partition: Partition) -> dict[bytes, int]:
    flat = await partition.store.execute_command("ZRANGE", partition.keys.held, 0, -1, "WITHSCORES")
    pairs = flat if flat and isinstance(flat[0], (list, tuple)) else zip(flat[::2], flat[1::2], strict=True)
    return {name: int(float(score)) for name, score in pairs}


async def settled_rows(partition: Partition) -> list[AuditSettled]:
    found = await partition.store.execute_command("XRANGE", partition.keys.audit, "-", "+")
    return [SETTLED_DECODER.decode(fields[b"r"]) for _, fields in found if b"r" in fields]


async def test_an_approval_waits_instead_of_a_reply_until_its_hold_ends(partition: Partition) -> None:
    letters, [entry] = await decided(partition, holding())
    assert letters == APPROVED
    assert await partition.replies() == []
    assert await waiting(partition) == {member(entry): DUE_MS}
    [record] = await partition.record(entry[1])
    assert (record.letter, record.decided_s, record.minutes) == (HELD, DUE_MS // 1000, 180)
    assert await partition.senders(entry[1].ends_s(DUE_MS)) == {}
    assert (await partition.counts()) == {"a2": 1}


@pytest.mark.parametrize("ahead_ms", [1, 999, 1_000, 90_000])
async def test_where_the_arrival_lies_ahead_record_and_queue_tell_the_same_second(
    partition: Partition, ahead_ms: int
) -> None:
    _, [entry] = await decided(partition, holding(arrived_ms=DECIDED_MS + ahead_ms))
    [record] = await partition.record(entry[1])
    [due_ms] = (await waiting(partition)).values()
    assert due_ms // 1000 == record.decided_s
    assert due_ms >= DUE_MS


async def test_a_refusal_is_never_held(partition: Partition) -> None:
    letters, [_, second] = await decided(partition, holding("1"), holding("2"))
    assert letters == "aq"
    assert len(await partition.replies()) == 1
    [_, record] = await partition.record(second[1])
    assert (record.letter, record.decided_s) == ("q", DECIDED_MS // 1000)


async def test_what_waits_counts_as_a_permit_and_as_no_refusal(partition: Partition) -> None:
    limits = Limits(refusals_answered_per_hour=1)
    assert (await decided(partition, holding("1", limits=limits)))[0] == "a"
    assert (await decided(partition, holding("2", limits=limits)))[0] == "q"
    assert len(await partition.replies()) == 1


async def test_a_release_tells_it_once_and_makes_it_a_permit_from_then_on(partition: Partition) -> None:
    _, [entry] = await decided(partition, holding())
    assert await released(partition, entry) == "r"
    assert await partition.replies() == [f'{{"id":"t-{entry[0].decode()}"}}']
    assert await waiting(partition) == {}
    [record] = await partition.record(entry[1])
    assert (record.letter, record.decided_s, record.minutes) == (APPROVED, LATE_MS // 1000, 180)
    assert await partition.senders(entry[1].ends_s(LATE_MS)) == {entry[1].sender_field: entry[1].sealed}
    [told] = await settled_rows(partition)
    assert (told.became, told.at_ms, told.rows) == ("released", LATE_MS, [settled_row(held_approval(entry))])
    before = await dump(partition.store)
    assert await released(partition, entry) == "-"
    assert await dump(partition.store) == before


async def test_a_permit_after_midnight_stands_in_the_record_of_its_arrival(partition: Partition) -> None:
    night_ms = NOON_MS + DAY_MS // 2 - 60_000
    ask = holding(arrived_ms=night_ms)
    _, [entry] = await decided(partition, ask, at_ms=night_ms + 1_000)
    assert await released(partition, entry) == "r"
    [record] = await partition.record(ask)
    assert record.letter == APPROVED


async def test_many_are_told_in_one_call_each_with_its_own(partition: Partition) -> None:
    asks = [holding(str(n), owner=owner(f"AZE{n:07d}"), minutes=60 * n) for n in range(1, 40)]
    _, entries = await decided(partition, *asks)
    assert await released(partition, *entries) == "r" * 39
    assert len(await partition.replies()) == 39
    for _, ask in entries:
        assert [record.letter for record in await partition.record(ask)] == [APPROVED]
        assert ask.sender_field in await partition.senders(ask.ends_s(LATE_MS))


async def test_callers_at_once_tell_it_once(real: Partition) -> None:
    _, entries = await decided(real, *(holding(str(n), owner=owner(f"AZE{n:07d}")) for n in range(50)))
    said = await asyncio.gather(*(released(real, *entries) for _ in range(8)))
    assert sorted(said) == ["-" * 50] * 7 + ["r" * 50]
    assert len(await real.replies()) == 50


async def test_a_withdrawal_frees_the_permit_and_leaves_an_act_and_a_notice(partition: Partition) -> None:
    _, [entry] = await decided(partition, holding("1"))
    assert await withdrawn(partition, entry) == 1
    assert await waiting(partition) == {}
    assert await partition.replies() == ['{"id":"notice"}']
    assert await partition.texts(partition.keys.acts) == ['{"deed":"cancel"}']
    assert [record.letter for record in await partition.record(entry[1])] == [WITHDRAWN]
    assert [told.became for told in await settled_rows(partition)] == ["withdrawn"]
    before = await dump(partition.store)
    assert await withdrawn(partition, entry) == 0
    assert await released(partition, entry) == "-"
    assert await dump(partition.store) == before
    assert (await decided(partition, holding("2")))[0] == "a"


async def test_a_repeat_of_what_was_withdrawn_is_still_a_repeat(partition: Partition) -> None:
    _, [entry] = await decided(partition, holding("1"))
    await withdrawn(partition, entry)
    assert (await decided(partition, holding("1")))[0] == "D"


async def test_what_was_told_cannot_be_withdrawn(partition: Partition) -> None:
    _, [entry] = await decided(partition, holding("1"))
    await released(partition, entry)
    before = await dump(partition.store)
    assert await withdrawn(partition, entry) == 0
    assert await dump(partition.store) == before


async def test_without_its_record_it_is_left_and_can_be_buried_once(partition: Partition) -> None:
    _, [entry] = await decided(partition, holding("1"))
    await partition.store.execute_command("DEL", partition.keys.day(day_name(entry[1].arrival_day)))
    assert await released(partition, entry) == "?"
    assert await partition.replies() == []
    command = held.bury_command(partition.keys, member=member(entry), letter=b"{}")
    assert [await partition.store.execute_command(*command) for _ in range(2)] == [1, 0]
    assert await partition.texts(partition.keys.dead) == ["{}"]
    assert await waiting(partition) == {}


@pytest.mark.parametrize("wrong", ["replies", "audit", "held"])
async def test_a_key_of_another_type_stops_the_release_before_it_writes(wrong: str, real: Partition) -> None:
    _, [entry] = await decided(real, holding("1"))
    await real.store.execute_command("RENAME", real.keys.held, "aside")
    await real.store.execute_command("DEL", getattr(real.keys, wrong))
    await real.store.execute_command("SET", getattr(real.keys, wrong), "a string")
    if wrong != "held":
        await real.store.execute_command("RENAME", "aside", real.keys.held)
    before = await dump(real.store)
    with pytest.raises(Exception, match="WRONGTYPE"):
        await released(real, entry)
    assert await dump(real.store) == before


def test_what_waits_names_neither_phone_nor_document() -> None:
    ask = holding()
    raw = ask.waiting(b"1-0")
    assert ask.phone.strip("+").encode() not in raw
    assert b"AZE" not in raw
    assert msgspec.json.decode(raw)
