"""Percentiles of waits: planted ones come out as planted."""

import random

import pytest

from bench.latencies import Latencies


def test_percentiles_are_values_that_were_measured_in_whatever_order_they_came() -> None:
    planted = [n / 1000 for n in range(1, 10_001)]
    random.Random(1).shuffle(planted)
    assert Latencies(planted).figures("ack_") == {
        "ack_p50_ms": 5000,
        "ack_p99_ms": 9900,
        "ack_p999_ms": 9990,
        "ack_max_ms": 10_000,
    }


def test_one_slow_answer_in_a_thousand_is_seen_by_the_maximum_alone() -> None:
    waits = Latencies([0.001] * 999 + [5.0])
    assert (waits.at_ms(0.999), waits.at_ms(1)) == (1, 5000)
    waits.add(0.0005)
    waits.add(7.0)
    assert (waits.at_ms(0), waits.at_ms(1)) == (0.5, 7000)
    waits.add(0.0001)
    assert (waits.at_ms(0), waits.at_ms(1)) == (0.1, 7000)


@pytest.mark.parametrize("share", [0.07, 0.14, 0.28, 0.29, 0.55, 0.56, 0.57, 0.58])
def test_a_share_whose_product_is_a_hair_above_a_whole_number_counts_no_value_further(share: float) -> None:
    waits = Latencies(n / 1000 for n in range(1, 101))
    assert waits.at_ms(share) == round(share * 100)


def test_of_no_answer_every_percentile_is_nought() -> None:
    assert Latencies().figures() == {"p50_ms": 0, "p99_ms": 0, "p999_ms": 0, "max_ms": 0}


def test_the_least_share_is_the_least_value_and_a_curve_never_falls() -> None:
    draw = random.Random(2).random
    curve = Latencies(draw() for _ in range(50)).curve()
    assert [ms for _, ms in curve] == sorted(ms for _, ms in curve)
    assert curve[0][0] == 0
    assert 0 < curve[0][1] < curve[-1][1]
