"""Officers extend SMS permits by certificate: a new end, told to the sender, by the rules of the day it was asked."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from permits import policy as policies
from permits.calendar import HOUR_MS, day_name, local_day
from permits.policy import Policy
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.api_door import DOCUMENT, PARTITIONS, ROUTE
from tests.integration.officer_door import DIGEST, NOON_MS, PHONE, Desk, serving

PARTITION, OWNER = ROUTE.of_document(DOCUMENT)
KEYS = PARTITIONS[PARTITION]
NEW_END = "2090-01-01T14:30:00.000Z"
ENDLESS: dict[str, Any] = {"purpose": 3, "minutes": 0, "ends_ms": NOON_MS + 60 * HOUR_MS}
"""Of a permit without end, honoured until the third midnight."""


@pytest.fixture
async def desk(server: EmbeddedStore, redis: Client) -> AsyncIterator[Desk]:
    async with serving(server.url, redis) as found:
        yield found


async def test_an_extended_permit_has_a_new_end_which_its_sender_is_told(desk: Desk) -> None:
    approval = await desk.decide(f"1 {DOCUMENT}")
    code = approval.permit or ""
    status, body = await desk.extend(code)
    (shown,) = body["permits"]
    assert (status, shown["status"], shown["valid_until"], shown["notified"]) == (200, "active", NEW_END, True)
    (notice,) = await desk.notices()
    assert (notice.verdict, notice.to, notice.valid_until, notice.lang) == ("extended", PHONE, NEW_END, approval.lang)
    assert notice.expires_at == NEW_END  # nobody needs to hear of it later
    assert code in notice.text
    assert "01.01 18:30" in notice.text
    (act,) = await desk.acts()
    assert (act.deed, act.status, act.code, act.reason) == ("extend", "active", code, "")
    desk.clock.now_ms = NOON_MS + 6 * HOUR_MS
    permit = await desk.amended(code)
    assert (permit.status, permit.until_ms, permit.ends_ms) == ("active", NOON_MS + 6.5 * HOUR_MS, permit.until_ms)
    assert (await desk.cancel(code))[0] == 200


async def test_the_certificate_rests_sealed_and_stands_nowhere_else(desk: Desk, redis: Client) -> None:
    sms = await desk.plant()
    standing = await desk.employ()
    await desk.extend(sms)
    await desk.extend(standing.permit.code)
    for sealed in (
        (await desk.amended(sms)).certificate,
        (await desk.employed(standing.permit.code)).permit.certificate,
    ):
        stated = b'{"facility":"City hospital 1","number":"A-1024"}'
        assert desk.parts.keyring.open(sealed or "", OWNER.hex()) == stated
    dump = await desk.everything()
    for secret in (b"hospital", b"A-1024", PHONE.encode()[1:], base64.b64encode(b"hospital")):
        assert secret not in dump.replace(b'"to":"' + PHONE.encode(), b"")


async def test_the_number_moves_to_the_new_end_and_goes_at_a_cancellation(desk: Desk, redis: Client) -> None:
    code = await desk.plant()
    await desk.extend(code)
    assert await desk.numbers() == {"2090010111": 1, "2090010115": 1}
    expires_s = await redis.execute_command("EXPIRETIME", KEYS.senders("2090010115"))
    assert expires_s == (NOON_MS + 7 * HOUR_MS) // 1000
    await redis.execute_command("DEL", KEYS.senders("2090010111"))  # its hour has come
    desk.clock.now_ms = NOON_MS + 4 * HOUR_MS
    _, body = await desk.extend(code, "2090-01-01T20:00:00Z")
    assert body["permits"][0]["notified"] is True
    await redis.execute_command("DEL", KEYS.senders("2090010115"))
    _, body = await desk.cancel(code)
    assert body["permits"][0]["notified"] is True
    assert await desk.numbers() == {}


async def test_an_amended_permit_outlives_its_day_record(desk: Desk, redis: Client) -> None:
    code = await desk.plant()
    await desk.extend(code, "2090-01-07T08:00:00Z")
    await redis.execute_command("DEL", KEYS.day(day_name(local_day(NOON_MS))))
    desk.clock.now_ms = NOON_MS + 140 * HOUR_MS
    status, body = await desk.cancel(code)
    assert (status, body["permits"][0]["notified"]) == (200, True)


async def test_a_repeated_extension_is_answered_as_the_first_and_does_nothing(desk: Desk) -> None:
    code = await desk.plant()
    first = await desk.extend(code)
    desk.clock.now_ms += HOUR_MS
    assert await desk.extend(code) == first
    assert (await desk.extend(code, number="B-1"))[0] == 422  # another certificate, and no later end
    assert (await desk.extend(code, by="other"))[0] == 422
    assert (len(await desk.notices()), len(await desk.acts())) == (1, 1)


async def test_two_extensions_at_once_leave_the_later_end_and_a_notice_for_each_that_was_made(desk: Desk) -> None:
    code = await desk.plant()
    answers = await asyncio.gather(desk.extend(code), desk.extend(code, "2090-01-01T16:00:00Z", by="other"))
    done = [status for status, _ in answers].count(200)
    assert answers[1][0] == 200
    assert (await desk.amended(code)).until_ms == NOON_MS + 8 * HOUR_MS
    assert len(await desk.notices()) == len(await desk.acts()) == done
    assert len({notice.id for notice in await desk.notices()}) == done


async def test_the_newest_of_several_permits_under_a_code_is_extended(desk: Desk) -> None:
    code = await desk.plant(decided_ms=NOON_MS - HOUR_MS)
    await desk.plant(digest=DIGEST[:1] + b"newer", phone="+994502222222")
    _, body = await desk.extend(code)
    assert [permit["valid_from"] for permit in body["permits"]] == ["2090-01-01T08:00:00.000Z"]
    assert [notice.to for notice in await desk.notices()] == ["+994502222222"]


@pytest.mark.parametrize(
    ("until", "status"),
    [
        ("2090-01-01T11:00:00Z", 422),  # the end that it has
        ("2090-01-01T10:00:00Z", 422),
        ("2089-12-31T10:00:00Z", 422),
        ("2090-01-08T08:00:00Z", 200),
        ("2090-01-08T08:00:00.001Z", 422),
        ("2090-01-01T14:30:00", 422),
        ("2090-01-01", 200),
        ("soon", 422),
    ],
)
async def test_an_end_is_after_the_present_one_and_within_a_week(desk: Desk, until: str, status: int) -> None:
    code = await desk.plant()
    assert (await desk.extend(code, until))[0] == status
    assert len(await desk.notices()) == (status == 200)


@pytest.mark.parametrize("purpose", [{"purpose": 2}, {"purpose": 9}, ENDLESS])
async def test_only_purposes_that_the_rules_name_are_extended(desk: Desk, purpose: dict[str, Any]) -> None:
    code = await desk.plant(**purpose)
    assert (await desk.extend(code, "2090-01-06T08:00:00Z"))[0] == 409
    assert await desk.notices() == []


# Under other rules

RULES = """
[documents]
foreign_length = [6, 9]
[[documents.series]]
name = "ID card"
prefix = "AZE"
digits = [7, 8]
[[regimes]]
name = "old"
from = 2020-01-01T00:00:00
[[regimes.purposes]]
code = 1
names = { az = "a", ru = "b", en = "c" }
minutes = 180
extendable = true
[[regimes.purposes]]
code = 3
names = { az = "a", ru = "b", en = "c" }
extendable = true
honoured_days = 3
[[regimes]]
name = "new"
from = 2090-01-01T00:00:00
[[regimes.purposes]]
code = 1
names = { az = "a", ru = "b", en = "c" }
minutes = 180
"""


@pytest.fixture
def rules(tmp_path: Any) -> Policy:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return policies.load(path)


async def test_the_rules_of_the_day_on_which_it_was_asked_hold_for_a_permit(
    server: EmbeddedStore, redis: Client, rules: Policy
) -> None:
    async with serving(server.url, redis, policy=rules) as desk:
        today = await desk.plant()
        assert (await desk.extend(today))[0] == 409
        yesterday = await desk.plant(digest=b"\x01" + DIGEST[1:], days_to_arrival=1)
        assert (await desk.extend(yesterday))[0] == 200
        assert (await desk.extend(yesterday, "2090-01-02T08:00:00Z"))[0] == 200


async def test_a_permit_without_end_is_extended_past_the_days_on_which_it_is_honoured(
    server: EmbeddedStore, redis: Client, rules: Policy
) -> None:
    async with serving(server.url, redis, policy=rules) as desk:
        decided_ms = NOON_MS - 24 * HOUR_MS
        code = await desk.plant(
            purpose=3, minutes=0, decided_ms=decided_ms, ends_ms=decided_ms + 60 * HOUR_MS, days_to_arrival=0
        )
        assert (await desk.extend(code, "2090-01-02T20:00:00Z"))[0] == 422  # the third midnight
        status, body = await desk.extend(code, "2090-01-03T08:00:00Z")
        assert (status, body["permits"][0]["valid_until"]) == (200, "2090-01-03T08:00:00.000Z")
        assert body["permits"][0]["notified"] is True
        assert (await desk.amended(code)).ends_ms == NOON_MS + 48 * HOUR_MS
