"""Our feed held against our counters and against what the Ministry says it has."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.ministry.http import Tally
from dispatch.reckoning import Counters, Feed, Range, account, joined, without

NUMBERS = st.sets(st.integers(1, 60))


def feed(
    *, numbered: int = 10, taken: int = 8, refused: int = 0, off: int = 0, waiting: list[Range] | None = None
) -> Feed:
    counters = Counters(numbered, taken, refused, off)
    return Feed(3, counters, counters, [(9, 10)] if waiting is None else waiting, 5_000)


def disagreements(ours: Feed, tally: Tally | None) -> list[str]:
    return account(ours, tally, now_ms=65_000).disagreements


def test_a_feed_that_agrees() -> None:
    one = account(feed(), Tally(ranges=[(1, 8)]), now_ms=65_000)
    assert (one.partition, one.numbered, one.taken, one.waiting, one.oldest_s) == (3, 10, 8, 2, 60)
    assert one.disagreements == []


def test_what_waits_may_have_been_taken_already() -> None:
    assert disagreements(feed(), Tally(ranges=[(1, 10)])) == []


def test_a_number_that_is_neither_waiting_nor_settled_is_a_gap_of_ours() -> None:
    assert disagreements(feed(taken=7), None) == ["10 numbered, but 2 waiting and 7 settled"]
    assert disagreements(feed(waiting=[(9, 9)]), None) == ["10 numbered, but 1 waiting and 8 settled"]


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ([(1, 4), (6, 8)], "the Ministry misses 1 that we settled: 5"),
        ([(3, 3)], "the Ministry misses 7 that we settled: 1-2, 4-8"),
        ([], "the Ministry misses 8 that we settled: 1-8"),
        ([(1, 8), (11, 12)], "the Ministry has 2 that we never numbered: 11-12"),
        ([(0, 8)], "the Ministry has 1 that we never numbered: 0"),
    ],
)
def test_planted_faults_of_the_ministry(ranges: list[Range], said: str) -> None:
    assert disagreements(feed(), Tally(ranges=ranges)) == [said]


def test_refusals_count_on_both_sides() -> None:
    ours = feed(taken=7, refused=1)
    assert disagreements(ours, Tally(ranges=[(1, 3), (5, 8)], refused=[4])) == []
    assert disagreements(ours, Tally(ranges=[(1, 8)])) == ["the Ministry has refused 0, we have 1 refusals"]
    assert disagreements(ours, Tally(ranges=[(1, 8)], refused=[4])) == [
        "the Ministry has 1 both as taken and as refused: 4"
    ]


def test_what_was_settled_without_a_ministry_is_not_missed() -> None:
    ours = feed(taken=3, off=5)
    assert disagreements(ours, Tally(ranges=[(6, 8)])) == []
    assert disagreements(ours, Tally(ranges=[(7, 8)])) == ["the Ministry misses 6 that we settled: 1-6"]


def test_a_feed_that_goes_on_while_it_is_read_agrees() -> None:
    ours = msgspec.structs.replace(feed(taken=6), after=Counters(numbered=14, taken=12), waiting=[(8, 10), (11, 12)])
    assert disagreements(ours, Tally(ranges=[(1, 13)])) == []


def test_many_examples_are_cut_short() -> None:
    (said,) = disagreements(feed(numbered=100, taken=100, waiting=[]), Tally(ranges=[(n, n) for n in range(2, 101, 2)]))
    assert said == "the Ministry misses 50 that we settled: 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, …"


@given(NUMBERS, NUMBERS)
def test_ranges_are_sets(some: set[int], others: set[int]) -> None:
    left = joined((number, number) for number in some)
    right = joined((number, number) for number in others)
    assert {number for low, high in left for number in range(low, high + 1)} == some
    assert {number for low, high in without(left, right) for number in range(low, high + 1)} == some - others
    assert all(one[1] + 1 < two[0] for one, two in itertools.pairwise(left))
