"""How much one may ask, and how often in vain: a budget for each client, a few documents an hour for each person.

Called by the doors of questions before the store is asked, and again before an answer goes out. Who has reached a
limit gets answers that depend on who asks and when, never on what is asked: there is nothing left to learn by
guessing. The counts are of this process: with N of them, N times as much is allowed.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from math import inf
from typing import Final, TypeVar

import msgspec

from runtime.telemetry import GUESSING, Log

HOUR_S: Final = 3600.0
MINUTE_S: Final = 60.0
MOST_SUBJECTS: Final = 100_000
"""Kept at once, about 1 kB each; past it the one that has been silent for longest is forgotten."""
MOST_CLIENTS: Final = 1_000
"""The same for clients, about 100 kB each; tokens name them, so nobody can invent one."""
_log = Log("api")
K = TypeVar("K")
V = TypeVar("V")


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much is allowed."""

    client_rate: float = 2_000.0
    """Questions a second of one client, in the long run."""
    client_burst: float = 4_000.0
    client_misses: int = 1_000
    """Different unknown documents an hour, of a client that does not say for whom it asks."""
    client_subject_misses: int = 20_000
    """Unknown documents an hour that a client may ask for, over all persons, before an alarm: it closes nothing."""
    subject_documents: int = 10
    """Different documents an hour, known or not, that are asked for one person."""
    subject_questions: int = 60
    """Questions a minute for one person."""


class Limits:
    """The counts of all who asked lately. Every `now_s` is of one clock that never goes back."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        # A person is kept as a hash that nobody else can compute; a copy costs less than a new one.
        self._hash = blake2b(digest_size=16, key=secrets.token_bytes(16))
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._subjects: OrderedDict[bytes, _Subject] = OrderedDict()

    def admit(self, client: str, subject: str | None, now_s: float) -> float | None:
        """Counts a question. Where it is one too many: the seconds to wait, and it must not be answered."""
        asking = _lately(self._clients, client, MOST_CLIENTS, _Client)
        wait_s = asking.spend(now_s, self._bounds.client_rate, self._bounds.client_burst)
        if wait_s is not None:
            return wait_s
        if subject is None:
            return asking.misses.closed_s(now_s, self._bounds.client_misses)
        person = _lately(self._subjects, self._hashed(client, subject), MOST_SUBJECTS, _Subject)
        wait_s = person.ask(now_s, self._bounds.subject_questions)
        return wait_s or person.documents.closed_s(now_s, self._bounds.subject_documents)

    def answered(self, client: str, subject: str | None, owner: bytes, *, found: bool, now_s: float) -> float | None:
        """Counts what an answer tells about a document, by its owner key.

        Where others under way have reached the limit meanwhile: the seconds to wait, and nothing must be told.
        A client that asks for nobody in particular is counted by what it does not find.
        """
        if subject is None:
            seen, most = _lately(self._clients, client, MOST_CLIENTS, _Client).misses, self._bounds.client_misses
        else:
            key = self._hashed(client, subject)
            seen = _lately(self._subjects, key, MOST_SUBJECTS, _Subject).documents
            most = self._bounds.subject_documents
        wait_s = seen.closed_s(now_s, most)
        if wait_s is None and not (found and subject is None):
            misses = seen.add(owner, found=found)
            if misses == most // 2 + 1:
                _alarm(client, by_person=subject is not None)
            if misses is not None and subject is not None:  # persons can be made up, too: their misses add up
                asking = _lately(self._clients, client, MOST_CLIENTS, _Client)
                if asking.miss(now_s) == self._bounds.client_subject_misses + 1:
                    _alarm(client, by_person=False)
        return wait_s

    def _hashed(self, client: str, subject: str) -> bytes:
        hashed = self._hash.copy()
        hashed.update(f"{len(client)}:{client}{subject}".encode())
        return hashed.digest()


def _alarm(client: str, *, by_person: bool) -> None:
    GUESSING.labels(client).inc()
    _log.warning("somebody may be guessing documents", client=client, by_person=by_person)


class _Seen:
    """Different documents in the hour from the first question on; closed until its end once there are `most`."""

    __slots__ = ("_misses", "_owners", "_since_s")

    def __init__(self) -> None:
        self._owners: set[bytes] = set()
        self._misses = 0
        self._since_s = -inf

    def closed_s(self, now_s: float, most: int) -> float | None:
        """Seconds until it opens again, where it is closed."""
        if now_s - self._since_s >= HOUR_S:
            self._owners, self._misses, self._since_s = set(), 0, now_s
        return self._since_s + HOUR_S - now_s if len(self._owners) >= most else None

    def add(self, owner: bytes, *, found: bool) -> int | None:
        """How many of them are unknown by now, where this one is new and unknown."""
        known = len(self._owners)
        self._owners.add(owner)
        if found or len(self._owners) == known:
            return None
        self._misses += 1
        return self._misses


class _Client:
    """A bucket of questions that fills by itself, and the documents that were not found."""

    __slots__ = ("_at_s", "_left", "_missed", "_missing_since_s", "misses")

    def __init__(self) -> None:
        self._left = 0.0
        self._at_s = -inf
        self._missed = 0
        self._missing_since_s = -inf
        self.misses = _Seen()

    def spend(self, now_s: float, rate: float, burst: float) -> float | None:
        """Takes one out; where none is left, the seconds until there is one."""
        left = self._left + (now_s - self._at_s) * rate
        self._at_s = now_s
        if left > burst:
            left = burst
        if left < 1:
            self._left = left
            return (1 - left) / rate
        self._left = left - 1
        return None

    def miss(self, now_s: float) -> int:
        """Counts a person's new unknown document: how many of all persons there are, in the hour from the first on."""
        if now_s - self._missing_since_s >= HOUR_S:
            self._missed, self._missing_since_s = 0, now_s
        self._missed += 1
        return self._missed


class _Subject:
    """The questions of a minute, and the documents of an hour."""

    __slots__ = ("_questions", "_since_s", "documents")

    def __init__(self) -> None:
        self._questions = 0
        self._since_s = -inf
        self.documents = _Seen()

    def ask(self, now_s: float, most: int) -> float | None:
        """Counts a question; where it is one too many, the seconds until the minute ends."""
        if now_s - self._since_s >= MINUTE_S:
            self._questions, self._since_s = 0, now_s
        self._questions += 1
        return self._since_s + MINUTE_S - now_s if self._questions > most else None


def _lately(kept: OrderedDict[K, V], key: K, most: int, new: Callable[[], V]) -> V:
    """The count kept for a key, or a new one; the one used longest ago makes room."""
    count = kept.get(key)
    if count is None:
        count = kept[key] = new()
        if len(kept) > most:
            kept.popitem(last=False)
    else:
        kept.move_to_end(key)
    return count
