"""`POST /v1/status` on the real server: what each decision in the day records shows, and when."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from permits import codes
from permits import policy as policies
from permits.calendar import DAY_MS, HOUR_MS, day_start_ms, local_day, rfc3339
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.api_door import DIGEST, DOCUMENT, NOON_MS, ROUTE, Clock, Http, asked, plant, serving

MINUTE_MS: Final = 60_000
ZONE: Final = "within the district and city"

TWO_REGIMES: Final = """
[documents]
series = [{ name = "ID card", prefix = "AZE", digits = [7, 8] }]

[[regimes]]
name = "first"
from = 2020-01-01T00:00:00
purposes = [{ code = 3, names = { az = "a", ru = "b", en = "c" }, honoured_days = 7 }]

[[regimes]]
name = "second"
from = 2026-01-01T00:00:00
purposes = [{ code = 3, names = { az = "a", ru = "b", en = "c" }, honoured_days = 1 }]
"""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http(server: EmbeddedStore, redis: Client, clock: Clock) -> AsyncIterator[Http]:
    assert redis
    async with serving(server.url, clock) as client:
        yield client


async def test_an_active_permit_is_shown_whole(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, purpose=1, decided_ms=NOON_MS - HOUR_MS)
    partition, owner = ROUTE.of_document(DOCUMENT)
    assert await asked(http, clock) == [
        {
            "code": codes.encode(partition, owner, DIGEST),
            "kind": "sms",
            "purpose": 1,
            "status": "active",
            "valid_from": "2026-01-01T07:00:00.000Z",
            "valid_until": "2026-01-01T10:00:00.000Z",
            "zone": ZONE,
            "reason": None,
        }
    ]


async def test_a_refusal_is_shown_with_its_reason(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, letter="q", decided_ms=NOON_MS - HOUR_MS)
    assert await asked(http, clock) == [
        {
            "code": None,
            "kind": "sms",
            "purpose": 2,
            "status": "refused",
            "valid_from": None,
            "valid_until": None,
            "zone": None,
            "reason": "quota",
        }
    ]


async def test_a_refusal_without_a_readable_code_has_no_purpose(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, letter="m", purpose=0, minutes=0, decided_ms=NOON_MS)
    (shown,) = await asked(http, clock)
    assert (shown["purpose"], shown["reason"]) == (None, "malformed")


@pytest.mark.parametrize(("past_ms", "status"), [(-1, "active"), (0, "expired"), (DAY_MS, "expired")])
async def test_a_permit_ends_at_its_last_moment(
    http: Http, redis: Client, clock: Clock, past_ms: int, status: str
) -> None:
    await plant(redis, decided_ms=NOON_MS - 3 * HOUR_MS)
    clock.now_ms = NOON_MS + past_ms
    assert [shown["status"] for shown in await asked(http, clock)] == [status]


async def test_validity_runs_from_the_decision_and_not_from_arrival(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS, arrived_ms=NOON_MS - 5 * HOUR_MS)
    (shown,) = await asked(http, clock)
    assert (shown["status"], shown["valid_from"]) == ("active", rfc3339(NOON_MS))
    assert shown["valid_until"] == rfc3339(NOON_MS + 3 * HOUR_MS)


async def test_a_permit_of_half_past_eleven_is_valid_after_midnight(http: Http, redis: Client, clock: Clock) -> None:
    midnight_ms = day_start_ms(local_day(NOON_MS))
    await plant(redis, purpose=1, decided_ms=midnight_ms - HOUR_MS // 2)
    clock.now_ms = midnight_ms + HOUR_MS // 2
    (shown,) = await asked(http, clock)
    assert (shown["status"], shown["purpose"]) == ("active", 1)
    assert shown["valid_until"] == rfc3339(midnight_ms + HOUR_MS * 5 // 2)


@pytest.mark.parametrize(("midnights", "status"), [(1, "active"), (2, "active"), (3, "expired")])
async def test_a_permit_without_end_is_honoured_for_the_days_that_policy_sets(
    http: Http, redis: Client, clock: Clock, midnights: int, status: str
) -> None:
    await plant(redis, purpose=3, minutes=0, decided_ms=NOON_MS)
    clock.now_ms = day_start_ms(local_day(NOON_MS) + midnights)
    (shown,) = await asked(http, clock)
    assert (shown["status"], shown["valid_from"], shown["valid_until"]) == (status, rfc3339(NOON_MS), None)
    clock.now_ms -= 1
    assert (await asked(http, clock))[0]["status"] == "active"


async def test_days_of_a_permit_without_end_count_from_a_late_decision(http: Http, redis: Client, clock: Clock) -> None:
    midnight_ms = day_start_ms(local_day(NOON_MS))
    await plant(redis, purpose=3, minutes=0, arrived_ms=midnight_ms - 1000, decided_ms=midnight_ms + 1000)
    clock.now_ms = midnight_ms + 3 * DAY_MS - 1
    assert (await asked(http, clock))[0]["status"] == "active"


@pytest.mark.parametrize(("midnights", "status"), [(1, "active"), (2, "expired")])
async def test_a_permit_of_a_purpose_that_policy_forgot_is_honoured_for_two_days(
    http: Http, redis: Client, clock: Clock, midnights: int, status: str
) -> None:
    await plant(redis, purpose=9, minutes=0, decided_ms=NOON_MS)
    clock.now_ms = day_start_ms(local_day(NOON_MS) + midnights)
    (shown,) = await asked(http, clock)
    assert (shown["status"], shown["zone"]) == (status, None)


async def test_the_regime_of_the_day_asked_counts_and_not_of_arrival(
    server: EmbeddedStore, redis: Client, clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(TWO_REGIMES)
    midnight_ms = day_start_ms(local_day(NOON_MS))
    await plant(redis, purpose=3, minutes=0, decided_ms=midnight_ms + 1000, days_to_arrival=1)
    await plant(redis, purpose=3, minutes=0, decided_ms=midnight_ms + 2000, days_to_arrival=0)
    await plant(redis, purpose=3, minutes=0, decided_ms=midnight_ms - 1000, days_to_arrival=-1)
    clock.now_ms = midnight_ms + DAY_MS
    async with serving(server.url, clock, policy=policies.load(file)) as http:
        assert [shown["status"] for shown in await asked(http, clock)] == ["expired", "active", "expired"]


async def test_decisions_come_newest_first(http: Http, redis: Client, clock: Clock) -> None:
    minutes_ago = [3000, 100, 90, 90, 5]
    for number, minutes in enumerate(minutes_ago):
        await plant(redis, decided_ms=NOON_MS - minutes * MINUTE_MS, digest=bytes([number]) * 6)
    # Arrived yesterday, decided last of all.
    await plant(redis, decided_ms=NOON_MS, arrived_ms=NOON_MS - DAY_MS, digest=b"\x05" * 6)
    partition, owner = ROUTE.of_document(DOCUMENT)
    expected = [codes.encode(partition, owner, bytes([number]) * 6) for number in (5, 4, 3, 2, 1, 0)]
    assert [shown["code"] for shown in await asked(http, clock)] == expected


async def test_records_show_as_far_back_as_they_are_kept(http: Http, redis: Client, clock: Clock) -> None:
    keep_days = policies.load().keep_days
    for days in range(keep_days + 2):
        await plant(redis, decided_ms=NOON_MS - days * DAY_MS, digest=bytes([days]) * 6)
    assert len(await asked(http, clock)) == keep_days + 1


async def test_another_document_in_the_same_field_is_not_shown(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS, purpose=1)
    await plant(redis, decided_ms=NOON_MS, purpose=2, owner_tag=b"else")
    assert [shown["purpose"] for shown in await asked(http, clock)] == [1]


async def test_a_document_is_found_however_it_is_written(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS)
    for text in ("aze 111-11-11", "AZE №1111111", "АЗЕ 1111111"):
        assert len(await asked(http, clock, text)) == 1


async def test_an_unknown_document_has_an_empty_list(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS)
    assert await asked(http, clock, "AZE7654321") == []


async def test_an_unknown_document_costs_the_store_the_same_work(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS)
    work: list[int] = []
    for document in (DOCUMENT, "AZE7654321"):
        await redis.execute_command("CONFIG", "RESETSTAT")
        await asked(http, clock, document)
        stats: dict[str, Any] = await redis.execute_command("INFO", "commandstats")
        work.append(stats["cmdstat_hget"]["calls"])
    assert work == [policies.load().keep_days + 1] * 2


async def test_many_questions_at_once_are_all_answered(http: Http, redis: Client, clock: Clock) -> None:
    documents = [f"AZE{number:07d}" for number in range(100)]
    for number, document in enumerate(documents):
        await plant(redis, decided_ms=NOON_MS, purpose=number % 3 + 1, document=document)
    answers = await asyncio.gather(*(asked(http, clock, document) for document in documents))
    assert [[shown["purpose"] for shown in answer] for answer in answers] == [[n % 3 + 1] for n in range(100)]
