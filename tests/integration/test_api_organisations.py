"""Registration of an organisation, and who may see it."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from permits.employees import AuditAct
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.organisation_door import OTHER_TIN, PARTITIONS, ROUTE, TIN, House, serving

ASKED = {"tin": TIN, "name": "Günəş MMC", "activity": "trade"}


@pytest.fixture
async def house(server: EmbeddedStore, redis: Client) -> AsyncIterator[House]:
    async with serving(server.url, redis) as found:
        yield found


async def test_an_organisation_is_registered_by_whose_certificate_seals_for_it(house: House) -> None:
    answer = await house.ask("POST", "/v1/organisations", json=ASKED)
    assert (answer.status, answer.headers["Location"]) == (201, f"/v1/organisations/{TIN}")
    assert answer.headers["Cache-Control"] == "no-store"
    shown = await answer.json()
    assert shown == {**ASKED, "registered_at": "2026-01-01T08:00:00.000Z"}
    seen = await house.ask("GET", f"/v1/organisations/{TIN}")
    assert (seen.status, seen.headers["ETag"]) == (200, answer.headers["ETag"])
    assert await seen.json() == shown
    unchanged = await house.ask("GET", f"/v1/organisations/{TIN}", headers={"If-None-Match": seen.headers["ETag"]})
    assert unchanged.status == 304


async def test_registering_again_changes_nothing(house: House) -> None:
    first = await house.ask("POST", "/v1/organisations", json=ASKED)
    house.clock.now_ms += 5_000
    again = await house.ask("POST", "/v1/organisations", json=ASKED)
    assert (again.status, again.headers["ETag"]) == (200, first.headers["ETag"])
    assert await again.json() == await first.json()


async def test_another_name_or_another_person_is_a_conflict(house: House) -> None:
    await house.register()
    other_name = await house.ask("POST", "/v1/organisations", json={"tin": TIN, "name": "Ay MMC"})
    other_person = await house.ask("POST", "/v1/organisations", by="colleague", json={"tin": TIN, "name": "Günəş MMC"})
    assert (other_name.status, other_person.status) == (409, 409)


async def test_of_many_who_register_at_once_one_does(house: House) -> None:
    by = ["seal", "colleague"] * 5
    answers = await asyncio.gather(*(house.ask("POST", "/v1/organisations", by=who, json=ASKED) for who in by))
    assert sorted(answer.status for answer in answers) == [200] * 4 + [201] + [409] * 5


@pytest.mark.parametrize(("by", "status"), [("foreign", 403), ("delegate", 403), ("nobody", 403), ("police", 403)])
async def test_who_does_not_hold_the_seal_registers_nothing(house: House, by: str, status: int) -> None:
    answer = await house.ask("POST", "/v1/organisations", by=by, json=ASKED)
    assert answer.status == status
    assert (await house.ask("GET", f"/v1/organisations/{TIN}")).status == 404


async def test_a_weak_log_in_is_asked_for_a_stronger_one(house: House) -> None:
    answer = await house.ask("POST", "/v1/organisations", by="weak", json=ASKED)
    assert answer.status == 401
    assert 'error="insufficient_user_authentication"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"tin": "123"}, 400),
        ({"name": "x"}, 400),
        ({"name": "1234"}, 422),
        ({"name": "Günəş\u0000MMC"}, 422),
        ({"name": "Günəş\nMMC"}, 422),
        ({"activity": ""}, 400),
        ({"activity": "bakery\0"}, 422),
        ({"activity": "bakery\n\u202e"}, 422),
        ({"seal": "5ABC12D"}, 400),
    ],
)
async def test_a_bad_registration_is_a_problem(house: House, fields: dict[str, str], status: int) -> None:
    answer = await house.ask("POST", "/v1/organisations", json=ASKED | fields)
    assert answer.status == status, await answer.text()


@pytest.mark.parametrize("by", ["foreign", "colleague", "delegate", "nobody"])
async def test_a_foreign_organisation_looks_like_none(house: House, by: str) -> None:
    await house.register()
    bodies: list[bytes] = []
    for path in (
        f"/v1/organisations/{TIN}",
        "/v1/organisations/0000000000",
        f"/v1/organisations/{TIN}/permits",
        f"/v1/organisations/{TIN}/permits/23456789AB",
        f"/v1/organisations/{TIN}/permits/23456789AB/history",
        f"/v1/organisations/{TIN}/delegates",
        "/v1/organisations/0000000000/delegates",
    ):
        answer = await house.ask("GET", path, by=by)
        assert answer.status == 404
        bodies.append(await answer.read())
    assert set(bodies) == {bodies[0]}


async def test_the_record_names_no_person_and_the_act_its_maker(house: House) -> None:
    await house.register()
    keys = PARTITIONS[ROUTE.of_organisation(TIN)]
    record: bytes = await house.redis.execute_command("HGET", keys.organisations, TIN)
    assert b"5ABC12D" not in record
    ((_, fields),) = await house.redis.execute_command("XRANGE", keys.acts, "-", "+")
    act = msgspec.json.decode(fields[b"m"], type=AuditAct)
    assert (act.deed, act.actor, act.tin, act.method) == ("register", "seal", TIN, "asan_imza")
    assert len(act.trace) == 55


async def test_each_organisation_stands_for_itself(house: House) -> None:
    await house.register()
    await house.register(by="foreign", tin=OTHER_TIN)
    assert (await house.ask("GET", f"/v1/organisations/{OTHER_TIN}", by="foreign")).status == 200
    assert (await house.ask("GET", f"/v1/organisations/{OTHER_TIN}")).status == 404
