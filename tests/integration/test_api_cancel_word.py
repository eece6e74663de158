"""Permits that their own phones have cancelled, at the api: checks fail at once, and officers find them cancelled."""

from collections.abc import AsyncIterator

import pytest

from api.checks import judged
from api.holders import Holders
from api.standing import Standing
from permits import codes
from permits import policy as policies
from permits.calendar import rfc3339
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.api_door import DIGEST, DOCUMENT, PARTITIONS, ROUTE, plant
from tests.integration.api_door import NOON_MS as STAFF_NOON_MS
from tests.integration.officer_door import NOON_MS, Desk, serving
from tests.integration.staff_door import serving as staffed

PARTITION, OWNER = ROUTE.of_document(DOCUMENT)
WORD = policies.parse(
    policies.DEFAULT_FILE.read_bytes().replace(b"late_minutes = 60", b'late_minutes = 60\ncancel_word = "LEGV"'),
    policies.DEFAULT_FILE,
)
OTHER_PHONE = "+994509876543"


@pytest.fixture
async def desk(server: EmbeddedStore, redis: Client) -> AsyncIterator[Desk]:
    async with serving(server.url, redis, policy=WORD) as found:
        yield found


async def stands(desk: Desk) -> list[Standing]:
    holders = Holders(
        desk.parts.wires, partitions=PARTITIONS, route=ROUTE, policy=lambda: WORD, epochs=(), now_ms=desk.clock
    )
    return await holders.of_document((PARTITION, OWNER))


async def test_a_check_fails_from_the_cancellation_on_and_the_permit_shows_its_times(desk: Desk) -> None:
    approved = await desk.decide(f"2 {DOCUMENT}")
    assert judged(await stands(desk), None)[0] is None
    assert (await desk.decide(f"LEGV {DOCUMENT}")).verdict == "cancelled"
    found = await stands(desk)
    assert judged(found, None) == ("cancelled", None)
    [known] = found
    assert (known.permit.code, known.permit.status) == (approved.permit, "cancelled")
    assert (known.permit.valid_from, known.permit.valid_until) == (rfc3339(NOON_MS), approved.valid_until)


async def test_another_phones_sms_leaves_it_valid(desk: Desk) -> None:
    await desk.decide(f"2 {DOCUMENT}")
    assert (await desk.decide(f"LEGV {DOCUMENT}", sender=OTHER_PHONE)).reason == "nothing_to_cancel"
    assert judged(await stands(desk), None)[0] is None


async def test_an_officer_finds_it_not_in_force(desk: Desk) -> None:
    approved = await desk.decide(f"1 {DOCUMENT}")
    assert approved.permit is not None
    await desk.decide(f"LEGV 1 {DOCUMENT}")
    for status, problem in (await desk.cancel(approved.permit), await desk.extend(approved.permit)):
        assert (status, problem["title"]) == (409, "Not in force")
    assert len((await desk.named(approved.permit)).permits) == 1


async def test_what_an_officer_has_extended_is_not_the_phones_to_cancel(desk: Desk) -> None:
    approved = await desk.decide(f"1 {DOCUMENT}")
    assert approved.permit is not None
    assert (await desk.extend(approved.permit))[0] == 200
    assert (await desk.decide(f"LEGV {DOCUMENT}")).reason == "nothing_to_cancel"
    assert judged(await stands(desk), None)[0] is None


async def test_the_cancelling_sms_is_no_permit_under_any_code(desk: Desk, redis: Client) -> None:
    for letter in "cyn":
        await plant(redis, letter=letter, decided_ms=NOON_MS, digest=DIGEST)
        assert (await desk.named(codes.encode(PARTITION, OWNER, DIGEST))).permits == []


async def test_staff_see_what_the_phone_did_and_that_no_refusal_counts(server: EmbeddedStore, redis: Client) -> None:
    minute_ms = 60_000
    for at, (letter, purpose) in enumerate([("e", 2), ("c", 0), ("v", 2), ("y", 2), ("n", 0)]):
        decided_ms = STAFF_NOON_MS - (9 - at) * minute_ms
        await plant(redis, letter=letter, purpose=purpose, decided_ms=decided_ms, digest=bytes((at,)) * 6)
    async with staffed(server.url, redis) as staff:
        told = await staff.told("histories", {"document": DOCUMENT})
    code = [codes.encode(PARTITION, OWNER, bytes((at,)) * 6) for at in range(5)]
    assert [(one["verdict"], one["reason"], one["purpose"], one["permit"]) for one in told["decisions"]] == [
        ("refused", "nothing_to_cancel", None, None),
        ("cancelled", None, 2, None),
        ("approved", None, 2, code[2]),
        ("cancelled", None, None, None),
        ("approved", None, 2, code[0]),
    ]
    assert (told["permits"], told["refusals_within_the_hour"]["used"]) == ([], 1)
    assert told["requests_today"]["used"] == 5
