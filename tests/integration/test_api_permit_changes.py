"""Employees' permits changed through the door: edited, submitted, deleted, and reactivated after a mass act."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from permits.employees import RETENTION_MS
from permits.organisations import Power
from tests.integration.organisation_door import (
    DAY_MS,
    PARTITIONS,
    PERMITS,
    ROUTE,
    ROW,
    House,
    edited,
    house,
    outbox,
    statuses,
    tag_of,
)

__all__ = ["house"]


# Edits


async def test_an_edit_of_a_granted_permit_goes_to_the_ministry(house: House) -> None:
    code = (await house.applied())["code"]
    await house.confirm(code)
    answer = await edited(house, code, valid_until="2026-02-20", zone=None)
    shown = await answer.json()
    assert answer.status == 200
    assert (shown["valid_until"], shown["zone"], shown["status"]) == ("2026-02-20T20:00:00.000Z", None, "active")
    assert shown["activity"] == "pharmacy"
    assert answer.headers["ETag"] == await tag_of(house, code)
    assert [(event.deed, event.number) for event in await outbox(house.redis)] == [
        ("create", 0),
        ("confirm", 1),
        ("edit", 2),
    ]


async def test_an_edit_needs_the_version_that_stands(house: House) -> None:
    code = (await house.applied())["code"]
    tag = await tag_of(house, code)
    path = f"{PERMITS}/{code}"
    assert (await house.ask("PATCH", path, json={"zone": "Abşeron"})).status == 428
    assert (await house.ask("PATCH", path, tag=tag, json={"zone": "Abşeron"})).status == 200
    assert (await house.ask("PATCH", path, tag=tag, json={"zone": "Sumqayıt"})).status == 412
    assert (await house.ask("DELETE", path, tag=tag)).status == 412
    assert (await house.ask("DELETE", path)).status == 428


async def test_of_two_edits_at_once_one_wins(house: House) -> None:
    code = (await house.applied())["code"]
    tag = await tag_of(house, code)
    answers = await asyncio.gather(
        *(house.ask("PATCH", f"{PERMITS}/{code}", tag=tag, json={"zone": f"zone {n}"}) for n in range(10))
    )
    assert Counter(answer.status for answer in answers) == {200: 1, 412: 9}


async def test_an_edit_that_changes_nothing_leaves_no_trace(house: House) -> None:
    code = (await house.applied())["code"]
    tag = await tag_of(house, code)
    for fields in ({}, {"zone": "Bakı"}, {"valid_from": ROW["valid_from"], "valid_until": ROW["valid_until"]}):
        answer = await edited(house, code, **fields)
        assert (answer.status, answer.headers["ETag"]) == (200, tag)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"valid_until": "2025-12-31"}, 422),
        ({"valid_until": "2030-12-31"}, 422),
        ({"valid_from": "2026-03-01"}, 422),
        ({"valid_from": "x", "valid_until": "y"}, 422),
        ({"zone": ""}, 400),
        ({"zone": "Bakı\0"}, 422),
        ({"zone": "Bakı\nGəncə"}, 422),
        ({"activity": "pharmacy\u202e"}, 422),
        ({"valid_from": None}, 400),
        ({"status": "active"}, 400),
        ({"document": "AZE2222222"}, 400),
    ],
)
async def test_a_bad_edit_is_a_problem(house: House, fields: dict[str, Any], status: int) -> None:
    code = (await house.applied())["code"]
    answer = await edited(house, code, **fields)
    assert answer.status == status, await answer.text()


async def test_what_is_over_cannot_be_edited_or_deleted(house: House) -> None:
    code = (await house.applied())["code"]
    house.clock.now_ms += 40 * DAY_MS
    assert (await edited(house, code, zone="Abşeron")).status == 409
    assert (await house.ask("DELETE", f"{PERMITS}/{code}", tag=await tag_of(house, code))).status == 409
    for step in ("submit", "reactivate"):
        assert (await house.ask("POST", f"{PERMITS}/{code}/{step}")).status == 409


async def test_a_tag_ends_with_the_status_that_it_saw(house: House) -> None:
    code = (await house.applied(valid_from="2026-01-05"))["code"]
    await house.confirm(code)
    tag = await tag_of(house, code)
    house.clock.now_ms += 10 * DAY_MS
    answer = await house.ask("GET", f"{PERMITS}/{code}", headers={"If-None-Match": tag})
    assert (answer.status, (await answer.json())["status"]) == (200, "active")
    assert (await house.ask("DELETE", f"{PERMITS}/{code}", tag=tag)).status == 412


# Submission, deletion


async def test_a_draft_goes_to_the_registry_once_it_is_submitted(house: House) -> None:
    answer = await house.apply(draft=True)
    code = (await answer.json())["code"]
    keys = PARTITIONS[ROUTE.of_document("AZE1111111")[0]]
    assert (await answer.json())["status"] == "draft"
    assert await house.redis.execute_command("XLEN", keys.applications) == 0
    for _ in range(2):
        submitted = await house.ask("POST", f"{PERMITS}/{code}/submit")
        assert (submitted.status, (await submitted.json())["status"]) == (200, "submitted")
    assert await house.redis.execute_command("XLEN", keys.applications) == 1


async def test_a_draft_from_before_a_mass_act_is_not_its_business(house: House) -> None:
    code = (await house.applied(draft=True))["code"]
    house.proclaim("deactivate")
    submitted = await house.ask("POST", f"{PERMITS}/{code}/submit")
    assert (await submitted.json())["status"] == "submitted"


async def test_a_deleted_permit_is_cancelled_and_makes_way_for_another(house: House) -> None:
    code = (await house.applied(key="k1"))["code"]
    await house.confirm(code)
    answer = await house.ask("DELETE", f"{PERMITS}/{code}", tag=await tag_of(house, code))
    shown = await answer.json()
    assert (answer.status, shown["status"], shown["reason"]) == (200, "cancelled", "deleted by its organisation")
    assert (await outbox(house.redis))[-1].deed == "delete"
    another = await house.apply(key="k2")
    assert (another.status, (await another.json())["code"] == code) == (201, False)
    house.clock.now_ms += RETENTION_MS // 2
    assert (await house.ask("GET", f"{PERMITS}/{code}")).status == 200


# Mass acts


async def test_a_mass_act_shows_at_once_and_the_employer_reactivates(house: House) -> None:
    code = (await house.applied())["code"]
    await house.confirm(code)
    await house.index()
    old_tag = await tag_of(house, code)
    house.clock.now_ms += 1_000
    house.proclaim("deactivate")
    assert await statuses(house) == ["cancelled"]
    assert (await house.ask("PATCH", f"{PERMITS}/{code}", tag=old_tag, json={"zone": "x"})).status == 412
    assert (await edited(house, code, zone="Abşeron")).status == 409
    assert (await house.ask("POST", f"{PERMITS}/{code}/submit")).status == 409
    house.clock.now_ms += 1_000
    for _ in range(2):
        answer = await house.ask("POST", f"{PERMITS}/{code}/reactivate")
        assert (answer.status, (await answer.json())["status"]) == (200, "submitted")
    await house.confirm(code)
    assert await statuses(house) == ["active"]
    history = await (await house.ask("GET", f"{PERMITS}/{code}/history")).json()
    assert [(act["deed"], act["actor"], act["status"]) for act in history["acts"]] == [
        ("create", "seal", "submitted"),
        ("confirm", "registry", "confirmed"),
        ("transmit", "registry", "transmitted"),
        ("proclaim", "regime", None),
        ("reactivate", "seal", "submitted"),
        ("confirm", "registry", "confirmed"),
        ("transmit", "registry", "transmitted"),
    ]
    assert history["acts"][3]["reason"] == "all deactivated: decree 7"


async def test_an_application_for_a_deactivated_employee_reactivates_the_permit(house: House) -> None:
    code = (await house.applied(key="k1"))["code"]
    await house.confirm(code)
    house.proclaim("deactivate")
    answer = await house.apply(key="k2", valid_until="2026-03-01")
    shown = await answer.json()
    assert (answer.status, shown["code"], shown["status"]) == (201, code, "submitted")
    assert shown["valid_until"] == "2026-03-01T20:00:00.000Z"


@pytest.mark.parametrize(("power", "status"), [("apply", 200), ("edit", 200), ("cancel", 403)])
async def test_who_may_apply_may_bring_back_what_a_mass_act_ended(house: House, power: Power, status: int) -> None:
    code = (await house.applied())["code"]
    under = await house.grant(power)
    house.proclaim("deactivate")
    answer = await house.ask("POST", f"{PERMITS}/{code}/reactivate", by="delegate")
    assert answer.status == status
    assert ((await house.standing(code)).permit.acts[-1].under == under) == (status == 200)


async def test_an_edit_after_a_mass_extension_holds(house: House) -> None:
    code = (await house.applied())["code"]
    await house.confirm(code)
    house.proclaim("extend", until_ms=house.clock() + 90 * DAY_MS)
    extended = await (await house.ask("GET", f"{PERMITS}/{code}")).json()
    assert extended["valid_until"] == "2026-04-01T08:00:00.000Z"
    kept = await (await edited(house, code, zone="Abşeron")).json()
    assert kept["valid_until"] == extended["valid_until"]
    shortened = await (await edited(house, code, valid_until="2026-02-01")).json()
    assert shortened["valid_until"] == "2026-02-01T20:00:00.000Z"
    assert await (await house.ask("GET", f"{PERMITS}/{code}")).json() == shortened


async def test_a_cancelled_permit_cannot_be_reactivated(house: House) -> None:
    code = (await house.applied())["code"]
    await house.ask("DELETE", f"{PERMITS}/{code}", tag=await tag_of(house, code))
    house.proclaim("deactivate")
    assert (await house.ask("POST", f"{PERMITS}/{code}/reactivate")).status == 409


async def test_what_would_have_ended_meanwhile_cannot_be_reactivated(house: House) -> None:
    code = (await house.applied())["code"]
    house.proclaim("deactivate")
    house.clock.now_ms += 40 * DAY_MS
    assert (await house.ask("POST", f"{PERMITS}/{code}/reactivate")).status == 409
