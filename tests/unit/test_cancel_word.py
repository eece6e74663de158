"""The cancel word in a text: seen however it is written, and only where one document and at most one code are read."""

import pytest

from permits.cancel_word import asks_to_cancel, is_clear
from permits.outcomes import Reason
from permits.sms import read

WORD = "LEGV"


def asks(text: str, *, word: str = WORD, reason: Reason | None = None) -> bool:
    reading = read(text)
    return asks_to_cancel(word, text, reading, reason or reading.fault)


@pytest.mark.parametrize(
    "text",
    [
        "LEGV AZE1111111",
        "legv 2 aze 1111111",
        "ləğv 2 AZE 1111111",
        "2 AZE 1111111 Ləğv.",
        "AZE1111111, ləğv!",
        "LEGV2 AZE1111111",
        "LEGV AB123456",
        "Zəhmət olmasa LEGV AZE 1111111",
    ],
)
def test_a_text_with_the_word_and_a_document_asks_to_cancel(text: str) -> None:
    assert asks(text)


@pytest.mark.parametrize(
    "text",
    [
        "2 AZE 1111111",
        "LEGVI AZE 1111111",
        "XLEGV 2 AZE 1111111",
        "LE GV 2 AZE 1111111",
        "LEGV",
        "LEGV 2",
        "LEGV AZE 111111",
        "LEGV AZE1111111 AZE2222222",
        "LEGV 1 2 AZE1111111",
        "LEGV 2a AZE1111111",
        f"LEGV AZE1111111 {'x' * 480}",
    ],
)
def test_any_other_text_stays_what_it_was(text: str) -> None:
    assert not asks(text)


@pytest.mark.parametrize("reason", ["regime_off", "ambiguous", "bad_document", "unknown_code"])
def test_what_cannot_be_read_or_needs_no_permit_cancels_none(reason: Reason) -> None:
    assert not asks("LEGV 2 AZE1111111", reason=reason)


@pytest.mark.parametrize("reason", ["hours", "late"])
def test_a_permit_can_be_given_back_when_none_can_be_had(reason: Reason) -> None:
    assert asks("LEGV 2 AZE1111111", reason=reason)


def test_a_letter_that_could_not_be_read_is_no_letter_of_the_word() -> None:
    assert asks("QWX AZE1111111", word="QWX")
    assert not asks("²\u0639X AZE1111111", word="QWX")


@pytest.mark.parametrize("word", ["LEGV", "STOP", "STORNO", "OTMENA", "BIL", "SIL"])
def test_a_word_of_no_request_is_clear(word: str) -> None:
    assert is_clear(word)


@pytest.mark.parametrize("word", ["AZE", "MYI", "NOMER", "SERIA", "NUMBER", "PLEASE", "PERMIT", "OOO"])
def test_a_word_that_the_grammar_knows_is_not(word: str) -> None:
    assert not is_clear(word)
