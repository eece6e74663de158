"""What rests under a day's key opens as it was stored, with that key alone, and nowhere else."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from permits.identified import read_sms
from permits.messages import ENCODER, SEALED_DECODER, SEALED_MARK, DeadLetter, InboundSms
from runtime.day_keys import NONCES, DayKey, UnreadDayKeyError
from runtime.keyring import UnsealedError
from runtime.sealing import content_of, is_sealed, opened_letter, opened_sms, sealed_letter
from tests.day_keys import ROUTE, every_day, sealed

DAY = "20260101"
KEYS = every_day()
KEY = KEYS.of(DAY)
LETTER = DeadLetter("reply", "1-1", "lapsed", 1, '{"to":"+994501234567"}', reply_id="00x-1-1")


def sms(**other: Any) -> InboundSms:
    fields: dict[str, Any] = {
        "id": "agg-1",
        "source": "dev",
        "sender": "+994501234567",
        "to": "8103",
        "text": "2 AZE 1111111",
        "arrived_ms": 1_767_254_400_000,
    }
    return InboundSms(**(fields | other))


@pytest.mark.parametrize(
    "one",
    [
        sms(),
        sms(received_ms=5, by_text=True, trace="00-a-b-01", channel="app"),
        sms(text='İcazə "2" 🙏\0'),
        sms(id="a\0b"),
    ],
)
def test_an_sms_is_read_as_it_was_taken(one: InboundSms) -> None:
    stored = ENCODER.encode(sealed(KEY, one))
    entry = SEALED_DECODER.decode(stored)
    assert opened_sms(KEYS, entry) == one
    assert content_of(KEYS, entry) == (one.sender, one.text, read_sms(one, ROUTE))
    assert b"994501234567" not in stored
    assert b"1111111" not in stored


@pytest.mark.parametrize(
    "other",
    [
        {"id": "agg-2"},
        {"source": "other"},
        {"source": "dev\0agg-1", "id": ""},
        {"day": "20260102"},
        {"sealed": b"salam"},
    ],
)
def test_what_was_altered_or_moved_to_another_message_does_not_open(other: dict[str, str | bytes]) -> None:
    with pytest.raises(UnsealedError):
        opened_sms(KEYS, msgspec.structs.replace(sealed(KEY, sms()), **other))


def test_each_byte_of_what_is_sealed_counts() -> None:
    entry = sealed(KEY, sms())
    raw = entry.sealed
    for at in range(len(raw)):
        altered = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(UnsealedError):
            opened_sms(KEYS, msgspec.structs.replace(entry, sealed=altered))


def test_of_a_day_whose_key_is_not_known_nothing_opens() -> None:
    keys = every_day()
    keys.known = {"20260102": KEY}
    with pytest.raises(UnreadDayKeyError):
        opened_sms(keys, sealed(KEY, sms()))


def test_no_nonce_comes_twice() -> None:
    key = DayKey(DAY, b"k" * 32)
    sealed = [key.seal(b"", b"") for _ in range(3 * NONCES)]
    sealed += key.seal_each([(b"", b"")] * 1000)
    assert len(set(sealed)) == len(sealed) == 3 * NONCES + 1000


@given(st.text())
def test_no_text_of_an_sms_in_clear_passes_for_a_sealed_one(text: str) -> None:
    for odd in (text, f'"sealed":{text}', f'{text}\\"sealed":'):
        assert SEALED_MARK not in ENCODER.encode(sms(text=odd, id=odd))
    assert SEALED_MARK in ENCODER.encode(sealed(KEY, sms()))


def test_a_letter_opens_as_itself_alone() -> None:
    letter = sealed_letter(KEY, LETTER)
    assert is_sealed(letter)
    assert (letter.reason, letter.reply_id, letter.day) == ("lapsed", "00x-1-1", DAY)
    assert b"994501234567" not in ENCODER.encode(letter)
    assert opened_letter(KEYS, letter) == LETTER
    for other in (msgspec.structs.replace(letter, entry_id="1-2"), msgspec.structs.replace(letter, kind="inbound")):
        with pytest.raises(UnsealedError):
            opened_letter(KEYS, other)


def test_a_letter_of_what_ingest_has_sealed_opens_too() -> None:
    letter = DeadLetter("inbound", "1-1", "odd", 1, ENCODER.encode(sealed(KEY, sms())).decode())
    assert is_sealed(letter)
    assert opened_letter(KEYS, letter).raw.encode() == ENCODER.encode(sms())


@pytest.mark.parametrize("kind", ["inbound", "feed", "import", "application"])
def test_a_letter_without_anything_sealed_is_read_as_it_stands(kind: Any) -> None:
    letter = DeadLetter(kind, "1-1", "odd", 1, "{")
    assert not is_sealed(letter)
    assert opened_letter(KEYS, letter) == letter
