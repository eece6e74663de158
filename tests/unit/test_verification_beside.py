"""Faults planted beside the trail: in records, counters, replies, what was sent, acts and dead letters."""

from collections.abc import Callable

import msgspec
import pytest

from permits.calendar import DAY_MS
from processor.verification.buried import DeadLetters
from processor.verification.journal import JournalLine
from processor.verification.sink_log import Send
from tests.unit.verification_world import CODE, NOON_MS, NOTICE, TODAY, World, clean, row, stored_entry


def lose_an_id(world: World) -> None:
    world.journal.append(JournalLine("lost-1", acked_ms=NOON_MS))


def forget_a_reply(world: World) -> None:
    del world.sends[0]


def leave_a_reply_waiting(world: World) -> None:
    world.waiting = {world.sends.pop(0).id}


def repeat_a_send(world: World) -> None:
    world.sends.append(world.sends[0])


def answer_the_undecided(world: World) -> None:
    world.sends.append(Send(f"0a-{NOON_MS}-77", "refused"))


def answer_a_duplicate(world: World) -> None:
    world.sends.append(Send(f"0a-{NOON_MS}-3", "approved"))


def answer_a_stranger(world: World) -> None:
    world.sends.append(Send("9z-1-1", "refused"))


def turn_a_verdict(world: World) -> None:
    world.sends[0] = msgspec.structs.replace(world.sends[0], verdict="refused")


def change_a_counter(world: World) -> None:
    world.rest[0].counts[TODAY]["a2"] += 1


def invent_a_counter(world: World) -> None:
    world.rest[1].counts[TODAY - 1] = {"m0": 1}


def miscount_the_unanswered(world: World) -> None:
    world.rest[0].counts[TODAY]["unanswered"] = 1


def lose_the_counters(world: World) -> None:
    del world.rest[0].counts[TODAY]


def invent_a_permit(world: World) -> None:
    world.records[0][TODAY, bytes(4)] += stored_entry(row(9, "unknown"), "a")


def repeat_a_permit(world: World) -> None:
    world.records[0][TODAY, bytes(4)] += stored_entry(row(0, "a-1"), "a")


def lose_a_permit(world: World) -> None:
    world.records[1].clear()


def cut_a_record(world: World) -> None:
    world.records[1][TODAY - 1, b"abcd"] = b"short"


def leave_undecided(world: World) -> None:
    world.rest[0] = msgspec.structs.replace(world.rest[0], undecided=1, appended=7)


def leave_pending(world: World) -> None:
    world.rest[0] = msgspec.structs.replace(world.rest[0], pending=1)


def leave_unread(world: World) -> None:
    world.rest[0] = msgspec.structs.replace(world.rest[0], unread_replies=True)


def remove_without_a_row(world: World) -> None:
    world.rest[0] = msgspec.structs.replace(world.rest[0], appended=7)


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        (lose_an_id, "I1 loss"),
        (forget_a_reply, "I5 replies"),
        (leave_a_reply_waiting, "I5 replies"),
        (repeat_a_send, "I5 replies"),
        (answer_the_undecided, "I5 replies"),
        (answer_a_duplicate, "I5 replies"),
        (answer_a_stranger, "I5 replies"),
        (turn_a_verdict, "I5 replies"),
        (change_a_counter, "I8 counters"),
        (invent_a_counter, "I8 counters"),
        (miscount_the_unanswered, "I8 counters"),
        (lose_the_counters, "I8 counters"),
        (invent_a_permit, "I7 permits"),
        (repeat_a_permit, "I7 permits"),
        (lose_a_permit, "I7 permits"),
        (cut_a_record, "I7 permits"),
        (leave_undecided, "I8 at rest"),
        (leave_pending, "I8 at rest"),
        (leave_unread, "I8 at rest"),
        (remove_without_a_row, "I8 rows"),
    ],
)
def test_a_planted_fault_beside_the_trail_is_noticed_by_its_own_check(
    plant: Callable[[World], None], expected: str
) -> None:
    world = clean()
    plant(world)
    assert world.violated() == {expected}


def leave_no_act(world: World) -> None:
    world.acts.remove((CODE, "cancel"))


def act_otherwise(world: World) -> None:
    world.acts[1] = (CODE, "extend")


def act_on_another_permit(world: World) -> None:
    world.acts[1] = ("23456789AC", "cancel")


def call_a_notice_an_approval(world: World) -> None:
    world.sends[-2] = msgspec.structs.replace(NOTICE, verdict="approved")


def repeat_a_notice(world: World) -> None:
    world.sends.append(NOTICE)


@pytest.mark.parametrize(
    "plant", [leave_no_act, act_otherwise, act_on_another_permit, call_a_notice_an_approval, repeat_a_notice]
)
def test_a_planted_fault_among_notices_is_noticed(plant: Callable[[World], None]) -> None:
    world = clean()
    plant(world)
    assert world.violated() == {"I5 notices"}


def test_a_notice_in_an_unknown_partition_or_of_no_code_names_no_entry() -> None:
    for name in (f"9z-n2-{CODE}", "0a-n2-23456789A", "0a-n2-2345678901", f"0a-n-{CODE}", f"0a-2-{CODE}"):
        world = clean()
        world.sends.append(Send(name, "cancelled"))
        assert world.violated() == {"I5 replies"}, name


def test_a_decision_that_was_answered_with_a_notices_verdict_is_noticed() -> None:
    world = clean()
    world.sends[0] = msgspec.structs.replace(world.sends[0], verdict="cancelled")
    assert world.violated() == {"I5 replies"}


def test_a_second_send_of_a_notice_marked_ambiguous_is_allowed() -> None:
    world = clean()
    world.sends.append(msgspec.structs.replace(NOTICE, ambiguous=True))
    assert world.violated() == set()


def test_a_notice_whose_act_may_have_been_trimmed_is_left_out_and_said() -> None:
    world = clean()
    leave_no_act(world)
    world.acts_from_ms = NOON_MS - 3_600_000
    assert world.violated() == set()
    assert world.judged()["I5 notices"].note == "1 left out: older than the trail"
    world.acts_from_ms = NOON_MS - 2 * DAY_MS
    assert world.violated() == {"I5 notices"}


@pytest.mark.parametrize(
    "letters",
    [
        DeadLetters(added=1, standing=0, inbound=0, acted=1, inbound_acted=1),
        DeadLetters(added=3, standing=2, inbound=1, acted=1, inbound_acted=0),
    ],
)
def test_a_letter_that_was_put_back_or_dropped_is_accounted_for_by_its_act(letters: DeadLetters) -> None:
    world = clean()
    world.letters = letters
    assert world.violated() == set()


@pytest.mark.parametrize(
    "letters",
    [
        DeadLetters(added=0, standing=0, inbound=0, acted=0, inbound_acted=0),
        DeadLetters(added=1, standing=1, inbound=0, acted=0, inbound_acted=0),
        DeadLetters(added=2, standing=1, inbound=1, acted=1, inbound_acted=1),
    ],
)
def test_a_dead_entry_without_its_letter_is_noticed(letters: DeadLetters) -> None:
    world = clean()
    world.letters = letters
    assert world.violated() == {"I8 dead letters"}


def test_letters_that_age_has_taken_are_left_out() -> None:
    world = clean()
    world.letters = DeadLetters(added=2, standing=0, inbound=0, acted=1, inbound_acted=0)
    assert world.judged()["I8 dead letters"].note == "1 left out: older than the trail"
