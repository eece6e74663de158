"""Folding: the first step of reading an SMS, letters and digits of all scripts to A-Z and 0-9.

Reads nothing, writes nothing; `sms` and `documents` work on its result.
"""

from codecs import charmap_build, charmap_encode, register_error
from collections.abc import Sequence
from typing import Final
from unicodedata import category, decimal, normalize, numeric

# Letters and numbers that no rule below can read are kept as marks, so that none vanishes out of a document.
UNKNOWN_LETTER: Final = "w"
UNKNOWN_NUMBER: Final = "q"  # superscripts, fractions, 二, and what an encoding has lost
# A sign that may stand for a lost or hidden character: digits are never joined across it.
OPAQUE: Final = "*"
SEPARATOR: Final = " "
END: Final = "\n"
"""Behind each of many folded texts; nothing folds to it."""

# Look and sound agree, or only one reading makes sense among the letters of document series.
_ONE_READING: Final = {
    "АаΑα": "A",
    "Бб": "B",
    "ДдΔδ": "D",
    "ЕеЁёЭэΕε": "E",
    "ФфΦφ": "F",
    "ГгҐґΓ": "G",
    "ИиІіЇїıΙι": "I",
    "КкΚκ": "K",
    "ЛлΛλ": "L",
    "МмΜμ": "M",
    "ОоΟο": "O",
    "ПпΠπ": "P",
    "ТтΤτ": "T",
    "Йй": "Y",
    "ЗзΖζ": "Z",
}
# Look and sound conflict, or transliterations differ: the look-alike in lower case marks two readings.
_TWO_READINGS: Final = {
    "ВвΒβ": "b",
    "Сс": "c",
    "ƏəӘә": "e",
    "НнҺһΗ": "h",
    "Јј": "j",
    "Νη": "n",
    "ΩωӨө": "o",
    "РрΡρ": "p",
    "ЅѕΣσς": "s",
    "υ": "u",
    "ν": "v",
    "ХхΧχ": "x",
    "УуЫыЎўҮүΥγ": "y",
}
# The ordinal signs are letters to Unicode, and "№" would become "No".
_SEPARATORS: Final = "№ªº·.,:;-/\\'\"`"
_GAP_CATEGORIES: Final = {"Zs", "Zl", "Zp", "Cc", "Pd", "Ps", "Pe", "Pi", "Pf"}
# What has no width or sits on another character is dropped: people check what they see.
_INVISIBLE_CATEGORIES: Final = {"Cf", "Mn", "Mc", "Me"}


def _explicit() -> dict[int, str]:
    table = {ord(c): SEPARATOR for c in _SEPARATORS}
    for letters, reading in (_ONE_READING | _TWO_READINGS).items():
        table |= {ord(c): reading for c in letters}
    for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        table[ord(upper)] = table[ord(upper) + 32] = upper
    table[0xFFFD] = UNKNOWN_NUMBER  # the replacement character: a digit may have been lost
    return table


_EXPLICIT: Final = _explicit()


def _reading(code: int) -> str:
    """What one character folds to; at most a few letters, one for each letter of a ligature."""
    if code in _EXPLICIT:
        return _EXPLICIT[code]
    char = chr(code)
    kind = category(char)
    if kind == "Nd":
        return str(decimal(char))
    if kind in _INVISIBLE_CATEGORIES:
        return ""
    if kind in _GAP_CATEGORIES:
        return SEPARATOR
    if kind in {"Lu", "Ll", "Lt", "Lo"}:
        return _letter(char)
    if kind == "Lm":
        return UNKNOWN_LETTER
    return UNKNOWN_NUMBER if kind in {"No", "Nl"} else OPAQUE


def _letter(char: str) -> str:
    if numeric(char, None) is not None:
        return UNKNOWN_NUMBER
    parts = normalize("NFKD", char)
    bare = "".join(part for part in parts if not category(part).startswith("M"))
    folded = "".join(_EXPLICIT.get(ord(part), UNKNOWN_LETTER) for part in bare)
    # Nobody types an accented O for a zero.
    return "o" if folded == "O" and bare != parts else folded


class _Table(dict[int, str]):
    """The table of `str.translate`, filled as characters turn up and bounded to the common blocks."""

    def __missing__(self, code: int) -> str:
        reading = _reading(code)
        if code < 0x3100 or 0xFF00 <= code <= 0xFFEF:  # alphabets and full-width forms: 13,000 at the most
            self[code] = reading
        return reading


_TABLE: Final = _Table()

# Of what nearly all texts consist: read together, they take a fifth of the time. None of these composes with another,
# so none needs the normal form; a NUL ends each text.
_COMMON: Final = (
    "".join(map(chr, range(0x80)))
    + "ƏəĞğİıÖöÜüŞşÇçЁёІі\u00a0№«»‘’“”„–—…０１２３４５６７８９ＡＥＺ\u200b\u200d\ufe0f\ufeff\ufffd"
    + "".join(map(chr, range(ord("А"), ord("я") + 1)))
)
_CODES: Final = charmap_build(_COMMON)
_FOLDED: Final = [END, *map(_reading, map(ord, _COMMON[1:]))]
_READINGS: Final = bytes(ord(reading or END) for reading in _FOLDED).ljust(0x100)
_DROPPED: Final = bytes(code for code, reading in enumerate(_FOLDED) if not reading)


def fold(text: str) -> str:
    """A-Z, 0-9 and spaces, with two marks beside them.

    A lower-case letter marks a character with two readings or none (`w`, for a number `q`); `*` marks a
    sign that may stand for a hidden character. Decimal digits of any script give their digit, exactly,
    and nothing else gives one.
    Never raises. Not idempotent: folding twice would turn marks into letters.
    """
    return fold_lines((text,))[:-1]


def fold_lines(texts: Sequence[str]) -> str:
    """Each text folded, and `END` behind each; together they take a fifth of the time."""
    joined = "\0".join((*texts, ""))
    if joined.count("\0") != len(texts):  # one has its own, which is a gap
        joined = "\0".join((*(text.replace("\0", SEPARATOR) for text in texts), ""))
    try:
        codes = joined.encode() if joined.isascii() else charmap_encode(joined, _SIGNS, _CODES)[0]
    except UnicodeEncodeError:
        if len(texts) == 1:
            return normalize("NFC", texts[0]).translate(_TABLE) + END  # й typed as и and a breve
        return "".join([fold_lines((text,)) for text in texts])
    return codes.translate(_READINGS, _DROPPED).decode()


def _sign(error: UnicodeError) -> tuple[str, int]:
    """What stands for pictures among usual characters; raises for anything else."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    run = error.object[error.start : error.end]
    if any(category(char) != "So" and not "\U0001f3fb" <= char <= "\U0001f3ff" for char in run):  # tones of skin
        raise error
    return OPAQUE * len(run), error.end


_SIGNS: Final = "permits.folding signs"
register_error(_SIGNS, _sign)
