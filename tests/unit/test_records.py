"""The bytes of a day record: what is packed is what is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lua.records import ENTRY_BYTES, MAX_DELAY_S, RecordEntry, entries, timing
from tests.day_records import static_struct

UINT32 = 2**32 - 1


def packed(entry: RecordEntry) -> bytes:
    """One entry as the function stores it."""
    word = timing(
        arrived_s=entry.arrived_s,
        decided_s=entry.decided_s,
        minutes=entry.minutes,
        days_to_arrival=entry.days_to_arrival,
    )
    return (
        static_struct(entry.tag, entry.digest, entry.arrived_s, word, entry.sender, entry.purpose)
        + entry.letter.encode()
    )


@st.composite
def record_entries(draw: st.DrawFn) -> RecordEntry:
    """Any decision that an entry can say."""
    arrived_s = draw(st.integers(0, UINT32))
    return RecordEntry(
        tag=draw(st.binary(min_size=4, max_size=4)),
        digest=draw(st.binary(min_size=6, max_size=6)),
        arrived_s=arrived_s,
        decided_s=arrived_s + draw(st.integers(0, MAX_DELAY_S)),
        minutes=draw(st.integers(0, 4095)),
        days_to_arrival=draw(st.integers(-1, 2)),
        sender=draw(st.binary(min_size=2, max_size=2)),
        purpose=draw(st.integers(0, 255)),
        letter=draw(st.sampled_from("amubxqdskhzlo")),
    )


@given(st.lists(record_entries(), max_size=6))
def test_entries_are_read_as_they_were_packed(wanted: list[RecordEntry]) -> None:
    value = b"".join(packed(entry) for entry in wanted)
    assert len(value) == ENTRY_BYTES * len(wanted)
    assert entries(value) == wanted
    for tag in {entry.tag for entry in wanted}:
        assert entries(value, tag) == [entry for entry in wanted if entry.tag == tag]


def test_another_owner_in_the_same_field_is_left_out() -> None:
    mine = RecordEntry(
        tag=b"mine",
        digest=b"digest",
        arrived_s=1,
        decided_s=2,
        minutes=180,
        days_to_arrival=0,
        sender=b"ph",
        purpose=2,
        letter="a",
    )
    assert entries(packed(mine), b"your") == []
    assert mine.approved


@pytest.mark.parametrize(("late_s", "kept_s"), [(-5, 0), (0, 0), (MAX_DELAY_S, MAX_DELAY_S), (10**6, MAX_DELAY_S)])
def test_a_decision_before_arrival_or_days_late_is_kept_within_what_an_entry_can_say(late_s: int, kept_s: int) -> None:
    word = timing(arrived_s=10**9, decided_s=10**9 + late_s, minutes=4095, days_to_arrival=2)
    assert (word >> 14, word >> 2 & 0xFFF, word & 3) == (kept_s, 4095, 3)
    assert word < 2**32


def test_the_longest_delay_is_three_days() -> None:
    assert MAX_DELAY_S // 86_400 == 3


@pytest.mark.parametrize("size", [1, 19, 21])
def test_bytes_that_do_not_divide_into_entries_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes"):
        entries(bytes(size))
