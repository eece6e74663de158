"""The feed to the Ministry: whatever it does, nothing is lost, and each person's events come in order."""

import asyncio
import json

import pytest

from dispatch.ministry.off import NoMinistry
from permits.calendar import rfc3339
from permits.employees import Epoch, effective
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.keyring import Keyring
from tests.eventually import eventually
from tests.integration.ministry_simulator import FAULTS, SECRET, Fault, Simulator, ministry
from tests.integration.outboxes import (
    DAY_MS,
    PARTITIONS,
    Office,
    counters,
    hurried,
    now_ms,
    office,
    outboxing,
    tending,
    until_settled,
    waiting,
)

__all__ = ["hurried"]
pytestmark = pytest.mark.usefixtures("hurried")


def complete(simulator: Simulator) -> bool:
    """Whether it has every number of each partition, from 1 and without a gap."""
    return all(
        tally["ranges"] == [[1, tally["ranges"][0][1]]] and not tally["refused"]
        for tally in simulator.tallies().values()
    )


async def test_a_confirmed_permit_is_transmitted_and_then_active(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator, outboxing(server.url, simulator.client()):
        (standing,) = await zavod.grants(1)
        await until_settled(redis)
        (event,) = simulator.events
        permit = (await zavod.stands(standing.permit.code)).permit
        assert permit.status == "transmitted"
        assert [(act.actor, act.deed) for act in permit.acts][-1] == ("ministry", "transmit")
        assert effective(permit, (), now_ms()).status == "active"
        partition: int = event["partition"]
        assert event | {"employee": None, "at": None} == {
            "id": f"{PARTITIONS[partition].tag}-1",
            "partition": partition,
            "number": 1,
            "event": "granted",
            "permit": permit.code,
            "version": 2,
            "at": None,
            "organisation": {"tin": permit.tin, "name": "Zavod"},
            "employee": None,
            "status": "confirmed",
            "valid_from": rfc3339(permit.from_ms),
            "valid_until": rfc3339(permit.until_ms),
            "zone": None,
            "activity": None,
            "reason": None,
            "epoch": 0,
            "trace": "",
        }
        employee = zavod.employment.employee(permit)
        assert event["employee"] == {"fin": employee.fin, "document": employee.document, "name": employee.name}
        assert await counters(redis) == {"numbered": 1, "taken": 1, "refused": 0, "off": 0}


async def test_a_thousand_permits_go_in_batches_of_at_most_a_hundred(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        await zavod.grants(1000)
        async with outboxing(server.url, simulator.client()):
            await until_settled(redis)
        assert len(simulator.events) == 1000
        assert max(map(len, simulator.posts)) == 100
        assert len(simulator.posts) < 60
        assert complete(simulator)


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_or_reordered_whatever_the_ministry_answers(
    fault: Fault, server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        simulator.faults = [fault] * 3
        granted = await zavod.grants(30)
        for standing in granted[:5]:
            await zavod.edits(standing.permit.code, zone="Bakı")
        await zavod.cancels(granted[0].permit.code)
        async with outboxing(server.url, simulator.client(timeout_s=0.3)):
            await until_settled(redis)
        assert len(simulator.events) == 36
        assert complete(simulator)
        assert (await counters(redis))["taken"] == 36
        statuses = {(await zavod.stands(one.permit.code)).permit.status for one in granted[1:]}
        assert statuses == {"transmitted"}
        assert (await zavod.stands(granted[0].permit.code)).permit.status == "cancelled"
        assert simulator.in_force(rfc3339(now_ms())) == {one.permit.code for one in granted[1:]}


async def test_loops_killed_at_any_moment_lose_nothing_and_keep_the_order(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        codes = [one.permit.code for one in await zavod.grants(60)]
        simulator.faults = [*FAULTS, *FAULTS]
        for round_ in range(12):
            running = tending(server.url, simulator.client(timeout_s=0.2))
            editing = asyncio.gather(*(zavod.edits(code, zone=f"zone {round_}") for code in codes[round_::12]))
            posts = len(simulator.posts)

            async def has_posted(posts: int = posts) -> bool:
                return len(simulator.posts) > posts

            await eventually(has_posted)
            await running.kill()
            await editing
        async with outboxing(server.url, simulator.client()):
            await until_settled(redis)
        assert len(simulator.events) == 120
        assert complete(simulator)
        assert (await counters(redis))["taken"] == 120


async def test_two_loops_on_the_same_partitions_settle_each_event_once(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        codes = [one.permit.code for one in await zavod.grants(40)]
        for code in codes:
            await zavod.edits(code, zone="Gəncə")
        async with outboxing(server.url, simulator.client()), outboxing(server.url, simulator.client()):
            await until_settled(redis)
        assert complete(simulator)
        assert await counters(redis) == {"numbered": 80, "taken": 80, "refused": 0, "off": 0}


async def test_a_person_whose_events_are_never_taken_holds_nobody_else(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        (slow, *rest) = await zavod.grants(20, partition=2)
        for zone in range(30):
            await zavod.edits(slow.permit.code, zone=f"{zone}")
        later = await zavod.grants(20, partition=2)
        simulator.stuck = {zavod.fin(slow.permit)}
        async with outboxing(server.url, simulator.client()):

            async def others_are_taken() -> bool:
                return len(simulator.events) == len(rest) + len(later)

            async def others_are_settled() -> bool:
                return await waiting(redis) == 31

            await eventually(others_are_taken)
            await eventually(others_are_settled)
            simulator.stuck.clear()
            await until_settled(redis)
        assert [e["zone"] for e in simulator.events if e["permit"] == slow.permit.code] == [None, *map(str, range(30))]
        assert complete(simulator)


async def test_an_event_on_which_the_ministry_chokes_ends_up_alone(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        granted = await zavod.grants(150)
        simulator.choke = {zavod.fin(granted[70].permit)}
        async with outboxing(server.url, simulator.client()):

            async def others_are_taken() -> bool:
                return len(simulator.events) == 149

            await eventually(others_are_taken)
            simulator.choke.clear()
            await until_settled(redis)
        assert complete(simulator)


async def test_more_people_than_the_window_has_room_for_wait_their_turn(
    server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.outbox.window.MOST", 7)
    async with office(server.url) as zavod, ministry() as simulator:
        granted = await zavod.grants(50, partition=1)
        for one in granted[::2]:
            await zavod.edits(one.permit.code, zone="x")
        simulator.down = True
        async with outboxing(server.url, simulator.client()):

            async def is_asked_again() -> bool:
                return len(simulator.posts) > 3

            await eventually(is_asked_again)
            assert len({name for post in simulator.posts for name in post}) == 7
            simulator.down = False
            await until_settled(redis)
        assert complete(simulator)


async def test_a_ministry_that_is_down_is_asked_ever_more_rarely_by_one_post_at_a_time(
    server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[int] = []

    def noted(failures: int) -> float:
        pauses.append(failures)
        return 0.005

    async with office(server.url) as zavod, ministry() as simulator:
        await zavod.grants(400)
        simulator.down = True
        monkeypatch.setattr("dispatch.outbox.transmission.POSTS", 1)
        monkeypatch.setattr("dispatch.outbox.transmission.backoff_s", noted)
        async with outboxing(server.url, simulator.client()):

            async def is_asked_again() -> bool:
                return len(simulator.posts) > 20 and max(pauses) >= 20

            await eventually(is_asked_again)
            simulator.down = False
            await until_settled(redis)
        assert complete(simulator)
        assert len(simulator.events) == 400


async def test_an_event_whose_key_is_missing_waits_for_the_key_and_others_go_on(
    server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        await zavod.grants(3)
        other = Keyring({"k9": b"9" * 32}, "k9")
        zavod.seals_by(other)
        await zavod.grants(1)
        client = simulator.client()
        async with outboxing(server.url, client):

            async def only_one_waits() -> bool:
                return await waiting(redis) == 1

            await eventually(only_one_waits)
            monkeypatch.setattr(client, "_keyring", other)
            await until_settled(redis)
        assert complete(simulator)


async def test_a_stop_settles_what_is_under_way_and_leaves_the_rest(
    server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.outbox.transmission.POSTS", 1)
    async with office(server.url) as zavod, ministry() as simulator:
        await zavod.grants(250)
        simulator.hold = asyncio.Event()
        running = tending(server.url, simulator.client())

        async def is_under_way() -> bool:
            return len(simulator.posts) > 0

        await eventually(is_under_way)
        stopping = asyncio.create_task(running.stop())
        simulator.hold.set()
        await stopping
        under_way = sum(map(len, simulator.posts))  # one more may have begun before the loop saw the stop
        assert under_way <= 200
        assert await waiting(redis) == 250 - under_way
        assert (await counters(redis))["taken"] == under_way
        async with outboxing(server.url, simulator.client()):
            await until_settled(redis)
        assert complete(simulator)
        assert sum(map(len, simulator.posts)) == 250


async def test_without_a_ministry_a_confirmed_permit_counts_at_once(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, outboxing(server.url, NoMinistry()):
        granted = await zavod.grants(50)
        await until_settled(redis)
        permits = [(await zavod.stands(one.permit.code)).permit for one in granted]
        assert {(permit.status, permit.acts[-1].actor) for permit in permits} == {("transmitted", "no ministry")}
        assert await counters(redis) == {"numbered": 50, "taken": 0, "refused": 0, "off": 50}


async def test_epochs_are_transmitted_in_order_and_both_sides_have_the_same_permits_in_force(
    server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        async with outboxing(server.url, simulator.client(timeout_s=0.3), epochs=zavod.epochs):
            granted = await zavod.grants(10, days=5)
            short = await zavod.grants(5, days=1)
            await until_settled(redis)
            simulator.faults = ["error", "late", "busy"]
            await _proclaim(zavod, "extend", until_ms=now_ms() + 60 * DAY_MS)
            after_extension = await zavod.grants(5, days=2)
            await zavod.edits(granted[0].permit.code, until_ms=now_ms() + DAY_MS, epoch=1)
            await zavod.cancels(short[0].permit.code)

            async def has(epochs: int) -> bool:
                return len(simulator.epochs) == epochs

            await eventually(lambda: has(1))
            await until_settled(redis)
            everything = [*granted, *short, *after_extension]
            await _agree(zavod, simulator, [one.permit.code for one in everything], in_force=19)
            await _proclaim(zavod, "deactivate")
            again = await zavod.grants(3, days=3)
            await eventually(lambda: has(2))
            await until_settled(redis)
            everything += again
            await _agree(zavod, simulator, [one.permit.code for one in everything], in_force=3)
        assert [epoch["id"] for epoch in simulator.epochs] == ["epoch-1", "epoch-2"]
        assert await redis.execute_command("GET", "epochs_fed") == b"2"
        assert simulator.epochs[1]["until"] is None


async def _proclaim(zavod: Office, action: str, *, until_ms: int = 0) -> None:
    number = len(zavod.epochs) + 1
    assert action in ("extend", "deactivate")
    await zavod.proclaims(
        Epoch(number, action, now_ms(), "decree", "staff", f"{number:032d}", until_ms)  # pyright: ignore[reportArgumentType]
    )


async def _agree(zavod: Office, simulator: Simulator, codes: list[str], *, in_force: int) -> None:
    for later_ms in (0, 3 * DAY_MS // 2, 10 * DAY_MS, 70 * DAY_MS):
        at_ms = now_ms() + later_ms
        ours = {
            code
            for code in codes
            if effective((await zavod.stands(code)).permit, zavod.epochs, at_ms).status == "active"
        }
        assert simulator.in_force(rfc3339(at_ms)) == ours
        assert later_ms or len(ours) == in_force


async def test_no_log_line_of_the_feed_names_a_person(
    server: EmbeddedStore, redis: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        granted = await zavod.grants(5)
        simulator.faults = list(FAULTS)
        simulator.refuse = {granted[0].permit.code}
        async with outboxing(server.url, simulator.client(timeout_s=0.2)):
            await until_settled(redis)
        said = json.dumps([vars(record) for record in caplog.records], default=str)
        for one in granted:
            employee = zavod.employment.employee(one.permit)
            assert not any(word in said for word in (employee.fin, employee.document, employee.name))
        assert SECRET.decode() not in said
