"""Faults planted among approvals that were held, and permits that their phones cancelled."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest

from permits.calendar import DAY_MS
from permits.messages import (
    AuditRow,
    AuditSettled,
    Cancellation,
    CancelledPermit,
    Verdict,
)
from processor.verification.sink_log import Send
from processor.verification.trail import AuditEntry
from tests.unit.verification_world import DORA, NOON_MS, TAGS, TODAY, batch, clean, ended, held, row, stored_entry


def test_an_approval_that_is_told_when_its_hold_ends_is_as_it_should_be() -> None:
    world = clean(batch("a", held(), epoch=2), ended("released", held()))
    assert world.violated() == set()
    assert world.judged()["I5 holds"].checked == 1


def test_an_approval_that_is_withdrawn_has_no_reply_and_gives_its_permit_back() -> None:
    entries = batch("a", held(), epoch=2), ended("withdrawn", held()), batch("a", held(21), epoch=2)
    assert clean(*entries, ended("released", held(21))).violated() == set()
    assert clean(entries[0], entries[2], ended("released", held(), held(21))).violated() == {"I4 quota", "I7 letters"}


def test_an_approval_that_waits_is_no_fault_until_it_is_overdue() -> None:
    world = clean(batch("a", held(), epoch=2))
    world.held, world.now_ms = {held().entry_id: 0.0}, NOON_MS + 1000 + 900_000 + 60_000
    assert world.violated() == set()
    world.now_ms += 1
    assert world.violated() == {"I5 holds"}


HOLD_FAULTS: Final[dict[str, tuple[Sequence[AuditEntry | AuditSettled], set[str]]]] = {
    "told early": ((batch("a", held(), epoch=2), ended("released", held(), after_ms=899_999)), {"I5 holds"}),
    "told twice": (
        (batch("a", held(), epoch=2), ended("released", held()), ended("released", held())),
        {"I5 holds", "I5 replies"},
    ),
    "told and never held": (
        (batch("a", row(20, "h-20", owner=DORA), epoch=2), ended("released", held())),
        {"I5 holds", "I5 replies"},
    ),
    "forgotten": ((batch("a", held(), epoch=2),), {"I5 holds"}),
    "told after it was withdrawn": (
        (batch("a", held(), epoch=2), ended("withdrawn", held()), ended("released", held())),
        {"I5 holds", "I7 permits"},
    ),
}


@pytest.mark.parametrize("fault", HOLD_FAULTS)
def test_a_planted_fault_of_a_hold_is_noticed(fault: str) -> None:
    entries, expected = HOLD_FAULTS[fault]
    assert clean(*entries).violated() == expected


def test_a_reply_that_went_out_while_it_was_held_is_noticed() -> None:
    world = clean(batch("a", held(), epoch=2))
    world.held = {held().entry_id: 0.0}
    world.now_ms = NOON_MS + 2000
    world.sends.append(Send(f"{TAGS[0]}-{held().entry_id}", "approved"))
    assert world.violated() == {"I5 replies"}


ELMAN: Final = "00000000000000ee"


def permit(entry: int = 30, **other: Any) -> AuditRow:
    """An approval that is told at once."""
    return row(entry, f"p-{entry}", owner=ELMAN, **other)


def cancel(entry: int = 40, *, owner: str = ELMAN, purpose: int = 0, **other: Any) -> AuditRow:
    """An SMS with the cancel word."""
    return row(entry, f"k-{entry}", owner=owner, purpose=purpose, **other)


def told(at: int, target: AuditRow | None, *passed_over: AuditRow) -> Cancellation:
    """What the row at a place cancelled."""
    found = None if target is None else CancelledPermit(target.digest, target.arrived_ms // 1000, target.purpose, 0)
    return Cancellation(at, found, [(one.digest, one.arrived_ms // 1000) for one in passed_over])


def test_a_permit_that_its_phone_cancelled_stays_the_permit_of_its_day() -> None:
    entry = batch("acq", permit(), cancel(), permit(31), epoch=2, told=[told(1, permit())])
    assert clean(entry).violated() == set()
    assert clean(entry).checked().totals.cancelled == 1


def test_an_approval_that_its_phone_cancelled_while_it_was_held_gives_its_permit_back() -> None:
    rows = (held(), cancel(owner=DORA), held(21))
    entries = batch("aya", *rows, epoch=2, told=[told(1, held())]), ended("released", held(21))
    assert clean(*entries).violated() == set()
    assert clean(*entries).judged()["I5 holds"].checked == 2


def test_a_permit_that_was_held_and_told_is_cancelled_as_one_in_force() -> None:
    later_ms = NOON_MS + 960_000
    late = batch("c", cancel(owner=DORA, at_ms=later_ms), epoch=2, at_ms=later_ms, told=[told(0, held())])
    assert clean(batch("a", held(), epoch=2), ended("released", held()), late).violated() == set()


def test_a_permit_that_an_officer_has_changed_is_passed_over_as_the_trail_tells() -> None:
    entry = batch("aan", permit(), permit(31, purpose=1), cancel(), epoch=2, told=[told(2, None, permit())])
    assert clean(entry).violated() == {"I7 letters"}
    rows = (permit(), permit(31, purpose=1), cancel())
    assert clean(batch("aac", *rows, epoch=2, told=[told(2, rows[1], permit())])).violated() == set()
    assert clean(batch("aan", *rows, epoch=2, told=[told(2, None, *rows[:2])])).violated() == set()


def test_what_was_cancelled_of_a_trimmed_part_of_the_trail_is_taken_as_it_was() -> None:
    old_ms = NOON_MS - DAY_MS - 1000
    old = permit(at_ms=old_ms), held(at_ms=old_ms)
    cancelled = batch("cy", cancel(), cancel(41, owner=DORA), epoch=2, told=[told(0, old[0]), told(1, old[1])])
    world = clean(cancelled, batch("q", permit(31), epoch=2), known_from_ms=NOON_MS - DAY_MS)
    assert world.violated() == {"I7 permits"}
    world.records[0][TODAY - 1, bytes(4)] = b"".join(map(stored_entry, old, "ev"))
    assert world.violated() == set()
    assert world.judged()["I5 holds"].note == "1 left out: older than the trail"


def test_what_was_cancelled_before_the_trail_settled_counts_after_it() -> None:
    later_ms = NOON_MS + 1000
    settles_ms = later_ms + 500 - 4 * DAY_MS
    rows = permit(), cancel(), held(), cancel(41, owner=DORA)
    given = batch("acay", *rows, epoch=2, told=[told(1, permit()), told(3, held())])
    last = held(21, at_ms=later_ms)
    entries = (
        given,
        batch("qa", permit(31, at_ms=later_ms), last, epoch=2, at_ms=later_ms),
        ended("released", last, after_ms=901_000),
    )
    assert clean(*entries, known_from_ms=settles_ms).violated() == set()


OVER_MS: Final = NOON_MS + 4 * 3_600_000
NEWER: Final = permit(31, purpose=1, at_ms=NOON_MS + 1000)
CANCEL_FAULTS: Final[dict[str, tuple[Sequence[AuditEntry | AuditSettled], set[str]]]] = {
    "by another phone": (
        (batch("ac", permit(), cancel(sender="0002" * 4), epoch=2, told=[told(1, permit())]),),
        {"I7 letters"},
    ),
    "of another code": ((batch("ac", permit(), cancel(purpose=1), epoch=2, told=[told(1, permit())]),), {"I7 letters"}),
    "not the newest": (
        (
            batch("a", permit(), epoch=2),
            batch("ac", NEWER, cancel(), epoch=2, at_ms=NOON_MS + 1000, told=[told(1, permit())]),
        ),
        {"I7 letters"},
    ),
    "a permit that was over": (
        (batch("a", permit(), epoch=2), batch("c", cancel(), epoch=2, at_ms=OVER_MS, told=[told(0, permit())])),
        {"I7 letters"},
    ),
    "nothing, though there was a permit": (
        (batch("an", permit(), cancel(), epoch=2, told=[told(1, None)]),),
        {"I7 letters"},
    ),
    "one permit twice": (
        (batch("acc", permit(), cancel(), cancel(41), epoch=2, told=[told(1, permit()), told(2, permit())]),),
        {"I7 letters"},
    ),
    "a permit that nobody has": (
        (batch("c", cancel(), epoch=2, told=[told(0, permit())]),),
        {"I7 letters", "I7 permits"},
    ),
    "a permit in force, and its day given back": (
        (batch("aca", permit(), cancel(), permit(31), epoch=2, told=[told(1, permit())]),),
        {"I4 quota", "I7 letters"},
    ),
    "a held one, and its day not given back": (
        (batch("ayq", held(), cancel(owner=DORA), held(21), epoch=2, told=[told(1, held())]),),
        {"I7 letters"},
    ),
    "as held what was in force": (
        (batch("ay", permit(), cancel(), epoch=2, told=[told(1, permit())]),),
        {"I5 holds", "I7 letters"},
    ),
    "a held one, which was told all the same": (
        (batch("ay", held(), cancel(owner=DORA), epoch=2, told=[told(1, held())]), ended("released", held())),
        {"I5 holds", "I7 permits"},
    ),
}


@pytest.mark.parametrize("fault", CANCEL_FAULTS)
def test_a_planted_fault_of_a_cancellation_is_noticed(fault: str) -> None:
    entries, expected = CANCEL_FAULTS[fault]
    assert clean(*entries).violated() == expected


def test_a_cancelled_permit_that_its_record_still_has_in_force_is_noticed() -> None:
    world = clean(batch("ac", permit(), cancel(), epoch=2, told=[told(1, permit())]))
    world.became(world.records[0], ELMAN, permit().digest, "a")
    assert world.violated() == {"I7 permits"}


@pytest.mark.parametrize("verdict", ["refused", "approved"])
def test_a_cancellation_that_was_answered_with_another_verdict_is_noticed(verdict: Verdict) -> None:
    world = clean(batch("ac", permit(), cancel(), epoch=2, told=[told(1, permit())]))
    [at] = [at for at, send in enumerate(world.sends) if send.id == f"0a-{cancel().entry_id}"]
    world.sends[at] = msgspec.structs.replace(world.sends[at], verdict=verdict)
    assert world.violated() == {"I5 replies"}
