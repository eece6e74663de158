"""The pace of sends: the operator's rate, its pauses, and the back-off of a reply that must go again."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch import throttle as module
from dispatch.sender import BACKOFF_S, backoff_s
from dispatch.throttle import BURST_S, Throttle


class Time:
    """Stands for `time` and for `asyncio`: a sleep moves the clock."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds + 1e-9


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "asyncio", clock)
    return clock


async def test_four_hundred_replies_at_two_hundred_a_second_take_two_seconds_less_the_burst(time: Time) -> None:
    throttle = Throttle(200, 100)
    began = time.now_s
    for _ in range(20):
        await throttle.take(20)
    assert time.now_s - began == pytest.approx((400 - 200 * BURST_S) / 200, abs=0.01)


@given(
    rate=st.floats(1, 1000),
    steps=st.lists(st.tuples(st.integers(1, 100), st.floats(0, 3)), min_size=1, max_size=60),
)
async def test_no_second_sees_more_than_the_rate_and_one_burst(rate: float, steps: list[tuple[int, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        time = Time()
        patch.setattr(module, "time", time)
        patch.setattr(module, "asyncio", time)
        throttle = Throttle(rate, 100)
        taken: list[tuple[float, int]] = []
        for count, idle_s in steps:
            time.now_s += idle_s
            await throttle.take(min(count, throttle.largest))
            taken.append((time.now_s, min(count, throttle.largest)))
    for began, _ in taken:
        within = sum(count for at, count in taken if began <= at < began + 1)
        assert within <= rate + max(rate * BURST_S, 1) + 0.01


async def test_an_idle_hour_saves_up_no_more_than_a_burst(time: Time) -> None:
    throttle = Throttle(200, 100)
    time.now_s += 3600
    assert await throttle.take(20) is False
    assert await throttle.take(1) is True


@pytest.mark.parametrize(("rate", "largest"), [(0.5, 1), (1, 1), (15, 1), (200, 20), (999, 99), (1e5, 100)])
def test_a_batch_is_never_above_what_a_tenth_of_a_second_allows(rate: float, largest: int) -> None:
    assert Throttle(rate, 100).largest == largest


@pytest.mark.parametrize("rate", [0.5, 3, 15, 200, 1e5])
async def test_the_largest_batch_can_always_be_taken_in_the_end(rate: float, time: Time) -> None:
    throttle = Throttle(rate, 100)
    for _ in range(3):
        await throttle.take(throttle.largest)


async def test_nothing_goes_during_a_pause(time: Time) -> None:
    throttle = Throttle(200, 100)
    throttle.pause(7)
    began = time.now_s
    assert await throttle.take(1) is True
    assert time.now_s - began == pytest.approx(7)


async def test_a_shorter_pause_does_not_end_a_longer_one(time: Time) -> None:
    throttle = Throttle(200, 100)
    throttle.pause(7)
    throttle.pause(1)
    began = time.now_s
    await throttle.take(1)
    assert time.now_s - began == pytest.approx(7)


async def test_a_pause_saves_up_no_more_than_a_burst(time: Time) -> None:
    throttle = Throttle(200, 100)
    throttle.pause(60)
    await throttle.take(20)
    assert await throttle.take(20) is True


@pytest.mark.parametrize("attempts", [0, 1, 5, 8, 9, 100, 5000])
def test_a_back_off_has_its_bounds_however_often_a_reply_was_tried(attempts: int) -> None:
    longest = BACKOFF_S[1] if attempts > 7 else min(BACKOFF_S[0] * 2**attempts, BACKOFF_S[1])
    drawn = [backoff_s(attempts) for _ in range(200)]
    assert all(longest / 2 <= delay <= longest for delay in drawn)
    assert max(drawn) - min(drawn) > longest / 4  # replies that failed together do not return together


def test_a_back_off_grows_until_it_is_the_longest() -> None:
    means = [sum(backoff_s(attempts) for _ in range(300)) / 300 for attempts in range(8)]
    assert all(after > before * 1.5 for before, after in pairwise(means[:-1]))
    assert means[-1] == pytest.approx(0.75 * 0.2 * 2**7, rel=0.1)
