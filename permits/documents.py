"""Documents: the canonical form of a document number, and the dated table of the series that count.

The canonical form routes a message to its partition and is frozen with the number of partitions: the
table accepts or refuses a document and never changes its form.
"""

import re
from typing import Final

import msgspec

from permits.folding import SEPARATOR, fold

NATIONAL: Final = ("AZE", "AA", "MYI", "DYI", "MOM")
LONGEST_TEXT: Final = 480  # characters: three SMS segments; what is longer is no request

# Words people put between series and number. № is a separator already.
_BETWEEN: Final = (
    "N NO NR NUM NUMBER NUMARA NÖMRƏ NÖMRƏSİ NÖMRƏLİ NOMER НОМЕР SERIES SERIA SERIYA SERIYASI SERIYALI СЕРИЯ СЕРИИ"
).split()


def _loose(folded: str) -> str:
    """A pattern for folded letters that takes the two-readings mark of each letter for the letter."""
    return "".join(f"[{letter.upper()}{letter.lower()}]" for letter in folded)


SERIES: Final = "|".join(_loose(name) for name in NATIONAL)
_INITIALS: Final = "".join(_loose(name[0])[1:-1] for name in NATIONAL)
_SPACED: Final = "|".join(" ++".join(_loose(letter) for letter in name) for name in NATIONAL)
NUMBER_WORDS: Final = "|".join(_loose(fold(word)) for word in _BETWEEN)

# One item of a folded text and the gap before it; the last named group tells its kind:
#   foreign  a whole token that may be a foreigner's document
#   rest     a national series with a number; groups national, first and rest hold its parts
#   national a national series without a number
#   digits, word  anything else
# Possessive quantifiers keep the work linear in the text. A series with a look-alike of a digit behind
# it (AAI111111) is no foreign document, and an O before digits is a zero right after a series only.
ITEM: Final = re.compile(
    # The first look ahead spares plain words and numbers the others.
    rf"[ *]*+(?:(?=[0-9]++[A-Za-z]|[A-Za-z]++[0-9])(?<![A-Za-z0-9])"
    rf"(?=[A-Za-z0-9]{{6,9}}+(?![A-Za-z0-9]))(?=(?:[A-Za-z]*+[0-9]){{4}})"
    rf"(?![0-9]*+(?:{SERIES})[0-9BGILOQSZ])(?P<foreign>[A-Za-z0-9]++)"
    rf"|(?=[{_INITIALS}])(?<![A-Za-z])(?P<national>(?:{SERIES})(?![A-NP-Za-z]|O++(?![0-9]))"
    rf"|(?<![0-9])(?:{_SPACED})(?![A-Za-z0-9]))"
    rf"(?:[ *]*+(?>(?:(?:{NUMBER_WORDS})(?![A-Za-z0-9])[ *]*+)*)(?=O*+[0-9])"
    rf"(?P<first>[0-9O]++)(?P<rest>(?>(?: ++[0-9O]++(?![A-Za-z]))*)))?"
    rf"|(?P<digits>[0-9]++)"
    rf"|(?P<word>[A-Za-z]++))"
)
# No mark, no word, and no O that may be a zero.
_SOUND_FOREIGN: Final = re.compile(r"(?!.*[0-9]O)(?!.*[A-Z]{4})(?!O+[0-9]+$)[A-Z0-9]{6,9}")
_NATIONAL_SHAPE: Final = re.compile(rf"({'|'.join(NATIONAL)})([0-9]{{7,8}})")
_COMPLETE: Final = (7, 8)  # digits of a national number
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NINES: Final = tuple("9" * count for count in range(LONGEST_TEXT + 1))
_ANY: Final = str.maketrans(_LETTERS + "0123456789", "A" * 26 + "9" * 10)


def foreign(token: str) -> str | None:
    """The canonical form of a `foreign` item, or None where a letter has two readings."""
    return token if _SOUND_FOREIGN.fullmatch(token) else None


def stuck_code(document: str) -> str:
    """The digits before a foreign document that may be a code typed without a space; "" where none may.

    `2P1234567` is a document of nine characters, or code 2 and one of eight.
    """
    rest = document.lstrip("0123456789")
    lead = document[: len(document) - len(rest)]
    return lead if len(lead) <= 3 and len(rest) >= 6 and sum(map(str.isdigit, rest)) >= 4 else ""


class National(msgspec.Struct, frozen=True, gc=False):
    """What a national series and the digit runs behind it give: a document, or why there is none."""

    document: str | None
    ambiguous: bool
    leftover: tuple[str, ...]  # runs behind a complete number, as folded


def national(item: re.Match[str]) -> National:
    """Reads a `rest` item. Digits are joined only where exactly one sum makes a complete number."""
    series, first, rest = item.group("national", "first", "rest")
    name = series.replace(SEPARATOR, "").upper()
    if name == "AA" and first[0] == "O" and item.end("national") == item.start("first"):
        return National(None, False, ())  # AAO123456 may be a foreign document as it stands
    runs = [first, *rest.split()]
    count = 1 if len(first) in _COMPLETE else _joined(runs)
    if count <= 0:
        return National(None, count < 0, ())
    return National(name + "".join(runs[:count]).replace("O", "0"), False, tuple(runs[count:]))


def _joined(runs: list[str]) -> int:
    """How many runs make the number; 0 where none do, -1 where it cannot be told."""
    ends = _complete_ends(runs)
    # A lone first digit may be a code that was put between series and number.
    if len(ends) > 1 or (len(runs[0]) == 1 and _complete_ends(runs[1:])):
        return -1
    # Six digits and one: the one may be a code, and the number a digit short.
    if ends == [2] and 1 in (len(runs[0]), len(runs[1])):
        return -1
    return ends[0] if ends else 0


def _complete_ends(runs: list[str]) -> list[int]:
    """How many runs from the first on together make a complete number; several answers where several do."""
    total, ends = 0, list[int]()
    for count, run in enumerate(runs, 1):
        total += len(run)
        if total in _COMPLETE:
            ends.append(count)
    return ends


def canonical(text: str) -> str | None:
    """The canonical form of a document number that stands by itself, read by the rules of the SMS grammar.

    None where it is not exactly one document. Stable: a canonical form is its own canonical form.
    """
    if _NATIONAL_SHAPE.fullmatch(text):
        return text  # what most callers send; a tenth of the work
    if len(text) > LONGEST_TEXT:
        return None
    items = list(ITEM.finditer(fold(text)))
    if len(items) != 1:
        return None
    if items[0].lastgroup == "foreign":
        return foreign(items[0]["foreign"])
    if items[0].lastgroup == "rest":
        found = national(items[0])
        return None if found.leftover else found.document
    return None


def tail(document: str) -> str:
    """The last four characters: all of a document that a reply may show."""
    return document[-4:]


def shape(document: str) -> str:
    """A canonical document with every digit a 9, and every letter behind its first digit an A.

    It names nobody, and a series table accepts it exactly where it accepts the document.
    """
    series = document.rstrip("0123456789")
    if series.isalpha():  # nearly all: a third of the work below
        return series + _NINES[len(document) - len(series)]
    rest = document.lstrip(_LETTERS)
    return document[: len(document) - len(rest)] + rest.translate(_ANY)


class Series(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of document: its name for people, its prefix, and how many digits may follow."""

    name: str
    prefix: str
    digits: tuple[int, ...]


class SeriesTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The series that count at a time; a TOML table in the policy."""

    series: tuple[Series, ...]
    # Characters, least and most, of foreigners' other documents; None: not accepted.
    foreign_length: tuple[int, int] | None = None

    def accepts(self, document: str) -> bool:
        """Whether a canonical document counts. A national number is never taken for a foreigner's."""
        for series in self.series:
            number = document.removeprefix(series.prefix)
            if len(number) in series.digits and number != document and number.isdecimal():
                return True
        if self.foreign_length is None or _NATIONAL_SHAPE.fullmatch(document):
            return False
        least, most = self.foreign_length
        return least <= len(document) <= most and not document.isdecimal() and foreign(document) is not None


DEFAULT_SERIES: Final = SeriesTable(
    series=(
        Series(name="identity card", prefix="AZE", digits=(7, 8)),
        Series(name="identity card with a chip", prefix="AA", digits=(7,)),
        Series(name="temporary residence card", prefix="MYI", digits=(7,)),
        Series(name="permanent residence card", prefix="DYI", digits=(7,)),
        Series(name="extended temporary stay", prefix="MOM", digits=(7,)),
    ),
    foreign_length=(6, 9),
)
