"""Delegation: granted and revoked under seal, used in one's own name, within its powers and until its end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from permits.organisations import MOST_DELEGATIONS
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.organisation_door import DAY_MS, KEYRING, PARTITIONS, ROUTE, TIN, House, serving

PATH = f"/v1/organisations/{TIN}/delegates"
PERMITS = f"/v1/organisations/{TIN}/permits"
ASKED: dict[str, Any] = {"fin": "6def45g", "name": "Rəşad Məmmədov", "powers": ["apply", "read"], "until": "2026-06-30"}


@pytest.fixture
async def house(server: EmbeddedStore, redis: Client) -> AsyncIterator[House]:
    async with serving(server.url, redis) as found:
        await found.register()
        yield found


async def test_a_delegation_is_granted_and_listed(house: House) -> None:
    answer = await house.ask("POST", PATH, key="one", json=ASKED)
    granted = await answer.json()
    assert (answer.status, answer.headers["Location"]) == (201, f"{PATH}/{granted['id']}")
    assert granted == {
        "id": granted["id"],
        "person": {"fin": "6DEF45G", "name": "Rəşad Məmmədov"},
        "powers": ["read", "apply"],
        "granted_at": "2026-01-01T08:00:00.000Z",
        "granted_by": "seal",
        "until": "2026-06-30T20:00:00.000Z",
        "revoked_at": None,
    }
    assert await (await house.ask("GET", PATH)).json() == {"delegates": [granted]}


async def test_a_repeat_grants_nothing_more_and_another_body_is_refused(house: House) -> None:
    first = await house.ask("POST", PATH, key="one", json=ASKED)
    again = await house.ask("POST", PATH, key="one", json=ASKED)
    assert (again.status, await again.read()) == (201, await first.read())
    assert (await house.ask("POST", PATH, key="one", json=ASKED | {"powers": ["cancel"]})).status == 422
    assert len((await (await house.ask("GET", PATH)).json())["delegates"]) == 1


async def test_grants_at_once_are_all_kept(house: House) -> None:
    answers = await asyncio.gather(*(house.ask("POST", PATH, key=f"k{n}", json=ASKED) for n in range(5)))
    assert {answer.status for answer in answers} == {201}
    assert len((await (await house.ask("GET", PATH)).json())["delegates"]) == 5


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"fin": "6OOO45G"}, 422),
        ({"name": "12"}, 422),
        ({"name": "Rəşad\nMəmmədov"}, 422),
        ({"name": "Rəşad\u202e"}, 422),
        ({"until": "2025-12-31"}, 422),
        ({"until": "2030-01-01"}, 422),
        ({"until": "soon"}, 422),
        ({"powers": []}, 400),
        ({"powers": ["everything"]}, 400),
    ],
)
async def test_a_bad_grant_is_a_problem(house: House, fields: dict[str, Any], status: int) -> None:
    answer = await house.ask("POST", PATH, key="one", json=ASKED | fields)
    problem = await answer.json()
    assert answer.status == status, problem
    if status == 422:
        assert [error["field"] for error in problem["errors"]] == list(fields)


async def test_all_flaws_of_a_grant_are_told_and_none_of_its_words(house: House) -> None:
    bad = ASKED | {"fin": "6OOO45G", "name": "1212", "until": "yesterday"}
    answer = await house.ask("POST", PATH, key="one", json=bad)
    said = await answer.text()
    assert [error["field"] for error in (await answer.json())["errors"]] == ["fin", "name", "until"]
    assert not any(word in said for word in ("6OOO45G", "1212", "yesterday"))


async def test_granting_needs_a_key_the_seal_and_a_strong_log_in(house: House) -> None:
    assert (await house.ask("POST", PATH, json=ASKED)).status == 400
    assert (await house.ask("POST", PATH, by="weak", key="one", json=ASKED)).status == 401
    assert (await house.ask("POST", PATH, by="colleague", key="one", json=ASKED)).status == 404
    await house.grant("read", "apply", "edit", "cancel")
    assert (await house.ask("POST", PATH, by="delegate", key="one", json=ASKED)).status == 403
    assert (await house.ask("GET", PATH, by="delegate")).status == 403


async def test_a_delegate_acts_within_their_powers_in_their_own_name(house: House) -> None:
    delegation = await house.grant("apply")
    answer = await house.apply(by="delegate")
    assert answer.status == 201
    shown = await answer.json()
    assert shown["employee"] is None
    for method, path in (("GET", PERMITS), ("GET", f"{PERMITS}/{shown['code']}")):
        assert (await house.ask(method, path, by="delegate")).status == 403
    refused = await house.ask("DELETE", f"{PERMITS}/{shown['code']}", by="delegate", tag=answer.headers["ETag"])
    assert refused.status == 403
    history = await (await house.ask("GET", f"{PERMITS}/{shown['code']}/history")).json()
    assert [(act["deed"], act["actor"], act["under"]) for act in history["acts"]] == [
        ("create", "delegate", delegation)
    ]


async def test_a_delegation_ends_at_its_end(house: House) -> None:
    await house.grant("read", until="2026-01-02")
    assert (await house.ask("GET", PERMITS, by="delegate")).status == 200
    house.clock.now_ms += 2 * DAY_MS
    assert (await house.ask("GET", PERMITS, by="delegate")).status == 404


async def test_a_revoked_delegate_may_nothing_from_then_on(house: House) -> None:
    delegation = await house.grant("read")
    assert (await house.ask("DELETE", f"{PATH}/{delegation}", by="weak")).status == 401
    assert (await house.ask("GET", f"/v1/organisations/{TIN}", by="delegate")).status == 200
    house.clock.now_ms += 1_000
    revoked = await house.ask("DELETE", f"{PATH}/{delegation}")
    assert (revoked.status, (await revoked.json())["revoked_at"]) == (200, "2026-01-01T08:00:01.000Z")
    assert (await house.ask("GET", PERMITS, by="delegate")).status == 404
    house.clock.now_ms += 1_000
    again = await house.ask("DELETE", f"{PATH}/{delegation}")
    assert await again.read() == await revoked.read()


async def test_an_unknown_delegation_is_not_there(house: House) -> None:
    assert (await house.ask("DELETE", f"{PATH}/0123456789abcdef")).status == 404
    assert (await house.ask("DELETE", f"{PATH}/other")).status == 404


async def test_delegates_rest_sealed(house: House) -> None:
    await house.grant("read")
    record: bytes = await house.redis.execute_command("HGET", PARTITIONS[ROUTE.of_organisation(TIN)].organisations, TIN)
    assert b"6DEF45G" not in record
    assert "Rəşad".encode() not in record


async def test_without_its_key_a_delegation_is_still_listed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.grant("read")
    monkeypatch.setattr(KEYRING, "_ciphers", {})
    (shown,) = (await (await house.ask("GET", PATH)).json())["delegates"]
    assert shown["person"] is None


async def test_the_delegations_of_an_organisation_are_bounded(house: House) -> None:
    for n in range(MOST_DELEGATIONS):
        await house.grant("read", key=f"k{n}")
    assert (await house.ask("POST", PATH, key="more", json=ASKED)).status == 409
    first = (await (await house.ask("GET", PATH)).json())["delegates"][0]["id"]
    await house.ask("DELETE", f"{PATH}/{first}")
    await house.grant("read", key="more")
    standing = (await (await house.ask("GET", PATH)).json())["delegates"]
    assert len(standing) == MOST_DELEGATIONS
    assert first not in {delegation["id"] for delegation in standing}
