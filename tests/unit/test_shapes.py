"""The shapes of a load: how many SMS a second, and how many users make them, at given times."""

import subprocess
import sys
from itertools import count, takewhile

import pytest

from bench.shapes import SHAPES, broken, evening, launch, n1, n10, soak, step, users


def length_s(name: str) -> int:
    rate = SHAPES[name].rate
    return len(list(takewhile(lambda at_s: rate(at_s) is not None, count())))


def test_the_national_peak_minute_has_one_second_of_a_thousand() -> None:
    rates = [n1(at_s) for at_s in range(60)]
    assert (rates.count(333), rates.count(1000), rates[30]) == (59, 1, 1000)
    assert n1(60) is None


def test_ten_times_that_has_ten_seconds_of_ten_thousand() -> None:
    rates = [n10(at_s) for at_s in range(60)]
    assert (rates.count(3333), rates.count(10_000)) == (50, 10)
    assert [n10(29.9), n10(30), n10(39.9), n10(40)] == [3333, 10_000, 10_000, 3333]
    assert n10(60) is None


def test_a_launch_morning_rises_to_its_peak_second_and_keeps_the_surge() -> None:
    morning = [launch(at_s) or 0.0 for at_s in range(240)]
    assert max(morning) == pytest.approx(1000)
    assert morning.index(max(morning)) == 124  # 10:04, of a morning from 8:00
    assert [morning[130], morning[149]] == [pytest.approx(240), pytest.approx(240)]
    assert morning[0] < morning[119] < 240
    assert launch(240) is None


def test_an_evening_announcement_comes_within_a_quarter_of_a_minute_and_halves_every_minute() -> None:
    assert evening(59) == evening(0) == 62.5
    assert evening(67.5) == pytest.approx(531.25)
    assert [evening(75), evening(134)] == [1000, 1000]
    assert [evening(195), evening(255)] == [pytest.approx(500), pytest.approx(250)]
    assert [evening(419), evening(420)] == [62.5, None]


def test_steps_go_up_until_something_breaks_or_the_generator_is_what_is_measured() -> None:
    assert [step(0), step(19.9), step(20), step(799)] == [500, 500, 1000, 20_000]
    assert step(800) is None
    assert [name for name, shape in SHAPES.items() if shape.until_broken] == ["step"]


def test_one_in_a_hundred_failed_or_a_second_of_waiting_is_broken() -> None:
    assert not broken(failures=0.01, p95_ms=1000)
    assert broken(failures=0.011, p95_ms=1)
    assert broken(failures=0, p95_ms=1001)


def test_a_soak_is_level_and_long() -> None:
    assert {soak(at_s) for at_s in range(1800)} == {100}
    assert soak(1800) is None


def test_each_user_stands_for_ten_sms_a_second_and_no_shape_is_ever_without_one() -> None:
    shape = SHAPES["n1"]
    assert [users(shape, 0), users(shape, 30), users(shape, 60)] == [34, 100, None]
    assert users(shape, 30, scale=0.001) == 1
    assert users(SHAPES["n10"], 35, scale=0.1) == 100


def test_a_stretched_shape_lasts_so_many_times_as_long() -> None:
    shape = SHAPES["n1"]
    assert [users(shape, at_s, stretch=2) for at_s in (59, 60, 61, 62, 119, 120)] == [34, 100, 100, 34, 34, None]


@pytest.mark.parametrize(
    ("name", "seconds"), [("n1", 60), ("n10", 60), ("launch", 240), ("evening", 420), ("step", 800), ("soak", 1800)]
)
def test_every_shape_ends(name: str, seconds: int) -> None:
    assert length_s(name) == seconds


def test_nothing_but_locusts_own_file_imports_locust_or_its_green_threads() -> None:
    modules = "bench.peak, bench.ingest, bench.shapes, bench.swarm, bench.passage, bench.report"
    seen = f"import sys, {modules}; print([name for name in sys.modules if name.startswith(('locust', 'gevent'))])"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
