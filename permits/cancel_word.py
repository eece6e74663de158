"""The cancel word: whether a text asks to cancel a permit instead of asking for one.

The grammar knows nothing of it, so a text goes where it always went; only where a regime has a word is it looked for.
"""

import re
from functools import lru_cache
from typing import Final

from permits.documents import LONGEST_TEXT
from permits.folding import UNKNOWN_LETTER, UNKNOWN_NUMBER, fold
from permits.outcomes import Reason
from permits.sms import Reading, read

_NO_OBSTACLE: Final[frozenset[Reason | None]] = frozenset((None, "malformed", "hours", "late"))
"""Why an SMS may have no permit that can still cancel one: its document could be read, and at most one code."""
_SAMPLE: Final = "AZE1111111"


def asks_to_cancel(word: str, text: str, reading: Reading, reason: Reason | None) -> bool:
    """Whether a text holds the word by itself and names one document; `reason` is why it could have no permit."""
    document = reading.document
    if document is None or reason not in _NO_OBSTACLE:
        return False
    folded = fold(text[:LONGEST_TEXT])
    if _pattern(word).search(folded) is None:
        return False
    # Without a code every digit is the document's: what stands beside it may be a code that could not be read.
    return reading.purpose is not None or _digits(folded) <= _digits(document)


def is_clear(word: str) -> bool:
    """Whether the grammar reads code and document beside the word as it does without it."""
    asked = Reading(2, _SAMPLE, None, "az")
    alone = Reading(None, _SAMPLE, "malformed", "az")
    return (
        all(read(text) == asked for text in (f"{word} 2 {_SAMPLE}", f"{word}2{_SAMPLE}", f"2 {_SAMPLE} {word}"))
        and all(read(text) == alone for text in (f"{word} {_SAMPLE}", f"{_SAMPLE} {word}"))
        # A word for a number stands between series and number in ordinary requests.
        and read(f"2 {_SAMPLE[:3]} {word} {_SAMPLE[3:]}") != asked
    )


def _digits(text: str) -> int:
    return sum(character.isdigit() for character in text)


@lru_cache(16)
def _pattern(word: str) -> re.Pattern[str]:
    """The word among no other letters; a letter with two readings stands for the one that the word has."""
    marks = UNKNOWN_LETTER + UNKNOWN_NUMBER
    letters = "".join(letter if letter.lower() in marks else f"[{letter}{letter.lower()}]" for letter in word)
    return re.compile(f"(?<![A-Za-z]){letters}(?![A-Za-z])")
