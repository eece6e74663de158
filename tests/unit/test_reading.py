"""From an entry to what the rules need to know: owner, partition, and the day that counts."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from permits.calendar import local_day
from permits.identified import read_sms
from permits.messages import ENCODER, InboundSms
from permits.partition import Route
from processor.reading import EARLIEST_RECEIPT_MS, LATEST_RECEIPT_MS, Asked, Reader, UnreadableError
from runtime.day_keys import DayKeys, UnreadDayKeyError
from runtime.sealing import sealed_sms
from tests.day_keys import KEYRING, every_day, nobody

KEYS = every_day()
ROUTE = Route(key=b"a key for tests only", partitions=8)
NOW_MS = 1_767_254_400_000
"""2026-01-01 12:00 in Baku."""
READER = Reader(ROUTE, KEYS, NOW_MS)


def sms(**other: Any) -> InboundSms:
    fields: dict[str, Any] = {
        "id": "1",
        "source": "dev",
        "sender": "+994501234567",
        "to": "8103",
        "text": "2 AZE 1111111",
        "arrived_ms": NOW_MS,
    }
    return InboundSms(**(fields | other))


def asked(**other: Any) -> Asked:
    return READER.read(ENCODER.encode(sms(**other)))


def test_an_sms_with_a_document_belongs_to_the_document_s_partition() -> None:
    one = asked()
    assert (one.says.partition, one.says.owner) == ROUTE.of_document("AZE1111111")
    assert (one.says.purpose, one.says.document) == (2, "AZE1111111")
    assert asked(sender="+994559999999").says.owner == one.says.owner


def test_an_sms_without_a_document_belongs_to_the_sender_s() -> None:
    one = asked(text="salam")
    assert (one.says.partition, one.says.owner) == ROUTE.of_sender("+994501234567")


@pytest.mark.parametrize("apart_ms", [-EARLIEST_RECEIPT_MS, -1, 0, LATEST_RECEIPT_MS])
def test_the_gateway_s_time_counts_within_its_bounds(apart_ms: int) -> None:
    one = asked(received_ms=NOW_MS + apart_ms)
    assert one.asked_ms == NOW_MS + apart_ms
    assert one.asked_day == local_day(NOW_MS + apart_ms)
    assert (one.arrived_ms, one.arrival_day) == (NOW_MS, local_day(NOW_MS))


@pytest.mark.parametrize("apart_ms", [-EARLIEST_RECEIPT_MS - 1, LATEST_RECEIPT_MS + 1, -(10**15), 10**30])
def test_beyond_them_the_arrival_counts(apart_ms: int) -> None:
    assert asked(received_ms=NOW_MS + apart_ms).asked_ms == NOW_MS


def test_an_sms_received_before_midnight_counts_for_that_day() -> None:
    midnight_ms = NOW_MS - 12 * 3_600_000
    one = asked(arrived_ms=midnight_ms + 1000, received_ms=midnight_ms - 1000)
    assert one.arrival_day - one.asked_day == 1


@pytest.mark.parametrize("arrived_ms", [0, -(10**30), NOW_MS - 3 * 86_400_000 - 1, NOW_MS + 200_000, 10**30])
def test_an_absurd_arrival_is_brought_near_to_now(arrived_ms: int) -> None:
    one = asked(arrived_ms=arrived_ms)
    assert NOW_MS - 3 * 86_400_000 <= one.arrived_ms <= NOW_MS + LATEST_RECEIPT_MS


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (None, "no field m"),
        (b"", "truncated"),
        (b"salam", "malformed"),
        (b"{}", "missing required field `id`"),
        (b"[]", "Expected `object`"),
        (msgspec.json.encode({**msgspec.to_builtins(sms()), "text": 2}), r"Expected `str`, got `int` - at `\$.text`"),
        (ENCODER.encode(sms()).replace(b"AZE", b"\xff\xfe"), "utf-8"),
        (ENCODER.encode(sms()).replace(b"AZE", b"\\ud800"), "surrogate"),
        (ENCODER.encode(sms()) + b"x", "malformed"),
        (b'{"x": ' + b"[" * 100_000, "recursion"),
        (ENCODER.encode(sms()).replace(b"1767254400000", b"1e400"), "out of range"),
        (ENCODER.encode(sms()).replace(b"1767254400000", b"9" * 5000), "out of range"),
    ],
)
def test_what_is_no_sms_is_unreadable_with_a_reason(payload: bytes | None, said: str) -> None:
    with pytest.raises(UnreadableError, match=said):
        READER.read(payload)


@pytest.mark.parametrize("text", ["", "\0", "9" * 65_536, "\U0001f600" * 100, "﷽" * 1000])
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    assert asked(text=text).says.fault is not None


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_become_unreadable(payload: bytes) -> None:
    with pytest.raises(UnreadableError):
        READER.read(payload)


def test_fields_of_a_later_release_are_passed_over() -> None:
    payload = msgspec.json.encode({**msgspec.to_builtins(sms()), "shard": {"a": [1]}})
    assert READER.read(payload).sms == sms()


def test_what_ingest_has_read_is_believed_and_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one = sms(text="2 AZE 1111111")
    entry = ENCODER.encode(sealed_sms(KEYS.at(NOW_MS), one, read_sms(one, ROUTE)))
    read_anew = READER.read(ENCODER.encode(one))
    monkeypatch.setattr("processor.reading.read_sms", None)
    believed = READER.read(entry)
    assert (believed.phone, believed.text, believed.says) == (read_anew.phone, read_anew.text, read_anew.says)


def test_what_another_release_has_read_is_read_again() -> None:
    one = sms(text="2 AZE 1111111")
    wrong = msgspec.structs.replace(read_sms(one, ROUTE), document="AZE9999999", owner=bytes(8))
    older = msgspec.structs.replace(wrong, grammar="00000000")
    believed = READER.read(ENCODER.encode(sealed_sms(KEYS.at(NOW_MS), one, wrong)))
    assert believed.says.document == "AZE9999999"
    anew = READER.read(ENCODER.encode(sealed_sms(KEYS.at(NOW_MS), one, older)))
    assert (anew.says.document, anew.says.owner) == ("AZE1111111", ROUTE.of_document("AZE1111111")[1])


def entry(number: int, **other: Any) -> bytes:
    """What ingest stores of one of several SMS."""
    one = sms(id=f"agg-{number}", text=f"2 AZE {1_000_000 + number}", **other)
    return ENCODER.encode(sealed_sms(KEYS.at(NOW_MS), one, read_sms(one, ROUTE)))


def test_a_batch_is_read_as_each_of_its_entries() -> None:
    batch = [entry(n, arrived_ms=NOW_MS - n * 3_600_000, received_ms=NOW_MS - n * 1000) for n in range(40)]
    assert READER.read_all(batch) == [READER.read(one) for one in batch]
    assert READER.read_all([]) == []


def test_a_batch_of_what_ingest_stored_is_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "read", None)
    assert [asked.text for asked in READER.read_all([entry(1), entry(2)]) if isinstance(asked, Asked)] == [
        "2 AZE 1000001",
        "2 AZE 1000002",
    ]


def of_another_grammar() -> bytes:
    one = sms()
    read_by_another = msgspec.structs.replace(read_sms(one, ROUTE), grammar="00000000", document="AZE9999999")
    return ENCODER.encode(sealed_sms(KEYS.at(NOW_MS), one, read_by_another))


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (None, "no field m"),
        (b"salam", "malformed"),
        (ENCODER.encode(sms()), "AZE1111111"),
        (entry(1).replace(b"agg-1", b"agg-2"), "not sealed by the key"),
        (entry(1).replace(b'"day":"20260101"', b'"day":"20250101"'), "not sealed by the key"),
        (of_another_grammar(), "AZE1111111"),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_what_is_the_matter_with_one_entry_is_not_its_neighbours(odd: bytes | None, said: str, place: int) -> None:
    batch: list[bytes | None] = [entry(1), entry(2)]
    batch.insert(place, odd)
    read = READER.read_all(batch)
    assert said in (str(one) if isinstance(one := read[place], UnreadableError) else one.says.document or "")
    others = [one for at, one in enumerate(read) if at != place]
    assert others == [READER.read(entry_) for entry_ in batch if entry_ is not odd]


def test_an_entry_whose_key_is_gone_waits_for_a_look_at_the_keys_and_then_cannot_be_read() -> None:
    keys = DayKeys(nobody, key="none", keyring=KEYRING)
    reader = Reader(ROUTE, keys, NOW_MS)
    with pytest.raises(UnreadDayKeyError):
        reader.read_all([ENCODER.encode(sms()), entry(1)])
    clear, gone = reader.read_all([ENCODER.encode(sms()), entry(1)], keys_are_read=True)
    assert isinstance(clear, Asked)
    assert "was erased" in str(gone)
