"""`GET /v1/me/permits` on the real server: one's own permits, all of them, and nobody else's."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from permits.calendar import DAY_MS, HOUR_MS
from permits.employees import Epoch
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.api_door import DOCUMENT, NOON_MS, Clock, Http, plant
from tests.integration.holders_door import FIN, employ, serving, token_of

OTHER = "AA1234567"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http(server: EmbeddedStore, redis: Client, clock: Clock) -> AsyncIterator[Http]:
    assert redis
    async with serving(server.url, clock) as client:
        yield client


async def mine(http: Http, clock: Clock, **claims: Any) -> list[dict[str, Any]]:
    response = await http.get("/v1/me/permits", headers=token_of(clock, "me", **claims))
    assert response.status == 200, await response.text()
    assert response.headers["Cache-Control"] == "no-store"
    return (await response.json())["permits"]


async def test_permits_of_all_own_documents_and_employers_are_shown_newest_first(
    server: EmbeddedStore, http: Http, redis: Client, clock: Clock
) -> None:
    await plant(redis, decided_ms=NOON_MS - 2 * DAY_MS)
    await plant(redis, decided_ms=NOON_MS - HOUR_MS, letter="q", digest=b"refuse")
    await plant(redis, decided_ms=NOON_MS - DAY_MS, document=OTHER, purpose=1)
    await plant(redis, decided_ms=NOON_MS, document="AZE7654321")
    await employ(server.url, redis, status="refused", reason="not an employee")
    await employ(server.url, redis, fin="7654321", document="AZE7654321")
    shown = await mine(http, clock, fin=FIN, documents=[DOCUMENT, OTHER])
    assert [(permit["kind"], permit["status"], permit["reason"]) for permit in shown] == [
        ("sms", "refused", "quota"),
        ("organisation", "refused", "not an employee"),
        ("sms", "expired", None),
        ("sms", "expired", None),
    ]


async def test_a_permit_found_by_document_and_by_person_is_shown_once(
    server: EmbeddedStore, http: Http, redis: Client, clock: Clock
) -> None:
    code = (await employ(server.url, redis)).permit.code
    for claims in ({"fin": FIN, "documents": [DOCUMENT]}, {"fin": FIN}, {"documents": [DOCUMENT]}):
        assert [permit["code"] for permit in await mine(http, clock, **claims)] == [code]


async def test_an_epoch_shows_at_once(server: EmbeddedStore, redis: Client, clock: Clock) -> None:
    await employ(server.url, redis)
    epochs: list[Epoch] = []
    async with serving(server.url, clock, epochs=epochs) as http:
        assert [permit["status"] for permit in await mine(http, clock, fin=FIN)] == ["active"]
        epochs.append(Epoch(number=1, action="deactivate", at_ms=NOON_MS, reason="lockdown", actor="a", request="r"))
        (permit,) = await mine(http, clock, fin=FIN)
        assert (permit["status"], permit["reason"]) == ("cancelled", "deactivated: lockdown")


async def test_who_is_unknown_has_an_empty_list(http: Http, clock: Clock) -> None:
    assert await mine(http, clock, fin="7654321", documents=["AZE7654321"]) == []


@pytest.mark.parametrize("claims", [{}, {"documents": ["rubbish"]}, {"fin": "no"}])
async def test_a_token_that_names_nobody_may_ask_nothing(http: Http, clock: Clock, claims: dict[str, Any]) -> None:
    response = await http.get("/v1/me/permits", headers=token_of(clock, "me", **claims))
    assert response.status == 403


async def test_nothing_else_can_be_asked(http: Http, clock: Clock) -> None:
    headers = token_of(clock, "me", fin=FIN)
    assert (await http.get("/v1/me/permits", params={"document": DOCUMENT}, headers=headers)).status == 400
    assert (await http.get("/v1/me/permits", headers=token_of(clock, "status", fin=FIN))).status == 403


async def test_a_person_may_ask_sixty_times_a_minute(http: Http, clock: Clock) -> None:
    headers = token_of(clock, "me", fin=FIN, azp="portal")
    statuses = [(await http.get("/v1/me/permits", headers=headers)).status for _ in range(61)]
    assert statuses == [200] * 60 + [429]
