"""What is sent: each phone's next text, so that the day comes out in the shares of its mix."""

from bisect import bisect
from itertools import accumulate
from random import Random
from typing import Literal

import msgspec

from bench import faults
from bench.crowd import Document, Phone
from bench.dirt import clean, dirty

Verdict = Literal["approved", "quota", "malformed", "bad_document", "unknown_code", "ambiguous"]


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the day's distinct messages by outcome; `dirty` is of the readable ones, repeats of all.

    The approved shares are reported ones; how refusals split over reasons is an assumption.
    """

    approved: float
    quota: float
    malformed: float
    bad_document: float
    unknown_code: float
    ambiguous: float
    dirty: float
    repeats: float


MIXES = {
    # Azerbaijan, 5 April 2020: 62 % of 456,000 refused on day one, mostly for form.
    "launch": Mix(
        approved=0.38,
        quota=0.04,
        malformed=0.43,
        bad_document=0.09,
        unknown_code=0.03,
        ambiguous=0.03,
        dirty=0.5,
        repeats=0.02,
    ),
    # A settled day of about a million: 17 to 22 % refused.
    "steady": Mix(
        approved=0.78,
        quota=0.07,
        malformed=0.1,
        bad_document=0.03,
        unknown_code=0.01,
        ambiguous=0.01,
        dirty=0.25,
        repeats=0.01,
    ),
    # Cyprus: 63 % refused on the day a rule changed; old habits are codes gone and second requests.
    "rule-change": Mix(
        approved=0.37,
        quota=0.15,
        malformed=0.23,
        bad_document=0.06,
        unknown_code=0.15,
        ambiguous=0.04,
        dirty=0.4,
        repeats=0.02,
    ),
}
# Purposes of approved messages, 2 : 1 : 3 about 90 : 7 : 3; only the first has a daily quota.
PURPOSE_SHARES = {2: 0.90, 1: 0.07, 3: 0.03}


class Intent(msgspec.Struct, frozen=True, gc=False):
    """What a message was written to be; `purpose` and `document` are set where the text can be read."""

    verdict: Verdict
    purpose: int | None = None
    document: str | None = None
    repeat: bool = False


class Author:
    """Writes each phone's next text so that the day comes out in the shares of its mix."""

    def __init__(self, mix: Mix, rng: Random) -> None:
        self._mix = mix
        self._draw = rng.random
        food = mix.approved * PURPOSE_SHARES[2]
        kinds: tuple[float, ...] = (
            food + mix.quota,
            mix.approved * PURPOSE_SHARES[1],
            mix.approved * PURPOSE_SHARES[3],
            mix.malformed,
            mix.bad_document,
            mix.unknown_code,
        )
        self._steps = list(accumulate(kinds))
        self._granted_share = food / (food + mix.quota)
        self._granted = 0
        self._asked = 0

    def write(self, phone: Phone) -> tuple[str, Intent]:
        """Returns the phone's next text and what it was written to be."""
        draw = self._draw
        kind = bisect(self._steps, draw())
        if kind == 0:
            return self._ask_for_food(phone)
        documents = phone.documents
        document = documents[int(draw() * len(documents))]
        if kind <= 2:
            purpose = 1 if kind == 1 else 3
            return self._request(purpose, document), Intent("approved", purpose, document.canonical)
        if kind == 3:
            return faults.malformed(draw, self._code(), document), Intent("malformed")
        if kind == 4:
            return faults.bad_document(draw, self._code(), document), Intent("bad_document")
        if kind == 5:
            code, text = faults.unknown_code(draw, document, self._mix.dirty)
            return text, Intent("unknown_code", code, document.canonical)
        return faults.ambiguous(draw, self._code(), document, documents[-1]), Intent("ambiguous")

    def _ask_for_food(self, phone: Phone) -> tuple[str, Intent]:
        """Asks under code 2, for a document's first time or again, whichever the day's shares lack."""
        if phone.granted == 0:
            grant = True
        elif phone.granted == len(phone.documents):
            grant = False
        else:
            grant = self._granted <= self._asked * self._granted_share
        self._asked += 1
        if grant:
            document = phone.documents[phone.granted]
            phone.granted += 1
            self._granted += 1
        else:
            document = phone.documents[int(self._draw() * phone.granted)]
        return self._request(2, document), Intent("approved" if grant else "quota", 2, document.canonical)

    def _request(self, purpose: int, document: Document) -> str:
        draw = self._draw
        return dirty(draw, purpose, document) if draw() < self._mix.dirty else clean(purpose, document)

    def _code(self) -> int:
        drawn = self._draw()
        return 2 if drawn < PURPOSE_SHARES[2] else 1 if drawn < 0.97 else 3
