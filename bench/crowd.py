"""Who sends: phones, the documents of the household behind each, and the order in which phones send again.

A phone is opened with a planned number of messages and waits between them in a bounded queue, so that a
day of any size needs the same memory.
"""

from bisect import bisect
from collections.abc import Callable
from heapq import heappop, heappush

import msgspec

# 2.0-2.5 messages a phone and day, skewed; (messages, share of phones). The split is an assumption.
PLANS = ((1, 0.44), (2, 0.26), (3, 0.14), (4, 0.085), (5, 0.05), (6, 0.015), (8, 0.008), (20, 0.002))
HEAVIEST = 90  # messages of the busiest phone reported, sent by the first phone of a day that is big enough
FAMILY = 5  # documents behind one phone at most, a second document of the same person among them
FURTHER_DOCUMENT = 0.93  # chance that one more planned message comes with one more document

WAITING_MAX = 65_536  # phones kept between two messages, about 40 MB; past it, gaps get short
SOON = 2_000  # messages of others between two of one phone: a correction, or the next of the family
SOON_SHARE = 0.5

_OPERATORS = ("50", "51", "55", "70", "77", "99", "10", "60")
_STRIDE = 61_803_399  # coprime to 10: multiplying modulo a power of ten visits every number once
# (letters of the canonical form, digits, share); shares are an assumption, old ID cards first
_SERIES = (
    ("AZE", 8, 0.58),
    ("AA", 7, 0.28),
    ("AZE", 7, 0.06),
    ("MYI", 7, 0.025),
    ("DYI", 7, 0.02),
    ("MOM", 7, 0.01),
    ("", 7, 0.025),
)
_FOREIGN = ("P", "U", "C", "FB", "K")


class Document(msgspec.Struct, frozen=True, gc=False):
    """An identity document; `series` is empty for a foreign one, whose letters are part of `number`."""

    series: str
    number: str

    @property
    def canonical(self) -> str:
        return self.series + self.number


class Phone:
    """One sender: the first `granted` of its documents have had today's permit for food and daily needs."""

    __slots__ = ("documents", "granted", "left", "number")

    def __init__(self, number: str, documents: tuple[Document, ...], left: int) -> None:
        self.number = number
        self.documents = documents
        self.left = left
        self.granted = 0


def _padded(number: int, digits: int) -> str:
    """Writes leading zeros, in half the time of a format with a computed width."""
    return str(10**digits + number)[1:]


def _cumulative(shares: tuple[float, ...]) -> list[float]:
    return [sum(shares[: count + 1]) for count in range(len(shares) - 1)]


_PLAN_STEPS = _cumulative(tuple(share for _, share in PLANS))
_SERIES_STEPS = _cumulative(tuple(share for *_, share in _SERIES))


class Crowd:
    """Says which phone sends the next message; no two phones share a number or a document.

    (Documents repeat only past ten million of one series.)
    """

    def __init__(self, messages: int, draw: Callable[[], float]) -> None:
        self._messages = messages
        self._draw = draw
        self._waiting: list[tuple[int, int, Phone]] = []
        self._phones = 0
        self._issued = [0] * len(_SERIES)
        self._offset = int(draw() * 10_000_000)

    def next_phone(self, index: int) -> Phone:
        """Returns the phone that sends message `index` of the day: one that is due, else a new one."""
        if self._waiting and self._waiting[0][0] <= index:
            phone = heappop(self._waiting)[2]
        else:
            phone = self._open()
        phone.left -= 1
        if phone.left:
            heappush(self._waiting, (index + self._gap(index, phone.left), index, phone))
        return phone

    def _gap(self, index: int, left: int) -> int:
        """Draws after how many messages of others a phone with `left` more sends again."""
        spread = (self._messages - index) / (left + 1)
        if len(self._waiting) >= WAITING_MAX or self._draw() < SOON_SHARE:
            spread = min(spread, SOON)
        return 1 + int(self._draw() * 2 * spread)

    def _open(self) -> Phone:
        draw = self._draw
        if self._phones == 0 and self._messages >= 20 * HEAVIEST:
            planned = HEAVIEST
        else:
            planned = PLANS[bisect(_PLAN_STEPS, draw())][0]
        documents = [self._issue()]
        further = min(planned, FAMILY) - 1
        documents += [self._issue() for _ in range(further) if draw() < FURTHER_DOCUMENT]
        index = self._phones
        self._phones += 1
        subscriber = (index // len(_OPERATORS) * _STRIDE + self._offset) % 10_000_000
        number = f"+994{_OPERATORS[index % len(_OPERATORS)]}{_padded(subscriber, 7)}"
        return Phone(number, tuple(documents), planned)

    def _issue(self) -> Document:
        kind = bisect(_SERIES_STEPS, self._draw())
        series, digits, _ = _SERIES[kind]
        index = self._issued[kind]
        self._issued[kind] += 1
        number = _padded((index * _STRIDE + self._offset) % 10**digits, digits)
        if not series:
            number = _FOREIGN[int(number[-1]) % len(_FOREIGN)] + number
        return Document(series, number)
