"""`/v1/blocked` on the real server: documents put on lists, looked up and taken off, every act recorded."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.limits import Bounds
from lua.blocked import Listing
from permits.employees import AuditAct
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.api_door import DOCUMENT, NOON_MS, PARTITIONS, ROUTE
from tests.integration.staff_door import RULES, Staff, serving

NOW_S = NOON_MS // 1000
INFECTED, ABUSE = RULES.lists["infected"], RULES.lists["abuse"]
PARTITION, OWNER = ROUTE.of_document(DOCUMENT)
KEYS = PARTITIONS[PARTITION]
REMOVE = {"document": DOCUMENT, "list": "infected", "reason": "recovered"}
PLACE = {"list": "infected", "from": "2026-01-01T08:00:00.000Z", "until": None}


@pytest.fixture
async def staff(server: EmbeddedStore, redis: Client) -> AsyncIterator[Staff]:
    async with serving(server.url, redis) as found:
        yield found


def said(act: AuditAct) -> dict[str, Any]:
    """Of an act what it says of the document, once who and when are as they must be."""
    assert (act.at_ms, act.actor, act.client) == (NOON_MS, "anna", "desk")
    assert act.trace.startswith("00-")
    assert act.owner == OWNER.hex()
    return {"deed": act.deed, "list": act.list, "reason": act.reason, "from": act.from_ms, "until": act.until_ms}


async def test_a_document_is_put_on_a_list_from_now_on(staff: Staff) -> None:
    assert await staff.block() == {"changed": True, "place": PLACE}
    assert await staff.stands() == [Listing(INFECTED, NOW_S, 0)]
    (act,) = await staff.acts()
    assert said(act) == {"deed": "block", "list": "infected", "reason": "order 14", "from": NOON_MS, "until": 0}


async def test_a_repeat_changes_nothing_and_is_recorded_as_a_look(staff: Staff) -> None:
    await staff.block()
    staff.clock.now_ms += 60_000
    assert await staff.block() == {"changed": False, "place": PLACE}
    assert [(act.deed, act.reason) for act in await staff.acts()] == [
        ("block", "order 14"),
        ("look_up", "block: changed nothing"),
    ]


@pytest.mark.parametrize("document", ["aze 1111111", "АЗЕ №1111111", "AZE-111 11 11"])
async def test_a_document_may_be_written_as_people_write_it(staff: Staff, document: str) -> None:
    await staff.block(document=document)
    assert await staff.stands() == [Listing(INFECTED, NOW_S, 0)]


@pytest.mark.parametrize(
    ("times", "from_s", "until_s"),
    [
        ({"until": "2026-01-15T08:00:00Z"}, NOW_S, NOW_S + 14 * 86_400),
        ({"until": "2026-01-01"}, NOW_S, NOW_S + 12 * 3600),
        ({"from": "2026-01-02", "until": "2026-01-02"}, NOW_S + 12 * 3600, NOW_S + 36 * 3600),
        ({"from": "2025-12-24"}, NOW_S, 0),
        ({"from": "2026-01-01T08:00:00.900Z", "until": "2026-01-01T08:00:00.950Z"}, NOW_S, NOW_S + 1),
    ],
)
async def test_times_are_instants_or_days_in_baku_and_never_before_now(
    staff: Staff, times: dict[str, str], from_s: int, until_s: int
) -> None:
    await staff.block(**times)
    assert await staff.stands() == [Listing(INFECTED, from_s, until_s)]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"until": "2026-01-01T08:00:00Z"}, 422),
        ({"until": "2025-12-31"}, 422),
        ({"from": "2026-01-03", "until": "2026-01-02"}, 422),
        ({"from": "soon"}, 422),
        ({"until": "2026-01-15T08:00:00"}, 422),
        ({"until": "2106-02-08"}, 422),
        ({"from": "2106-02-08"}, 422),
        ({"document": "11"}, 422),
        ({"document": "AZE1111111 AZE1111112"}, 422),
        ({"reason": " "}, 400),
        ({"list": "infected" * 6}, 400),
        ({"phone": "+994501111111"}, 400),
    ],
)
async def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    staff: Staff, redis: Client, change: dict[str, str], status: int
) -> None:
    body = {"document": DOCUMENT, "list": "infected", "reason": "order 14"} | change
    assert (await staff.refused("blocked", body))[0] == status
    assert await redis.execute_command("DBSIZE") == 0


@pytest.mark.parametrize("path", ["blocked", "blocked/remove"])
async def test_an_unknown_list_is_refused_with_the_names_of_those_that_exist(
    staff: Staff, redis: Client, path: str
) -> None:
    status, detail = await staff.refused(path, REMOVE | {"list": "infectd"})
    assert (status, detail) == (422, f"the rules have {', '.join(sorted(RULES.lists))}")
    assert await redis.execute_command("DBSIZE") == 0


async def test_a_document_is_taken_off_one_list(staff: Staff) -> None:
    await staff.block()
    await staff.block("abuse", until="2026-02-01T08:00:00Z")
    assert await staff.told("blocked/remove", REMOVE) == {"changed": True, "place": PLACE}
    assert await staff.stands() == [Listing(ABUSE, NOW_S, NOW_S + 31 * 86_400)]
    assert said((await staff.acts())[-1]) == {
        "deed": "unblock",
        "list": "infected",
        "reason": "recovered",
        "from": 0,
        "until": 0,
    }


async def test_taking_off_what_does_not_stand_is_a_look(staff: Staff) -> None:
    assert await staff.told("blocked/remove", REMOVE) == {"changed": False, "place": None}
    (act,) = await staff.acts()
    assert (act.deed, act.list, act.reason) == ("look_up", "infected", "unblock: changed nothing")


async def test_a_look_shows_every_place_that_is_not_over_and_is_recorded(staff: Staff) -> None:
    await staff.block(until="2026-01-01T09:00:00Z")
    await staff.block("traveller", **{"from": "2026-01-05T00:00:00Z", "until": "2026-01-19T00:00:00Z"})
    await staff.block("age")
    staff.clock.now_ms += 3_600_000
    assert await staff.told("blocked/look-up", {"document": DOCUMENT}) == {
        "lists": [
            {"list": "traveller", "from": "2026-01-05T00:00:00.000Z", "until": "2026-01-19T00:00:00.000Z"},
            {"list": "age", "from": "2026-01-01T08:00:00.000Z", "until": None},
        ]
    }
    act = (await staff.acts())[-1]
    assert (act.deed, act.reason, act.owner, act.actor) == ("look_up", "lists", OWNER.hex(), "anna")


async def test_a_look_at_an_unknown_document_shows_nothing_and_is_recorded(staff: Staff) -> None:
    assert await staff.told("blocked/look-up", {"document": DOCUMENT}) == {"lists": []}
    assert [act.deed for act in await staff.acts()] == ["look_up"]


async def test_without_a_record_there_is_no_answer(staff: Staff, redis: Client) -> None:
    await staff.block()
    await redis.execute_command("SET", KEYS.acts, "no stream")
    for path, body in (
        ("blocked/look-up", {"document": DOCUMENT}),
        ("blocked/remove", REMOVE),
        ("histories", {"document": DOCUMENT}),
    ):
        assert (await staff.ask(path, body)).status == 500
    assert len(await staff.stands()) == 1


async def test_the_act_is_all_that_is_kept_and_never_the_document(staff: Staff, redis: Client) -> None:
    await staff.block()
    await staff.told("blocked/look-up", {"document": DOCUMENT})
    for key in await redis.execute_command("KEYS", "*"):
        assert b"1111111" not in key
        assert b"1111111" not in await redis.execute_command("DUMP", key)


async def plant(redis: Client, *numbers: int) -> None:
    """The document stands on the lists of these numbers."""
    raw = b"".join(bytes((number,)) + NOW_S.to_bytes(4) + bytes(4) for number in numbers)
    await redis.execute_command("HSET", KEYS.blocked, OWNER, raw)


async def test_lists_past_the_room_of_a_document_are_a_conflict(staff: Staff, redis: Client) -> None:
    await plant(redis, *range(100, 116))
    assert (await staff.refused("blocked", {"document": DOCUMENT, "list": "age", "reason": "x"}))[0] == 409
    assert [(act.deed, act.reason) for act in await staff.acts()] == [("look_up", "block: changed nothing")]


async def test_a_list_that_the_rules_do_not_name_is_shown_by_its_number(staff: Staff, redis: Client) -> None:
    await plant(redis, 200)
    (place,) = (await staff.told("blocked/look-up", {"document": DOCUMENT}))["lists"]
    assert place["list"] == "list 200"


async def test_it_takes_the_scope(staff: Staff, redis: Client) -> None:
    body = {"document": DOCUMENT}
    for path, scope in (("blocked", "histories"), ("blocked/look-up", "checks"), ("histories", "lists")):
        assert (await staff.ask(path, body, scope=scope)).status == 403
    assert await redis.execute_command("DBSIZE") == 0


@pytest.mark.parametrize("path", ["blocked/look-up", "histories"])
async def test_whoever_looks_for_too_many_unknown_documents_is_told_nothing_more(
    server: EmbeddedStore, redis: Client, path: str
) -> None:
    async with serving(server.url, redis, bounds=Bounds(client_misses=3)) as staff:
        await staff.block()
        for number in range(3):
            await staff.told(path, {"document": f"AZE200000{number}"})
        assert (await staff.ask(path, {"document": DOCUMENT})).status == 429
        assert (await staff.ask(path, {"document": DOCUMENT}, subject="vera")).status == 200


async def test_who_stands_on_a_list_is_not_let_go_by_a_later_beginning(staff: Staff) -> None:
    await staff.block()
    told = await staff.block(**{"from": "2026-01-05T00:00:00Z", "until": "2026-01-19T00:00:00Z"})
    assert told["place"] == PLACE | {"until": "2026-01-19T00:00:00.000Z"}
