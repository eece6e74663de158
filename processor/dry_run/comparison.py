"""Holds what was decided against what the other policy says, and counts.

Rows that no policy could have decided otherwise are kept out: repeats, what belonged elsewhere, what could not be read
and what found its record full. So are SMS with the cancel word, whose texts no trail keeps: they count, and give back
what they gave back, as they did. Where a row was decided under the very same policy, the two must agree.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from permits.calendar import day_start_ms
from permits.messages import AuditRow, AuditSettled, Cancellation
from permits.outcomes import ABOUT_CANCELLING, CANCELLED_HELD, DEAD, DUPLICATE, MOVED, NAME_OF, SHED
from permits.policy import Policy
from processor.dry_run.judge import BUSY, Judge
from processor.dry_run.trail import Decided

KEPT_OUT: Final = frozenset((DUPLICATE, MOVED, DEAD, SHED, *ABOUT_CANCELLING))
_EXAMPLES: Final = 5


class Control(msgspec.Struct):
    """The rows that were decided under the same policy."""

    checked: int = 0
    differing: int = 0
    """Of owners whose past no other policy decided."""
    examples: list[str] = msgspec.field(default_factory=list[str])


class Comparison:
    """Counts over all partitions, one after another."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._digest = _digest(policy.version)
        self.rows = 0
        self.taken = 0
        """Rows from before the period: the past of the others, as it was."""
        self.kept_out: Counter[str] = Counter()
        """By letter."""
        self.pairs: Counter[tuple[int, str, str]] = Counter()
        """By purpose, letter before and letter after."""
        self.silent_before = 0
        self.silent_after = 0
        self.control = Control()

    def feed(self, batches: Iterable[Decided | AuditSettled]) -> None:
        """One partition, in its order."""
        judge, apart = Judge(self._policy), set[str]()
        for batch in batches:
            if isinstance(batch, AuditSettled):
                judge.settle(batch)
                continue
            self.rows += len(batch.entry.letters)
            if batch.is_asked_for:
                self._compare(judge, batch, apart)
                continue
            self.taken += len(batch.entry.letters)
            cancellations = iter(batch.entry.cancellations)
            for row, was, _ in batch.entry.rows:
                if was in ABOUT_CANCELLING:
                    _cancel(judge, row, was, next(cancellations))
                elif was not in KEPT_OUT:
                    judge.note(row, was)

    def _compare(self, judge: Judge, batch: Decided, apart: set[str]) -> None:
        """One batch. `apart` are the owners whose past differs, because another policy decided it."""
        audit, seen = batch.entry.batch, list[tuple[int, str, str]]()
        decided_ms, is_same = audit.decided_ms, _digest(audit.policy) == self._digest
        cancellations = iter(batch.entry.cancellations)
        for row, was, was_silent in batch.entry.rows:  # of all the command's time, half is spent here
            if was in KEPT_OUT:
                self.kept_out[was] += 1
                if was in ABOUT_CANCELLING:
                    _cancel(judge, row, was, next(cancellations))
                continue
            letter, purpose, is_silent = judge.judge(row, was, decided_ms)
            if was_silent or is_silent:
                if letter == BUSY:
                    is_silent = was_silent  # a busy phone is answered once an hour, over all documents
                self.silent_before += was_silent
                self.silent_after += is_silent
            seen.append((row.purpose or purpose, was, letter))
            if letter == was and is_silent == was_silent:
                continue
            if not is_same:
                if letter != was:
                    apart.add(row.owner)
            elif row.owner not in apart:
                self._differs(audit.partition, row, was, letter)
        self.pairs.update(seen)
        if is_same:
            self.control.checked += len(seen)

    def _differs(self, partition: int, row: AuditRow, was: str, letter: str) -> None:
        self.control.differing += 1
        if len(self.control.examples) < _EXAMPLES:
            told = f"{NAME_OF[was]}, and now {NAME_OF[letter]}" if letter != was else f"{NAME_OF[was]}, but its silence"
            self.control.examples.append(f"partition {partition}, entry {row.entry_id}, owner {row.owner}: {told}")


def _cancel(judge: Judge, row: AuditRow, was: str, told: Cancellation) -> None:
    """What an SMS with the cancel word leaves behind."""
    judge.note(row, was)
    if was == CANCELLED_HELD and told.permit is not None:
        judge.give_back(row.owner, day_start_ms(told.permit.day), told.permit.purpose)


def _digest(version: str) -> str:
    """The part of a policy's version that is its text's."""
    return version.rpartition("-")[2]
