"""Figures of all partitions: every outcome by its purpose, what waits since when, and rates that are never wild."""

import msgspec
import pytest
from redis.exceptions import ResponseError

from lua.keys import partition_keys, tags
from permits.calendar import day_start_ms, local_day
from permits.outcomes import APPROVED, CANCELLATIONS, DEAD, DUPLICATE, MOVED, NAME_OF, REASON_OF, REFUSALS, SHED
from runtime.figures import AT_ONCE, Figures, Queue, Rates, look, rates
from tests.unit.looks import Planned, group, partition

NOW_MS = 1_800_000_000_000
NOW_S = NOW_MS / 1000
KEYS = [partition_keys("0a"), partition_keys("1b")]
QUOTA = REFUSALS["quota"]
GONE = ResponseError("ERR no such key")


async def seen(*partitions: list[object]) -> Figures:
    """One look at so many partitions."""
    answers = [answer for found in partitions for answer in found]
    return await look(Planned(answers), KEYS[: len(partitions)], now_ms=NOW_MS)


def decided(approved: int, refused: int, at_ms: int = NOW_MS) -> Figures:
    outcomes = {(2, APPROVED): approved, (2, QUOTA): refused}
    return Figures(at_ms=at_ms, outcomes=outcomes, ids_reused=0, unanswered=0, partitions=[])


async def test_outcomes_of_all_partitions_are_added_up_by_purpose_and_letter() -> None:
    figures = await seen(
        partition({f"{APPROVED}1": 5, f"{APPROVED}2": 7, f"{QUOTA}2": 2, "id_reused": 1}),
        partition({f"{APPROVED}2": 3, f"{DUPLICATE}0": 4, "id_reused": 2}),
    )
    assert figures.outcomes == {(1, APPROVED): 5, (2, APPROVED): 10, (2, QUOTA): 2, (0, DUPLICATE): 4}
    assert figures.ids_reused == 3
    assert (figures.decided, figures.approved) == (17, 15)


async def test_every_letter_counts_and_only_decisions_count_as_decided() -> None:
    figures = await seen(partition({f"{letter}3": 1 for letter in NAME_OF}))
    assert figures.by_letter == dict.fromkeys(NAME_OF, 1)
    assert figures.decided == 1 + len(REASON_OF) + len(CANCELLATIONS)
    assert (figures.approved, figures.refused, figures.cancelled) == (1, len(REASON_OF), 2)
    assert {DUPLICATE, SHED, MOVED, DEAD} == {letter for letter in NAME_OF if not letter.islower()}


async def test_what_is_held_is_counted_and_is_old_only_once_it_is_overdue() -> None:
    figures = await seen(partition(held=3, due_s=NOW_S + 60), partition(held=2, due_s=NOW_S - 1.5))
    assert figures.held == Queue(5, 1.5)
    assert figures.partitions[0].held == Queue(3, 0.0)


async def test_a_counter_that_cannot_be_read_is_left_out() -> None:
    figures = await seen(
        partition({f"{APPROVED}2": "spoilt", "w2": 5, "a": 3, "": 1, "id_reused": "x", f"{QUOTA}1": 6})
    )
    assert figures.outcomes == {(1, QUOTA): 6}
    assert figures.ids_reused == 0


async def test_each_queue_has_its_length_and_the_age_of_its_head() -> None:
    ages = (NOW_S - 1, NOW_S - 2, NOW_S - 3, NOW_S - 4)
    figures = await seen(
        partition(undecided=5, unsent=6, applications=7, outbox=8, dead=9, heads_s=ages),
        partition(undecided=1, heads_s=(None, NOW_S - 20, None, None)),
    )
    first = figures.partitions[0]
    assert (first.unsent, first.undecided) == (Queue(6, 1), Queue(5, 2))
    assert (first.applications, first.outbox, first.dead_letters) == (Queue(7, 3), Queue(8, 4), 9)
    assert (figures.undecided, figures.unsent) == (Queue(6, 20), Queue(6, 1))


async def test_where_nothing_waits_nothing_is_old() -> None:
    figures = await seen(partition(), partition())
    assert figures.undecided == figures.unsent == Queue(0, 0)


async def test_a_head_from_a_store_whose_clock_is_ahead_is_new() -> None:
    figures = await seen(partition(undecided=1, heads_s=(None, NOW_S + 5, None, None)))
    assert figures.undecided == Queue(1, 0)


@pytest.mark.parametrize(
    ("readers", "unsent"),
    [
        ([group(pending=1, lag=0)], 1),
        ([group(pending=3, lag=4)], 7),
        ([group(pending=0, lag=0)], 0),
        ([group(pending=0, lag=2), group(pending=9, lag=0)], 9),
        ([group(pending=0, lag=0), group(pending=0, lag=None)], 40),
        ([], 40),
        (GONE, 40),
    ],
)
async def test_unsent_is_what_the_slowest_reader_lacks_and_not_what_stands_behind_it(
    readers: object, unsent: int
) -> None:
    figures = await seen(partition(unsent=40, readers=readers, heads_s=(NOW_S - 8, None, None, None)))
    assert figures.unsent == Queue(unsent, 8 if unsent else 0)


async def test_many_partitions_are_asked_in_several_round_trips_and_none_is_left_out() -> None:
    keys = [partition_keys(tag) for tag in tags(2 * AT_ONCE + 1)]
    answers = [partition({f"{APPROVED}2": 1}, undecided=number) for number in range(len(keys))]
    trips = [answers[:AT_ONCE], answers[AT_ONCE : 2 * AT_ONCE], answers[2 * AT_ONCE :]]
    wire = Planned(*([answer for found in trip for answer in found] for trip in trips))
    figures = await look(wire, keys, now_ms=NOW_MS)
    assert figures.outcomes == {(2, APPROVED): len(keys)}
    assert [found.undecided.length for found in figures.partitions] == list(range(len(keys)))


async def test_an_error_of_the_store_is_raised() -> None:
    answers = partition()
    answers[4] = ResponseError("LOADING")
    with pytest.raises(ResponseError, match="LOADING"):
        await seen(partition(), answers)


def test_rates_are_what_was_decided_between_two_looks() -> None:
    assert rates(decided(100, 50), decided(130, 60, NOW_MS + 2000)) == Rates(20, 15, 5)


def test_a_clock_that_stands_still_and_a_store_that_begins_anew_show_no_wild_rate() -> None:
    before = decided(100, 50)
    assert rates(before, decided(130, 60)) == Rates()
    assert rates(before, decided(130, 60, NOW_MS - 1000)) == Rates()
    assert rates(before, decided(1, 0, NOW_MS + 1000)) == Rates()


def test_no_rate_reaches_across_midnight() -> None:
    midnight_ms = day_start_ms(local_day(NOW_MS))
    before = decided(1, 1, midnight_ms - 1)
    after = decided(500, 500, midnight_ms + 999)
    assert rates(before, after) == Rates()
    assert rates(msgspec.structs.replace(before, at_ms=midnight_ms), after).decided_per_s > 0


def test_a_cancellation_is_no_refusal_in_the_rates_either() -> None:
    cancelled = {(2, letter): 5 for letter in CANCELLATIONS}
    now = msgspec.structs.replace(decided(10, 20, NOW_MS + 10_000), outcomes=cancelled | {(2, QUOTA): 20})
    assert rates(decided(0, 0), now) == Rates(decided_per_s=3.0, approved_per_s=0.0, refused_per_s=2.0)
