"""The grammar of an SMS, whatever is typed."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from permits.documents import LONGEST_TEXT, NATIONAL, canonical
from permits.folding import fold, fold_lines
from permits.sms import read, read_any, read_each
from tests.unit.sms_texts import assert_nothing_is_guessed, tokens, well_formed


@given(st.text(st.characters()) | st.lists(st.sampled_from(tokens)).map("".join))
@example("\ud800\udfff\0")
@example("1" * 65536)
@example("AZE " * 16384)
@example("A " * 32768)
def test_any_text_gives_a_reading(text: str) -> None:
    reading = read(text)
    assert reading.fault is not None or (reading.purpose is not None and reading.document is not None)
    assert reading.document is None or canonical(reading.document) == reading.document


@given(st.lists(st.sampled_from(tokens), max_size=14).map("".join))
@example("2 AZE1111111O")
def test_no_digit_is_invented_dropped_or_moved(text: str) -> None:
    assert_nothing_is_guessed(text, read(text))


@given(well_formed())
def test_decoration_never_changes_code_and_document(sample: tuple[str, int, str]) -> None:
    text, code, document = sample
    reading = read(text)
    assert (reading.purpose, reading.document, reading.fault) == (code, document, None)
    assert_nothing_is_guessed(text, reading)


@given(well_formed(), st.data())
def test_an_edited_character_is_never_repaired(sample: tuple[str, int, str], data: st.DataObject) -> None:
    text = sample[0]
    at = data.draw(st.integers(0, len(text)))
    typed = data.draw(st.sampled_from(["", *"0123456789OlIZSB?*² "]))
    edited = text[:at] + typed + text[at + data.draw(st.integers(0, 1)) :]
    assert_nothing_is_guessed(edited, read(edited))


@given(st.sampled_from(NATIONAL), st.text("0123456789", min_size=7, max_size=8), st.integers(1, 3), st.data())
def test_a_letter_for_a_digit_never_gives_a_document(series: str, number: str, code: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(number) - 1))
    letter = data.draw(st.sampled_from("lIiıSsZzBbGgQЗзІ²①Ö二"))
    gap = data.draw(st.sampled_from(["", " "]))
    assert read(f"{code} {series}{gap}{number[:at]}{letter}{number[at + 1 :]}").fault is not None


@given(st.text("0123456789", min_size=7, max_size=8), st.integers(1, 3), st.data())
def test_a_space_in_a_number_gives_the_same_document_or_none(number: str, code: int, data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(1, len(number) - 1)))
    spaced = "".join(f" {digit}" if i in cuts else digit for i, digit in enumerate(number))
    reading = read(f"{code} AZE {spaced}")
    assert reading.fault is not None or reading.document == f"AZE{number}"


@given(
    st.from_regex(
        r"\s?[0-9]{1,4}[ .:,/-]{0,5}(AZE|aze|AA|MyI|DYi|mom|AZ)[ .:,/-]{0,5}[0-9]{6,9}[ .,!]{0,5}", fullmatch=True
    )
)
def test_the_fast_path_reads_what_the_whole_grammar_reads(text: str) -> None:
    assert read(text) == read_any(text)


def test_of_a_text_no_more_is_looked_at_than_an_sms_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def lines(texts: Sequence[str]) -> str:
        seen.extend(texts)
        return fold_lines(texts)

    def one(text: str) -> str:
        seen.append(text)
        return fold(text)

    monkeypatch.setattr("permits.sms.fold_lines", lines)
    monkeypatch.setattr("permits.sms.fold", one)
    texts = ["2 AZE 1111111", "2 AZE 1111111" + " " * 9000, "x" * 9000]
    assert [reading.fault for reading in read_each(texts)] == [None, None, "malformed"]
    assert max(map(len, seen)) == LONGEST_TEXT


@given(
    st.lists(
        st.text(st.characters())
        | st.lists(st.sampled_from(tokens), max_size=8).map("".join)
        | st.sampled_from(
            ["Hello 2 AZE 1111111", "HI", "thank you", "спасибо", "2 AZE 1111111 🙏", "\0", "ми\u0306", " " * 481]
        ),
        max_size=12,
    )
)
def test_texts_read_together_are_read_as_each_by_itself(texts: list[str]) -> None:
    assert read_each(texts) == [read_any(text) for text in texts]
