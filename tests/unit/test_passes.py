"""Several passes told as one: no single pass that broke a promise is hidden by those that kept it."""

import pytest

from bench.passes import PROMISES, Pass, together


def passed(sink_p99_ms: float, *, busy: float = 0.1, **figures: float) -> Pass:
    told = dict.fromkeys(PROMISES, 0.0) | {"sink_p99_ms": sink_p99_ms} | figures
    return Pass(told, {"fdatasync_p99_ms": sink_p99_ms / 100}, [{"title": f"{sink_p99_ms:g}"}], busy)


def test_figures_and_references_are_medians() -> None:
    told = together([passed(900, busy=0.3), passed(100, busy=0.1), passed(200, busy=0.2)])
    assert told.figures["sink_p99_ms"] == 200
    assert told.references == {"fdatasync_p99_ms": 2}
    assert told.generator_busy == 0.2


@pytest.mark.parametrize("promise", ["requests_failed", "sms_rejected", "violations", "not_checked"])
def test_a_promise_is_told_as_in_the_pass_that_broke_it_most(promise: str) -> None:
    told = together([passed(1), passed(2, **{promise: 7}), passed(3)])
    assert {name: value for name, value in told.figures.items() if value == 7} == {promise: 7}


def test_the_curves_are_of_the_pass_in_the_middle() -> None:
    assert together([passed(900), passed(100), passed(200)]).plots == [{"title": "200"}]
    assert together([passed(900), passed(100)]).plots == [{"title": "100"}]
