"""The SMS grammar: a text becomes one purpose code and one document, or the fault that keeps it from that.

Tolerant in form and strict in substance: no digit is guessed, nothing is chosen between two codes or two
documents, and every digit of the text must belong to one of them.
"""

import re
from typing import Final, Literal

import msgspec

from permits.documents import ITEM, LONGEST_TEXT, NATIONAL, NUMBER_WORDS, SERIES, foreign, national, stuck_code
from permits.folding import OPAQUE, SEPARATOR, UNKNOWN_NUMBER, fold
from permits.messages import Lang

Fault = Literal["malformed", "ambiguous", "bad_document"]

# Most well-formed texts look like this; the answer is the same as the slow path's.
_WELL_FORMED: Final = re.compile(
    rf"\s{{0,4}}+([0-9]{{1,3}}+)[\s.:,/-]{{0,4}}+({'|'.join(NATIONAL)})[\s.:,/-]{{0,4}}+([0-9]{{7,8}}+)[\s.,!]{{0,4}}+",
    re.ASCII | re.IGNORECASE,
)
# Nineteen in twenty of the others, folded: no digit, or words and among them a number, a series with or without its
# number, and a number. One match costs a fifth of a scan. Letters by themselves, digits apart in another way than
# 123 45 678, an O that may be a zero and a foreigner's document need the scan.
# A group that gives nothing back is an atomic one: Python before 3.11.5 matches possessive groups wrongly.
_WORDS: Final = rf"(?>(?:[ *]++|(?!(?:{SERIES}|O++)(?![A-Za-z]))[A-Za-z]{{2,}}+(?![0-9]))*)"
_USUAL: Final = re.compile(
    rf"[^0-9]*+|{_WORDS}(?>(?:([0-9]++)(?:(?![A-Za-z])|(?<![0-9]{{4}})(?=(?:{SERIES})(?![A-Za-z]))))?){_WORDS}"
    rf"(?>(?:({SERIES})(?![A-Za-z])(?>(?:(?>(?:[ *]++(?:{NUMBER_WORDS})(?![A-Za-z0-9]))*)[ *]*+"
    rf"(?:([0-9]{{7,8}}+|[0-9]{{3}} ++[0-9]{{2}} ++[0-9]{{2,3}}+(?! ++[0-9]))(?![A-Za-z0-9])"
    rf"|([0-9]++)(?![A-Za-z]|[ *]++[0-9])))?))?)"
    rf"{_WORDS}(?>(?:([0-9]++)(?![A-Za-z]))?){_WORDS}"
)
# Cyrillic letters that are not Latin to the eye: АZЕ alone does not make a text Russian.
_RUSSIAN: Final = re.compile("[БГДЖЗИЙЛПФЦЧШЩЪЫЬЭЮЯбвгджзийлмнптфцчшщъыьэюя]")
_ENGLISH: Final = frozenset({"HELLO", "HI", "PLEASE", "THANKS", "THANK", "CODE", "PERMIT", "PASSPORT"})
# Behind a number: letters stuck to it that are no word, an O that may be a digit or begin a word, or a
# sign or letter by itself that may be one more digit.
_HIDDEN_DIGIT: Final = re.compile(
    rf"[A-Za-z]{{1,2}}+(?![A-Za-z])|[A-Za-z]*?{UNKNOWN_NUMBER}|(?<=O)[A-Za-z]"
    rf"| ++[BGILOQSZ{UNKNOWN_NUMBER}](?![A-Za-z0-9])"
)
# A letter by itself behind a foreign document may be its last.
_HIDDEN_LETTER: Final = re.compile(r" ++[A-Za-z](?![A-Za-z0-9])")
_GAPS: Final = SEPARATOR + OPAQUE
_LONGEST_CODE: Final = 3  # digits


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What one text says. Without a fault, purpose and document are both set.

    With one, each is set only where exactly one could be read. Whether the code exists and the series
    counts is the policy's to say.
    """

    purpose: int | None
    document: str | None
    fault: Fault | None
    lang: Lang


def read(text: str) -> Reading:
    """Reads one SMS. Never raises; looks at 480 characters at the most, longer texts are malformed."""
    if (plain := _WELL_FORMED.fullmatch(text)) is not None:
        return Reading(int(plain[1]), plain[2].upper() + plain[3], None, "az")
    stripped = text.strip()
    if len(stripped) > LONGEST_TEXT:
        return read_any(text)
    folded = fold(stripped)
    usual = _USUAL.fullmatch(folded)
    if usual is None:
        return _scanned(stripped, folded)
    english = not _ENGLISH.isdisjoint(folded.replace(OPAQUE, SEPARATOR).split())
    return _at_sight(usual, _language(stripped, english=english)) or _scanned(stripped, folded)


def read_any(text: str) -> Reading:
    """The whole grammar, also for the texts that `read` knows at sight."""
    text = text.strip()
    return _scanned(text, fold(text[:LONGEST_TEXT]))


def _scanned(text: str, folded: str) -> Reading:
    scan = _Scan(folded)
    lang = _language(text, english=scan.english)
    return Reading(None, None, "malformed", lang) if len(text) > LONGEST_TEXT else scan.reading(lang)


def _language(text: str, *, english: bool) -> Lang:
    if not text.isascii() and _RUSSIAN.search(text, 0, LONGEST_TEXT) is not None:
        return "ru"
    return "en" if english else "az"


def _at_sight(found: re.Match[str], lang: Lang) -> Reading | None:
    """What a usual text says; None where its numbers are too many to tell."""
    first, series, number, broken, second = found.groups()
    code, long = first or second, False
    if code is not None and (len(code) > _LONGEST_CODE or (first and second)):
        codes = [one for one in (first, second) if one is not None and len(one) <= _LONGEST_CODE]
        if number is not None or len(codes) > 1:
            return None
        code, long = codes[0] if codes else None, True
    purpose = None if code is None else int(code)
    if broken is not None or long:
        return Reading(purpose, None, "bad_document", lang)
    if number is None:
        return Reading(purpose, None, "malformed", lang)
    document = series.upper() + number.replace(SEPARATOR, "")
    return Reading(purpose, document, "malformed" if purpose is None else None, lang)


class _Scan:
    """One pass over the items of a folded text, and what was found."""

    document: str | None = None
    end = 0  # where the last document ends
    lone = 0  # where the last one-letter word ends
    ambiguous = False  # digits that could be joined in two ways
    bad = False  # something like a document that is none
    bare = False  # a series without a number
    two = False  # different documents
    foreign = False  # something like a foreigner's document
    crowded = False  # a code right behind a document
    odd = False  # a code with a letter stuck to it, which may hide a digit
    long = False  # a number too long for a code
    english = False
    word = ""  # the last one
    word_end = 0

    def __init__(self, folded: str) -> None:
        self.text = f" {folded}  "  # room to look around each item
        self.codes: list[str] = []
        for item in ITEM.finditer(self.text):
            kind = item.lastgroup
            if kind == "word":
                self._word(item)
            elif kind == "digits":
                self._digits(item)
            elif kind == "rest":
                self._national(item)
            elif kind == "foreign":
                self._foreign(item)
            else:
                self.bare = True

    def _word(self, item: re.Match[str]) -> None:
        word = item["word"]
        self.word, self.word_end = word, item.end()
        if len(word) == 1:
            self.lone = item.end()
        elif word in _ENGLISH:
            self.english = True

    def _digits(self, item: re.Match[str]) -> None:
        start, end = item.span("digits")
        text = self.text
        behind = self.end > 0 and not text[self.end : start].strip(_GAPS)
        if behind and self.bad:
            return  # a piece of the broken number
        if end - start > _LONGEST_CODE:
            self.long = True
            return
        self.codes.append(item["digits"])
        self.crowded |= behind
        before, after = text[start - 1], text[end]
        if (before.isalpha() and before != "N" and not text[start - 2].isalpha()) or (
            after.isalpha() and not text[end + 1].isalpha()
        ):
            self.odd = True

    def _national(self, item: re.Match[str]) -> None:
        found = national(item)
        spaced = SEPARATOR in item["national"]
        self.ambiguous |= found.ambiguous
        self.end = item.end()
        if _HIDDEN_DIGIT.match(self.text, self.end) or (spaced and self._follows_lone(item.start("national"))):
            self.bad = True
        elif found.document is None:
            self.bad |= not found.ambiguous
        else:
            self._found(found.document)
        for run in found.leftover:
            if not run.isdigit():
                self.bad = True
            elif len(run) > _LONGEST_CODE:
                self.long = True
            else:
                self.codes.append(run)
                self.crowded = True

    def _foreign(self, item: re.Match[str]) -> None:
        document = foreign(item["foreign"])
        self.end = item.end()
        self.foreign = True
        if (
            document is None
            or self._follows_lone(item.start("foreign"))
            or self._splits_series(item)
            or _HIDDEN_LETTER.match(self.text, self.end) is not None
        ):
            self.bad = True
        else:
            self._found(document)

    def _follows_lone(self, start: int) -> bool:
        lone = self.lone
        return lone > 0 and not self.text[lone:start].strip(SEPARATOR)

    def _splits_series(self, item: re.Match[str]) -> bool:
        """Whether the word before is the front of a series and the document its rest: `AZ E1234567`."""
        if not self.word or self.text[self.word_end : item.start("foreign")].strip(_GAPS):
            return False
        front, rest = self.word.upper(), item["foreign"].upper()
        return any(front == name[:at] and rest.startswith(name[at:]) for name in NATIONAL for at in range(1, len(name)))

    def _found(self, document: str) -> None:
        self.two |= self.document is not None and self.document != document
        self.document = document

    def reading(self, lang: Lang) -> Reading:
        """The verdict: ambiguous before bad_document before malformed."""
        document, codes = self.document, self.codes
        values = {int(code) for code in codes}
        purpose = values.pop() if len(values) == 1 and not self.odd else None
        # A repeated code right behind a number may be its last digit; beside a foreign document, its first.
        crowd = len(codes) > 1 and (self.crowded or self.foreign)
        lead = stuck_code(document) if document is not None and self.foreign else ""
        split = lead != "" and bool(codes) and (len(lead) == 1 or int(lead) == purpose)
        unsure = self.two or self.ambiguous or crowd or split
        if unsure or len(values) > 1 or (self.long and document is not None):
            fault: Fault = "ambiguous"
        elif self.bad or self.long or (self.bare and document is not None):
            fault = "bad_document"
        elif document is None or purpose is None:
            fault = "malformed"
        else:
            return Reading(purpose, document, None, lang)
        if unsure or self.bad or self.bare or lead:
            document = None
        return Reading(purpose, document, fault, lang)
