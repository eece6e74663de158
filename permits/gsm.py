"""What a reply costs on the air: its alphabet, its length there, and the segments it is billed as.

Reads any text. `permits.replies` sends its words through `plain`, so that a reply fits one segment.
"""

from collections.abc import Iterable
from typing import Final, Literal
from unicodedata import category, normalize

# 3GPP TS 23.038, 6.2.1: the default alphabet in code order, without the escape at 0x1B. Capital Ç is in it,
# small ç is not, and no shift table of 6.2.1.2.4 holds ə: native Azerbaijani always needs UCS-2.
_DEFAULT: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# 6.2.1.1: each is sent as the escape and one more septet.
_EXTENSION: Final = frozenset("\f^{}\\[~]|€")
_GSM7: Final = _DEFAULT | _EXTENSION

# Characters (septets or UTF-16 units) of a message that stands alone, and of one part of a longer message:
# the six octets of the concatenation header (TS 23.040, 9.2.3.24.1) take the difference.
_GSM7_ALONE, _GSM7_PART = 160, 153
_UCS2_ALONE, _UCS2_PART = 70, 67

# ö and ü are in GSM-7 and still lose their dots: beside bare e, g, i, s and c a reader takes one rule for all
# seven letters more easily, and ASCII letters survive gateways that mistake GSM-7 for Latin-1.
_AZERBAIJANI: Final = dict(zip("əğışçöüƏĞİŞÇÖÜ", "egiscouEGISCOU", strict=True))

# The spelling people text in: Latin letters as read aloud in English, hard and soft signs dropped.
_RUSSIAN: Final = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
        "a b v g d e e zh z i y k l m n o p r s t u f kh ts ch sh shch  y  e yu ya".split(" "),
        strict=True,
    )
)

_PUNCTUATION: Final = dict.fromkeys("«»„“”‘’`", "'") | dict.fromkeys("–—−", "-")


class _Plain(dict[int, str]):
    """A table for `str.translate` that works out what it does not hold, and does not keep it: texts are
    bounded in length, but not in the characters they use."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        parts = normalize("NFKD", char)
        if parts != char:
            return "".join(self[ord(part)] for part in parts)
        # Marks and invisible characters say nothing without their letter.
        return "" if category(char) in {"Mn", "Mc", "Me", "Cf"} else "?"


# Every GSM-7 character stands in the table, since a look-up that misses costs ten times as much.
_PLAIN: Final = _Plain(
    (ord(char), latin)
    for char, latin in (
        {char: char for char in _GSM7}
        | _AZERBAIJANI
        | _RUSSIAN
        | {char.upper(): latin.capitalize() for char, latin in _RUSSIAN.items()}
        | _PUNCTUATION
    ).items()
)


def is_gsm7(text: str) -> bool:
    """Whether every character stands in the GSM 03.38 default alphabet or its extension."""
    return _GSM7.issuperset(text)


def encoding(text: str) -> Literal["gsm7", "ucs2"]:
    """The cheapest data coding that holds the text."""
    return "gsm7" if is_gsm7(text) else "ucs2"


def septets(text: str) -> int:
    """The length in GSM-7, extension characters counting two; ValueError where the text is not GSM-7."""
    if not is_gsm7(text):
        raise ValueError("the text holds characters outside GSM 03.38")
    return sum(_septet_widths(text))


def segments(text: str) -> int:
    """The messages the text is sent and billed as; an empty text is one.

    Neither an extension character nor a surrogate pair straddles two parts (TS 23.040, 9.2.3.24.1).
    """
    if _DEFAULT.issuperset(text):  # nearly every reply, without a look at each letter
        return 1 if len(text) <= _GSM7_ALONE else -(-len(text) // _GSM7_PART)
    if is_gsm7(text):
        return _parts(_septet_widths(text), alone=_GSM7_ALONE, part=_GSM7_PART)
    widths = [2 if ord(char) > 0xFFFF else 1 for char in text]
    return _parts(widths, alone=_UCS2_ALONE, part=_UCS2_PART)


def plain(text: str) -> str:
    """The text in GSM-7 whatever it was: Azerbaijani without its marks, Russian in Latin letters, `?` for
    what has no reading. Works character by character, so pieces may be joined afterwards."""
    return text.translate(_PLAIN)


def _septet_widths(text: str) -> list[int]:
    return [2 if char in _EXTENSION else 1 for char in text]


def _parts(widths: Iterable[int], *, alone: int, part: int) -> int:
    total, count, filled = 0, 1, 0
    for width in widths:
        total += width
        filled += width
        if filled > part:
            count += 1
            filled = width
    return 1 if total <= alone else count
