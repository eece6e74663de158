import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from permits.folding import (
    _reading,  # pyright: ignore[reportPrivateUsage]
    fold,
    fold_lines,
)


@pytest.mark.parametrize(
    ("typed", "folded"),
    [
        ("2 aze 1111111", "2 AZE 1111111"),
        ("ＡＺＥ１２", "AZE12"),
        ("٢ ۲ २ 𝟐", "2 2 2 2"),
        ("MYİ MYI MYı myi", "MYI MYI MYI MYI"),
        ("MYI\u0307", "MYI"),
        ("É é Ş ç ğ Ü", "E E S C G U"),
        ("АЗЕ азе", "AZE AZE"),
        ("МЙИ ДЙИ", "MYI DYI"),
        ("ми\u0306и", "MYI"),
        ("БГЛПФКТОДІЁЭ", "BGLPFKTODIEE"),
        ("ΑΖΕ ΜΙΔ αζε", "AZE MID AZE"),
        ("ﬁ", "FI"),
    ],
)
def test_letters_and_digits_of_all_scripts_fold_to_ascii(typed: str, folded: str) -> None:
    assert fold(typed) == folded


@pytest.mark.parametrize(
    ("typed", "folded"),
    [
        ("ВНРСУХ", "bhpcyx"),
        ("внрсух", "bhpcyx"),
        ("ΡΗΥΧΝΒ", "phyxnb"),
        ("Ыы", "yy"),
        ("Əə", "ee"),
        ("Öö", "oo"),
        ("Жж字", "www"),
        ("²①½Ⅳ二\ufffd", "qqqqqq"),
    ],
)
def test_characters_with_two_readings_or_none_become_marks(typed: str, folded: str) -> None:
    assert fold(typed) == folded


@pytest.mark.parametrize("sign", [*"№ºª.,:;-–—/\\()[]\"'`«»", "\u00a0", "\t", "\n", "\0", "\u2003"])
def test_gaps_become_spaces(sign: str) -> None:
    assert fold(f"A{sign}1") == "A 1"


@pytest.mark.parametrize("sign", [*"*?#_|+=~%&@•😀□…", "\ud800", "\ue000"])
def test_signs_that_may_hide_a_character_are_kept_apart_from_gaps(sign: str) -> None:
    assert fold(f"1{sign}1") == "1*1"


@pytest.mark.parametrize("sign", ["\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060", "\u20e3", "\ufe0f", "\u0336"])
def test_what_cannot_be_seen_is_dropped(sign: str) -> None:
    assert fold(f"1{sign}1") == "11"


def test_every_decimal_digit_of_unicode_gives_its_digit_and_nothing_else_gives_one() -> None:
    for code in range(0x110000):
        char = chr(code)
        exact = str(unicodedata.decimal(char)) if unicodedata.category(char) == "Nd" else ""
        assert "".join(c for c in fold(char) if c.isdigit()) == exact, hex(code)


@given(st.text(st.characters()))
def test_any_text_folds_to_the_small_alphabet(text: str) -> None:
    assert set(fold(text)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 *")


@given(st.text())
def test_composed_and_decomposed_text_fold_alike(text: str) -> None:
    assert fold(unicodedata.normalize("NFD", text)) == fold(unicodedata.normalize("NFC", text))


def by_the_letter(text: str) -> str:
    """As it was before usual characters were read by a table of their own."""
    return "".join(map(_reading, map(ord, unicodedata.normalize("NFC", text))))


def test_every_character_folds_alike_with_and_without_a_mark_behind_it() -> None:
    for code in range(0x30000):  # beyond there are no letters, signs or digits
        for text in (chr(code), f"A{chr(code)}\u0306", f"{chr(code)}\u0301э"):
            assert fold(text) == by_the_letter(text), hex(code)


@given(st.lists(st.text(st.characters() | st.sampled_from("əА🙏\0\n\u0306\ufffd")), max_size=9))
def test_texts_fold_together_as_each_by_itself(texts: list[str]) -> None:
    assert fold_lines(texts) == "".join(f"{by_the_letter(text)}\n" for text in texts)
