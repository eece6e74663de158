"""`POST /v1/status` on the real server: what is kept of a document or a person shows, and when."""

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
from tests.integration import holders_door
from tests.integration.api_door import DIGEST, DOCUMENT, NOON_MS, PARTITIONS, ROUTE, Clock, Http, asked, plant, serving
from tests.integration.holders_door import FIN, amend, ask, employ, told

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
    async with holders_door.serving(server.url, clock) as client:
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
            "employer": None,
            "decided_at": "2026-01-01T07:00:00.000Z",
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
            "employer": None,
            "decided_at": "2026-01-01T07:00:00.000Z",
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


async def test_a_permit_of_a_clock_that_is_past_midnight_already_is_known_before_it(
    http: Http, redis: Client, clock: Clock
) -> None:
    midnight_ms = day_start_ms(local_day(NOON_MS) + 1)
    await plant(redis, decided_ms=midnight_ms)
    clock.now_ms = midnight_ms - 100
    assert [shown["status"] for shown in await asked(http, clock)] == ["active"]


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
    work = [await calls(http, redis, clock, {"document": document}) for document in (DOCUMENT, "AZE7654321")]
    assert work == [{"hget": policies.load().keep_days + 2, "hgetall": 1}] * 2


async def test_many_questions_at_once_are_all_answered(http: Http, redis: Client, clock: Clock) -> None:
    documents = [f"AZE{number:07d}" for number in range(100)]
    for number, document in enumerate(documents):
        await plant(redis, decided_ms=NOON_MS, purpose=number % 3 + 1, document=document)
    answers = await asyncio.gather(*(asked(http, clock, document) for document in documents))
    assert [[shown["purpose"] for shown in answer] for answer in answers] == [[n % 3 + 1] for n in range(100)]


async def calls(http: Http, redis: Client, clock: Clock, question: dict[str, str]) -> dict[str, int]:
    """Which commands a question costs the store."""
    await redis.execute_command("CONFIG", "RESETSTAT")
    await told(http, clock, "/v1/status", question)
    stats: dict[str, Any] = await redis.execute_command("INFO", "commandstats")
    found = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
    return {name: count for name, count in found.items() if name in ("hget", "hgetall", "zrange")}


# What officers and organisations have done


async def test_an_amended_permit_shows_as_the_officer_left_it(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, purpose=1, decided_ms=NOON_MS - HOUR_MS)
    (before,) = await asked(http, clock)
    await amend(redis, before["code"], status="cancelled", reason="false purpose")
    assert await asked(http, clock) == [before | {"status": "cancelled", "reason": "false purpose"}]


async def test_an_employees_permit_is_found_by_document_and_by_personal_code(
    server: EmbeddedStore, http: Http, redis: Client, clock: Clock
) -> None:
    permit = (await employ(server.url, redis, zone="Şəki")).permit
    shown = {
        "code": permit.code,
        "kind": "organisation",
        "purpose": None,
        "status": "active",
        "valid_from": "2026-01-01T07:00:00.000Z",
        "valid_until": "2026-01-02T08:00:00.000Z",
        "zone": "Şəki",
        "reason": None,
        "employer": "Bakery",
        "decided_at": "2026-01-01T06:01:00.000Z",
    }
    assert await asked(http, clock) == [shown]
    for fin in (FIN, FIN.lower()):
        assert await told(http, clock, "/v1/status", {"fin": fin}) == {"permits": [shown]}


async def test_a_person_has_the_permits_of_all_documents_and_of_nobody_else(
    server: EmbeddedStore, http: Http, redis: Client, clock: Clock
) -> None:
    mine = {(await employ(server.url, redis, document=document)).permit.code for document in (DOCUMENT, "AA1234567")}
    await employ(server.url, redis, fin="7777777", tin="2222222222")
    await employ(server.url, redis, status="draft", document="AA7654321")
    permits = (await told(http, clock, "/v1/status", {"fin": FIN}))["permits"]
    assert {permit["code"] for permit in permits} == mine
    assert len(permits) == 2


async def test_an_index_that_is_out_of_date_shows_nobody_anothers_permit(
    server: EmbeddedStore, http: Http, redis: Client, clock: Clock
) -> None:
    code = (await employ(server.url, redis)).permit.code
    partition, person = ROUTE.of_person("7654321")
    await redis.execute_command("ZADD", PARTITIONS[partition].person(person), 1, code)
    assert await told(http, clock, "/v1/status", {"fin": "7654321"}) == {"permits": []}


async def test_an_unknown_person_costs_the_store_the_same_round_trips(
    server: EmbeddedStore, http: Http, redis: Client, clock: Clock
) -> None:
    await employ(server.url, redis)
    assert await told(http, clock, "/v1/status", {"fin": "7654321"}) == {"permits": []}
    assert await calls(http, redis, clock, {"fin": "7654321"}) == {"zrange": 1, "hgetall": 1}
    assert await calls(http, redis, clock, {"fin": FIN}) == {"zrange": 1, "hgetall": 2}


# Questions that get no answer


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ({}, 422),
        ({"document": None, "fin": None}, 422),
        ({"document": DOCUMENT, "fin": FIN}, 422),
        ({"document": DOCUMENT, "subject": ""}, 400),
        ({"document": DOCUMENT, "subject": "s" * 65}, 400),
        ({"document": "AZE9"}, 422),
        ({"fin": "9A2B3C"}, 422),
        ({"fin": "1O2B3C4"}, 422),
    ],
)
async def test_what_is_not_one_question_is_refused_and_not_repeated(
    http: Http, clock: Clock, question: dict[str, str], status: int
) -> None:
    response = await ask(http, clock, "/v1/status", question)
    assert response.status == status
    said = await response.text()
    assert not any(value and value in said for value in question.values())


async def test_one_citizen_may_ask_about_ten_documents_an_hour(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS, document="AZE0000011")

    async def status(number: int, subject: str) -> int:
        question = {"document": f"AZE{number:07d}", "subject": subject}
        return (await ask(http, clock, "/v1/status", question, client="mygov")).status

    assert [await status(number, "anna") for number in range(12)] == [200] * 10 + [429] * 2
    assert await status(11, "elnur") == 200
    response = await ask(http, clock, "/v1/status", {"document": DOCUMENT, "subject": "anna"}, client="mygov")
    assert (response.status, response.headers["Retry-After"]) == (429, "3600")
    clock.now_ms += HOUR_MS
    assert await status(11, "anna") == 200
