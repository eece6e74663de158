"""What organisations write about an employee, read into a request or into all that is wrong with it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from permits.applications import Row, moment_ms, read_row
from permits.documents import DEFAULT_SERIES
from permits.employees import Employee, Flaw, Request

NOON_MS = 1_767_254_400_000
"""2026-01-01 12:00 in Baku (08:00 UTC)."""
MIDNIGHT_MS = NOON_MS - 12 * 3_600_000
DAY_MS = 86_400_000
WRITTEN: dict[str, Any] = {
    "fin": "5abc12d",
    "document": "aze №1111111",
    "name": "  Aysel   Quliyeva ",
    "valid_from": "2026-01-01",
    "valid_until": "2026-01-31",
    "phone": "+994501234567",
    "zone": "Bakı",
}


def read(**fields: Any) -> Request | list[Flaw]:
    row = msgspec.convert(WRITTEN | fields, Row)
    return read_row(row, accepts=DEFAULT_SERIES.accepts, now_ms=NOON_MS, digest="d")


def test_a_row_is_read_into_its_canonical_form() -> None:
    assert read() == Request(
        employee=Employee(fin="5ABC12D", document="AZE1111111", name="Aysel Quliyeva", phone="+994501234567"),
        from_ms=MIDNIGHT_MS,
        until_ms=MIDNIGHT_MS + 31 * DAY_MS,
        zone="Bakı",
        digest="d",
    )


@pytest.mark.parametrize(
    ("fields", "flawed"),
    [
        ({"fin": "5ABC12O"}, ["fin"]),
        ({"fin": "5ABC12"}, ["fin"]),
        ({"fin": "5АВС12D"}, ["fin"]),  # Cyrillic: nothing is guessed
        ({"document": "1111111"}, ["document"]),
        ({"document": "AZE111111"}, ["document"]),
        ({"document": "AZE1111111 AZE2222222"}, ["document"]),
        ({"name": "123"}, ["name"]),
        ({"valid_from": "01.02.2026"}, ["valid_from"]),
        ({"valid_until": "2026-01-31T18:00:00"}, ["valid_until"]),
        ({"valid_until": "2025-01-31"}, ["valid_until"]),
        ({"valid_from": "0001-01-01"}, ["valid_from"]),
        ({"fin": "", "document": "", "name": "--", "valid_from": "", "valid_until": ""}, list(WRITTEN)[:5]),
    ],
)
def test_all_that_is_wrong_is_told(fields: dict[str, Any], flawed: list[str]) -> None:
    found = read(**fields)
    assert isinstance(found, list)
    assert [flaw.field for flaw in found] == flawed


@pytest.mark.parametrize(
    ("text", "ends", "at_ms"),
    [
        ("2026-01-01", False, MIDNIGHT_MS),
        ("2026-01-01", True, MIDNIGHT_MS + DAY_MS),
        ("2026-01-01T12:00:00+04:00", False, NOON_MS),
        ("2026-01-01T08:00:00Z", True, NOON_MS),
        ("2026-01-01T08:00:00.250Z", False, NOON_MS + 250),
        ("2026-01-01T08:00:00", False, None),
        ("2026-13-01", False, None),
        ("tomorrow", False, None),
        ("", False, None),
    ],
)
def test_a_moment_is_a_date_in_baku_or_a_time_with_its_zone(text: str, *, ends: bool, at_ms: int | None) -> None:
    assert moment_ms(text, ends=ends) == at_ms


@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "fin": st.text(max_size=16),
            "document": st.text(max_size=40),
            "name": st.text(min_size=2, max_size=120),
            "valid_from": st.text(max_size=35) | st.dates().map(str) | st.datetimes().map(lambda at: f"{at}Z"),
            "valid_until": st.text(max_size=35) | st.dates().map(str),
        },
    )
)
def test_any_words_give_a_request_or_flaws_that_repeat_none_of_them(fields: dict[str, str]) -> None:
    found = read(**{name: text for name, text in fields.items() if len(text) <= 35})
    if isinstance(found, Request):
        assert 0 <= found.from_ms < found.until_ms
    else:
        assert found
