"""`icaze replay --dry-run`: what is judged, kept out and taken as it was, and what is said of it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

import icaze
from permits.calendar import DAY_MS
from permits.messages import AuditRow, Cancellation, CancelledPermit
from tests.unit.archived_trails import NOON_MS, RULES, Archive, row, rules

SAME = rules().version
MORE = RULES.replace("per_day = 1", "per_day = 2")


def dry_run(
    capsys: pytest.CaptureFixture[str], folder: Path, *words: str, text: str = MORE, code: int = 0
) -> dict[str, Any]:
    """The object that the command prints."""
    (folder / "other.toml").write_text(text)
    asked = ["replay", "--dry-run", "--policy", str(folder / "other.toml"), "--dir", str(folder), "--json", *words]
    assert icaze.main(asked) == code
    return msgspec.json.decode(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *words: str, text: str = MORE) -> str:
    """What the command says where it cannot begin."""
    (folder / "other.toml").write_text(text)
    asked = ["replay", "--dry-run", "--policy", str(folder / "other.toml"), "--dir", str(folder), *words]
    assert icaze.main(asked) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def change(before: str, after: str, count: int, share: float, *, purpose: int = 2) -> dict[str, Any]:
    return {"purpose": purpose, "before": before, "after": after, "count": count, "share": share}


def test_what_would_have_been_decided_otherwise_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = [row("a"), row("a"), row("a"), row("b"), row("c", code=0, fault="malformed"), row("d", code=9)]
    Archive(tmp_path).add("aqqamu", people, version="rules-11111111").store()
    Archive(tmp_path, tag="01iq").add("aq", [row("e"), row("e")], version="rules-11111111").store()
    said = dry_run(capsys, tmp_path)
    assert (said["partitions"], said["rows"], said["judged"], said["changed"]) == (2, 8, 8, 2)
    assert said["changes"] == [change("quota", "approved", 2, 0.333333)]
    totals = {total["outcome"]: (total["before"], total["after"]) for total in said["totals"]}
    assert totals == {"approved": (3, 5), "malformed": (1, 1), "unknown_code": (1, 1), "quota": (3, 1)}
    assert said["control"] == {"checked": 0, "differing": 0, "examples": []}
    assert said["rows_per_s"] > 0


def test_a_purpose_that_only_the_other_policy_knows_has_its_own_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Archive(tmp_path).add("ua", [row("a", code=3), row("b")], version="rules-11111111").store()
    said = dry_run(capsys, tmp_path, text=RULES.replace("code = 2", "code = 3"))
    assert said["changes"] == [
        change("approved", "unknown_code", 1, 1.0),
        change("unknown_code", "approved", 1, 1.0, purpose=3),
    ]


def test_the_table_says_it_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Archive(tmp_path).add("aqD", [row(), row(), row()], version="rules-11111111").store()
    (tmp_path / "other.toml").write_text(MORE)
    asked = ["replay", "--policy", str(tmp_path / "other.toml"), "--dry-run", "--dir", str(tmp_path)]
    assert icaze.main(asked) == 0
    said = capsys.readouterr().out
    assert "1 (50.00%) would have been others" in said
    told = [line.replace("│", " ").split() for line in said.splitlines()]
    assert ["2", "food", "quota", "approved", "1", "50.00%"] in told
    assert ["approved", "1", "2", "+1"] in told
    assert "kept out, as they were: 1 duplicate" in said
    assert "status list" in said
    assert "none of them was made under this very policy" in said


def test_rows_that_are_no_decisions_are_kept_out_and_count_for_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = AuditRow("7-0", "", "", 0, "", "", NOON_MS, NOON_MS, False, 0, "", "", "")
    Archive(tmp_path).add("DSMXa", [row(), row(), kept, kept, row()], version=SAME).store()
    said = dry_run(capsys, tmp_path, text=RULES)
    assert said["kept_out"] == {"duplicate": 1, "moved": 1, "shed": 1, "dead": 1}
    assert (said["rows"], said["judged"], said["changed"]) == (5, 1, 0)


def told(at: int, permit: bool = True) -> Cancellation:
    """What the row at a place cancelled: the permit of its owner."""
    return Cancellation(at, CancelledPermit("d" * 12, NOON_MS // 1000, 2, 0) if permit else None, [])


def test_cancellations_are_kept_out_and_give_back_what_they_gave_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(), row(code=0), row(), row("b"), row("b", code=0), row("b"), row("c", code=0)]
    archive = Archive(tmp_path)
    archive.add("acqayan", rows, version=SAME, told=[told(1), told(4), told(6, permit=False)]).store()
    said = dry_run(capsys, tmp_path, text=RULES)
    assert said["kept_out"] == {"cancelled": 1, "cancelled_held": 1, "nothing_to_cancel": 1}
    assert (said["judged"], said["changed"]) == (4, 0)
    assert said["control"] == {"checked": 4, "differing": 0, "examples": []}


def test_a_cancellation_counts_as_a_request_and_only_having_nothing_to_cancel_as_a_refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(), row(code=0), row(), row("b", code=0), row("b", code=0, fault="malformed")]
    archive = Archive(tmp_path)
    archive.add("acqnm", rows, version=SAME, silent="00001", told=[told(1), told(3, permit=False)]).store()
    assert dry_run(capsys, tmp_path, text=RULES)["control"]["differing"] == 0
    limited = RULES.replace("limits = {", "limits = { requests_per_document = 2,")
    assert dry_run(capsys, tmp_path, text=limited)["changes"] == [change("quota", "abuse_document", 1, 0.5)]


def test_what_was_given_back_before_the_period_is_free_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive(tmp_path).add("ay", [row(), row(code=0)], version=SAME, told=[told(1)])
    archive.add("aq", [row(), row()], version=SAME, at_ms=NOON_MS + 3_600_000).store()
    said = dry_run(capsys, tmp_path, "--from", "2026-03-10T13:00", text=RULES)
    assert (said["taken"], said["judged"], said["changed"]) == (2, 2, 0)


def test_a_cancellation_that_is_not_told_of_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Archive(tmp_path).add("ac", [row(), row(code=0)], version=SAME).store()
    assert "1 rows with the cancel word, 0 told of" in refused(capsys, tmp_path)


def test_a_blocked_document_stays_so_where_the_policy_bars_any_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Archive(tmp_path).add("kk", [row("a"), row("b")], version="rules-11111111").store()
    assert dry_run(capsys, tmp_path)["changed"] == 0
    said = dry_run(capsys, tmp_path, text=RULES.replace('barred = [{ list = "infected" }]', ""))
    assert said["changes"] == [change("blocked", "approved", 2, 1.0)]


def test_what_a_busy_phone_was_told_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Archive(tmp_path).add("ss", [row("a"), row("b")], version="rules-11111111", silent="01").store()
    limited = RULES.replace("limits = {", "limits = { documents_per_sender = 9,")
    said = dry_run(capsys, tmp_path, text=limited)
    assert (said["changed"], said["unanswered_before"], said["unanswered_after"]) == (0, 1, 1)
    assert dry_run(capsys, tmp_path)["changes"] == [change("abuse_sender", "approved", 2, 1.0)]


def test_refusals_that_go_unanswered_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(code=0, fault="malformed")] * 4
    Archive(tmp_path).add("mmmm", rows, version=SAME, silent="0111").store()
    said = dry_run(capsys, tmp_path, text=RULES.replace("per_hour = 1", "per_hour = 2"))
    assert (said["changed"], said["unanswered_before"], said["unanswered_after"]) == (0, 3, 2)


def test_the_very_same_policy_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(), row(), row(), row(phone="2222"), row(phone="3333"), row("b"), row("c")]
    Archive(tmp_path).add("aqqqdak", rows, version=f"p3-{SAME.rpartition('-')[2]}", silent="0010000").store()
    said = dry_run(capsys, tmp_path, text=RULES)
    assert said["changes"] == []
    assert said["control"] == {"checked": 7, "differing": 0, "examples": []}


@pytest.mark.parametrize(("letters", "silent"), [("aa", "00"), ("qq", "00"), ("aq", "01")])
def test_what_the_very_same_policy_does_not_repeat_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], letters: str, silent: str
) -> None:
    Archive(tmp_path).add(letters, [row(), row()], version=SAME, silent=silent).store()
    control = dry_run(capsys, tmp_path, text=RULES, code=1)["control"]
    assert (control["checked"], control["differing"]) == (2, 1)
    assert control["examples"][0].startswith("partition 0, entry 7-0, owner a: ")


def test_what_follows_from_another_policys_decisions_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first got a permit elsewhere that this policy would have refused: so the second could have one."""
    late = row(at_ms=NOON_MS - 1000)
    archive = Archive(tmp_path).add("u", [late], version="rules-11111111")
    archive.add("aa", [row(), row("b")], version=SAME).store()
    said = dry_run(capsys, tmp_path, text=RULES)
    assert said["changes"] == [
        change("approved", "quota", 1, 0.333333),
        change("unknown_code", "approved", 1, 0.333333),
    ]
    assert said["control"] == {"checked": 2, "differing": 0, "examples": []}


def test_what_was_decided_before_the_period_stays_and_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive(tmp_path)
    for hour, letters in enumerate(("uu", "aa", "qq")):
        rows = [row("a"), row("b")]
        archive.add(letters, rows, version="rules-11111111", at_ms=NOON_MS + hour * 3_600_000)
    archive.store()
    said = dry_run(capsys, tmp_path, "--from", "2026-03-10T13:00", "--until", "2026-03-10T09:59:59Z", text=RULES)
    assert (said["rows"], said["taken"], said["judged"], said["changed"]) == (4, 2, 2, 0)
    assert dry_run(capsys, tmp_path, "--from", "2026-03-10T14:00", text=RULES)["changed"] == 0
    assert dry_run(capsys, tmp_path, text=RULES)["changed"] == 4


def test_where_older_segments_are_missing_the_first_days_are_taken_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive(tmp_path, number=7).add("q", [row()], version=SAME)
    archive.add("q", [row("b")], version=SAME, at_ms=NOON_MS + 7 * DAY_MS - 1)
    late = row("c", at_ms=NOON_MS + 7 * DAY_MS)
    archive.add("a", [late], version=SAME, at_ms=NOON_MS + 7 * DAY_MS).store()
    said = dry_run(capsys, tmp_path, text=RULES)
    assert (said["taken"], said["judged"], said["changed"]) == (2, 1, 0)
    assert said["notes"] == [
        "partition 00th: older segments are missing; "
        "what was decided before 2026-03-17T08:00:00.000Z is taken as it was"
    ]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ([b"v", b"a"], "no field 'm'"),
        ([b"m", b"{", b"v", b"a"], "truncated"),
        ([b"m", b'{"partition":0,"epoch":1,"policy":"p","decided_ms":1,"rows":[]}', b"v", b"a"], "0 rows, 1 letters"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: list[bytes], says: str
) -> None:
    Archive(tmp_path).put(fields).store()
    said = refused(capsys, tmp_path)
    assert said.startswith(f"icaze replay: partition 00th, entry {NOON_MS}-0: ")
    assert says in said


def test_a_newer_releases_words_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Archive(tmp_path / "a").add("Z", [row()], version=SAME).store()
    assert "outcomes that this release does not know: Z" in refused(capsys, tmp_path, "--dir", str(tmp_path / "a"))
    Archive(tmp_path / "b").add("m", [row(fault="odd")], version=SAME).store()
    assert "'odd'" in refused(capsys, tmp_path, "--dir", str(tmp_path / "b"))


def test_a_damaged_segment_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Archive(tmp_path).add("a", [row()], version=SAME).store()
    data = bytearray(path.read_bytes())
    data[12] ^= 0xFF
    path.write_bytes(data)
    assert refused(capsys, tmp_path).startswith(f"icaze replay: {path}: the member at byte 0: ")


def test_no_archive_and_no_policy_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, tmp_path) == f"icaze replay: no archived decisions in {tmp_path}\n"
    assert "other.toml: not TOML" in refused(capsys, tmp_path, text="[")


def test_each_replay_explains_itself_and_names_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    for words, shown in ((["--help"], "icaze replay --dry-run --help"), (["--dry-run", "--help"], "--policy FILE")):
        with pytest.raises(SystemExit) as ended:
            icaze.main(["replay", *words])
        assert ended.value.code == 0
        assert shown in " ".join(capsys.readouterr().out.split())  # wrapped to the width of the terminal
