"""The SMS grammar: a text becomes one purpose code and one document, or the fault that keeps it from that.

Tolerant in form and strict in substance: no digit is guessed, nothing is chosen between two codes or two
documents, and every digit of the text must belong to one of them.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from permits.documents import ITEM, LONGEST_TEXT, NATIONAL, NUMBER_WORDS, SERIES, foreign, national, stuck_code
from permits.folding import END, OPAQUE, SEPARATOR, UNKNOWN_NUMBER, fold, fold_lines
from permits.messages import Lang

Fault = Literal["malformed", "ambiguous", "bad_document"]

# Nineteen in twenty texts, folded: no digit, or words and among them a number, a series with or without its number, and
# a number. One match costs a tenth of a scan. Letters by themselves, digits apart in another way than 123 45 678, an O
# that may be a zero and a foreigner's document need the scan: the last group is a line that does.
# A group that gives nothing back is an atomic one: Python before 3.11.5 matches possessive groups wrongly. Looking
# ahead for a letter spares the other tries of a loop: a quarter of the time.
_GAP: Final = "[ *]*+"
_WORDS: Final = rf"{_GAP}(?>(?:(?=[A-Za-z])(?!(?:{SERIES}|O++)(?![A-Za-z]))[A-Za-z]{{2,}}+(?![0-9]){_GAP})*)"
_CODE: Final = rf"([0-9]++)(?:(?![A-Za-z])|(?<![0-9]{{4}})(?=(?:{SERIES})(?![A-Za-z])))"
_NUMBER: Final = (
    rf"{_GAP}(?>(?:(?=[A-Za-z])(?:{NUMBER_WORDS})(?![A-Za-z0-9]){_GAP})*)"
    rf"(?:([0-9]{{7,8}}+|[0-9]{{3}} ++[0-9]{{2}} ++[0-9]{{2,3}}+(?! ++[0-9]))(?![A-Za-z0-9])"
    rf"|([0-9]++)(?![A-Za-z]|[ *]++[0-9]))"
)
_USUAL: Final = re.compile(
    rf"(?:[^0-9{END}]*+"
    rf"|{_WORDS}(?>(?:{_CODE})?){_WORDS}(?>(?:({SERIES})(?![A-Za-z])(?>(?:{_NUMBER})?))?)"
    rf"{_WORDS}(?>(?:([0-9]++)(?![A-Za-z]))?){_WORDS}"
    rf"|([^{END}]*+)){END}"
)
# Cyrillic letters that are not Latin to the eye: АZЕ alone does not make a text Russian.
_RUSSIAN: Final = re.compile("[БГДЖЗИЙЛПФЦЧШЩЪЫЬЭЮЯбвгджзийлмнптфцчшщъыьэюя]")
_ENGLISH: Final = {
    word: re.compile(rf"{word}(?<![A-Za-z]{word})(?![A-Za-z])")  # a literal in front is what a search is fast at
    for word in ("HELLO", "HI", "PLEASE", "THANKS", "THANK", "CODE", "PERMIT", "PASSPORT")
}
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
    """As `read_each` of one."""
    return read_each((text,))[0]


def read_each(texts: Sequence[str]) -> list[Reading]:
    """Reads SMS. Never raises; looks at 480 characters of each at the most, longer texts are malformed.

    Together they take half the time.
    """
    folded = fold_lines([text if len(text) <= LONGEST_TEXT else "" for text in texts])
    english = _english_lines(folded)
    readings: list[Reading] = []
    for line, (text, found) in enumerate(zip(texts, _USUAL.findall(folded), strict=True)):
        first, series, number, broken, last, unusual = found
        if unusual or len(text) > LONGEST_TEXT:
            readings.append(read_any(text))
            continue
        lang = _language(text, english=line in english)
        if number and first and not last and len(first) <= _LONGEST_CODE:
            readings.append(Reading(int(first), series.upper() + number.replace(SEPARATOR, ""), None, lang))
        else:
            readings.append(_at_sight(first, series, number, broken, last, lang) or read_any(text))
    return readings


def read_any(text: str) -> Reading:
    """The whole grammar, also for the texts that `read_each` knows at sight."""
    text = text.strip()
    scan = _Scan(fold(text[:LONGEST_TEXT]))
    lang = _language(text, english=scan.english)
    return Reading(None, None, "malformed", lang) if len(text) > LONGEST_TEXT else scan.reading(lang)


def _language(text: str, *, english: bool) -> Lang:
    if not text.isascii() and _RUSSIAN.search(text, 0, LONGEST_TEXT) is not None:
        return "ru"
    return "en" if english else "az"


def _english_lines(folded: str) -> set[int]:
    """Lines with an English word: looked for in all at once, since few have any."""
    lines: set[int] = set()
    for word, alone in _ENGLISH.items():
        if word in folded:
            line = at = 0
            for found in alone.finditer(folded):
                line += folded.count(END, at, found.start())
                at = found.start()
                lines.add(line)
    return lines


def _at_sight(first: str, series: str, number: str, broken: str, last: str, lang: Lang) -> Reading | None:
    """What a usual text says; None where its numbers are too many to tell."""
    code, long = first or last, False
    if len(code) > _LONGEST_CODE or (first and last):
        codes = [one for one in (first, last) if one and len(one) <= _LONGEST_CODE]
        if number or len(codes) > 1:
            return None
        code, long = codes[0] if codes else "", True
    purpose = int(code) if code else None
    if broken or long:
        return Reading(purpose, None, "bad_document", lang)
    if not number:
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
