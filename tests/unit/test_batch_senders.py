"""The numbers of senders in a call of `decide`: sealed, kept as long as their permits, and traced."""

import pytest

from lua.calls import MESSAGE_BYTES, Batch
from lua.records import entries
from permits.calendar import HOUR_MS, day_start_ms, hour_end
from permits.messages import REPLY_DECODER
from runtime.keyring import SEALED_SENDER_BYTES
from tests.unit.prepared import (
    NOW_MS,
    SEAL,
    TODAY,
    approved,
    home_sender,
    joined,
    numbered,
    owner_and_digest,
    payload,
    prepare,
    preparer,
)


def hour_of(batch: Batch, at: int) -> tuple[str, int]:
    """Name and expiry of the hour's senders that take the number of a message."""
    place = batch.messages[at * MESSAGE_BYTES + 30]
    return batch.hours[place - 1], batch.hour_expiries_s[place - 1]


def test_whatever_the_rules_may_approve_has_its_senders_number_sealed() -> None:
    batch = prepare(
        payload("2 AZE 1111111", sender="+994700000001"),
        payload("salam"),
        payload("1 AZE 1111111 спасибо", sender="+994700000002"),
    )
    first, second = (batch.seals[at : at + SEALED_SENDER_BYTES] for at in (0, SEALED_SENDER_BYTES))
    assert len(batch.seals) == 2 * SEALED_SENDER_BYTES
    assert SEAL.open(first, *owner_and_digest(batch, 0)) == ("+994700000001", "az")
    assert SEAL.open(second, *owner_and_digest(batch, 2)) == ("+994700000002", "ru")
    assert SEAL.open(second, *owner_and_digest(batch, 0)) is None


@pytest.mark.parametrize("sender", ["8103", "BANK", "+99450123456789012", "", '"', "\U0001f600"])
def test_a_sender_that_is_no_number_has_its_place_and_leaves_none(sender: str) -> None:
    batch = prepare(payload("2 AZE 1111111", sender=sender), payload("2 AZE 1111111"))
    assert SEAL.open(batch.seals[:16], *owner_and_digest(batch, 0)) is None
    assert SEAL.open(batch.seals[16:], *owner_and_digest(batch, 1)) == (home_sender(), "az")


def test_a_number_is_kept_until_the_full_hour_after_the_permits_end() -> None:
    late_ms = NOW_MS + 1
    batch = preparer().prepare(numbered(payload("2 AZE 1111111")), epoch="7", now_ms=late_ms).batch
    assert hour_of(batch, 0) == ("2026010111", (NOW_MS + 3 * HOUR_MS) // 1000)
    batch = preparer().prepare(numbered(payload("2 AZE 1111111")), epoch="7", now_ms=NOW_MS + 1000).batch
    assert hour_of(batch, 0) == ("2026010112", (NOW_MS + 4 * HOUR_MS) // 1000)


def test_without_an_end_it_is_kept_as_long_as_the_permit_is_honoured() -> None:
    batch = prepare(payload("3 AZE 1111111"), payload("2 AZE 1111111"), payload("3 AZE 1111111", id="again"))
    assert hour_of(batch, 0) == hour_of(batch, 2) == ("2026010320", day_start_ms(TODAY + 3) // 1000)
    assert len(batch.hours) == len(batch.hour_expiries_s) == 2


def test_the_hour_is_that_of_the_end_which_the_record_tells_though_an_arrival_lies_ahead() -> None:
    batch = prepare(payload("2 AZE 1111111", arrived_ms=NOW_MS + 60_000))
    value = batch.messages[4:25] + b"a"
    [entry] = entries(value)
    ends_s = entry.decided_s + entry.minutes * 60
    assert hour_of(batch, 0) == ("2026010112", hour_end(ends_s))
    assert ends_s == NOW_MS // 1000 + 60 + 3 * 3600


def test_the_trace_of_an_sms_stands_in_its_reply_and_without_one_nothing_does() -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    batch = prepare(payload("2 AZE 1111111", trace=trace), payload("2 AZE 1111111"))
    assert REPLY_DECODER.decode(approved(batch)).trace == trace
    assert b"trace" not in joined(batch.texts[1])
