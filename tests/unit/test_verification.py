"""The checker of the promises, itself checked: a clean trail passes, and each planted fault is noticed by its name."""

from pathlib import Path
from typing import Final

import msgspec
import pytest

from permits.calendar import DAY_MS
from processor.verification.finding import EXAMPLES
from processor.verification.inputs import UnusableInputError
from processor.verification.journal import JournalLine, read_journal
from processor.verification.report import Totals
from processor.verification.sink_log import Send, read_sink_log
from processor.verification.trail import AuditEntry
from tests.unit.verification_world import BORIS, CAVID, NOON_MS, TODAY, batch, clean, ended, held, row, stored_entry


def test_a_clean_trail_passes_every_check() -> None:
    judged = clean(batch("a", held(), epoch=2), ended("released", held())).judged()
    assert {name: finding.examples for name, finding in judged.items() if finding.status != "ok"} == {}
    assert all(finding.checked for finding in judged.values())
    assert {finding.what for finding in clean().judged().values() if not finding.checked} == {"holds"}
    assert {name.split()[0] for name in judged} == {"I1", "I2", "I3", "I4", "I5", "I7", "I8"}


FAULTS: dict[str, tuple[AuditEntry, set[str]]] = {
    "two decisions of one identity": (batch("m", row(9, "b-1", owner=BORIS, purpose=0), epoch=2), {"I2 identities"}),
    "two decisions of one text": (
        batch(
            "mm",
            row(9, "t", owner=BORIS, purpose=0, by_text=True),
            row(10, "t", owner=BORIS, purpose=0, by_text=True, at_ms=NOON_MS + 120_000),
            epoch=2,
        ),
        {"I2 identities"},
    ),
    "a duplicate of nothing": (batch("D", row(9, "new", owner=CAVID), epoch=2), {"I2 duplicates"}),
    "an entry decided twice": (batch("D", row(0, "a-1"), epoch=2), {"I3 entries"}),
    "an epoch that goes back": (batch("D", row(9, "a-1"), epoch=1), {"I3 epochs"}),
    "a permit over quota": (batch("a", row(9, "a-9"), epoch=2), {"I4 quota"}),
    "a permit under no purpose": (batch("a", row(9, "a-9", purpose=7), epoch=2), {"I4 quota"}),
    "an owner in two partitions": (batch("a", row(9, "c-2", owner=CAVID, purpose=1), epoch=2), {"I4 owners"}),
    "one SMS decided in two partitions": (
        batch("m", row(9, "c-1", owner=BORIS, purpose=0), epoch=2),
        {"I1 one place"},
    ),
    "a moved entry that never arrived": (batch("M", row(9, "far", owner=""), epoch=2), {"I1 moved"}),
    "a quota refusal without a permit": (batch("q", row(9, "d-1", owner="dd" * 8), epoch=2), {"I7 letters"}),
    "a shed message of a record with room": (batch("S", row(9, "d-1", owner="dd" * 8), epoch=2), {"I7 letters"}),
    "an answer kept back without cause": (
        batch("m", row(9, "d-1", owner="dd" * 8, purpose=0), epoch=2, silent="1"),
        {"I7 letters"},
    ),
    "an answer that was one too many": (
        batch("m" * 6, *(row(9 + n, f"d-{n}", owner="dd" * 8, purpose=0) for n in range(6)), epoch=2),
        {"I7 letters"},
    ),
    "a sixth phone that was let in": (
        batch(
            "aaaaaa",
            *(row(9 + n, f"d-{n}", owner="dd" * 8, purpose=1, sender=f"{n:04x}" * 4) for n in range(6)),
            epoch=2,
        ),
        {"I7 letters"},
    ),
    "an unknown outcome": (batch("?", row(9, "a-9"), epoch=2), {"I8 rows"}),
}
ALSO_DECIDED_OTHERWISE = {
    "two decisions of one identity",
    "two decisions of one text",
    "a duplicate of nothing",
    "a permit over quota",
    "an unknown outcome",
}
"""A model that follows the rules must disagree with these as well."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_in_the_trail_is_noticed_by_its_own_check(fault: str) -> None:
    entry, expected = FAULTS[fault]
    assert clean(entry).violated() == expected | ({"I7 letters"} if fault in ALSO_DECIDED_OTHERWISE else set())


def test_the_rules_alone_are_judged_where_the_trail_holds_another_policys_decisions() -> None:
    world = clean(batch("a", row(9, "a-9"), epoch=2, version="other-1"))
    judged = world.judged()
    assert world.violated() == set()
    for name in ("I4 quota", "I7 letters"):
        assert judged[name].status == "not checked"
        assert "decided under policy other-1" in judged[name].note
    assert judged["I7 permits"].status == "ok"


DORA: Final = "00000000000000dd"


def test_an_id_that_was_only_moved_counts_as_lost() -> None:
    world = clean(batch("M", row(9, "far", owner=""), epoch=2))
    world.journal.append(JournalLine("far", acked_ms=NOON_MS))
    assert world.violated() == {"I1 loss", "I1 moved"}
    assert "'far'" in world.judged()["I1 loss"].examples[0]


def test_rejected_ids_are_not_missed_and_repeated_ids_count_once() -> None:
    world = clean()
    world.journal += [JournalLine("never", rejected="no text"), JournalLine("a-1", acked_ms=NOON_MS)]
    assert world.violated() == set()
    assert world.judged()["I1 loss"].checked == len({line.id for line in world.journal} - {"never"})


def test_an_unacknowledged_sms_may_have_its_decision() -> None:
    world = clean()
    world.journal.clear()
    assert world.violated() == set()


def test_an_id_reused_with_other_words_is_another_sms() -> None:
    assert clean(batch("q", row(9, "a-1", words="other"), epoch=2)).violated() == set()


def test_the_same_text_after_two_minutes_is_another_sms() -> None:
    first = row(9, "t", owner=BORIS, purpose=0, by_text=True)
    later = row(10, "t", owner=BORIS, purpose=0, by_text=True, at_ms=NOON_MS + 121_000)
    assert clean(batch("mm", first, later, epoch=2)).violated() == set()


def test_a_new_day_brings_a_new_permit() -> None:
    tomorrow_ms = NOON_MS + DAY_MS
    assert clean(batch("a", row(9, "a-9", at_ms=tomorrow_ms), epoch=2, at_ms=tomorrow_ms)).violated() == set()


def test_a_message_past_a_full_record_may_be_shed() -> None:
    rows = [row(100 + n, f"s-{n}", owner=BORIS, purpose=0) for n in range(250)]
    silent = "0" * 4 + "1" * 245 + "0"  # the fifth refusal of the hour is the last that is answered
    assert clean(batch("m" * 249 + "S", *rows, epoch=2, silent=silent)).violated() == set()


def test_a_second_send_marked_ambiguous_is_allowed() -> None:
    world = clean()
    world.sends.append(msgspec.structs.replace(world.sends[0], ambiguous=True))
    assert world.violated() == set()


def test_a_reply_in_the_dead_letters_needs_no_send() -> None:
    world = clean()
    world.dead = {world.sends.pop(0).id}
    assert world.violated() == set()


def test_without_journal_and_sink_nothing_is_said_to_be_ok() -> None:
    world = clean()
    world.with_journal = world.with_sink = False
    judged = world.judged()
    assert judged["I1 loss"].status == judged["I5 replies"].status == judged["I5 notices"].status == "not checked"
    assert world.violated() == set()


def test_the_totals_are_the_rows_by_what_became_of_them() -> None:
    checks = clean(batch("S", row(9, "s-1", owner=BORIS), epoch=2)).checked()
    assert checks.totals == Totals(decided=5, approved=3, refused=2, cancelled=0, dead=1, duplicate=1, shed=1, moved=1)
    assert checks.rows == 9


def test_only_the_first_examples_are_kept_and_all_are_counted() -> None:
    world = clean()
    world.journal += [JournalLine(f"lost-{n}", acked_ms=NOON_MS) for n in range(25)]
    loss = world.judged()["I1 loss"]
    assert (loss.violations, len(loss.examples)) == (25, EXAMPLES)


def test_what_came_before_the_rest_of_a_trimmed_trail_is_left_out_and_said() -> None:
    month_ms = NOON_MS - 30 * DAY_MS
    world = clean(known_from_ms=NOON_MS - 7 * DAY_MS)
    world.journal.append(JournalLine("old", acked_ms=month_ms))
    world.sends.append(Send(f"0a-{month_ms}-0", "approved"))
    world.records[0][TODAY - 30, bytes(4)] = stored_entry(row(0, "old", at_ms=month_ms), "a")
    world.rest[0].counts[TODAY - 30] = {"a2": 1}
    judged = world.judged()
    assert world.violated() == set()
    for name in ("I1 loss", "I5 replies", "I7 permits", "I8 counters"):
        assert judged[name].note == "1 left out: older than the trail"


def test_decisions_that_rest_on_a_trimmed_part_are_replayed_but_not_judged() -> None:
    world = clean(batch("Dq", row(9, "old"), row(10, "d-1", owner="dd" * 8), epoch=2), known_from_ms=NOON_MS - DAY_MS)
    assert world.violated() == set()
    assert world.judged()["I2 duplicates"].note == "1 left out: older than the trail"
    late = clean(
        batch("Dq", row(9, "old"), row(10, "d-1", owner="dd" * 8), epoch=2), known_from_ms=NOON_MS - 5 * DAY_MS
    )
    assert late.violated() == {"I2 duplicates", "I7 letters"}


@pytest.mark.parametrize(
    "line", ['{"id": "a"}', '{"id": 7, "acked_ms": 1}', '{"acked_ms": 1}', "not json", "[]", "\xff"]
)
def test_a_bad_journal_line_is_named_by_file_and_number(line: str, tmp_path: Path) -> None:
    file = tmp_path / "journal.ndjson"
    file.write_text(f'{{"id": "a", "acked_ms": 1}}\n\n{line}\n', encoding="latin-1")
    with pytest.raises(UnusableInputError, match=r"journal\.ndjson, line 3: "):
        list(read_journal(file))


@pytest.mark.parametrize("line", ['{"id": "0a-1-1"}', '{"id": "0a-1-1", "verdict": "perhaps"}', '{"id": "0a-1-1",'])
def test_a_bad_sink_line_is_named_by_file_and_number(line: str, tmp_path: Path) -> None:
    file = tmp_path / "sink.ndjson"
    file.write_text(line)
    with pytest.raises(UnusableInputError, match=r"sink\.ndjson, line 1: "):
        list(read_sink_log(file))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableInputError, match=r"nowhere: No such file"):
        list(read_journal(tmp_path / "nowhere"))
