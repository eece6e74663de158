"""Officers cancel and extend employees' permits: the employee is told where there is a phone, and the Ministry."""

from collections.abc import AsyncIterator

import pytest

from permits.calendar import HOUR_MS
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.api_door import DOCUMENT, PARTITIONS, ROUTE
from tests.integration.officer_door import NOON_MS, PHONE, Desk, serving

KEYS = PARTITIONS[ROUTE.of_document(DOCUMENT)[0]]
NEW_END = "2090-01-01T14:30:00.000Z"


@pytest.fixture
async def desk(server: EmbeddedStore, redis: Client) -> AsyncIterator[Desk]:
    async with serving(server.url, redis) as found:
        yield found


async def test_an_employees_cancelled_permit_is_told_to_the_employee_and_to_the_ministry(desk: Desk) -> None:
    code = (await desk.employ()).permit.code
    status, body = await desk.cancel(code)
    assert (status, body["permits"][0]["kind"], body["permits"][0]["notified"]) == (200, "organisation", True)
    standing = await desk.employed(code)
    assert (standing.permit.status, standing.permit.reason) == ("cancelled", "false purpose")
    (notice,) = await desk.notices()
    assert (notice.verdict, notice.to, notice.purpose, notice.lang) == ("cancelled", PHONE, None, "az")
    assert notice.id == f"{KEYS.tag}-n{standing.version}-{code}"
    event = (await desk.fed())[-1]
    assert (event.deed, event.status, event.version, event.reason) == (
        "cancel",
        "cancelled",
        standing.version,
        "false purpose",
    )
    (act,) = await desk.acts()
    assert (act.code, act.actor, act.client, act.deed) == (code, "officer", "desk", "cancel")
    assert await desk.cancel(code) == (status, body)
    assert (await desk.cancel(code, by="other"))[0] == 409
    assert len(await desk.notices()) == 1


async def test_an_employees_permit_is_extended_by_certificate(desk: Desk) -> None:
    code = (await desk.employ()).permit.code
    first = await desk.extend(code)
    assert first[0] == 200
    standing = await desk.employed(code)
    assert (standing.permit.status, standing.permit.until_ms) == ("transmitted", NOON_MS + 6.5 * HOUR_MS)
    assert (await desk.fed())[-1].until_ms == standing.permit.until_ms
    (notice,) = await desk.notices()
    assert (notice.verdict, notice.to, notice.valid_until) == ("extended", PHONE, NEW_END)
    assert await desk.extend(code) == first
    assert len(await desk.notices()) == 1


async def test_an_employee_without_a_phone_is_not_notified_and_a_repeat_says_so_again(desk: Desk) -> None:
    code = (await desk.employ(phone=None)).permit.code
    first = await desk.cancel(code)
    assert first[1]["permits"][0]["notified"] is False
    assert await desk.cancel(code) == first
    assert await desk.notices() == []


async def test_an_employee_whose_key_is_missing_is_not_notified_but_the_permit_is_cancelled(
    desk: Desk, redis: Client
) -> None:
    standing = await desk.employ()
    place = desk.parts.employment.place(standing.permit.code)
    assert place is not None
    record = await redis.execute_command("HGET", place.hash, place.field)
    await redis.execute_command("HSET", place.hash, place.field, record.replace(b'"employee":"k1.', b'"employee":"k9.'))
    status, body = await desk.cancel(standing.permit.code)
    assert (status, body["permits"][0]["notified"]) == (200, False)
    assert await desk.notices() == []


async def test_an_application_is_cancelled_before_the_ministry_hears_of_it(desk: Desk) -> None:
    submitted = (await desk.employ(taken=False)).permit.code
    assert (await desk.extend(submitted))[0] == 409
    assert (await desk.cancel(submitted))[0] == 200
    assert await desk.fed() == []


async def test_a_draft_is_no_permit(desk: Desk) -> None:
    draft = (await desk.employ(taken=False, draft=True)).permit.code
    assert (await desk.cancel(draft))[0] == 404


async def test_officers_see_permits_as_mass_acts_have_left_them(desk: Desk) -> None:
    code = (await desk.employ()).permit.code
    longer = {"action": "extend", "until": "2090-01-03T08:00:00Z", "reason": "decree"}
    assert (await desk.post("/v1/regime/epochs", longer, by="regime", key="a"))[0] == 201
    assert (await desk.extend(code, "2090-01-02T08:00:00Z"))[0] == 422
    desk.clock.now_ms += 24 * HOUR_MS  # past its own end
    _, body = await desk.extend(code, "2090-01-04T08:00:00Z")
    assert body["permits"][0]["valid_until"] == "2090-01-04T08:00:00.000Z"
    assert (await desk.post("/v1/regime/epochs", {"action": "deactivate", "reason": "d"}, by="regime", key="b"))[
        0
    ] == 201
    assert (await desk.extend(code, "2090-01-05T08:00:00Z"))[0] == 409
    assert (await desk.cancel(code))[0] == 409
    assert len(await desk.notices()) == 1


async def test_a_permit_that_a_mass_act_extended_keeps_that_end_when_it_is_cancelled(desk: Desk) -> None:
    code = (await desk.employ()).permit.code
    longer = {"action": "extend", "until": "2090-01-03T08:00:00Z", "reason": "decree"}
    await desk.post("/v1/regime/epochs", longer, by="regime", key="a")
    _, body = await desk.cancel(code)
    assert body["permits"][0]["valid_until"] == "2090-01-03T08:00:00.000Z"
