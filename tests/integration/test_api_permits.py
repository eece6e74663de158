"""Employees' permits through the door: applied for, shown to whom they concern, listed."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from api.wires import Wires
from lua.calls import Command
from tests.integration.organisation_door import (
    DAY_MS,
    KEYRING,
    OTHER_TIN,
    PARTITIONS,
    PERMITS,
    ROUTE,
    ROW,
    SYSTEM,
    TIN,
    House,
    edited,
    house,
    statuses,
    wanted,
)

__all__ = ["house"]


# One application


async def test_an_application_makes_a_permit_that_waits_for_the_registry(house: House) -> None:
    answer = await house.apply()
    shown = await answer.json()
    assert answer.status == 201
    assert answer.headers["Location"] == f"{PERMITS}/{shown['code']}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert shown == {
        "code": shown["code"],
        "kind": "organisation",
        "status": "submitted",
        "reason": None,
        "valid_from": "2025-12-31T20:00:00.000Z",
        "valid_until": "2026-01-31T20:00:00.000Z",
        "zone": "Bakı",
        "activity": "pharmacy",
        "employee": {"fin": "1AAA11A", "document": "AZE1111111", "name": "Aysel Quliyeva", "phone": None},
    }
    seen = await house.ask("GET", answer.headers["Location"])
    assert (await seen.json(), seen.headers["ETag"]) == (shown, answer.headers["ETag"])


async def test_a_repeat_with_the_same_key_finds_the_permit_that_it_made(house: House) -> None:
    first = await house.apply(key="k")
    house.clock.now_ms += 1_000
    again = await house.apply(key="k")
    assert (again.status, again.headers["Location"]) == (201, first.headers["Location"])
    assert again.headers["ETag"] == first.headers["ETag"]
    await house.confirm((await first.json())["code"])
    late = await house.apply(key="k")
    assert (late.status, (await late.json())["status"]) == (201, "active")


async def test_the_same_again_under_another_key_is_unchanged_and_other_dates_are_a_conflict(house: House) -> None:
    code = (await house.applied(key="k1"))["code"]
    same = await house.apply(key="k2")
    assert (same.status, (await same.json())["code"]) == (200, code)
    other = await house.apply(key="k3", valid_until="2026-02-10")
    assert (other.status, other.headers["Location"]) == (409, f"{PERMITS}/{code}")
    assert code in (await other.json())["detail"]
    assert ROW["document"] not in await other.text()


async def test_a_key_belongs_to_one_request(house: House) -> None:
    await house.applied(key="k")
    assert (await house.apply(key="k", valid_until="2026-02-10")).status == 422


async def test_a_lost_answer_is_a_503_and_its_repeat_finds_the_permit(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried_out = Wires.write

    async def write(wires: Wires, *commands: Command) -> list[Any]:
        replies = await carried_out(wires, *commands)
        if commands[0][0] == "FCALL":
            raise ConnectionResetError
        return replies

    with monkeypatch.context() as broken:
        broken.setattr(Wires, "write", write)
        assert (await house.apply(key="k")).status == 503
    answer = await house.apply(key="k")
    assert answer.status == 201
    history = await (await house.ask("GET", f"{answer.headers['Location']}/history")).json()
    assert [act["deed"] for act in history["acts"]] == ["create"]


async def test_an_application_needs_a_key(house: House) -> None:
    assert (await house.apply(key="")).status == 400


async def test_all_flaws_are_told_at_once_and_none_of_the_words(house: House) -> None:
    answer = await house.apply(fin="IO", document="ZZZ-nothing", name="1234", valid_from="soon", valid_until="later")
    problem = await answer.json()
    assert answer.status == 422
    assert [error["field"] for error in problem["errors"]] == ["fin", "document", "name", "valid_from", "valid_until"]
    said = await answer.text()
    assert not any(word in said for word in ("IO", "ZZZ-nothing", "1234", "soon", "later"))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"valid_until": "2025-12-31"}, 422),
        ({"valid_until": "2026-01-01", "valid_from": "2026-01-02"}, 422),
        ({"valid_until": "2028-01-01"}, 422),
        ({"valid_from": "0001-01-01"}, 422),
        ({"valid_from": "2027-06-01", "valid_until": "2027-06-02"}, 422),
        ({"document": "AZE111"}, 422),
        ({"phone": "012"}, 400),
        ({"zone": ""}, 400),
        ({"salary": 1}, 400),
        ({"draft": "yes"}, 400),
    ],
)
async def test_a_bad_application_is_a_problem(house: House, fields: dict[str, Any], status: int) -> None:
    answer = await house.apply(**fields)
    assert answer.status == status, await answer.text()


async def test_twenty_applications_at_once_make_one_permit(house: House) -> None:
    answers = await asyncio.gather(*(house.apply(key=f"k{n}") for n in range(20)))
    assert Counter(answer.status for answer in answers) == {201: 1, 200: 19}
    assert len({(await answer.json())["code"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", b'[{"fin": "1AAA11A"}, 2]'),
        ("application/json", b"\r\n [1, 1, and what is no JSON"),
        ("text/csv", b"fin;document\n"),
        ("application/x-ndjson", b"{}\n{}\n"),
        ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK"),
    ],
)
async def test_many_rows_go_to_the_imports(house: House, media: str, body: bytes) -> None:
    headers = {"Content-Type": media}
    answer = await house.ask("POST", PERMITS, key="k", data=body, headers=headers)
    assert (answer.status, await answer.json()) == (202, {"organisation": TIN, "under": ""})
    taken = house.bulk.bodies[0]
    assert taken == body
    assert (await house.ask("POST", PERMITS, by="foreign", key="k", data=body, headers=headers)).status == 404
    assert len(house.bulk.bodies) == 1


# What others see


async def test_a_permit_of_another_organisation_looks_like_none(house: House) -> None:
    code = (await house.applied())["code"]
    await house.register(by="foreign", tin=OTHER_TIN)
    theirs = f"/v1/organisations/{OTHER_TIN}/permits"
    found = [
        await house.ask("GET", f"{theirs}/{name}", by="foreign") for name in (code, "23456789AB", "ZZZZZZZZZZ")
    ] + [await house.ask("GET", f"{PERMITS}/{code}", by="foreign")]
    assert {answer.status for answer in found} == {404}
    assert len({await answer.read() for answer in found}) == 1
    for method in ("PATCH", "DELETE"):
        answer = await house.ask(method, f"{theirs}/{code}", by="foreign", tag='"1.0.submitted"', json={})
        assert (answer.status, await answer.read()) == (404, await found[0].read())


async def test_a_code_is_read_as_people_type_it(house: House) -> None:
    code = (await house.applied())["code"]
    answer = await house.ask("GET", f"{PERMITS}/{code.lower()}")
    assert (answer.status, (await answer.json())["code"]) == (200, code)


async def test_an_employee_rests_sealed(house: House) -> None:
    await house.applied()
    partition, owner = ROUTE.of_document("AZE1111111")
    keys = PARTITIONS[partition]
    texts: list[bytes] = await house.redis.execute_command("HVALS", keys.holder(owner[:4]))
    assert texts
    for stream in (keys.outbox, keys.applications, keys.acts):
        found = [fields[b"m"] for _, fields in await house.redis.execute_command("XRANGE", stream, "-", "+")]
        assert found, stream
        texts += found
    for word in ("1AAA11A", "AZE1111111", "Aysel", "Quliyeva"):
        assert not any(word.encode() in text for text in texts)


async def test_without_its_key_a_permit_is_shown_without_its_employee(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (await house.applied())["code"]
    monkeypatch.setattr(KEYRING, "_ciphers", {})
    answer = await house.ask("GET", f"{PERMITS}/{code}")
    assert (answer.status, (await answer.json())["employee"]) == (200, None)


async def test_without_its_key_a_permit_is_still_edited(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (await house.applied())["code"]
    monkeypatch.setattr(KEYRING, "_ciphers", {})
    answer = await edited(house, code, zone="Abşeron")
    shown = await answer.json()
    assert (answer.status, shown["zone"], shown["employee"]) == (200, "Abşeron", None)


# Lists


async def filled(house: House, count: int, *, in_one_millisecond: int = 1) -> list[str]:
    """Codes of many permits, newest first, indexed."""
    codes: list[str] = []
    for n in range(count):
        (created,) = await house.employment.create(
            TIN, "Günəş MMC", [wanted(n)], actor=SYSTEM, now_ms=house.clock() + n // in_one_millisecond
        )
        assert created.standing is not None
        codes.append(created.standing.permit.code)
    await house.index()
    return codes[::-1]


async def walked(house: House, **query: str) -> list[str]:
    """Codes of all pages."""
    codes: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await (await house.ask("GET", PERMITS, params=query | cursor)).json()
        codes += [permit["code"] for permit in page["permits"]]
        if page["next"] is None:
            return codes
        cursor = {"cursor": page["next"]}


async def test_a_list_is_paged_newest_first(house: House) -> None:
    codes = await filled(house, 25)
    page = await (await house.ask("GET", PERMITS, params={"limit": "10"})).json()
    assert [permit["code"] for permit in page["permits"]] == codes[:10]
    assert page["permits"][0]["employee"]["name"] == "Employee 24"
    whole = await (await house.ask("GET", PERMITS, params={"limit": "25"})).json()
    assert (len(whole["permits"]), whole["next"]) == (25, None)
    assert await walked(house, limit="10") == codes
    assert await walked(house, limit="5") == codes
    assert await walked(house, limit="25") == codes
    assert await walked(house) == codes


async def test_permits_of_one_millisecond_are_paged_too(house: House) -> None:
    codes = await filled(house, 30, in_one_millisecond=30)
    for limit in ("1", "7", "30"):
        found = await walked(house, limit=limit)
        assert sorted(found) == sorted(codes)


async def test_a_page_after_a_permit_that_is_gone_skips_nothing(house: House) -> None:
    codes = await filled(house, 12)
    first = await (await house.ask("GET", PERMITS, params={"limit": "4"})).json()
    key = PARTITIONS[ROUTE.of_organisation(TIN)].org(TIN)
    for code in codes[2:4]:
        await house.redis.execute_command("ZREM", key, code)
    rest = await (await house.ask("GET", PERMITS, params={"limit": "20", "cursor": first["next"]})).json()
    assert [permit["code"] for permit in rest["permits"]] == codes[4:]


async def test_filters_narrow_the_list(house: House) -> None:
    codes = [(await house.applied(key=f"k{n}", document=f"AZE111222{n}", zone=z))["code"] for n, z in enumerate("AABB")]
    await house.index()
    await house.confirm(codes[0])
    await house.confirm(codes[2])
    assert await statuses(house, status="active") == ["active", "active"]
    assert await walked(house, status="active", zone="A", limit="1") == [codes[0]]
    assert sorted(await walked(house, zone="B", limit="1")) == sorted(codes[2:])
    assert await walked(house, activity="pharmacy", status="draft") == []
    house.clock.now_ms += 40 * DAY_MS
    assert await statuses(house, status="expired") == ["expired"] * 4


async def test_a_request_looks_at_a_bounded_number_of_permits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.permit_lists.MOST_SCANNED", 5)
    codes = await filled(house, 23)
    page = await (await house.ask("GET", PERMITS, params={"status": "draft"})).json()
    assert (page["permits"], page["next"] is None) == ([], False)
    assert await walked(house, status="draft") == []
    assert await walked(house, status="submitted", limit="2") == codes
    assert await walked(house, status="submitted") == codes


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "101"}, {"cursor": "7"}, {"status": "lost"}, {"zone": ""}, {"sort": "name"}]
)
async def test_a_bad_filter_is_a_problem(house: House, query: dict[str, str]) -> None:
    assert (await house.ask("GET", PERMITS, params=query)).status == 400


async def test_forgotten_permits_that_are_still_listed_are_left_out(house: House) -> None:
    codes = await filled(house, 3)
    place = house.employment.place(codes[1])
    assert place is not None
    await house.redis.execute_command("HDEL", place.hash, place.field)
    assert await walked(house, limit="1") == [codes[0], codes[2]]
