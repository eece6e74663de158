"""The cancel word through a lane: what was told ends, what was held is never told, nobody else's SMS does either."""

from collections.abc import AsyncIterator

import pytest

from permits import policy as policies
from permits.messages import CANCELLATIONS_DECODER, Cancellation, Reply
from permits.policy import Policy
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.ingest_door import KEYS, ROUTE
from tests.integration.lanes import HOME, ONE_PHONE, PHONE, POLICY, Floor, payload
from tests.integration.test_held_replies import MINUTE_MS, Office, opened

HERE = KEYS[HOME]
OTHER_PHONE = next(f"+9945098765{n:02d}" for n in range(100) if ROUTE.of_sender(f"+9945098765{n:02d}")[0] == HOME)


def rules(*more: bytes) -> Policy:
    keys = b"\n".join((b"late_minutes = 60", b'cancel_word = "LEGV"', *more))
    return policies.parse(ONE_PHONE.replace(b"late_minutes = 60", keys), policies.DEFAULT_FILE)


AT_ONCE = rules()
HELD = rules(b"hold_minutes = { sms = 15 }")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.lane.BLOCK_MS", 50)


@pytest.fixture
async def office(redis: Client, server: EmbeddedStore) -> AsyncIterator[Office]:
    async with opened(redis, server) as found:
        yield found


async def said(floor: Floor) -> list[tuple[str | None, str, str | None]]:
    """Of each reply the SMS, the verdict and the reason."""
    return [(reply.in_reply_to, reply.verdict, reply.reason) for reply in await floor.replies()]


async def told(floor: Floor) -> list[Cancellation]:
    """What the trail tells of cancellations."""
    found = await floor.client.execute_command("XRANGE", HERE.audit, "-", "+")
    return [one for _, fields in found if b"c" in fields for one in CANCELLATIONS_DECODER.decode(fields[b"c"])]


async def test_a_permit_in_force_is_cancelled_and_stays_the_permit_of_its_day(office: Office) -> None:
    await office.decide("2 AZE 1111111", "ləğv AZE1111111", "2 AZE 1111111 !", policy=AT_ONCE)
    assert await said(office.floor) == [
        ("sms-0", "approved", None),
        ("sms-1", "cancelled", None),
        ("sms-2", "refused", "quota"),
    ]
    reply: Reply = (await office.floor.replies())[1]
    assert (reply.to, reply.permit, reply.purpose, reply.document_tail) == (PHONE, None, None, "1111")
    assert (reply.valid_from, reply.valid_until) == (None, None)
    assert reply.text == (
        "Icaze legv edildi, sened ...1111: artiq quvvede deyil. Evden cixmaq ucun yeni icaze lazimdir."
    )


async def test_what_was_held_is_never_told_and_the_permit_of_the_day_is_free_again(office: Office) -> None:
    await office.decide("2 AZE 1111111", "LEGV 2 AZE1111111", "2 AZE 1111111 !", policy=HELD)
    assert await said(office.floor) == [("sms-1", "cancelled", None)]
    assert await office.waiting() == 1
    office.ahead_ms = 15 * MINUTE_MS + 500
    await office.loop.tell()
    assert await said(office.floor) == [("sms-1", "cancelled", None), ("sms-2", "approved", None)]
    assert await office.floor.dead() == []


async def test_a_permit_that_was_held_and_told_is_cancelled_as_one_in_force(office: Office) -> None:
    await office.decide("2 AZE 1111111", policy=HELD)
    office.ahead_ms = 15 * MINUTE_MS + 500
    await office.loop.tell()
    await office.floor.put(payload("LEGV AZE1111111", "sms-9"))
    async with office.floor.deciding(policy=lambda: HELD):
        await office.floor.settled()
    assert (await said(office.floor))[-1] == ("sms-9", "cancelled", None)
    [one] = await told(office.floor)
    assert one.permit is not None


async def test_another_phone_and_another_document_have_nothing_to_cancel(office: Office) -> None:
    await office.decide("2 AZE 1111111", policy=HELD)
    await office.floor.put(payload("LEGV AZE1111111", "sms-8", sender=OTHER_PHONE))
    await office.floor.put(payload("LEGV AZE1111111 !", "sms-9", sender=OTHER_PHONE))
    async with office.floor.deciding(policy=lambda: HELD):
        await office.floor.settled()
    assert await said(office.floor) == [(f"sms-{n}", "refused", "nothing_to_cancel") for n in (8, 9)]
    assert await office.waiting() == 1


async def test_the_same_sms_twice_is_decided_once_and_answered_once(office: Office) -> None:
    await office.decide("2 AZE 1111111", policy=AT_ONCE)
    for _ in range(2):
        await office.floor.put(payload("LEGV AZE1111111", "sms-9"))
    async with office.floor.deciding(policy=lambda: AT_ONCE):
        await office.floor.settled()
    assert [sms for sms, _, _ in await said(office.floor)] == ["sms-0", "sms-9"]
    assert (await office.floor.outcomes())["sms-9", "duplicate"] == 1


async def test_without_the_word_in_the_rules_the_text_stays_what_it_was(office: Office) -> None:
    await office.decide("2 AZE 1111111", "LEGV AZE1111111", policy=POLICY)
    assert await said(office.floor) == [("sms-0", "approved", None), ("sms-1", "refused", "malformed")]
