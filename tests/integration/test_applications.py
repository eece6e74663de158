"""Employees confirmed by the registry: each once, as their permits stand, and nobody by a record that fails."""

import asyncio
import time
from collections import Counter
from typing import Final

import msgspec

from permits.employees import AuditAct
from permits.messages import ENCODER, Application
from processor.registry.http import HttpRegistry
from runtime.keyring import Keyring
from tests.eventually import eventually
from tests.integration.applications import (
    KEYRING,
    PARTITIONS,
    TRACE,
    Desk,
    asked,
    desk,
    fin,
    left,
    raws,
    registry,
    short_waits,
    simulator,
)
from tests.integration.registry_simulator import Simulator

_ACT: Final = msgspec.json.Decoder(AuditAct)


__all__ = ["desk", "registry", "short_waits", "simulator"]


# --- the registry's word


async def test_a_confirmed_employee_goes_to_the_ministry_in_the_name_of_the_registry(
    desk: Desk, registry: HttpRegistry
) -> None:
    [code] = await desk.asks(1)
    async with desk.working(registry):
        await desk.settled()
    standing = await desk.stands(code)
    assert (standing.version, standing.permit.status, standing.permit.reason) == (2, "confirmed", None)
    act = standing.permit.acts[-1]
    assert (act.deed, act.actor, act.status) == ("confirm", "registry", "confirmed")
    [audited] = await desk.acts()
    assert (audited.code, audited.deed, audited.status, audited.trace) == (code, "confirm", "confirmed", TRACE)
    [event] = await desk.fed()
    assert (event.code, event.deed, event.version, event.trace) == (code, "confirm", 2, TRACE)
    await desk.each_judged_once([code])


async def test_a_refused_employee_has_a_reason_and_the_ministry_hears_nothing(
    desk: Desk, simulator: Simulator, registry: HttpRegistry
) -> None:
    simulator.refuse = {fin(0): "deceased"}
    [code] = await desk.asks(1)
    async with desk.working(registry):
        await desk.settled()
    permit = (await desk.stands(code)).permit
    assert (permit.status, permit.reason, permit.acts[-1].deed) == ("refused", "deceased", "refuse")
    assert await desk.fed() == []
    await desk.each_judged_once([code])


async def test_many_are_asked_about_at_once_and_each_once(
    desk: Desk, simulator: Simulator, registry: HttpRegistry
) -> None:
    simulator.refuse = {fin(n): "unknown_person" for n in range(0, 700, 7)}
    codes = await desk.asks(700)
    async with desk.working(registry):
        await desk.settled()
    assert await desk.statuses(codes) == {"confirmed": 600, "refused": 100}
    assert Counter(one for question in simulator.questions for one in question) == {fin(n): 1 for n in range(700)}
    assert len(simulator.questions) < 20
    await desk.each_judged_once(codes)


async def test_an_application_is_judged_within_a_second_without_any_other(desk: Desk, registry: HttpRegistry) -> None:
    async with desk.working(registry):
        for first in range(5):
            began = time.monotonic()
            await desk.asks(1, first=first)
            await desk.settled()
            assert time.monotonic() - began < 1


async def test_only_partitions_that_are_ours_are_touched(desk: Desk, registry: HttpRegistry) -> None:
    held = [0, 2]
    codes = {index: await desk.asks(5, partition=index) for index in range(4)}
    async with desk.working(registry, held=held):

        async def ours_are_done() -> bool:
            return await desk.waiting() == 10

        await eventually(ours_are_done)
        assert await desk.statuses(codes[1] + codes[3]) == {"submitted": 10}
        held[:] = [1, 3]
        await desk.settled()


async def test_without_any_partition_it_waits(desk: Desk, registry: HttpRegistry) -> None:
    held = list[int]()
    await desk.asks(3)
    async with desk.working(registry, held=held):
        held += range(4)
        await desk.settled()


# --- permits that change meanwhile


async def test_who_is_no_longer_wanted_is_not_asked_about(
    desk: Desk, simulator: Simulator, registry: HttpRegistry
) -> None:
    code, other = await desk.asks(2)
    await desk.edits(code, status="cancelled", reason="left")
    async with desk.working(registry):
        await desk.settled()
    assert [one for question in simulator.questions for one in question] == [fin(1)]
    assert (await desk.stands(code)).permit.status == "cancelled"
    await desk.each_judged_once([other])


async def test_what_was_edited_before_the_word_is_judged_as_it_stands(desk: Desk, registry: HttpRegistry) -> None:
    [code] = await desk.asks(1)
    await desk.edits(code, zone="Bakı")
    async with desk.working(registry):
        await desk.settled()
    standing = await desk.stands(code)
    assert (standing.version, standing.permit.status, standing.permit.zone) == (3, "confirmed", "Bakı")


async def test_an_edit_during_the_question_is_kept_and_judged(
    desk: Desk, simulator: Simulator, registry: HttpRegistry
) -> None:
    simulator.hold = asyncio.Event()
    codes = await desk.asks(2)
    async with desk.working(registry):
        await asked(simulator)
        await desk.edits(codes[0], zone="Bakı")
        await desk.edits(codes[1], status="cancelled", reason="left")
        simulator.hold.set()
        await desk.settled()
    assert (await desk.stands(codes[0])).permit.zone == "Bakı"
    assert await desk.statuses(codes) == {"confirmed": 1, "cancelled": 1}
    assert [event.code for event in await desk.fed()] == [codes[0]]


async def test_the_application_of_a_permit_that_is_gone_is_dropped(
    desk: Desk, simulator: Simulator, registry: HttpRegistry
) -> None:
    code, other = await desk.asks(2)
    place = desk.employment.place(code)
    assert place is not None
    await desk.client.execute_command("HDEL", place.hash, place.field)
    async with desk.working(registry):
        await desk.settled()
    assert await desk.statuses([other]) == {"confirmed": 1}
    assert await desk.dead() == []
    assert fin(0) not in simulator.settled


# --- what cannot be read


async def test_what_cannot_be_read_is_a_dead_letter_and_the_others_go_on(desk: Desk, registry: HttpRegistry) -> None:
    codes = await desk.asks(6, partition=1)
    [elsewhere] = await desk.asks(1, partition=2)
    keys = PARTITIONS[1]
    junk = [b"", b"{", b"\xff", b'{"code": 7}', _application("!"), _application("ZZZZZZZZZZ"), _application(elsewhere)]
    for raw in junk:
        await desk.client.execute_command("XADD", keys.applications, "*", "m", raw)
    await desk.client.execute_command("XADD", keys.applications, "*", "x", "y")
    for code, raw in zip(codes, [b"", b"x", b"1 {", b'2 {"kind": "organisation"}'], strict=False):
        place = desk.employment.place(code)
        assert place is not None
        await desk.client.execute_command("HSET", place.hash, place.field, raw)
    async with desk.working(registry):
        await desk.settled()
    assert await desk.statuses([*codes[4:], elsewhere]) == {"confirmed": 3}
    dead = await desk.dead()
    assert [letter.kind for letter in dead] == ["application"] * 12
    assert {letter.reason for letter in dead} == {"the application, or its permit's record, cannot be read"}
    assert [b"Employee" in ENCODER.encode(letter) for letter in dead] == [False] * 12


async def test_who_is_sealed_with_a_lost_key_is_refused_in_our_own_name_and_a_dead_letter(
    desk: Desk, simulator: Simulator, registry: HttpRegistry
) -> None:
    [lost] = await desk.asks(1)
    both = Keyring({**KEYRING.raw, "k2": b"2" * 32}, "k2")
    newer = Desk(desk.client, desk.url, keyring=both)
    [known] = await newer.asks(1, first=1)
    await newer.wire.close()
    async with desk.working(registry, keyring=Keyring({"k2": b"2" * 32}, "k2")):
        await desk.settled()
    assert [letter.kind for letter in await desk.dead()] == ["application"]
    permit = (await desk.stands(lost)).permit
    assert (permit.status, permit.reason) == ("refused", "the employee's data cannot be read any more: apply again")
    assert (permit.acts[-1].deed, permit.acts[-1].actor) == ("refuse", "icaze")
    assert await desk.statuses([known]) == {"confirmed": 1}
    [house] = [act for raw in await raws(desk.client, "acts") if (act := _ACT.decode(raw)).actor == "icaze"]
    assert (house.code, house.deed, house.status, house.trace) == (lost, "refuse", "refused", TRACE)
    assert await desk.asks(1) != [lost]  # its organisation may apply again
    assert simulator.questions == [[fin(1)]]


async def test_a_record_of_another_kind_is_put_off_and_the_others_go_on(desk: Desk, registry: HttpRegistry) -> None:
    odd, *codes = await desk.asks(9, partition=1)
    place = desk.employment.place(odd)
    assert place is not None
    await desk.client.execute_command("SET", place.hash, "no hash")
    async with desk.working(registry):
        await left(desk, 1)
        assert await desk.statuses(codes) == {"confirmed": 8}
        await desk.client.execute_command("DEL", place.hash)
        await desk.settled()


def _application(code: str) -> bytes:
    return ENCODER.encode(Application(code, 1, TRACE))
