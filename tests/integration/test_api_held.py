"""Approvals that are held back, at the api: shown to nobody, and cancelled by officers before they are told."""

from collections.abc import AsyncIterator

import pytest

from api.holders import Holders
from lua.records import entries
from permits import policy as policies
from permits.calendar import day_name, local_day
from permits.messages import SETTLED_DECODER
from permits.outcomes import WITHDRAWN
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.api_door import DOCUMENT, PARTITIONS, ROUTE
from tests.integration.officer_door import NOON_MS, PHONE, Desk, serving

PARTITION, OWNER = ROUTE.of_document(DOCUMENT)
KEYS = PARTITIONS[PARTITION]
HELD = policies.parse(
    policies.DEFAULT_FILE.read_bytes().replace(b"late_minutes = 60", b"late_minutes = 60\nhold_minutes = { sms = 15 }"),
    policies.DEFAULT_FILE,
)


@pytest.fixture
async def desk(server: EmbeddedStore, redis: Client) -> AsyncIterator[Desk]:
    async with serving(server.url, redis, policy=HELD) as found:
        yield found


async def record(desk: Desk) -> list[str]:
    value = await desk.redis.execute_command("HGET", KEYS.day(day_name(local_day(NOON_MS))), OWNER[:4])
    return [entry.letter for entry in entries(value)]


async def test_an_approval_that_waits_is_cancelled_and_the_permit_of_the_day_is_free_again(desk: Desk) -> None:
    code = await desk.hold(f"2 {DOCUMENT}")
    status, body = await desk.cancel(code)
    assert status == 200
    [shown] = body["permits"]
    assert (shown["code"], shown["status"], shown["notified"]) == (code, "cancelled", True)
    [notice] = await desk.notices()
    assert (notice.to, notice.permit, notice.verdict) == (PHONE, code, "cancelled")
    [act] = await desk.acts()
    assert (act.deed, act.actor, act.code, act.owner) == ("cancel", "officer", code, OWNER.hex())
    assert await record(desk) == [WITHDRAWN]
    assert await desk.redis.execute_command("ZCARD", KEYS.held) == 0
    found = await desk.redis.execute_command("XRANGE", KEYS.audit, "-", "+")
    [gone] = [SETTLED_DECODER.decode(fields[b"r"]) for _, fields in found if b"r" in fields]
    assert (gone.became, gone.partition, gone.rows[0].owner) == ("withdrawn", PARTITION, OWNER.hex())
    await desk.hold(f"2 {DOCUMENT}")
    assert await record(desk) == [WITHDRAWN, "w"]


async def test_a_second_cancellation_says_that_it_is_over(desk: Desk) -> None:
    code = await desk.hold(f"2 {DOCUMENT}")
    assert (await desk.cancel(code))[0] == 200
    status, problem = await desk.cancel(code, by="other")
    assert (status, problem["title"]) == (409, "Not in force")
    assert len(await desk.notices()) == 1


async def test_a_repeat_by_the_same_officer_is_answered_as_the_first_time(desk: Desk) -> None:
    code = await desk.hold(f"2 {DOCUMENT}")
    first = await desk.cancel(code)
    assert await desk.cancel(code) == first
    assert [act.reason for act in await desk.acts()] == ["false purpose"]
    assert len(await desk.notices()) == 1
    again = await desk.hold(f"2 {DOCUMENT}")
    assert again != code
    assert (await desk.cancel(again))[0] == 200


async def test_what_waits_cannot_be_extended(desk: Desk) -> None:
    code = await desk.hold(f"1 {DOCUMENT}")
    status, problem = await desk.extend(code)
    assert (status, problem["title"]) == (409, "Not in force")
    assert await desk.redis.execute_command("ZCARD", KEYS.held) == 1


async def test_nobody_is_shown_an_approval_that_waits(desk: Desk) -> None:
    code = await desk.hold(f"1 {DOCUMENT}")
    holders = Holders(
        desk.parts.wires,
        partitions=PARTITIONS,
        route=ROUTE,
        policy=lambda: HELD,
        epochs=(),
        now_ms=lambda: NOON_MS + 20 * 60_000,  # late already: it is told first
    )
    assert await holders.of_document((PARTITION, OWNER)) == []
    await desk.cancel(code)
    [known] = await holders.of_document((PARTITION, OWNER))
    assert (known.permit.status, known.permit.valid_from, known.permit.code) == ("cancelled", None, code)
