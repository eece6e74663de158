"""From entries to one call of `decide`: what is settled by form, what is left to the rules, and for which days."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from lua.calls import MESSAGE_BYTES, Batch
from permits import policy as policies
from permits.calendar import DAY_MS, HOUR_MS, day_name, day_start_ms
from permits.messages import AUDIT_DECODER, DEAD_DECODER, ENCODER, INBOUND_DECODER, REPLY_DECODER
from permits.outcomes import REFUSALS
from runtime.sealing import opened_letter
from tests.day_keys import sealed
from tests.unit.prepared import (
    DAY_KEYS,
    ELSEWHERE,
    HOME,
    NOW_MS,
    ROUTE,
    TODAY,
    approved,
    home_sender,
    joined,
    letters,
    numbered,
    payload,
    prepare,
    preparer,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("salam", "malformed"),
        ("2", "malformed"),
        ("9 AZE 1111111", "unknown_code"),
        ("2 AZE 111111", "bad_document"),
        ("1 2 AZE 1111111", "ambiguous"),
        ("", "malformed"),
        ("9" * 65_536, "malformed"),
    ],
)
def test_a_fault_of_form_is_a_refusal_before_the_rules_are_asked(text: str, reason: Any) -> None:
    batch = prepare(payload(text))
    assert letters(batch) == REFUSALS[reason]
    assert len(batch.texts) == 1


def test_a_well_formed_request_is_left_to_the_rules_with_both_answers_ready() -> None:
    batch = prepare(payload("2 AZE 1111111"))
    assert letters(batch) == "?"
    [start] = batch.texts
    approval = REPLY_DECODER.decode(approved(batch))
    assert (approval.verdict, approval.document_tail, approval.valid_until) == (
        "approved",
        "1111",
        "2026-01-01T11:00:00.000Z",
    )
    before, after = batch.frames[0]
    refusal = REPLY_DECODER.decode(joined(start, before, "1111", after))
    assert (refusal.verdict, refusal.reason, refusal.permit) == ("refused", "quota", None)
    assert refusal.expires_at == "2026-01-02T08:00:00.000Z"


def test_first_last_count_and_rows_agree_with_the_entries() -> None:
    batch = prepare(payload("2 AZE 1111111"), None, payload("salam"), payload(ELSEWHERE))
    assert (batch.first_id, batch.last_id, batch.count) == (b"1767254399000-0", b"1767254399000-3", 4)
    assert letters(batch) == "?XmM"
    assert len(batch.messages) == 4 * MESSAGE_BYTES
    assert len(batch.texts) == 1 + 1 + 1 + 0
    audit = AUDIT_DECODER.decode(batch.audit)
    assert [row.entry_id for row in audit.rows] == [f"1767254399000-{at}" for at in range(4)]
    assert (audit.epoch, audit.partition, audit.decided_ms) == (7, HOME, NOW_MS)


def test_an_entry_of_another_partition_goes_there_as_it_stood() -> None:
    raw = payload(ELSEWHERE)
    prepared = preparer().prepare(numbered(raw), epoch="7", now_ms=NOW_MS)
    assert prepared.moves == [(1 - HOME, raw)]
    assert letters(prepared.batch) == "M"


def test_an_unreadable_entry_is_a_dead_letter_with_its_content_under_the_key_of_the_day() -> None:
    batch = prepare(b'{"text": "\xff\0"}')
    assert letters(batch) == "X"
    letter = DEAD_DECODER.decode(joined(batch.texts[0]))
    assert (letter.kind, letter.entry_id, letter.dead_ms) == ("inbound", "1767254399000-0", NOW_MS)
    assert letter.day == "20260101"
    assert opened_letter(DAY_KEYS, letter).raw == '{"text": "\\xff\0"}'
    assert letter.reason.startswith("not an inbound SMS: ")


def test_a_letter_of_what_ingest_has_sealed_holds_nothing_else_in_clear() -> None:
    sms = INBOUND_DECODER.decode(payload("2 AZE 1111111"))
    entry = sealed(DAY_KEYS.of("20251231"), sms)
    strange = ENCODER.encode({**msgspec.to_builtins(entry), "sealed": "tampered", "text": "2 AZE 1111111"})
    letter = DEAD_DECODER.decode(joined(prepare(strange).texts[0]))
    assert letter.reason == "not sealed by the key of 20251231 for this place"
    assert letter.raw.encode() == ENCODER.encode(msgspec.structs.replace(entry, sealed="tampered"))


def test_an_unfit_batch_is_dead_letters_whatever_it_says() -> None:
    batch = prepare(payload("2 AZE 1111111"), payload("salam"), unfit="the store refused its decision: WRONGTYPE")
    assert letters(batch) == "XX"
    assert all(b"the store refused its decision" in joined(text) for text in batch.texts)


def test_days_are_consecutive_and_reach_from_two_before_the_oldest_to_the_newest() -> None:
    old_ms = NOW_MS - 2 * DAY_MS
    batch = prepare(payload("2 AZE 1111111", arrived_ms=old_ms), payload("2 AZE 1111111"))
    assert list(batch.days) == [day_name(day) for day in range(TODAY - 4, TODAY + 1)]
    assert [batch.messages[at + 26] for at in (0, MESSAGE_BYTES)] == [2, 0]


def test_a_request_received_two_days_ago_looks_at_the_day_before_that_too() -> None:
    batch = prepare(payload("2 AZE 1111111", received_ms=NOW_MS - 1000 - 2 * DAY_MS))
    assert batch.days[0] == day_name(TODAY - 3)


def test_an_sms_that_arrived_ahead_of_our_clock_across_midnight_has_its_day() -> None:
    midnight_ms = day_start_ms(TODAY + 1)
    prepared = preparer().prepare(
        numbered(payload("2 AZE 1111111", arrived_ms=midnight_ms + 1000)), epoch="7", now_ms=midnight_ms - 1000
    )
    assert prepared.batch.days[-1] == day_name(TODAY + 1)


def test_records_expire_after_the_days_that_the_policy_needs() -> None:
    batch = prepare(payload("2 AZE 1111111"))
    keep = policies.load().keep_days
    for day, expiry_s in zip(range(TODAY - 2, TODAY + 1), batch.day_expiries_s, strict=True):
        assert 0 <= expiry_s - day_start_ms(day + 1 + keep) // 1000 < 3600


def test_equal_requests_share_rules_and_frames() -> None:
    batch = prepare(*(payload("2 AZE 1111111", id=str(n)) for n in range(500)))
    assert (len(batch.rules), len(batch.frames)) == (1, 5)
    assert len(batch.texts) == 500


def test_the_rules_of_the_moment_of_receipt_hold(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    names = '{ az = "a", ru = "a", en = "a" }'
    file.write_text(
        '[documents]\nforeign_length = [6, 9]\n[[documents.series]]\nname = "ID"\nprefix = "AZE"\ndigits = [7]\n'
        f'[[regimes]]\nname = "old"\nfrom = 2020-01-01T00:00:00\n'
        f"[[regimes.purposes]]\ncode = 2\nnames = {names}\nminutes = 120\n"
        '[[regimes]]\nname = "off"\nfrom = 2026-01-01T00:00:00\noff = true\n'
    )
    policy = policies.load(file)
    now = payload("2 AZE 1111111")
    before = payload("2 AZE 1111111", received_ms=day_start_ms(TODAY) - 1)
    assert letters(prepare(before, now, policy=policy)) == "?" + REFUSALS["regime_off"]


def test_a_gateway_s_clock_ahead_does_not_bring_the_rules_of_tomorrow() -> None:
    text = policies.DEFAULT_FILE.read_text()
    later = '[[regimes]]\nname = "off"\nfrom = 2026-01-01T12:00:30\noff = true\n'
    policy = policies.parse((text + later).encode(), policies.DEFAULT_FILE)
    ahead = payload("2 AZE 1111111", arrived_ms=NOW_MS, received_ms=NOW_MS + 60_000)
    both = payload("2 AZE 1111111", arrived_ms=NOW_MS + 60_000, received_ms=NOW_MS + 60_000)
    assert letters(prepare(ahead, both, policy=policy)) == "?" + REFUSALS["regime_off"]


@pytest.mark.parametrize("sms_id", ['"', "\\", "\0", "é\n", "x" * 65_536, "\U0001f600"])
def test_an_odd_id_does_not_break_the_reply(sms_id: str) -> None:
    assert REPLY_DECODER.decode(approved(prepare(payload("2 AZE 1111111", id=sms_id)))).in_reply_to == sms_id


def test_the_oldest_arrival_is_told() -> None:
    prepared = preparer().prepare(
        numbered(payload("salam"), payload("salam", arrived_ms=NOW_MS - 9000)), epoch="7", now_ms=NOW_MS
    )
    assert prepared.oldest_ms == NOW_MS - 9000


def test_an_audit_row_is_the_text_with_its_document_made_nobodys() -> None:
    chip = next(f"AA{n}" for n in range(1000000, 1000100) if ROUTE.of_document(f"AA{n}")[0] == HOME)
    passport = next(f"AB12C{n}" for n in range(1000, 1100) if ROUTE.of_document(f"AB12C{n}")[0] == HOME)
    texts = ("2 AZE 1111111", f"77 {chip}", "salam", f"1 {passport}")
    rows = [AUDIT_DECODER.decode(prepare(payload(text)).audit).rows[0] for text in texts]
    assert [(row.asked, row.shape, row.fault) for row in rows] == [
        (2, "AZE9999999", ""),
        (77, "AA9999999", ""),
        (0, "", "malformed"),
        (1, "AB99A9999", ""),
    ]
    assert {row.sender for row in rows} == {ROUTE.of_sender(home_sender())[1].hex()}
    assert rows[2].owner == rows[2].sender


def test_audit_rows_hold_no_document_and_no_phone() -> None:
    audit = prepare(payload("2 AZE 1111111")).audit
    assert b"1111111" not in bytes(audit)
    assert home_sender()[1:].encode() not in bytes(audit)
    assert msgspec.json.decode(audit)


def test_what_a_clock_ahead_filed_under_tomorrow_is_looked_up() -> None:
    almost_midnight_ms = day_start_ms(TODAY + 1) - 30_000
    entry = (b"1-0", payload("2 AZE 1111111", arrived_ms=almost_midnight_ms - 1000))
    batch = preparer().prepare([entry], epoch="7", now_ms=almost_midnight_ms).batch
    assert batch.days[-1] == day_name(TODAY + 1)


def test_a_batch_ends_before_its_frames_cannot_be_numbered(tmp_path: Path) -> None:
    purposes = "".join(
        f"[[regimes.purposes]]\ncode = {code}\nnames = {{ az = 'a', ru = 'b', en = 'c' }}\nminutes = 60\nper_day = 1\n"
        for code in range(1, 256)
    )
    path = tmp_path / "many.toml"
    path.write_text(
        "[documents]\nseries = [{ name = 'ID', prefix = 'AZE', digits = [7] }]\n"
        "[[regimes]]\nname = 'many'\nfrom = 2020-01-01T00:00:00\n" + purposes
    )
    entries = numbered(
        *(payload(f"{code} AZE 1111111 {word}") for code in range(1, 256) for word in ("", "пожалуйста"))
    )
    batch = preparer(policies.load(path)).prepare(entries, epoch="7", now_ms=NOW_MS).batch
    assert (batch.count, len(batch.frames)) == (50, 250)
    assert batch.last_id == entries[batch.count - 1][0]


def test_the_last_sms_of_a_full_batch_may_still_turn_to_something_else(tmp_path: Path) -> None:
    text = policies.DEFAULT_FILE.read_text().split("[[regimes.purposes]]")[0]
    text = text.replace("late_minutes = 60", 'late_minutes = 60\ncancel_word = "LEGV"')
    text += "".join(
        f"[[regimes.purposes]]\ncode = {code}\nnames = {{ az = 'a', ru = 'b', en = 'c' }}\nminutes = 60\nper_day = 1\n"
        for code in range(1, 256)
    )
    path = tmp_path / "many.toml"
    path.write_text(text)
    refused = ("salam", "привет", "hello", "2 AZE 11111", "1 2 AZE 1111111")  # a frame each, so that it comes out even
    texts = (f"{code} AZE 1111111 LEGV" for code in range(1, 256))  # judged as requests first: seven each
    entries = numbered(*map(payload, (*refused, *texts)))
    batch = preparer(policies.load(path)).prepare(entries, epoch="7", now_ms=NOW_MS).batch
    assert (batch.count, len(batch.frames)) == (40, 250)


def told(batch: Batch, at: int) -> tuple[object, ...]:
    """What the message at a place comes to, with what it names by its place in the batch written out."""
    start = at * MESSAGE_BYTES
    code, letter, _, rule, frame, by_text, hour = batch.messages[start + 24 : start + 31]
    frames = 0 if not frame else 1 if letter != ord("?") else 3 if batch.messages[start + 35] else 5
    return (
        batch.messages[start : start + 24],
        code,
        letter,
        batch.rules[rule - 1] if rule else None,
        batch.frames[frame - 1 : frame - 1 + frames],
        by_text,
        batch.hours[hour - 1] if hour else None,
        batch.messages[start + 31 : start + MESSAGE_BYTES],
    )


def test_sms_come_to_the_same_together_as_each_by_itself() -> None:
    keys = "hold_minutes = { app = 5 }\ncurfew = { from = 22:00:00, until = 11:59:00 }\nlate_minutes"
    text = policies.DEFAULT_FILE.read_text().replace("late_minutes", keys, 1)
    rules = policies.parse(text.encode(), policies.DEFAULT_FILE)
    texts = (
        "2 AZE 1111111",
        "2 aze 11111111",
        "3 AZE 1111111",
        "9 AZE 1111111",
        "salam",
        "привет",
        "2 AZE 111111",
        "1 2",
    )
    payloads = [
        payload(text, arrived_ms=NOW_MS - back_ms, channel=channel)
        for text in texts
        for back_ms in (0, 2 * 60_000, HOUR_MS, HOUR_MS + 1, 13 * HOUR_MS)
        for channel in (msgspec.UNSET, "app")
    ]
    entries = numbered(*payloads)
    together = preparer(rules).prepare(entries, epoch="7", now_ms=NOW_MS).batch
    alone = [preparer(rules).prepare([entry], epoch="7", now_ms=NOW_MS).batch for entry in entries]
    assert [told(together, at) for at in range(len(entries))] == [told(batch, 0) for batch in alone]
    assert len(set(letters(together))) > 4


def test_what_ingest_has_sealed_comes_to_the_same_as_what_stands_in_clear() -> None:
    clear = [payload(text, id=f"agg-{at}") for at, text in enumerate(("2 AZE 1111111", "salam", "9 AZE 1111111"))]
    kept = [ENCODER.encode(sealed(DAY_KEYS.at(NOW_MS), INBOUND_DECODER.decode(one), ROUTE)) for one in clear]
    as_clear, as_sealed = prepare(*clear), prepare(*kept)
    assert as_sealed == as_clear
    assert [row.sms_id for row in AUDIT_DECODER.decode(as_sealed.audit).rows] == ["agg-0", "agg-1", "agg-2"]
