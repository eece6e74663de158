"""The cancel word in a call of `decide`."""

from permits import policy as policies
from permits.calendar import HOUR_MS, day_name, day_start_ms
from permits.messages import REPLY_DECODER
from permits.policy import Policy
from runtime.keyring import SEALED_SENDER_BYTES
from tests.unit.prepared import NOW_MS, TODAY, around, joined, letters, owner_and_digest, payload, prepare


def cancelling(more: str = "") -> Policy:
    text = policies.DEFAULT_FILE.read_text().replace(
        "late_minutes = 60", f'late_minutes = 60\ncancel_word = "LEGV"\n{more}'
    )
    return policies.parse(text.encode(), policies.DEFAULT_FILE)


def test_a_text_with_the_cancel_word_asks_to_cancel_with_both_answers_ready() -> None:
    batch = prepare(payload("LEGV AZE1111111"), payload("2 AZE 1111111"), policy=cancelling())
    assert letters(batch) == "!?"
    start, since = batch.texts[:2]
    assert isinstance(since, bytes)
    assert len(since) == 8
    first = batch.messages[28] - 1
    told = [REPLY_DECODER.decode(joined(start, *around("1111", frame))) for frame in batch.frames[first : first + 2]]
    assert [(reply.verdict, reply.reason, reply.permit, reply.purpose) for reply in told] == [
        ("cancelled", None, None, None),
        ("refused", "nothing_to_cancel", None, None),
    ]
    assert all("1111" in reply.text for reply in told)
    assert batch.holders == [owner_and_digest(batch, 0)[0][:4]]
    assert len(batch.seals) == SEALED_SENDER_BYTES


def test_without_a_cancel_word_or_a_document_a_text_stays_what_it_was() -> None:
    assert letters(prepare(payload("LEGV AZE1111111"), payload("LEGV 2 AZE1111111"))) == "m?"
    texts = ("LEGV", "LEGV 9 AZE1111111", "LEGV 1 2 AZE1111111", "LEGV AZE11111")
    assert letters(prepare(*map(payload, texts), policy=cancelling())) == "muxb"


def test_the_word_of_the_moment_of_receipt_holds() -> None:
    later = policies.DEFAULT_FILE.read_text().split("[[regimes]]")[1]
    text = (
        policies.DEFAULT_FILE.read_text()
        + "[[regimes]]"
        + later.replace('"founding"', '"later"')
        .replace("2020-01-01T00:00:00", "2026-01-01T12:00:00")
        .replace("late_minutes = 60", 'late_minutes = 60\ncancel_word = "LEGV"')
    )
    policy = policies.parse(text.encode(), policies.DEFAULT_FILE)
    at_ms = NOW_MS - 1
    batch = prepare(
        payload("LEGV AZE1111111", arrived_ms=at_ms), payload("LEGV AZE1111111", arrived_ms=NOW_MS), policy=policy
    )
    assert letters(batch) == "m!"


def test_an_sms_that_cancels_looks_at_all_records_that_stand() -> None:
    batch = prepare(payload("LEGV 3 AZE1111111"), policy=cancelling())
    keep = policies.load().keep_days
    assert batch.days[0] == day_name(TODAY - keep)
    since = batch.texts[1]
    assert isinstance(since, bytes)
    honoured = next(p.honoured_days for p in policies.load().at(NOW_MS).purposes if p.code == 3)
    assert int.from_bytes(since[:4]) == day_start_ms(TODAY - keep) // 1000
    assert int.from_bytes(since[4:]) == day_start_ms(TODAY + 1 - honoured) // 1000


def test_a_late_sms_cancels_all_the_same() -> None:
    late = payload("LEGV 2 AZE1111111", arrived_ms=NOW_MS - 2 * HOUR_MS)
    assert letters(prepare(late, policy=cancelling())) == "!"
