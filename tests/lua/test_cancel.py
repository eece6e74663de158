"""The cancel word: the newest permit of its own phone ends, one that was held is given back, and nothing else moves."""

from typing import Any

import pytest

from lua.calls import CANCEL
from lua.keys import PartitionKeys
from permits.calendar import DAY_MS, HOUR_MS
from permits.messages import CancelledPermit
from permits.outcomes import HELD
from permits.regimes import Limits
from tests.lua.batches import DECIDED_MS, ENDLESS_SINCE_S, MIDNIGHT_MS, NOON_MS, Ask, Partition, dump, owner

OTHER_PHONE = "+994500000002"


def cancel(sms_id: str, purpose: int = 0, **other: Any) -> Ask:
    return Ask(id=sms_id, purpose=purpose, minutes=0, outcome=CANCEL, **other)


def permit(ask: Ask) -> CancelledPermit:
    """As the trail names it."""
    return CancelledPermit(ask.digest.hex(), ask.arrived_ms // 1000, ask.purpose, ask.arrival_day - ask.day)


def officers(keys: PartitionKeys, ask: Ask, begins_s: int) -> tuple[str, str]:
    """Key and field under which an officer's change of a permit stands."""
    return keys.holder(ask.owner[:4]), f"s{ask.digest.hex()}-{begins_s}"


async def letters(partition: Partition, ask: Ask) -> str:
    return "".join(entry.letter for entry in await partition.record(ask))


async def waiting(partition: Partition) -> int:
    return await partition.store.execute_command("ZCARD", partition.keys.held)


async def test_a_permit_in_force_ends_and_still_counts_as_the_permit_of_its_day(partition: Partition) -> None:
    first = Ask(id="1")
    assert await partition.decide(first, cancel("2"), Ask(id="3")) == "acq"
    assert await letters(partition, first) == "ecq"
    assert (await partition.replies())[1].endswith('"text":"cancelled 1111"}')
    [told] = await partition.cancellations()
    assert (told.row, told.permit, told.passed_over) == (1, permit(first), [])
    assert await partition.counts() == {"a2": 1, "c0": 1, "q2": 1}


async def test_an_approval_that_is_held_is_given_back_and_never_told(partition: Partition) -> None:
    first = Ask(id="1", hold_minutes=15)
    assert await partition.decide(first) == "a"
    assert await partition.decide(cancel("2"), Ask(id="3", hold_minutes=15)) == "ya"
    assert await letters(partition, first) == "vyw"
    assert await waiting(partition) == 1
    [told] = await partition.cancellations()
    assert (told.row, told.permit) == (0, permit(first))
    assert len(await partition.replies()) == 1


async def test_one_batch_holds_cancels_and_holds_again(partition: Partition) -> None:
    asks = [Ask(id="1", hold_minutes=15), cancel("2"), Ask(id="3", hold_minutes=15), cancel("4"), cancel("5")]
    assert await partition.decide(*asks) == "ayayn"
    assert await letters(partition, asks[0]) == "vyvyn"
    assert await waiting(partition) == 0
    assert [told.permit for told in await partition.cancellations()] == [permit(asks[0]), permit(asks[2]), None]


@pytest.mark.parametrize("hold", [0, 15])
async def test_another_phone_cancels_nothing(partition: Partition, hold: int) -> None:
    first = Ask(id="1", hold_minutes=hold)
    await partition.decide(first)
    before = await waiting(partition)
    assert await partition.decide(cancel("2", phone=OTHER_PHONE)) == "n"
    assert await letters(partition, first) == ("wn" if hold else "an")
    assert (await partition.replies())[-1].endswith('"text":"nothing_to_cancel 1111"}')
    assert await waiting(partition) == before


async def test_another_document_is_not_cancelled_though_it_shares_the_field(partition: Partition) -> None:
    first = Ask(id="1", owner=b"same-one")
    assert await partition.decide(first, cancel("2", owner=b"sameelse")) == "an"
    assert await letters(partition, first) == "a"


async def test_a_repeat_of_the_cancelling_sms_cancels_no_second_permit(partition: Partition) -> None:
    asks = [Ask(id=str(n), rules=()) for n in range(2)]
    assert await partition.decide(*asks, cancel("9"), cancel("9")) == "aacD"
    assert await letters(partition, asks[0]) == "aec"
    assert len(await partition.cancellations()) == 1


async def test_with_a_code_only_a_permit_of_that_code_is_cancelled(partition: Partition) -> None:
    food, doctor = Ask(id="1"), Ask(id="2", purpose=1, rules=())
    assert await partition.decide(food, doctor, cancel("3", 2), cancel("4", 2), cancel("5", 3)) == "aacnn"
    assert await letters(partition, food) == "eacnn"


async def test_the_newest_is_cancelled_first(partition: Partition) -> None:
    first, second = (Ask(id=str(n), rules=()) for n in range(2))
    await partition.decide(first)
    await partition.decide(second, decided_ms=DECIDED_MS + 1000)
    assert await partition.decide(cancel("8"), cancel("9"), decided_ms=DECIDED_MS + 2000) == "cc"
    assert [told.permit for told in await partition.cancellations()] == [permit(second), permit(first)]


async def test_the_newest_is_the_one_that_began_last_in_whatever_record_it_stands(partition: Partition) -> None:
    late = Ask(id="1", rules=(), arrived_ms=MIDNIGHT_MS - 1000)
    early = Ask(id="2", rules=(), arrived_ms=MIDNIGHT_MS + 1000)
    await partition.decide(early, decided_ms=MIDNIGHT_MS + 2000)
    await partition.decide(late, decided_ms=MIDNIGHT_MS + 3000)
    asks = cancel("3", arrived_ms=MIDNIGHT_MS + 4000)
    assert await partition.decide(asks, decided_ms=MIDNIGHT_MS + 5000) == "c"
    assert await letters(partition, late) == "e"
    assert await letters(partition, early) == "ac"
    [told] = await partition.cancellations()
    assert told.permit == permit(late)


async def test_a_permit_of_yesterdays_quota_is_told_with_its_day(partition: Partition) -> None:
    night = Ask(id="1", arrived_ms=MIDNIGHT_MS + 1000, asked_ms=MIDNIGHT_MS - 1000)
    await partition.decide(night, decided_ms=MIDNIGHT_MS + 2000)
    assert await partition.decide(cancel("2", arrived_ms=MIDNIGHT_MS + 3000), decided_ms=MIDNIGHT_MS + 4000) == "c"
    [told] = await partition.cancellations()
    assert told.permit == permit(night)
    assert told.permit is not None
    assert told.permit.days_to_arrival == 1


async def test_a_permit_that_is_over_is_not_cancelled(partition: Partition) -> None:
    over_ms = DECIDED_MS + 180 * 60_000
    await partition.decide(Ask(id="1"))
    assert await partition.decide(cancel("2"), decided_ms=over_ms) == "n"
    assert await partition.decide(cancel("3"), decided_ms=over_ms - 1000) == "c"


async def test_a_permit_without_end_is_cancelled_as_long_as_it_is_honoured(partition: Partition) -> None:
    honoured_ms = ENDLESS_SINCE_S * 1000
    old = Ask(id="1", owner=owner("AZE2222222"), minutes=0, arrived_ms=honoured_ms - HOUR_MS)
    new = Ask(id="2", minutes=0, arrived_ms=honoured_ms)
    await partition.decide(old, decided_ms=honoured_ms - 1000)
    await partition.decide(new, decided_ms=honoured_ms)
    assert await partition.decide(cancel("3", owner=old.owner), cancel("4")) == "nc"


async def test_what_stands_in_records_that_are_not_asked_for_is_left(partition: Partition) -> None:
    old = Ask(id="1", minutes=4095, arrived_ms=MIDNIGHT_MS - 3 * DAY_MS - 1000)
    await partition.decide(old, decided_ms=NOON_MS - HOUR_MS)
    partition.today = old.arrival_day + 4
    assert (
        await partition.decide(cancel("2", asked_ms=NOON_MS - DAY_MS), Ask(id="3", arrived_ms=old.arrived_ms)) == "nq"
    )


@pytest.mark.parametrize("changed", [True, False])
async def test_what_an_officer_has_changed_is_passed_over(partition: Partition, changed: bool) -> None:
    first, second = (Ask(id=str(n), rules=()) for n in range(2))
    await partition.decide(first, second)
    key, field = officers(partition.keys, second, DECIDED_MS // 1000 + (0 if changed else 1))
    await partition.store.execute_command("HSET", key, field, "its record")
    assert await partition.decide(cancel("8")) == "c"
    [told] = await partition.cancellations()
    assert told.permit == permit(first if changed else second)
    assert told.passed_over == ([(second.digest.hex(), second.arrived_ms // 1000)] if changed else [])


async def test_an_approval_that_can_be_told_no_more_is_passed_over(partition: Partition) -> None:
    first = Ask(id="1", hold_minutes=15)
    await partition.decide(first)
    await partition.store.execute_command("DEL", partition.keys.held)
    assert await partition.decide(cancel("2")) == "n"
    assert await letters(partition, first) == "wn"
    [told] = await partition.cancellations()
    assert (told.permit, told.passed_over) == (None, [(first.digest.hex(), first.arrived_ms // 1000)])


async def test_of_many_that_wait_for_one_second_its_own_is_taken_out(partition: Partition) -> None:
    asks = [Ask(id=str(n), owner=owner(f"AZE{n:07d}"), hold_minutes=15) for n in range(40)]
    await partition.decide(*asks)
    assert await partition.decide(*(cancel(f"c{n}", owner=asks[n].owner) for n in range(0, 40, 2))) == "y" * 20
    assert [await letters(partition, ask) for ask in asks] == ["vy", HELD] * 20
    left = await partition.store.execute_command("ZRANGE", partition.keys.held, 0, -1)
    assert len(left) == 20
    assert all(any(ask.owner.hex().encode() in member for member in left) for ask in asks[1::2])


async def test_an_arrival_ahead_of_our_clock_is_held_and_cancelled_alike(partition: Partition) -> None:
    ahead = Ask(id="1", hold_minutes=15, arrived_ms=DECIDED_MS + 90_000)
    await partition.decide(ahead)
    [entry] = await partition.record(ahead)
    assert entry.decided_s == ahead.arrived_ms // 1000 + 15 * 60
    assert await partition.decide(cancel("2")) == "y"


async def test_a_cancellation_is_a_request_and_no_refusal_and_is_always_answered(partition: Partition) -> None:
    limits = Limits(requests_per_document=2, refusals_answered_per_hour=1)
    refused = [Ask(id=f"r{n}", outcome="m", limits=limits) for n in range(2)]
    assert await partition.decide(Ask(id="1", limits=limits), *refused, cancel("2", limits=limits)) == "ammc"
    assert len(await partition.replies()) == 3
    other = owner("AZE2222222")
    asks = [Ask(id="3", owner=other), cancel("4", owner=other), Ask(id="5", owner=other, purpose=1, limits=limits)]
    assert await partition.decide(*asks) == "acd"


async def test_having_nothing_to_cancel_is_a_refusal_and_goes_unanswered_past_the_limit(partition: Partition) -> None:
    limits = Limits(refusals_answered_per_hour=1)
    assert await partition.decide(cancel("1", limits=limits), cancel("2", limits=limits)) == "nn"
    assert len(await partition.replies()) == 1
    assert (await partition.audit())[0].silent == "01"


async def test_a_full_record_sheds_it_and_later_messages_keep_their_texts(fake_or_real: Partition) -> None:
    partition = fake_or_real
    assert await partition.decide(Ask(id="1"), Ask(id="2"), cancel("3")) == "aqS"
    other = Ask(id="4", owner=owner("AZE2222222"))
    assert await partition.decide(cancel("5"), other, cancel("6", owner=other.owner)) == "Sac"
    assert (await partition.replies())[-1].endswith('"text":"cancelled 1111"}')
    assert len(await partition.cancellations()) == 1


@pytest.fixture
def fake_or_real(partition: Partition) -> Partition:
    partition.record_bytes = 44
    return partition


@pytest.mark.parametrize("wrong", ["holder", "held"])
async def test_a_key_of_another_type_stops_it_before_anything_is_written(wrong: str, real: Partition) -> None:
    first = Ask(id="1")
    await real.decide(first)
    key = real.keys.holder(first.owner[:4]) if wrong == "holder" else real.keys.held
    await real.store.execute_command("SET", key, "a string")
    batch = real.batch(await real.push(cancel("2")))
    before = await dump(real.store)
    with pytest.raises(Exception, match="WRONGTYPE"):
        await real.call(batch)
    assert await dump(real.store) == before
