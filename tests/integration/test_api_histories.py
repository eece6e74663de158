"""`POST /v1/histories` on the real server: what happened to a document, told to staff, and recorded."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from permits import codes
from permits.calendar import DAY_MS, HOUR_MS
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration import officer_door
from tests.integration.api_door import DIGEST, DOCUMENT, NOON_MS, ROUTE, plant
from tests.integration.holders_door import amend, employ
from tests.integration.staff_door import RULES, Staff, serving

PARTITION, OWNER = ROUTE.of_document(DOCUMENT)
CODE = codes.encode(PARTITION, OWNER, DIGEST)
LIMITS = RULES.at(NOON_MS).limits
EARLIER_MS = NOON_MS - HOUR_MS


@pytest.fixture
async def staff(server: EmbeddedStore, redis: Client) -> AsyncIterator[Staff]:
    async with serving(server.url, redis) as found:
        yield found


async def history(staff: Staff, document: str = DOCUMENT) -> dict[str, Any]:
    return await staff.told("histories", {"document": document})


async def test_a_day_burnt_by_strangers_shows_as_such(staff: Staff, redis: Client) -> None:
    await plant(redis, letter="u", purpose=0, decided_ms=EARLIER_MS, sender=b"me")
    for number in range(3):
        at_ms = NOON_MS - 60_000 + number * 1000
        await plant(redis, letter="q", decided_ms=at_ms + 500, arrived_ms=at_ms, sender=b"s%d" % number)
    await plant(redis, letter="d", decided_ms=NOON_MS - 50_000, sender=b"me")
    told = await history(staff)
    assert [(entry["phone"], entry["verdict"], entry["reason"]) for entry in told["decisions"]] == [
        (1, "refused", "abuse_document"),
        (4, "refused", "quota"),
        (3, "refused", "quota"),
        (2, "refused", "quota"),
        (1, "refused", "unknown_code"),
    ]
    assert told["decisions"][-1]["purpose"] is None
    assert told["requests_today"] == {"used": 5, "limit": LIMITS.requests_per_document}
    assert told["phones_today"] == {"used": 4, "limit": LIMITS.senders_per_document}
    assert told["refusals_within_the_hour"] == {"used": 1, "limit": LIMITS.refusals_answered_per_hour}


async def test_a_permit_in_force_is_shown_with_the_decision_that_gave_it(staff: Staff, redis: Client) -> None:
    await plant(redis, purpose=1, decided_ms=EARLIER_MS, arrived_ms=EARLIER_MS - 2000)
    told = await history(staff)
    assert told["asked_at"] == "2026-01-01T08:00:00.000Z"
    assert told["decisions"] == [
        {
            "arrived_at": "2026-01-01T06:59:58.000Z",
            "decided_at": "2026-01-01T07:00:00.000Z",
            "day": "2026-01-01",
            "phone": 1,
            "purpose": 1,
            "verdict": "approved",
            "reason": None,
            "permit": CODE,
            "held_until": None,
        }
    ]
    assert [(permit["code"], permit["status"]) for permit in told["permits"]] == [(CODE, "active")]
    assert told["refusals_within_the_hour"]["used"] == 0


async def test_staff_see_an_approval_that_is_held_back_and_until_when(staff: Staff, redis: Client) -> None:
    await plant(redis, letter="w", purpose=1, decided_ms=NOON_MS + 600_000, arrived_ms=NOON_MS - 1000)
    told = await history(staff)
    [entry] = told["decisions"]
    assert (entry["verdict"], entry["permit"], entry["held_until"]) == ("approved", CODE, "2026-01-01T08:10:00.000Z")
    assert entry["decided_at"] == "2026-01-01T07:59:59.000Z"
    assert (told["permits"], told["refusals_within_the_hour"]["used"]) == ([], 0)


async def test_a_permit_that_is_over_is_a_decision_alone(staff: Staff, redis: Client) -> None:
    await plant(redis, purpose=1, decided_ms=EARLIER_MS)
    await amend(redis, CODE, status="cancelled", reason="false purpose")
    told = await history(staff)
    assert (told["permits"], [entry["permit"] for entry in told["decisions"]]) == ([], [CODE])


async def test_an_employers_permit_is_in_force_too(server: EmbeddedStore, staff: Staff, redis: Client) -> None:
    code = (await employ(server.url, redis)).permit.code
    told = await history(staff)
    assert ([permit["code"] for permit in told["permits"]], told["decisions"]) == ([code], [])


async def test_days_are_those_whose_limits_count(staff: Staff, redis: Client) -> None:
    await plant(redis, decided_ms=NOON_MS - DAY_MS, sender=b"aa")
    await plant(redis, decided_ms=NOON_MS, days_to_arrival=1, sender=b"bb")  # of yesterday, and late
    await plant(redis, decided_ms=NOON_MS - 13 * HOUR_MS, days_to_arrival=-1, sender=b"cc")  # its clock was ahead
    await plant(redis, decided_ms=NOON_MS + 14 * HOUR_MS, sender=b"dd")  # a worker's clock has reached tomorrow
    await plant(redis, decided_ms=NOON_MS, sender=b"aa")
    told = await history(staff)
    days = [(entry["day"][8:], entry["phone"]) for entry in told["decisions"]]
    assert days == [("02", 4), ("01", 1), ("31", 3), ("01", 2), ("31", 1)]
    assert (told["requests_today"]["used"], told["phones_today"]["used"]) == (2, 2)


async def test_a_phone_that_was_one_too_many_uses_none_of_the_phones(staff: Staff, redis: Client) -> None:
    for letter, sender in (("a", b"aa"), ("d", b"bb"), ("d", b"cc")):
        await plant(redis, letter=letter, decided_ms=NOON_MS, sender=sender)
    told = await history(staff)
    assert (told["requests_today"]["used"], told["phones_today"]["used"]) == (3, 1)


async def test_records_are_shown_as_long_as_they_are_kept(staff: Staff, redis: Client) -> None:
    for days in (RULES.keep_days, RULES.keep_days + 1):
        await plant(redis, letter="q", decided_ms=NOON_MS - days * DAY_MS)
    assert len((await history(staff))["decisions"]) == 1


async def test_what_another_document_of_the_same_field_did_is_not_told(staff: Staff, redis: Client) -> None:
    await plant(redis, decided_ms=NOON_MS, owner_tag=b"else")
    told = await history(staff)
    assert (told["decisions"], told["permits"], told["requests_today"]["used"]) == ([], [], 0)


async def test_the_refusals_of_the_last_hour_are_counted(staff: Staff, redis: Client) -> None:
    for seconds in (0, 3599, 3600):
        await plant(redis, letter="q", decided_ms=NOON_MS - seconds * 1000)
    assert (await history(staff))["refusals_within_the_hour"]["used"] == 2


async def test_the_lists_on_which_a_document_stands_are_named(staff: Staff) -> None:
    await staff.block()
    assert [place["list"] for place in (await history(staff))["lists"]] == ["infected"]


async def test_a_look_is_recorded_even_at_an_unknown_document(staff: Staff) -> None:
    told = await history(staff)
    assert (told["decisions"], told["permits"], told["lists"]) == ([], [], [])
    (act,) = await staff.acts()
    assert (act.deed, act.reason, act.owner, act.actor, act.client) == (
        "look_up",
        "history",
        OWNER.hex(),
        "anna",
        "desk",
    )


async def test_what_is_no_document_has_no_history(staff: Staff, redis: Client) -> None:
    assert (await staff.refused("histories", {"document": "AZE 1111111 1"}))[0] == 422
    assert await redis.execute_command("DBSIZE") == 0


async def test_a_limit_shown_as_used_up_is_met_by_the_next_sms(
    server: EmbeddedStore, staff: Staff, redis: Client
) -> None:
    staff.clock.now_ms = officer_door.NOON_MS  # so far ahead that the store lets no record expire
    async with officer_door.serving(server.url, redis, policy=RULES, clock=staff.clock) as desk:
        assert LIMITS.senders_per_document is not None
        for phone in range(LIMITS.senders_per_document):
            assert (await desk.decide("7 AZE 1111111", sender=f"+99450123456{phone}")).reason == "unknown_code"
            staff.clock.now_ms += HOUR_MS // 2  # or replies would fall silent
        phones = (await history(staff))["phones_today"]
        assert phones["used"] == phones["limit"]
        assert (await desk.decide("1 AZE 1111111", sender="+994507654321")).reason == "abuse_document"
        await staff.told("blocked", {"document": DOCUMENT, "list": "infected", "reason": "order 14"})
        assert (await desk.decide("1 AZE 1111111", sender="+994501234560")).reason == "blocked"
