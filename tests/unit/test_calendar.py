"""Local days: Asia/Baku's, also in the years when its clocks were put forward and back."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from permits.calendar import BAKU, DAY_MS, day_name, day_number, day_start_ms, hour_end, hour_name, local_day, rfc3339

DAYS = st.integers(day_number("19960101"), day_number("20991231"))


def at(text: str) -> int:
    """An instant, ms."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def test_a_day_begins_at_midnight_in_baku_not_in_utc() -> None:
    assert day_name(local_day(at("2026-01-01T19:59:59.999+00:00"))) == "20260101"
    assert day_name(local_day(at("2026-01-01T20:00:00+00:00"))) == "20260102"
    assert day_start_ms(day_number("20260102")) == at("2026-01-01T20:00:00+00:00")


@given(DAYS)
def test_the_first_instant_of_a_day_is_its_own_and_the_one_before_is_not(day: int) -> None:
    start_ms = day_start_ms(day)
    assert local_day(start_ms) == day
    assert local_day(start_ms - 1) == day - 1


@pytest.mark.parametrize("name", ["20150328", "20150329", "20150330", "20151025", "20151026"])
def test_days_on_which_the_clocks_change_begin_at_midnight_too(name: str) -> None:
    start = datetime.fromtimestamp(day_start_ms(day_number(name)) / 1000, BAKU)
    assert start.strftime("%Y%m%d %H:%M:%S") == f"{name} 00:00:00"


@given(st.integers(at("1996-01-01T00:00:00+04:00"), at("2099-01-01T00:00:00+04:00")))
def test_the_local_day_is_the_date_that_a_clock_in_baku_shows(at_ms: int) -> None:
    shown = datetime.fromtimestamp(at_ms // 1000, BAKU).strftime("%Y%m%d")
    assert day_name(local_day(at_ms)) == shown


@given(DAYS)
def test_names_and_numbers_of_days_lead_to_each_other(day: int) -> None:
    assert day_number(day_name(day)) == day


def test_hours_are_named_in_utc() -> None:
    assert hour_name(at("2026-01-01T03:59:59+04:00") // 1000) == "2025123123"
    assert hour_name(0) == "1970010100"


@pytest.mark.parametrize(("at_s", "end_s"), [(0, 0), (1, 3600), (3599, 3600), (3600, 3600), (3601, 7200)])
def test_an_hour_ends_on_the_hour(at_s: int, end_s: int) -> None:
    assert hour_end(at_s) == end_s


def test_day_zero_is_the_first_of_1970() -> None:
    assert day_name(0) == "19700101"
    assert day_number("19700102") == 1


@pytest.mark.parametrize("name", ["", "2026010", "20260230", "2026-01-01"])
def test_what_is_no_date_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"does not match|unconverted|day is out of range"):
        day_number(name)


def test_instants_are_written_in_utc_with_milliseconds() -> None:
    assert rfc3339(at("2026-01-01T08:00:00.007+04:00")) == "2026-01-01T04:00:00.007Z"
    assert rfc3339(DAY_MS) == "1970-01-02T00:00:00.000Z"


@given(st.integers(0, at("2099-01-01T00:00:00+00:00")))
def test_no_millisecond_is_lost(at_ms: int) -> None:
    text = rfc3339(at_ms)
    assert datetime.fromisoformat(text[:19] + "+00:00") == datetime.fromtimestamp(at_ms // 1000, UTC)
    assert int(text[20:23]) == at_ms % 1000
