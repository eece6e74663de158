"""Officers cancel: the permit, the act and the citizen's SMS change in one step, once, or not at all."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError as StoreConnectionError

from lua import changes
from lua.calls import Command
from permits import codes
from permits.calendar import HOUR_MS
from permits.employees import RETENTION_MS
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.api_door import DOCUMENT, PARTITIONS, ROUTE
from tests.integration.officer_door import DIGEST, NOON_MS, Desk, serving

PARTITION, OWNER = ROUTE.of_document(DOCUMENT)
KEYS = PARTITIONS[PARTITION]
END = "2090-01-01T11:00:00.000Z"
NEW_END = "2090-01-01T14:30:00.000Z"
TRACE = f"00-{'a' * 32}-"


@pytest.fixture
async def desk(server: EmbeddedStore, redis: Client) -> AsyncIterator[Desk]:
    async with serving(server.url, redis) as found:
        yield found


def flawed(desk: Desk, monkeypatch: pytest.MonkeyPatch, *, applied: bool) -> None:
    """The answer to the next write is lost, after the store has carried it out or without."""
    write, left = desk.parts.wires.write, [1]

    async def lossy(*commands: Command | Sequence[Any]) -> list[Any]:
        replies = await write(*commands) if applied or not left else []
        if left:
            left.pop()
            raise StoreConnectionError("the connection broke")
        return replies

    monkeypatch.setattr(desk.parts.wires, "write", lossy)


# Cancelled


async def test_a_cancelled_permit_is_told_to_its_sender_with_the_act_and_shows_so(desk: Desk) -> None:
    approval = await desk.decide(f"1 {DOCUMENT}", sender="+994551112233")
    code = approval.permit or ""
    status, body = await desk.cancel(code.lower())
    shown = {
        "code": code,
        "kind": "sms",
        "status": "cancelled",
        "valid_from": "2090-01-01T08:00:00.000Z",
        "valid_until": END,
        "notified": True,
    }
    assert (status, body) == (200, {"permits": [shown]})
    permit = await desk.amended(code)
    assert (permit.status, permit.reason, permit.owner) == ("cancelled", "false purpose", OWNER.hex())
    (notice,) = await desk.notices()
    assert (notice.verdict, notice.to, notice.permit, notice.lang) == (
        "cancelled",
        "+994551112233",
        code,
        approval.lang,
    )
    assert (notice.in_reply_to, notice.reason, notice.document_tail, notice.valid_until) == (None, None, None, None)
    assert (notice.purpose, notice.expires_at) == (1, "2090-01-02T08:00:00.000Z")
    version = (permit.decided_s << 16) + int(permit.digest[2:6], 16) + 1
    assert notice.id == f"{KEYS.tag}-n{version}-{code}"
    assert code in notice.text
    assert "false purpose" not in notice.text
    (act,) = await desk.acts()
    assert (act.deed, act.actor, act.client, act.method) == ("cancel", "officer", "desk", "asan_imza")
    assert (act.code, act.owner, act.reason, act.status) == (code, OWNER.hex(), "false purpose", "cancelled")
    assert str(notice.trace).startswith(TRACE)
    assert act.trace == notice.trace
    assert [made.deed for made in permit.acts] == ["cancel"]


async def test_the_record_is_looked_at_again_when_nobody_may_see_it_any_more(desk: Desk, redis: Client) -> None:
    await desk.cancel(await desk.plant())
    score = await redis.execute_command("ZSCORE", KEYS.ends, OWNER[:4].hex())
    assert float(score) == (NOON_MS + 3 * HOUR_MS + RETENTION_MS) / 1000


async def test_a_cancelled_permits_number_is_gone_and_the_others_stay(desk: Desk) -> None:
    code = await desk.plant()
    await desk.plant(digest=b"\x01" + DIGEST[1:])
    assert await desk.numbers() == {"2090010111": 2}
    await desk.cancel(code)
    assert await desk.numbers() == {"2090010111": 1}


async def test_without_a_number_the_permit_is_cancelled_all_the_same(desk: Desk) -> None:
    code = await desk.plant(phone=None)
    status, body = await desk.cancel(code)
    assert (status, body["permits"][0]["notified"]) == (200, False)
    assert (await desk.amended(code)).status == "cancelled"
    assert (await desk.notices(), len(await desk.acts())) == ([], 1)


async def test_a_number_of_another_permit_is_never_written_to(desk: Desk, redis: Client) -> None:
    code = await desk.plant()
    key = KEYS.senders("2090010111")
    block = await redis.execute_command("HGET", key, OWNER[:4] + DIGEST)
    other = b"\x01" + DIGEST[1:]
    await desk.plant(digest=other, phone=None)
    await redis.execute_command("HSET", key, OWNER[:4] + other, block)
    _, body = await desk.cancel(codes.encode(PARTITION, OWNER, other))
    assert body["permits"][0]["notified"] is False
    _, body = await desk.cancel(code)
    assert body["permits"][0]["notified"] is True


async def test_a_repeated_cancellation_is_answered_as_the_first_and_does_nothing(desk: Desk) -> None:
    code = await desk.plant()
    first = await desk.cancel(code)
    desk.clock.now_ms += HOUR_MS
    assert await desk.cancel(code) == first
    assert (len(await desk.notices()), len(await desk.acts())) == (1, 1)


@pytest.mark.parametrize("again", [{"by": "other"}, {"reason": "another reason"}])
async def test_another_cancellation_of_a_cancelled_permit_is_a_conflict(desk: Desk, again: dict[str, str]) -> None:
    code = await desk.plant()
    await desk.cancel(code)
    assert (await desk.cancel(code, **again))[0] == 409
    assert (await desk.extend(code))[0] == 409
    assert (len(await desk.notices()), len(await desk.acts())) == (1, 1)


async def test_of_two_officers_at_once_one_cancels_and_one_hears_that_it_is_done(desk: Desk) -> None:
    code = await desk.plant()
    answers = await asyncio.gather(desk.cancel(code), desk.cancel(code, by="other"))
    assert sorted(status for status, _ in answers) == [200, 409]
    assert (len(await desk.notices()), len(await desk.acts())) == (1, 1)


async def test_one_officer_who_asks_twice_at_once_gets_one_answer(desk: Desk) -> None:
    code = await desk.plant()
    first, second = await asyncio.gather(desk.cancel(code), desk.cancel(code))
    assert first == second
    assert first[0] == 200
    assert (len(await desk.notices()), len(await desk.acts())) == (1, 1)


async def test_a_permit_without_end_is_cancelled_while_it_is_honoured(desk: Desk) -> None:
    approval = await desk.decide(f"3 {DOCUMENT}")
    code = approval.permit or ""
    assert await desk.numbers() == {"2090010320": 1}
    desk.clock.now_ms = NOON_MS + 60 * HOUR_MS - 1
    status, body = await desk.cancel(code)
    assert (status, body["permits"][0]["valid_until"], body["permits"][0]["notified"]) == (200, None, True)
    assert (await desk.amended(code)).ends_ms == NOON_MS + 60 * HOUR_MS


@pytest.mark.parametrize("earlier_ms", [0, HOUR_MS])
async def test_all_permits_under_one_code_are_cancelled_each_with_its_own_notice(desk: Desk, earlier_ms: int) -> None:
    code = await desk.plant(phone="+994501111111")
    same = await desk.plant(digest=DIGEST[:1] + b"other", phone="+994502222222", decided_ms=NOON_MS - earlier_ms)
    await desk.plant(digest=DIGEST[:1] + b"ended", decided_ms=NOON_MS - 4 * HOUR_MS)
    assert code == same
    status, body = await desk.cancel(code)
    assert (status, len(body["permits"])) == (200, 2)
    notices = await desk.notices()
    assert {notice.to for notice in notices} == {"+994501111111", "+994502222222"}
    assert len({notice.id for notice in notices}) == 2
    again = await desk.cancel(code)
    assert sorted(again[1]["permits"], key=repr) == sorted(body["permits"], key=repr)
    assert len(await desk.notices()) == 2


async def test_an_sms_permit_and_an_employees_may_share_a_code(desk: Desk) -> None:
    standing = await desk.employ()
    address = codes.decode(standing.permit.code)
    assert address is not None
    code = await desk.plant(digest=bytes((address[2],)) + DIGEST[1:], decided_ms=NOON_MS - HOUR_MS)
    assert code == standing.permit.code
    _, body = await desk.extend(code)
    assert [permit["kind"] for permit in body["permits"]] == ["organisation"]
    status, body = await desk.cancel(code)
    assert (status, {permit["kind"] for permit in body["permits"]}) == (200, {"sms", "organisation"})


# In one step


async def test_where_one_part_cannot_be_written_nothing_is(desk: Desk, redis: Client) -> None:
    code = await desk.plant()
    await redis.execute_command("SET", KEYS.acts, "no stream")
    before = await desk.everything()
    assert (await desk.cancel(code))[0] >= 500
    assert await desk.everything() == before


async def test_a_change_that_came_between_is_seen_and_nothing_of_the_first_try_stays(
    desk: Desk, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await desk.plant()
    write, between = desk.parts.wires.write, [1]

    async def interrupted(*commands: Command | Sequence[Any]) -> list[Any]:
        if between:
            between.pop()
            assert (await desk.extend(code, by="other"))[0] == 200
        return await write(*commands)

    monkeypatch.setattr(desk.parts.wires, "write", interrupted)
    status, body = await desk.cancel(code)
    assert (status, body["permits"][0]["valid_until"]) == (200, NEW_END)
    assert [notice.verdict for notice in await desk.notices()] == ["extended", "cancelled"]
    assert [(act.deed, act.actor) for act in await desk.acts()] == [("extend", "other"), ("cancel", "officer")]
    assert await redis.execute_command("HLEN", KEYS.holder(OWNER[:4])) == 1


async def test_a_record_that_never_stands_still_is_busy_and_untouched(
    desk: Desk, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = await desk.plant()
    monkeypatch.setattr(changes, "change_reply", lambda raw: changes.Stale(b""))  # type: ignore[reportUnknownLambdaType]
    write = desk.parts.wires.write
    monkeypatch.setattr(desk.parts.wires, "write", lambda *commands: write(("PING",)))  # type: ignore[reportUnknownLambdaType]
    assert (await desk.cancel(code))[0] == 503
    assert (await desk.extend(code))[0] == 503
    assert await redis.execute_command("EXISTS", KEYS.holder(OWNER[:4])) == 0


@pytest.mark.parametrize("applied", [True, False])
async def test_after_a_lost_answer_a_repeat_finds_or_makes_the_change_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, *, applied: bool
) -> None:
    code = await desk.plant()
    flawed(desk, monkeypatch, applied=applied)
    assert (await desk.cancel(code))[0] == 503
    status, body = await desk.cancel(code)
    assert (status, body["permits"][0]["notified"]) == (200, True)
    assert (len(await desk.notices()), len(await desk.acts())) == (1, 1)


# What cannot be


@pytest.mark.parametrize("code", ["7KQWX3M9PA", "2222222222", "ZZZZZZZZZZ"])
async def test_a_code_that_names_nothing_is_not_found(desk: Desk, code: str) -> None:
    assert (await desk.cancel(code))[0] == 404
    assert (await desk.extend(code))[0] == 404


async def test_what_has_ended_or_was_refused_is_not_cancelled(desk: Desk) -> None:
    ended = await desk.plant(decided_ms=NOON_MS - 3 * HOUR_MS)
    assert (await desk.cancel(ended))[0] == 409
    assert (await desk.extend(ended))[0] == 409
    refused = await desk.decide("1 AZE 11")
    assert refused.permit is None
    assert await desk.notices() == []


async def test_a_look_that_changes_nothing_is_recorded_before_its_answer(desk: Desk, redis: Client) -> None:
    unknown = codes.encode((PARTITION + 1) % len(PARTITIONS), bytes(4), b"\0")
    ended = await desk.plant(decided_ms=NOON_MS - 3 * HOUR_MS)
    standing = await desk.plant(digest=b"\x01" + DIGEST[1:])
    await desk.cancel(unknown)
    await desk.extend(ended)
    await desk.cancel(ended)
    await desk.extend(standing, "2090-01-01T10:00:00Z")
    await desk.cancel(standing)
    await desk.cancel(standing)
    looks = await desk.acts("look_up")
    assert {(act.actor, act.client, act.method, act.status) for act in looks} == {("officer", "desk", "asan_imza", "")}
    assert all(act.trace.startswith(TRACE) for act in looks)
    assert sorted((act.code, act.reason) for act in looks) == sorted(
        [
            (unknown, "cancel: not found"),
            (ended, "extend: not in force"),
            (ended, "cancel: not in force"),
            (standing, "extend: no extension"),
            (standing, "cancel: done before"),
        ]
    )
    assert [(act.deed, act.code) for act in await desk.acts()] == [("cancel", standing)]
    assert await redis.execute_command("XLEN", KEYS.acts) == 5  # each in the partition that its code names


async def test_what_can_be_no_code_is_looked_up_nowhere(desk: Desk) -> None:
    assert (await desk.cancel("1"))[0] == 404
    assert await desk.acts("look_up") == []


@pytest.mark.parametrize("deed", ["cancel", "extend"])
async def test_without_its_record_a_look_is_not_answered(desk: Desk, redis: Client, deed: str) -> None:
    await redis.execute_command("SET", PARTITIONS[0].acts, "no stream")
    act = desk.cancel if deed == "cancel" else desk.extend
    assert (await act("2222222222"))[0] >= 500


@pytest.mark.parametrize(
    ("act", "body"),
    [
        ("cancel", {}),
        ("cancel", {"reason": " "}),
        ("cancel", {"reason": "r" * 201}),
        ("cancel", {"reason": "r", "document": DOCUMENT}),
        ("extend", {"facility": "f", "number": "1"}),
        ("extend", {"facility": "", "number": "1", "until": "2090-01-01T14:30:00Z"}),
    ],
)
async def test_a_body_that_does_not_fit_is_refused(desk: Desk, act: str, body: dict[str, str]) -> None:
    status, problem = await desk.post(f"/v1/permits/{await desk.plant()}/{act}", body)
    assert status == 400
    assert DOCUMENT not in repr(problem)


async def test_only_officers_may(desk: Desk) -> None:
    code = await desk.plant()
    for by, status in (("regime", 403), ("seal", 403), ("nobody", 401)):
        assert (await desk.cancel(code, by=by))[0] == status
        assert (await desk.extend(code, by=by))[0] == status
