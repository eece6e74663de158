"""What an SMS says, for the forms that the laboratory and the synthetic day write; silent about all others.

Not the product's grammar: it takes a text apart into series, numbers and words, and gives no answer where a rule that
it does not know might count.
"""

import re
from itertools import pairwise
from typing import Final, NamedTuple
from unicodedata import normalize

SERIES: Final = ("AZE", "AA", "MYI", "DYI", "MOM")
LONGEST: Final = 480
LONGEST_CODE: Final = 3
_LATIN: Final = str.maketrans("АВЕЗИІКМНОРСТУХİІ", "ABEZIIKMHOPCTYXII")
"""Capital letters that people take for Latin ones."""
_LONGEST_SERIES: Final = 3
_SOUNDLESS: Final = re.compile("[\u200b-\u200f\u2060\ufeff]")
_BETWEEN: Final = frozenset({"NO", "NOMRE", "SERIYA", "N", "NR"})
"""Words between a series and its number."""
_PART: Final = re.compile(r"[0-9][0-9O]*+(?![^\W\d_])|[0-9]++|[^\W\d_]+|[^\w\s]|_|\s+")
_GROUPS: Final = ((3, 2, 2), (3, 2, 3))


class Reading(NamedTuple):
    """What is said, as the trail tells it: no code is 0, no fault is empty."""

    code: int
    document: str | None
    fault: str


class _Part(NamedTuple):
    kind: str
    """`series`, `foreign`, `number`, `word` or `sign`."""
    text: str
    is_stuck: bool
    """Whether letters or digits stand right before it."""


def read(text: str) -> Reading | None:
    """What a text says; None where this grammar cannot tell."""
    if len(text) > LONGEST or any(one.isnumeric() and not one.isdecimal() for one in text):
        return None
    parts = _parts(text)
    if parts is None:
        return None
    numbers = [part.text for part in parts if part.kind == "number"]
    if {part.kind for part in parts} <= {"word", "sign", "series"}:
        return Reading(0, None, "malformed")
    documents = [part.text for part in parts if part.kind in ("document", "foreign")]
    if any(part.kind == "broken" for part in parts):
        return _broken(parts, documents, numbers)
    return _whole(parts, documents, numbers)


def _whole(parts: list[_Part], documents: list[str], numbers: list[str]) -> Reading | None:
    codes = {int(number) for number in numbers if len(number) <= LONGEST_CODE}
    long = any(len(number) > LONGEST_CODE for number in numbers)
    code = codes.pop() if len(codes) == 1 else 0
    several = len(numbers) > 1
    bare = any(part.kind == "series" for part in parts)
    if long:
        return Reading(code, None, "bad_document") if not documents and not codes else None
    if not documents:
        return Reading(0, None, "ambiguous") if codes else Reading(code, None, "malformed")
    if bare or any(part.kind == "word" and len(part.text) == 1 for part in parts):
        return None
    if len(set(documents)) > 1:
        return Reading(code, None, "ambiguous")
    if len(documents) > 1 or len(numbers) > 2 or (several and not codes):
        return None
    if codes:  # more than one: a code right behind a document may be a piece of it
        is_foreign = any(part.kind == "foreign" for part in parts)
        return Reading(0, None if is_foreign or _is_crowded(parts) else documents[0], "ambiguous")
    return Reading(code, documents[0], "" if numbers else "malformed")


def _broken(parts: list[_Part], documents: list[str], numbers: list[str]) -> Reading | None:
    """A series whose number is too short or too long."""
    codes = {int(number) for number in numbers if len(number) <= LONGEST_CODE}
    behind = [part.kind for part in parts if part.kind != "sign"]
    if (
        behind.count("broken") > 1
        or any(len(number) > LONGEST_CODE for number in numbers)
        or documents
        or len(numbers) > 1
        or len(codes) > 1
        or behind[-1] != "broken"
    ):
        return None
    return Reading(codes.pop() if codes else 0, None, "bad_document")


def _is_crowded(parts: list[_Part]) -> bool:
    solid = [part for part in parts if part.kind != "sign"]
    return any(a.kind == "document" and b.kind == "number" for a, b in pairwise(solid))


def _parts(text: str) -> list[_Part] | None:
    """The text in pieces; None where letters and digits hang together in a way that this grammar does not know."""
    folded = _SOUNDLESS.sub("", normalize("NFKC", text.replace("№", " "))).upper().translate(_LATIN)
    raw = _PART.findall(folded)
    if "".join(raw) != folded:
        return None
    found: list[_Part] = []
    at = 0
    while at < len(raw):
        piece, before = raw[at], raw[at - 1][-1] if at else ""
        stuck = before.isalnum()
        at += 1
        if piece in SERIES:
            document, at, is_told = _number(raw, at, piece)
            if not is_told:
                return None
            found.append(document)
        elif piece[0].isdigit():
            follows = raw[at] if at < len(raw) else ""
            known = not follows[:1].isalpha() or (follows in SERIES and len(piece) <= LONGEST_CODE)
            if "O" in piece or not piece.isascii() or stuck or not known:
                return None
            found.append(_Part("number", piece, stuck))
        elif piece[0].isalpha():
            follows = raw[at] if at < len(raw) else ""
            if follows[:1].isdigit() and len(piece) <= 2 and piece.isascii() and len(follows) == 7 and not stuck:
                if "O" in piece + follows or any(part.kind == "word" and _begins(part.text) for part in found):
                    return None
                found.append(_Part("foreign", piece + follows, False))
                at += 1
                if at < len(raw) and raw[at][0].isalnum():
                    return None
            elif follows[:1].isdigit() or (not piece.isascii() and len(piece) <= _LONGEST_SERIES and piece[0] in "AMD"):
                return None
            else:
                found.append(_Part("word", piece, stuck))
        else:
            found.append(_Part("sign", piece, False))
    return found


def _begins(word: str) -> bool:
    """Whether a word may be the front of a series."""
    return any(series.startswith(word) for series in SERIES)


def _number(raw: list[str], at: int, series: str) -> tuple[_Part, int, bool]:
    """The number behind a series, where it ends, and whether nothing beside it may belong to it."""
    start = at
    while at < len(raw) and (not raw[at][0].isalnum() or raw[at] in _BETWEEN):
        at += 1
    has_words = any(piece in _BETWEEN for piece in raw[start:at])
    is_stuck = has_words and raw[at - 1] in _BETWEEN
    runs: list[str] = []
    while at < len(raw) and raw[at][0].isdigit() and len(runs) < len(_GROUPS[0]):
        runs.append(raw[at])
        if len(runs[0]) != _GROUPS[0][0] or at + 2 >= len(raw) or raw[at + 1] != " ":
            at += 1
            break
        at += 2 if raw[at + 2][0].isdigit() and len(runs) < len(_GROUPS[0]) else 1
    digits = "".join(runs).replace("O", "0")
    if not digits:
        return _Part("series", series, False), start, not has_words
    behind = "".join(raw[at:])
    is_told = not behind[:1].isalnum() and not (len(runs) > 1 and re.match(r"\W*\d", behind))
    if len(runs) == 1 and len(digits) in (7, 8):
        return _Part("document", series + digits, False), at, is_told and not is_stuck
    if tuple(map(len, runs)) in _GROUPS:
        return _Part("document", series + digits, False), at, is_told and not has_words
    return _Part("broken", series, False), at, is_told and not has_words and len(runs) == 1
