"""The rules of a day: one purpose, several rules, rules across purposes, and whose day it is near midnight."""

import pytest

from permits.calendar import DAY_MS
from permits.regimes import Rule
from tests.lua.batches import MIDNIGHT_MS, NOON_MS, Ask, Partition, owner

BEFORE_MS = MIDNIGHT_MS - 10_000
AFTER_MS = MIDNIGHT_MS + 10_000
AFTER_ONE_NO_TWO = (
    Rule(limit=1, purposes=(2,)),
    Rule(limit=1, purposes=(1,)),
)
ONE_OVER_ALL = (Rule(limit=1, purposes=(1, 2, 3)),)


async def test_the_second_permit_of_a_day_is_refused_in_a_later_batch_too(partition: Partition) -> None:
    assert await partition.decide(Ask(id="1")) == "a"
    assert await partition.decide(Ask(id="2")) == "q"
    assert await partition.decide(Ask(id="3", arrived_ms=NOON_MS + DAY_MS)) == "a"


async def test_quota_counts_by_document(partition: Partition) -> None:
    assert await partition.decide(Ask(id="1"), Ask(id="2", owner=owner("AA7654321"))) == "aa"


async def test_a_purpose_without_rules_is_approved_any_number_of_times(partition: Partition) -> None:
    assert await partition.decide(*(Ask(id=str(i), purpose=1, rules=()) for i in range(5))) == "aaaaa"


async def test_a_limit_above_one_allows_that_many(partition: Partition) -> None:
    rules = (Rule(limit=3, purposes=(2,)),)
    assert await partition.decide(*(Ask(id=str(i), rules=rules) for i in range(5))) == "aaaqq"


async def test_permits_of_another_purpose_do_not_count(partition: Partition) -> None:
    asks = [Ask(id="1", purpose=1, rules=()), Ask(id="2"), Ask(id="3", purpose=3, rules=()), Ask(id="4")]
    assert await partition.decide(*asks) == "aaaq"


@pytest.mark.parametrize(("first", "letters"), [(1, "aq"), (2, "aq"), (3, "aa")])
async def test_the_first_rule_that_refuses_gives_the_reason(partition: Partition, first: int, letters: str) -> None:
    asks = Ask(id="1", purpose=first, rules=()), Ask(id="2", rules=AFTER_ONE_NO_TWO)
    assert await partition.decide(*asks) == letters


async def test_the_order_of_rules_decides_where_both_refuse(partition: Partition) -> None:
    held = [Ask(id="1", purpose=1, rules=()), Ask(id="2", purpose=2, rules=())]
    assert await partition.decide(*held, Ask(id="3", rules=AFTER_ONE_NO_TWO)) == "aaq"
    assert await partition.decide(Ask(id="4", rules=AFTER_ONE_NO_TWO[::-1])) == "q"


async def test_after_two_one_is_still_allowed_where_only_the_other_order_is_not(partition: Partition) -> None:
    asks = Ask(id="1", rules=AFTER_ONE_NO_TWO), Ask(id="2", purpose=1, rules=())
    assert await partition.decide(*asks) == "aa"


@pytest.mark.parametrize("purposes", [(1, 2), (2, 1), (2, 2), (3, 1)])
async def test_one_permit_a_day_over_all_purposes(partition: Partition, purposes: tuple[int, int]) -> None:
    asks = [Ask(id=str(i), purpose=purpose, rules=ONE_OVER_ALL) for i, purpose in enumerate(purposes)]
    assert await partition.decide(*asks) == "aq"


async def test_a_text_sent_before_midnight_counts_for_its_day_though_it_arrives_after(partition: Partition) -> None:
    late = Ask(id="1", asked_ms=BEFORE_MS, arrived_ms=AFTER_MS)
    assert await partition.decide(late) == "a"
    assert await partition.decide(Ask(id="2", arrived_ms=BEFORE_MS)) == "q"
    assert await partition.decide(Ask(id="3", arrived_ms=AFTER_MS)) == "a"
    assert [e.days_to_arrival for e in await partition.record(late)] == [1, 0]


async def test_it_is_refused_where_the_day_before_has_its_permit(partition: Partition) -> None:
    assert await partition.decide(Ask(id="1", arrived_ms=BEFORE_MS)) == "a"
    assert await partition.decide(Ask(id="2", asked_ms=BEFORE_MS, arrived_ms=AFTER_MS)) == "q"
    assert await partition.decide(Ask(id="3", arrived_ms=AFTER_MS)) == "a"


async def test_both_days_are_told_apart_within_one_batch(partition: Partition) -> None:
    asks = [
        Ask(id="1", arrived_ms=AFTER_MS),
        Ask(id="2", asked_ms=BEFORE_MS, arrived_ms=AFTER_MS),
        Ask(id="3", arrived_ms=BEFORE_MS),
        Ask(id="4", asked_ms=AFTER_MS, arrived_ms=BEFORE_MS),
    ]
    assert await partition.decide(*asks) == "aaqq"


@pytest.mark.parametrize("held", [-1, 0, 1, 2])
@pytest.mark.parametrize("asks", [-1, 0, 1, 2])
async def test_one_quota_day_is_one_whatever_the_days_of_arrival(partition: Partition, held: int, asks: int) -> None:
    first = Ask(id="1", asked_ms=NOON_MS, arrived_ms=NOON_MS + held * DAY_MS)
    second = Ask(id="2", asked_ms=NOON_MS, arrived_ms=NOON_MS + asks * DAY_MS)
    next_day = Ask(id="3", asked_ms=NOON_MS + DAY_MS, arrived_ms=NOON_MS + DAY_MS)
    assert await partition.decide(first) == "a"
    assert await partition.decide(second, next_day) == "qa"
    assert (await partition.record(first))[0].days_to_arrival == held
