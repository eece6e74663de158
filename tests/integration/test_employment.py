"""Employees' permits in the store: created once, changed by one at a time, each change with all that follows."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from redis.exceptions import ResponseError

from api.wires import Wires
from lua import changes
from lua.calls import Command
from lua.changes import MOST_HELD, Change
from permits import codes
from permits.employees import Actor, AuditAct, Epoch, Request, effective
from permits.messages import APPLICATION_DECODER
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from runtime.employment import Employment
from runtime.permit_changes import MOST_OURS, Created, Versioned
from tests.integration.organisation_door import (
    DAY_MS,
    KEYRING,
    NOON_MS,
    OTHER_TIN,
    PARTITIONS,
    ROUTE,
    TIN,
    digest_of,
    employment,
    outbox,
    wanted,
)

ACTOR = Actor(subject="seal", client="portal", method="asan_imza", under="0123456789abcdef", trace="00-aa-bb-00")
KEYS = PARTITIONS[ROUTE.of_document("AZE1111111")[0]]


@pytest.fixture
async def wires(server: EmbeddedStore, redis: Client) -> AsyncIterator[Wires]:
    assert redis
    made = Wires(server.url)
    yield made
    await made.close()


@pytest.fixture
def permits(wires: Wires) -> Employment:
    return employment(wires, [])


async def create(
    permits: Employment, *requests: Request, tin: str = TIN, now_ms: int = NOON_MS, actor: Actor = ACTOR
) -> list[Created]:
    return await permits.create(tin, "Günəş MMC", requests, actor=actor, now_ms=now_ms)


async def created(permits: Employment, request: Request, *, tin: str = TIN) -> Versioned:
    (answer,) = await create(permits, request, tin=tin)
    assert answer.standing is not None
    return answer.standing


def results(answers: Sequence[Created]) -> list[str]:
    return [answer.result for answer in answers]


async def granted(permits: Employment, request: Request) -> Versioned:
    """A permit that the registry and the Ministry have taken."""
    standing = await created(permits, request)
    confirmed = await permits.amend(standing, deed="confirm", actor=ACTOR, now_ms=NOON_MS, status="confirmed")
    assert confirmed is not None
    taken = await permits.amend(confirmed, deed="transmit", actor=ACTOR, now_ms=NOON_MS, status="transmitted")
    assert taken is not None
    return taken


async def acts(redis: Client) -> list[AuditAct]:
    return [
        msgspec.json.decode(fields[b"m"], type=AuditAct)
        for keys in PARTITIONS
        for _, fields in await redis.execute_command("XRANGE", keys.acts, "-", "+")
    ]


def epoch(number: int, action: Any, *, until_ms: int = 0) -> Epoch:
    return Epoch(
        number=number, action=action, at_ms=NOON_MS, reason="decree", actor="regime", request="r", until_ms=until_ms
    )


# Creation


async def test_a_permit_stands_at_the_address_that_its_code_is(permits: Employment, redis: Client) -> None:
    standing = await created(permits, wanted())
    permit = standing.permit
    partition, owner = ROUTE.of_document("AZE1111111")
    assert codes.decode(permit.code) is not None
    assert (permit.owner, permit.status, standing.version) == (owner.hex(), "submitted", 1)
    (found,) = await permits.load([permit.code.lower()])
    assert found == standing
    assert permits.employee(permit) == wanted().employee
    assert await redis.execute_command("HLEN", PARTITIONS[partition].holder(owner[:4])) == 1


async def test_a_creation_brings_an_application_an_index_event_an_act_and_an_end(
    permits: Employment, redis: Client
) -> None:
    permit = (await created(permits, wanted())).permit
    ((_, fields),) = await redis.execute_command("XRANGE", KEYS.applications, "-", "+")
    application = APPLICATION_DECODER.decode(fields[b"m"])
    assert (application.code, application.version, application.trace) == (permit.code, 1, "00-aa-bb-00")
    (event,) = await outbox(redis)
    assert (event.deed, event.number, event.code, event.tin, event.person) == (
        "create",
        0,
        permit.code,
        TIN,
        ROUTE.of_person("1AAA001")[1].hex(),
    )
    (act,) = await acts(redis)
    assert (act.actor, act.client, act.method, act.under) == ("seal", "portal", "asan_imza", "0123456789abcdef")
    assert (act.code, act.owner, act.tin, act.deed, act.status) == (
        permit.code,
        permit.owner,
        TIN,
        "create",
        "submitted",
    )
    _, score = await redis.execute_command("ZRANGE", KEYS.ends, 0, -1, "WITHSCORES")
    assert int(score) == (permit.until_ms + 30 * DAY_MS) // 1000


async def test_a_repeated_request_finds_its_permit_whatever_became_of_it(permits: Employment) -> None:
    request = wanted(digest=digest_of("a"))
    standing = await created(permits, request)
    assert await permits.amend(standing, deed="delete", actor=ACTOR, now_ms=NOON_MS, status="cancelled")
    later = await created(permits, wanted(digest=digest_of("b"), zone="Abşeron"))
    assert later.permit.code != standing.permit.code
    for _ in range(20):  # the store keeps the records of a holder in no order
        (again,) = await create(permits, request)
        assert (again.result, again.standing and again.standing.permit.code) == ("created", standing.permit.code)


async def test_a_request_that_stands_twice_is_one_permit(permits: Employment, redis: Client) -> None:
    same = wanted(digest=digest_of("a"))
    answers = await create(permits, same, wanted(2), same, wanted(2), wanted(2, zone="elsewhere"))
    assert results(answers) == ["created", "created", "created", "unchanged", "conflict"]
    assert len({answer.standing and answer.standing.permit.code for answer in answers}) == 2
    assert len(await outbox(redis)) == 2


async def test_twenty_at_once_make_one_permit(server: EmbeddedStore, redis: Client) -> None:
    lines = [Wires(server.url) for _ in range(20)]
    answers = await asyncio.gather(*(create(employment(line, []), wanted()) for line in lines))
    for line in lines:
        await line.close()
    assert Counter(answer.result for (answer,) in answers) == {"created": 1, "unchanged": 19}
    assert len({answer.standing for (answer,) in answers}) == 1
    assert await redis.execute_command("XLEN", KEYS.applications) == 1
    assert len(await acts(redis)) == 1


async def test_twenty_organisations_at_once_make_twenty_permits(server: EmbeddedStore, redis: Client) -> None:
    assert redis
    lines = [Wires(server.url) for _ in range(20)]
    tins = [f"{n:010d}" for n in range(20)]
    answers = await asyncio.gather(
        *(create(employment(line, []), wanted(), tin=tin) for line, tin in zip(lines, tins, strict=True))
    )
    for line in lines:
        await line.close()
    assert {answer.result for (answer,) in answers} == {"created"}
    assert len({answer.standing and answer.standing.permit.code for (answer,) in answers}) == 20


async def test_the_permits_of_one_holder_are_bounded(permits: Employment) -> None:
    for n in range(MOST_HELD):
        await created(permits, wanted(), tin=f"{n:010d}")
    (answer,) = await create(permits, wanted())
    assert answer == Created("full", None)


async def test_dead_records_of_one_organisation_fill_no_room_of_others(permits: Employment, redis: Client) -> None:
    codes_: list[str] = []
    for n in range(MOST_OURS + 2):
        (answer,) = await create(permits, wanted(digest=digest_of(str(n))), now_ms=NOON_MS + n)
        assert (answer.result, answer.standing is None) == ("created", False)
        assert answer.standing is not None
        codes_.append(answer.standing.permit.code)
        deleted = await permits.amend(
            answer.standing, deed="delete", actor=ACTOR, now_ms=NOON_MS + n, status="cancelled"
        )
        assert deleted is not None
    assert len(set(codes_)) == MOST_OURS
    assert codes_[MOST_OURS:] == codes_[:2]  # the oldest made room, one after the other
    (kept,) = await permits.load(codes_[:1])
    assert kept is not None
    assert [act.deed for act in kept.permit.acts] == ["create", "delete"] * 2
    assert results(await create(permits, wanted(), tin=OTHER_TIN)) == ["created"]


async def test_what_an_officer_has_cancelled_stays_in_the_way_until_its_end(permits: Employment) -> None:
    standing = await granted(permits, wanted())
    cancelled = await permits.amend(standing, deed="cancel", actor=ACTOR, now_ms=NOON_MS, status="cancelled")
    assert await create(permits, wanted()) == [Created("conflict", cancelled)]
    assert await create(permits, wanted(until_ms=NOON_MS + 99 * DAY_MS, zone="x")) == [Created("conflict", cancelled)]
    assert results(await create(permits, wanted(), tin=OTHER_TIN)) == ["created"]
    after_ms = standing.permit.until_ms
    later = wanted(from_ms=after_ms, until_ms=after_ms + DAY_MS)
    assert results(await create(permits, later, now_ms=after_ms)) == ["created"]


async def test_a_full_store_takes_no_new_permit_and_settles_those_it_has(permits: Employment, redis: Client) -> None:
    standing = await created(permits, wanted())
    await redis.execute_command("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(ResponseError, match="OOM"):
            await create(permits, wanted(2))
        assert await permits.amend(standing, deed="confirm", actor=ACTOR, now_ms=NOON_MS, status="confirmed")
    finally:
        await redis.execute_command("CONFIG", "SET", "maxmemory", "512mb")


async def test_other_dates_are_a_conflict_and_another_organisation_is_not(permits: Employment) -> None:
    standing = await created(permits, wanted())
    (other,) = await create(permits, wanted(until_ms=NOON_MS + DAY_MS))
    assert other == Created("conflict", standing)
    assert results(await create(permits, wanted(), tin=OTHER_TIN)) == ["created"]


async def test_a_draft_stands_in_the_way_of_who_wants_it_submitted(permits: Employment, redis: Client) -> None:
    assert results(await create(permits, wanted(draft=True))) == ["created"]
    assert await redis.execute_command("XLEN", KEYS.applications) == 0
    assert results(await create(permits, wanted(draft=True))) == ["unchanged"]
    assert results(await create(permits, wanted())) == ["conflict"]


async def test_an_ended_permit_makes_way(permits: Employment) -> None:
    old = await created(permits, wanted())
    late = NOON_MS + 20 * DAY_MS
    (new,) = await create(permits, wanted(from_ms=late, until_ms=late + DAY_MS), now_ms=late)
    assert new.result == "created"
    assert new.standing is not None
    assert new.standing.permit.code != old.permit.code


async def test_a_deactivated_permit_is_made_anew_under_its_code(wires: Wires, redis: Client) -> None:
    epochs: list[Epoch] = []
    permits = employment(wires, epochs)
    old = await granted(permits, wanted())
    epochs.append(epoch(1, "deactivate"))
    (new,) = await create(permits, wanted(zone="Abşeron"))
    assert new.standing is not None
    permit = new.standing.permit
    assert (new.result, permit.code, permit.status, permit.epoch) == ("reactivated", old.permit.code, "submitted", 1)
    assert [act.deed for act in permit.acts] == ["create", "confirm", "transmit", "reactivate"]
    assert effective(permit, epochs, NOON_MS).status == "submitted"
    assert await redis.execute_command("XLEN", KEYS.applications) == 2


async def test_a_deactivated_permit_made_anew_as_a_draft_is_indexed_and_not_transmitted(
    wires: Wires, redis: Client
) -> None:
    epochs: list[Epoch] = []
    permits = employment(wires, epochs)
    await granted(permits, wanted())
    epochs.append(epoch(1, "deactivate"))
    assert results(await create(permits, wanted(draft=True))) == ["reactivated"]
    last = (await outbox(redis))[-1]
    assert (last.deed, last.status, last.number) == ("reactivate", "draft", 0)


async def test_a_new_permit_has_seen_every_epoch(wires: Wires) -> None:
    epochs = [epoch(1, "deactivate"), epoch(2, "extend", until_ms=NOON_MS + 99 * DAY_MS)]
    permit = (await created(employment(wires, epochs), wanted())).permit
    assert effective(permit, epochs, NOON_MS).until_ms == permit.until_ms


# Changes


async def test_of_twenty_changes_at_once_one_is_made(permits: Employment, redis: Client) -> None:
    standing = await granted(permits, wanted())
    changed = await asyncio.gather(
        *(
            permits.amend(standing, deed="edit", actor=Actor(subject=f"s{n}"), now_ms=NOON_MS, zone=f"z{n}")
            for n in range(20)
        )
    )
    (winner,) = [found for found in changed if found is not None]
    assert await permits.load([standing.permit.code]) == [winner]
    assert [event.number for event in await outbox(redis) if event.number] == [1, 2]


async def test_a_change_whose_answer_was_lost_is_made_once(permits: Employment, redis: Client) -> None:
    standing = await granted(permits, wanted())
    first = await permits.amend(standing, deed="edit", actor=ACTOR, now_ms=NOON_MS, zone="Abşeron")
    again = await permits.amend(standing, deed="edit", actor=ACTOR, now_ms=NOON_MS, zone="Abşeron")
    assert first == again
    assert first is not None
    assert len(await outbox(redis)) == 3


async def test_only_what_the_registry_confirmed_goes_to_the_ministry(permits: Employment, redis: Client) -> None:
    standing = await created(permits, wanted())
    edited = await permits.amend(standing, deed="edit", actor=ACTOR, now_ms=NOON_MS, zone="Abşeron")
    assert edited is not None
    assert await permits.amend(edited, deed="refuse", actor=ACTOR, now_ms=NOON_MS, status="refused", reason="unknown")
    assert [(event.deed, event.number) for event in await outbox(redis)] == [("create", 0)]
    second = await granted(permits, wanted())
    assert await permits.amend(second, deed="delete", actor=ACTOR, now_ms=NOON_MS, status="cancelled")
    assert [(event.deed, event.number) for event in await outbox(redis)][1:] == [
        ("create", 0),
        ("confirm", 1),
        ("delete", 2),
    ]


async def test_a_change_settles_its_entry_once(permits: Employment, redis: Client) -> None:
    standing = await created(permits, wanted())
    ((entry, _),) = await redis.execute_command("XRANGE", KEYS.applications, "-", "+")
    settles = Change(hash="", applied=entry)
    confirmed = await permits.amend(
        standing, deed="confirm", actor=ACTOR, now_ms=NOON_MS, status="confirmed", settles=settles
    )
    assert confirmed is not None
    assert await redis.execute_command("XLEN", KEYS.applications) == 0
    assert await permits.amend(confirmed, deed="edit", actor=ACTOR, now_ms=NOON_MS, zone="x", settles=settles) is None


async def test_a_reply_goes_out_with_the_change(permits: Employment, redis: Client) -> None:
    standing = await granted(permits, wanted())
    assert await permits.amend(
        standing, deed="cancel", actor=ACTOR, now_ms=NOON_MS, status="cancelled", reason="abuse", reply=b'{"id":"r"}'
    )
    ((_, fields),) = await redis.execute_command("XRANGE", KEYS.replies, "-", "+")
    assert fields[b"m"] == b'{"id":"r"}'


async def test_a_history_keeps_its_first_act_and_the_latest(permits: Employment) -> None:
    standing = await created(permits, wanted())
    for n in range(30):
        changed = await permits.amend(standing, deed="edit", actor=ACTOR, now_ms=NOON_MS + n, zone=f"z{n}")
        assert changed is not None
        standing = changed
    assert (len(standing.permit.acts), standing.permit.acts[0].deed) == (24, "create")
    assert standing.permit.acts[-1].at_ms == NOON_MS + 29


# Looks


async def test_codes_of_nothing_are_nothing(permits: Employment) -> None:
    standing = await created(permits, wanted())
    asked = ["23456789AB", standing.permit.code, "ZZZZZZZZZZ", "no code", ""]
    assert await permits.load(asked) == [None, standing, None, None, None]
    assert await permits.load([]) == []


async def test_it_works_on_a_wire_and_an_error_reply_is_raised(server: EmbeddedStore, redis: Client) -> None:
    wire = Wire(server.url)

    async def send(commands: Sequence[Command]) -> list[Any]:
        return await wire.call(*commands)

    permits = Employment(send, route=ROUTE, partitions=PARTITIONS, keyring=KEYRING, epochs=[])
    standing = await created(permits, wanted())
    assert await permits.load([standing.permit.code]) == [standing]
    place = permits.place(standing.permit.code)
    assert place is not None
    await redis.execute_command("DEL", place.hash)
    await redis.execute_command("SET", place.hash, "no hash")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await permits.load([standing.permit.code])
    await wire.close()


async def test_the_record_stands_as_written(permits: Employment, redis: Client) -> None:
    standing = await created(permits, wanted())
    place = permits.place(standing.permit.code)
    assert place is not None
    raw: bytes = await redis.execute_command("HGET", place.hash, place.field)
    version, body = changes.read(raw)
    shown = msgspec.json.decode(body)
    assert (version, shown["kind"], place.field[0]) == (1, "organisation", "o")
    assert not any(word in body for word in (b"1AAA001", b"AZE1111111", b"Employee 1"))
