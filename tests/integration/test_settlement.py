"""What the Ministry's word does to a permit: only to the version it was said of, and in no words of its own."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Literal

import pytest

from dispatch.ministry.port import FeedEvent, Ministry
from dispatch.operators.port import Outcome
from dispatch.outbox.settlement import NO_REASON
from permits.calendar import rfc3339
from permits.messages import DEAD_DECODER
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.ministry_simulator import ministry
from tests.integration.outboxes import PARTITIONS, counters, hurried, now_ms, office, outboxing, until_settled

__all__ = ["hurried"]
pytestmark = pytest.mark.usefixtures("hurried")


class LaterHeld:
    """A Ministry that is not sent one event before its time."""

    ack: ClassVar[Literal["taken", "off"]] = "taken"

    def __init__(self, behind: Ministry, event_id: str, time_comes: asyncio.Event) -> None:
        self._behind = behind
        self._event_id = event_id
        self._time_comes = time_comes
        self.proclaim = behind.proclaim
        self.close = behind.close

    async def send(self, events: Sequence[FeedEvent]) -> Outcome:
        if any(event.id == self._event_id for event in events):
            await self._time_comes.wait()
        return await self._behind.send(events)


@pytest.mark.parametrize(
    ("error", "reason"),
    [("zone_closed", "zone_closed"), ("FIN 5ABC12D of Aysel is unknown", NO_REASON), (None, NO_REASON)],
)
async def test_a_refused_permit_is_refused_with_a_reason_that_names_nobody_and_a_dead_letter(
    error: str | None, reason: str, server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        unwanted, wanted = await zavod.grants(2, partition=3)
        simulator.refuse, simulator.error = {unwanted.permit.code}, error
        async with outboxing(server.url, simulator.client()):
            await until_settled(redis)
        permit = (await zavod.stands(unwanted.permit.code)).permit
        assert (permit.status, permit.reason) == ("refused", reason)
        assert (await zavod.stands(wanted.permit.code)).permit.status == "transmitted"
        ((_, fields),) = await redis.execute_command("XRANGE", PARTITIONS[3].dead, "-", "+")
        letter = DEAD_DECODER.decode(fields[b"m"])
        assert (letter.kind, letter.reason) == ("feed", f"refused: {reason}")
        employee = zavod.employment.employee(permit)
        assert not any(word in letter.raw for word in (employee.fin, employee.document, employee.name))
        acts = await redis.execute_command("XRANGE", PARTITIONS[3].acts, "-", "+")
        assert "Aysel" not in letter.raw + str(acts)
        # A refusal of theirs is no news for them.
        assert await counters(redis) == {"numbered": 2, "taken": 1, "refused": 1, "off": 0}


async def test_a_permit_that_changed_while_its_event_was_under_way_is_told_by_the_later_event(
    server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        edited, refused = await zavod.grants(2)
        simulator.hold = asyncio.Event()
        async with outboxing(server.url, simulator.client()):

            async def is_under_way() -> bool:
                return len(simulator.posts) > 0

            await eventually(is_under_way)
            await zavod.edits(edited.permit.code, zone="Bakı")
            await zavod.cancels(refused.permit.code)
            simulator.refuse = {refused.permit.code}
            simulator.hold.set()
            await until_settled(redis)
        permit = (await zavod.stands(edited.permit.code)).permit
        assert (permit.status, permit.zone) == ("transmitted", "Bakı")
        assert (await zavod.stands(refused.permit.code)).permit.status == "cancelled"
        events = [(e["event"], e["version"]) for e in simulator.events if e["permit"] == edited.permit.code]
        assert events == [("granted", 2), ("changed", 3)]


async def test_an_acceptance_of_what_has_been_edited_since_leaves_the_permit_to_the_later_event(
    server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        (standing,) = await zavod.grants(1, partition=0)
        await zavod.edits(standing.permit.code, zone="Bakı")
        later = asyncio.Event()
        client = LaterHeld(simulator.client(), f"{PARTITIONS[0].tag}-2", later)
        async with outboxing(server.url, client):

            async def first_is_settled() -> bool:
                return (await counters(redis))["taken"] == 1

            await eventually(first_is_settled)
            between = await zavod.stands(standing.permit.code)
            later.set()
            await until_settled(redis)
        assert between.permit.status == "confirmed"
        assert (await zavod.stands(standing.permit.code)).permit.status == "transmitted"


async def test_a_refusal_of_what_has_been_edited_since_leaves_the_word_to_the_later_event(
    server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        (standing,) = await zavod.grants(1, partition=0)
        await zavod.edits(standing.permit.code, zone="Bakı")
        simulator.refuse = {f"{PARTITIONS[0].tag}-1"}
        async with outboxing(server.url, simulator.client()):
            await until_settled(redis)
        assert (await zavod.stands(standing.permit.code)).permit.status == "transmitted"
        assert simulator.in_force(rfc3339(now_ms())) == {standing.permit.code}
        assert await counters(redis) == {"numbered": 2, "taken": 1, "refused": 1, "off": 0}
