"""Alphabets, lengths and segments of what goes out by SMS."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from permits.gsm import encoding, is_gsm7, plain, segments, septets

# The code tables of 3GPP TS 23.038 again, by row of the standard, so that a slip in one copy shows.
DEFAULT_ROWS = (
    "@£$¥èéùìòÇ\nØø\rÅå",
    "Δ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ",
    " !\"#¤%&'()*+,-./",
    "0123456789:;<=>?",
    "¡ABCDEFGHIJKLMNO",
    "PQRSTUVWXYZÄÖÑÜ§",
    "¿abcdefghijklmno",
    "pqrstuvwxyzäöñüà",
)
DEFAULT_CODES = {char: row * 16 + column for row, chars in enumerate(DEFAULT_ROWS) for column, char in enumerate(chars)}
EXTENSION_CODES = {"\f": 10, "^": 20, "{": 40, "}": 41, "\\": 47, "[": 60, "~": 61, "]": 62, "|": 64, "€": 101}
ESCAPE = 27

GSM7_CHARACTERS = sorted((set(DEFAULT_CODES) | set(EXTENSION_CODES)) - {"\x1b"})

gsm7_texts = st.text(st.sampled_from(GSM7_CHARACTERS), max_size=700) | st.text(st.sampled_from("a€["), max_size=700)
wide_texts = st.text(max_size=300) | st.text(st.sampled_from("ə😀"), max_size=300)


def octet_parts(text: str) -> int:
    """Encodes the text for the air, then cuts that, stepping back where a character would be torn."""
    if set(text) <= set(GSM7_CHARACTERS):
        codes = [
            code
            for char in text
            for code in ((ESCAPE, EXTENSION_CODES[char]) if char in EXTENSION_CODES else (DEFAULT_CODES[char],))
        ]
        return cut(codes, 160, 153, lambda code: code == ESCAPE)
    octets = text.encode("utf-16-be")
    units = [int.from_bytes(octets[at : at + 2]) for at in range(0, len(octets), 2)]
    return cut(units, 70, 67, lambda unit: 0xD800 <= unit < 0xDC00)


def cut(units: list[int], alone: int, part: int, opens_a_pair: Callable[[int], bool]) -> int:
    if len(units) <= alone:
        return 1
    count = 0
    while units:
        end = part
        if len(units) > part and opens_a_pair(units[end - 1]):
            end -= 1
        units = units[end:]
        count += 1
    return count


@given(gsm7_texts)
@example("a" * 160)
@example("a" * 161)
@example("a" * 152 + "€" + "a" * 152)
@example("€" * 80 + "a")
def test_segments_of_a_gsm7_text_are_those_of_its_octets_cut_up(text: str) -> None:
    assert segments(text) == octet_parts(text)


@given(wide_texts)
@example("ə" * 70)
@example("ə" * 71)
@example("ə" * 66 + "😀" + "ə" * 66)
@example("😀" * 35)
def test_segments_of_any_text_are_those_of_its_octets_cut_up(text: str) -> None:
    assert segments(text) == octet_parts(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        # 152 letters leave one septet of the part, too little for the euro sign.
        ("a" * 152 + "€" + "a" * 151, 2),
        ("a" * 152 + "€" + "a" * 152, 3),
        ("ə" * 70, 1),
        ("ə" * 71, 2),
        ("ə" * 134, 2),
        ("ə" * 135, 3),
        ("😀" * 35, 1),
        ("ə" * 66 + "😀" + "ə" * 65, 2),
        ("ə" * 66 + "😀" + "ə" * 66, 3),
    ],
)
def test_segments_at_each_border(text: str, count: int) -> None:
    assert segments(text) == count


def test_the_alphabet_is_that_of_the_standard_and_nothing_else() -> None:
    every_bmp_character = map(chr, range(0x10000))
    assert sorted(filter(is_gsm7, every_bmp_character)) == GSM7_CHARACTERS


@pytest.mark.parametrize("text", ["ə", "ğ", "ş", "ç", "İ", "ı", "Д", "😀", "\x1b", "`"])
def test_one_character_outside_the_alphabet_makes_the_text_ucs2(text: str) -> None:
    assert encoding("Icaze " + text) == "ucs2"
    assert encoding("Icaze") == "gsm7"


def test_extension_characters_cost_two_septets() -> None:
    assert septets("a€b[") == 6


def test_septets_of_a_text_outside_the_alphabet_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outside GSM 03\.38"):
        septets("icazə")


@pytest.mark.parametrize(
    ("native", "latin"),
    [
        ("Rayon və şəhər daxilində", "Rayon ve seher daxilinde"),
        ("əğışçöü ƏĞIİŞÇÖÜ", "egiscou EGIISCOU"),
        ("s\u0327ə\u0308", "se"),
        ("Съешь ещё этих мягких французских булок", "Sesh eshche etikh myagkikh frantsuzskikh bulok"),
        ("Йод, Жук, Щука, Юг, Ёж", "Yod, Zhuk, Shchuka, Yug, Ezh"),
        ("№ 5 … «да» — „нет“", "No 5 ... 'da' - 'net'"),
        ("a\u00a0b\u200bc", "a bc"),
        ("café £5 [Δ]", "café £5 [Δ]"),
        ("中😀\ud800", "???"),
    ],
)
def test_plain_writes_native_letters_in_latin(native: str, latin: str) -> None:
    assert plain(native) == latin


@given(st.text(st.characters()))
def test_plain_is_gsm7_whatever_the_text(text: str) -> None:
    assert is_gsm7(plain(text))


@given(st.text())
def test_plain_changes_a_plain_text_no_more(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@given(st.text(), st.text())
def test_plain_pieces_join_to_the_plain_whole(left: str, right: str) -> None:
    assert plain(left) + plain(right) == plain(left + right)
