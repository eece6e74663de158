"""What one decided batch leaves behind: record, reply, audit, counters, dead letters, and when they go."""

from lua.records import RecordEntry, entries
from permits.calendar import day_name, hour_end, hour_name
from permits.policy import Rule
from tests.lua.batches import (
    COUNTS_EXPIRY_S,
    DECIDED_MS,
    NOON_MS,
    TAILED,
    TODAY,
    Ask,
    Partition,
    owner,
    record_expiry_s,
    reply_start,
)

RECORD_KEY = "day:{t}:20900614"


async def expires_s(partition: Partition, key: str) -> int:
    """When a key goes, s; -1: never."""
    return await partition.store.execute_command("EXPIRETIME", key)


def approval(ask: Ask) -> str:
    return f'"approved {ask.permit} {ask.tail} {ask.permit}"}}'


async def test_an_approval_is_recorded_answered_audited_and_counted(partition: Partition) -> None:
    ask = Ask(id="agg-1")
    [(entry_id, _)] = pushed = await partition.push(ask)
    batch = partition.batch(pushed)
    reply = await partition.decided(batch)

    assert (reply.letters, reply.ids_reused, reply.removed) == ("a", 0, 1)
    assert await partition.record(ask) == [
        RecordEntry(
            tag=ask.owner[4:],
            digest=ask.digest,
            arrived_s=NOON_MS // 1000,
            decided_s=DECIDED_MS // 1000,
            minutes=180,
            days_to_arrival=0,
            sender=ask.sender[:2],
            purpose=2,
            letter="a",
        )
    ]
    assert await partition.replies() == [reply_start("t", entry_id) + approval(ask)]
    [(audit, letters, silent)] = await partition.audit()
    assert (letters, silent) == ("a", "")
    assert [(row.entry_id, row.sms_id, row.owner) for row in audit.rows] == [
        (entry_id.decode(), "agg-1", ask.owner.hex())
    ]
    assert await partition.counts() == {"a2": 1}
    assert await partition.undecided() == 0


async def test_a_form_refusal_is_recorded_and_answered_without_asking_the_rules(partition: Partition) -> None:
    ask = Ask(id="1", text="salam", purpose=0, minutes=0, outcome="m")
    [(entry_id, _)] = pushed = await partition.push(ask)
    await partition.call(partition.batch(pushed))

    assert [(e.letter, e.purpose, e.minutes) for e in await partition.record(ask)] == [("m", 0, 0)]
    assert await partition.replies() == [reply_start("t", entry_id) + '"malformed"}']
    assert await partition.counts() == {"m0": 1}
    assert [entry.letters for entry in await partition.audit()] == ["m"]


async def test_a_form_refusal_costs_no_quota(partition: Partition) -> None:
    assert await partition.decide(Ask(id="1", outcome="b"), Ask(id="2"), Ask(id="3")) == "baq"


async def test_a_refusal_by_quota_names_the_documents_tail(partition: Partition) -> None:
    assert await partition.decide(Ask(id="1"), Ask(id="2", text="again", tail="9087")) == "aq"
    assert (await partition.replies())[1].endswith('"text":"quota 9087"}')


async def test_a_refusal_whose_frame_has_no_end_names_no_tail(partition: Partition) -> None:
    frames = (('"too late"}', ""), TAILED[1], TAILED[2])
    assert await partition.decide(Ask(id="1"), Ask(id="2", frames=frames, tail="9087")) == "aq"
    assert (await partition.replies())[1].endswith('"text":"too late"}')


async def test_each_reply_of_a_mixed_batch_has_its_own_words_in_stream_order(partition: Partition) -> None:
    other = owner("AA7654321")
    asks = [
        Ask(id="1"),
        Ask(id="2", outcome="m"),
        Ask(id="3", outcome="X"),
        Ask(id="4", outcome="M"),
        Ask(id="1"),
        Ask(id="5", owner=other, tail="4321"),
        Ask(id="6", owner=other, tail="4321"),
    ]
    pushed = await partition.push(*asks)
    reply = await partition.decided(partition.batch(pushed))

    assert reply.letters == "amXMDaq"
    ids = [entry_id for entry_id, _ in pushed]
    assert await partition.replies() == [
        reply_start("t", ids[0]) + approval(asks[0]),
        reply_start("t", ids[1]) + '"malformed"}',
        reply_start("t", ids[5]) + approval(asks[5]),
        reply_start("t", ids[6]) + '"quota 4321"}',
    ]
    assert await partition.texts(partition.keys.dead) == [f'{{"entry_id":"{ids[2].decode()}"}}']
    assert await partition.counts() == {"a2": 2, "m2": 1, "X2": 1, "M2": 1, "D2": 1, "q2": 1}


async def test_dead_and_moved_entries_leave_no_record_and_no_reply(partition: Partition) -> None:
    assert await partition.decide(Ask(id="1", outcome="X"), Ask(id="2", outcome="M")) == "XM"
    assert await partition.replies() == []
    assert await partition.store.execute_command("EXISTS", RECORD_KEY) == 0
    assert len(await partition.texts(partition.keys.dead)) == 1


async def test_record_and_counters_go_at_the_given_moments(partition: Partition) -> None:
    await partition.decide(Ask(id="1"))
    assert await expires_s(partition, RECORD_KEY) == record_expiry_s(TODAY)
    assert await expires_s(partition, partition.keys.counts(day_name(TODAY))) == COUNTS_EXPIRY_S


async def test_a_later_batch_does_not_put_off_the_end_of_a_record(partition: Partition) -> None:
    await partition.decide(Ask(id="1"))
    await partition.store.execute_command("EXPIREAT", RECORD_KEY, record_expiry_s(TODAY) - 100)
    await partition.decide(Ask(id="2"))
    assert await expires_s(partition, RECORD_KEY) == record_expiry_s(TODAY) - 100


async def test_an_owner_whose_record_is_full_gets_no_permit_and_no_reply(partition: Partition) -> None:
    partition.record_bytes = 3 * 20
    assert await partition.decide(*(Ask(id=str(i), outcome="m") for i in range(4))) == "mmmS"
    assert await partition.decide(Ask(id="5", purpose=3, rules=()), Ask(id="0", outcome="m")) == "SS"
    assert await partition.decide(Ask(id="6", owner=owner("AA7654321"))) == "a"
    assert len(await partition.record(Ask(id="1"))) == 3
    assert len(await partition.replies()) == 4
    assert await partition.counts() == {"m2": 3, "S2": 2, "S3": 1, "a2": 1}


async def test_two_owners_that_share_a_field_do_not_touch_each_other(partition: Partition) -> None:
    one, other = b"same-one", b"sameelse"
    assert one[:4] == other[:4]
    asks = [Ask(id="1", owner=one), Ask(id="1", owner=other), Ask(id="2", owner=one), Ask(id="2", owner=other)]
    assert await partition.decide(*asks) == "aaqq"
    assert [e.letter for e in await partition.record(asks[0])] == ["a", "q"]
    assert [e.letter for e in await partition.record(asks[1])] == ["a", "q"]
    value = await partition.store.execute_command("HGET", RECORD_KEY, b"same")
    assert [e.tag for e in entries(value)] == [b"-one", b"else", b"-one", b"else"]


async def test_a_record_that_reads_like_an_owner_across_two_entries_is_not_his(partition: Partition) -> None:
    zeros, ask = bytes(8), Ask(id="1", owner=bytes(8), rules=(Rule(limit=1, purposes=(2,)),))
    others = [Ask(id=str(i), owner=zeros[:4] + bytes([0, 0, 0, 1 + i])) for i in range(3)]
    assert await partition.decide(*others, ask) == "aaaa"


async def test_the_largest_batch_is_decided_in_one_call(partition: Partition) -> None:
    asks = [Ask(id=str(i), owner=owner(f"AZE{i:08d}")) for i in range(512)]
    assert await partition.decide(*asks) == "a" * 512
    assert await partition.store.execute_command("HLEN", RECORD_KEY) == 512
    assert len(await partition.replies()) == 512
    assert [len(entry.batch.rows) for entry in await partition.audit()] == [512]


async def test_a_batch_spread_over_many_days_fills_each_days_record(partition: Partition) -> None:
    asks = [Ask(id=str(i), arrived_ms=NOON_MS + day * 86_400_000) for i, day in enumerate((-2, 0, 1))]
    assert await partition.decide(*asks, decided_ms=NOON_MS + 90_000_000) == "aaa"
    for ask in asks:
        assert [e.arrived_s for e in await partition.record(ask)] == [ask.arrived_ms // 1000]
        assert await expires_s(partition, partition.keys.day(day_name(ask.arrival_day))) == record_expiry_s(
            ask.arrival_day
        )


# --- the numbers of senders


async def test_an_approval_leaves_its_senders_sealed_number_until_the_hour_after_its_end(partition: Partition) -> None:
    ask = Ask(id="1")
    await partition.decide(ask)
    ends_s = ask.ends_s(DECIDED_MS)
    assert await partition.senders(ends_s) == {ask.sender_field: ask.sealed}
    assert await expires_s(partition, partition.keys.senders(hour_name(hour_end(ends_s)))) == hour_end(ends_s)
    assert ends_s <= hour_end(ends_s) < ends_s + 3600


async def test_of_a_mixed_batch_only_approvals_leave_a_number_and_each_its_own(partition: Partition) -> None:
    other = owner("AA7654321")
    asks = [
        Ask(id="1"),
        Ask(id="2", outcome="m"),
        Ask(id="3"),
        Ask(id="4", outcome="X"),
        Ask(id="1"),
        Ask(id="5", outcome="M"),
        Ask(id="6", owner=other),
        Ask(id="7", owner=other, purpose=3, rules=(), minutes=0),
        Ask(id="8", owner=other, purpose=1, rules=(), minutes=90),
    ]
    assert await partition.decide(*asks) == "amqXDMaaa"
    hours: dict[int, dict[bytes, bytes]] = {}
    for ask in (asks[0], asks[6], asks[7], asks[8]):
        hours.setdefault(hour_end(ask.ends_s(DECIDED_MS)), {})[ask.sender_field] = ask.sealed
    assert len(hours) == 3
    assert {hour: await partition.senders(hour) for hour in hours} == hours
    assert len(await partition.store.execute_command("KEYS", "senders:*")) == 3


async def test_a_batch_without_an_approval_leaves_no_number(partition: Partition) -> None:
    await partition.decide(Ask(id="1"))
    await partition.store.execute_command("DEL", partition.keys.senders("2090061412"))
    assert await partition.decide(Ask(id="1"), Ask(id="2"), Ask(id="3", outcome="m")) == "Dqm"
    assert await partition.store.execute_command("KEYS", "senders:*") == []


async def test_a_later_batch_does_not_put_off_the_end_of_an_hours_numbers(partition: Partition) -> None:
    ask = Ask(id="1", purpose=3, rules=())
    await partition.decide(ask)
    key = partition.keys.senders(hour_name(hour_end(ask.ends_s(DECIDED_MS))))
    await partition.store.execute_command("EXPIREAT", key, hour_end(ask.ends_s(DECIDED_MS)) - 100)
    await partition.decide(Ask(id="2", purpose=3, rules=()))
    assert await expires_s(partition, key) == hour_end(ask.ends_s(DECIDED_MS)) - 100
    assert len(await partition.senders(ask.ends_s(DECIDED_MS))) == 2
