"""The index of permits within a second, forgetting in time, and an outbox that outlives what goes wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from dispatch.ministry.off import NoMinistry
from dispatch.outbox.index import Index
from dispatch.outbox.sweep import Sweep
from lua import changes
from permits.amended import AmendedPermit
from permits.employees import RETENTION_MS, Epoch, Request
from permits.messages import DEAD_DECODER, ENCODER
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.epochs import Epochs
from runtime.leases import Lease
from tests.eventually import eventually
from tests.integration.ministry_simulator import ministry
from tests.integration.outboxes import (
    ACTOR,
    DAY_MS,
    PARTITIONS,
    ROUTE,
    TIN,
    Office,
    counters,
    hurried,
    known,
    listed,
    now_ms,
    of_person,
    office,
    outboxing,
    scored,
    tending,
    until_settled,
    waiting,
)

__all__ = ["hurried"]


async def test_a_permit_stands_in_the_lists_within_a_second_also_as_a_draft(
    server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod, outboxing(server.url, NoMinistry()):
        asked = await zavod.asks(20)

        async def all_listed() -> bool:
            return len(await listed(redis)) == 20

        await eventually(all_listed, within_s=1.0)
        assert set(await listed(redis)) == {one.permit.code for one in asked}
        assert (await listed(redis))[asked[0].permit.code] == asked[0].permit.acts[0].at_ms
        assert await of_person(redis, zavod.fin(asked[3].permit)) == [asked[3].permit.code]
        await until_settled(redis)


@pytest.mark.usefixtures("hurried")
async def test_lists_grow_while_the_ministry_is_down(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        simulator.down = True
        async with outboxing(server.url, simulator.client()):
            await zavod.grants(10)

            async def is_listed(count: int = 10) -> bool:
                return len(await listed(redis)) == count

            await eventually(is_listed)
            await zavod.asks(5)
            await eventually(lambda: is_listed(15))

            async def only_the_ministrys_wait() -> bool:  # an entry leaves after it is listed
                return await waiting(redis) == 10

            await eventually(only_the_ministrys_wait)


@pytest.mark.usefixtures("hurried")
async def test_a_thousand_events_that_a_killed_loop_left_are_indexed_by_the_next(
    server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.outbox.index.PAGE", 10)
    async with office(server.url) as zavod:
        asked = await zavod.asks(1000)
        left: list[int] = []
        for _ in range(4):
            before = await waiting(redis)
            running = tending(server.url, NoMinistry())

            async def has_moved(before: int = before) -> bool:
                return await waiting(redis) < before or not before  # a slow test may find that all is done

            await eventually(has_moved)
            await running.kill()
            left.append(await waiting(redis))
        assert left[0] > 0
        async with outboxing(server.url, NoMinistry()):
            await until_settled(redis)
        assert set(await listed(redis)) == {one.permit.code for one in asked}


@pytest.mark.usefixtures("hurried")
async def test_an_entry_that_nobody_can_read_becomes_a_dead_letter_and_the_next_go_on(
    server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod, outboxing(server.url, NoMinistry()):
        for fields in (["m", "{"], ["m", b"\xff\x00"], ["other", "x"]):
            await redis.execute_command("XADD", PARTITIONS[1].outbox, "*", *fields)
        await zavod.grants(5, partition=1)
        await until_settled(redis)
        letters = await redis.execute_command("XRANGE", PARTITIONS[1].dead, "-", "+")
        assert [DEAD_DECODER.decode(fields[b"m"]).reason for _, fields in letters] == ["unreadable"] * 3
        assert (await counters(redis))["off"] == 5


@pytest.mark.usefixtures("hurried")
async def test_a_partition_that_is_not_surely_ours_is_left_alone(server: EmbeddedStore, redis: Client) -> None:
    leases = [Lease(index, keys, "1", float("inf")) for index, keys in enumerate(PARTITIONS)]
    leases[2].until_mono_s = 0.0
    async with office(server.url) as zavod:
        await zavod.grants(5, partition=2)
        running = tending(server.url, NoMinistry(), leases=leases)
        await zavod.grants(5, partition=1)

        async def others_are_done() -> bool:
            return await waiting(redis) == 10

        await eventually(others_are_done)
        leases[2].until_mono_s = float("inf")
        await until_settled(redis)
        await running.stop()


@pytest.mark.usefixtures("hurried")
async def test_it_goes_on_after_its_connection_broke(server: EmbeddedStore, redis: Client) -> None:
    async with ministry() as simulator, outboxing(server.url, simulator.client()):
        for _ in range(5):
            async with office(server.url) as zavod:
                await zavod.grants(20)
            await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until_settled(redis)
        assert len(simulator.events) == 100


async def _sweeps(redis: Client, *, left: int) -> None:
    """Wait until so many hashes of records are left, with nothing due."""

    async def is_swept() -> bool:
        scores = [score for keys in PARTITIONS for _, score in await scored(redis, keys.ends)]
        return len(scores) == left and all(score > now_ms() / 1000 for score in scores)

    await eventually(is_swept)


async def _due(redis: Client) -> None:
    """As if a long time had passed: everything must be looked at."""
    for keys in PARTITIONS:
        for member in await redis.execute_command("ZRANGE", keys.ends, 0, -1):
            await redis.execute_command("ZADD", keys.ends, 1, member)


async def _ended(zavod: Office, code: str, *, days_ago: int) -> None:
    await zavod.edits(code, from_ms=now_ms() - 100 * DAY_MS, until_ms=now_ms() - days_ago * DAY_MS)


@pytest.mark.usefixtures("hurried")
async def test_permits_are_forgotten_thirty_days_after_their_end_and_not_before(
    server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod, outboxing(server.url, NoMinistry()):
        old, recent, running_ = await zavod.grants(3)
        await _ended(zavod, old.permit.code, days_ago=31)
        await _ended(zavod, recent.permit.code, days_ago=29)
        await until_settled(redis)
        await _due(redis)
        await _sweeps(redis, left=2)
        assert await zavod.employment.load([old.permit.code]) == [None]
        assert (await zavod.stands(recent.permit.code)).permit.until_ms < now_ms()
        assert set(await listed(redis)) == {recent.permit.code, running_.permit.code}
        assert await of_person(redis, zavod.fin(old.permit)) == []


@pytest.mark.usefixtures("hurried")
async def test_nothing_is_left_in_the_store_when_all_is_forgotten(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod:
        async with outboxing(server.url, NoMinistry()):
            granted = await zavod.grants(200)
            await asyncio.gather(*(_ended(zavod, one.permit.code, days_ago=40) for one in granted))
            await until_settled(redis)
            await _due(redis)
            await _sweeps(redis, left=0)
        keys = {key.split(b":")[0] for key in await redis.execute_command("KEYS", "*")}
        assert keys <= {b"feed", b"acts", b"outbox", b"applications", b"replies", b"dead"}


@pytest.mark.usefixtures("hurried")
async def test_an_epoch_that_extended_a_permit_keeps_it(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod:
        (standing,) = await zavod.grants(1)
        async with outboxing(server.url, NoMinistry(), epochs=zavod.epochs):
            await _ended(zavod, standing.permit.code, days_ago=31)
            until_ms = now_ms() + DAY_MS
            proclaimed_ms = now_ms() - 50 * DAY_MS
            await zavod.proclaims(Epoch(1, "extend", proclaimed_ms, "decree", "staff", "0" * 32, until_ms))
            await until_settled(redis)
            await _due(redis)
            await _sweeps(redis, left=1)
        keys = PARTITIONS[ROUTE.of_document(zavod.employment.employee(standing.permit).document)[0]]
        ((_, score),) = await scored(redis, keys.ends)
        assert score == pytest.approx((until_ms + RETENTION_MS) / 1000, abs=1)


async def test_nothing_is_forgotten_before_the_epochs_are_read_nor_while_one_cannot_be(
    server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod:
        (standing,) = await zavod.grants(1)
        await _ended(zavod, standing.permit.code, days_ago=31)
        epoch = Epoch(1, "extend", now_ms() - 50 * DAY_MS, "decree", "staff", "0" * 32, now_ms() + DAY_MS)
        await zavod.proclaims(epoch)
        await _due(redis)
        epochs = Epochs(zavod.wire.execute_command)
        sweep = _sweep(zavod, epochs)
        await sweep(len(PARTITIONS))
        await zavod.stands(standing.permit.code)
        await epochs.refresh()
        await sweep(len(PARTITIONS))
        await zavod.stands(standing.permit.code)
        await redis.execute_command("RPUSH", "epochs", "{}")
        with pytest.raises(msgspec.ValidationError):
            await epochs.refresh()
        epochs.known.clear()
        await _due(redis)
        await sweep(len(PARTITIONS))
        await zavod.stands(standing.permit.code)


async def test_a_sweep_takes_one_page_of_one_partition_and_the_next_goes_on(
    server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.outbox.sweep.PAGE", 2)
    async with office(server.url) as zavod:
        for partition in range(len(PARTITIONS)):
            for one in await zavod.grants(3, partition=partition):
                await _ended(zavod, one.permit.code, days_ago=31)
        await _due(redis)
        sweep = _sweep(zavod, known(zavod.wire, None))
        left: list[list[int]] = []
        for _ in range(2 * len(PARTITIONS)):
            await sweep(1)
            left.append([await redis.execute_command("ZCARD", keys.ends) for keys in PARTITIONS])
        assert left == [
            [1, 3, 3, 3], [1, 1, 3, 3], [1, 1, 1, 3], [1, 1, 1, 1],
            [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0],
        ]  # fmt: skip


def _sweep(zavod: Office, epochs: Epochs) -> Callable[[int], Awaitable[None]]:
    """So many sweeps, with all partitions held."""
    index = Index(zavod.wire, route=ROUTE, partitions=PARTITIONS)
    sweep = Sweep(zavod.wire, partitions=PARTITIONS, index=index, epochs=epochs)

    async def swept(times: int) -> None:
        for _ in range(times):
            await sweep.sweep(range(len(PARTITIONS)))

    return swept


@pytest.mark.usefixtures("hurried")
async def test_amended_sms_permits_are_forgotten_beside_employees_and_what_is_unreadable_stays(
    server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod, outboxing(server.url, NoMinistry()):
        (standing,) = await zavod.grants(1)
        await until_settled(redis)
        place = zavod.employment.place(standing.permit.code)
        assert place is not None
        past = AmendedPermit(
            code="ABCDEFGHJK",
            owner=standing.permit.owner,
            digest="0" * 12,
            decided_s=1,
            asked_ms=0,
            purpose=1,
            from_ms=0,
            until_ms=None,
            ends_ms=now_ms() - RETENTION_MS - 1000,
            status="cancelled",
        )
        later = msgspec.structs.replace(past, digest="1" * 12, ends_ms=now_ms() - RETENTION_MS + DAY_MS)
        for record in (past, later):
            await redis.execute_command("HSET", place.hash, record.field, changes.written(1, ENCODER.encode(record)))
        await redis.execute_command("HSET", place.hash, "x1", b"1 {}")
        await redis.execute_command("HSET", place.hash, "x2", b"nonsense")
        await _due(redis)
        await _sweeps(redis, left=1)
        assert set(await redis.execute_command("HKEYS", place.hash)) == {
            place.field.encode(),
            later.field.encode(),
            b"x1",
            b"x2",
        }


@pytest.mark.usefixtures("hurried")
async def test_a_permit_that_changes_while_it_is_forgotten_stays_and_stays_listed(
    server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = changes.forget
    async with office(server.url) as zavod, outboxing(server.url, NoMinistry()):
        (standing,) = await zavod.grants(1)
        code = standing.permit.code
        await until_settled(redis)

        async def edited_first(*args: Any, **named: Any) -> int:
            monkeypatch.setattr("lua.changes.forget", forget)
            await zavod.edits(code, until_ms=now_ms() + DAY_MS)
            return await forget(*args, **named)

        monkeypatch.setattr("lua.changes.forget", edited_first)
        await _ended(zavod, code, days_ago=31)
        await _sweeps(redis, left=1)
        assert (await zavod.stands(code)).permit.until_ms > now_ms()

        async def is_listed() -> bool:
            return list(await listed(redis)) == [code]

        await eventually(is_listed)


async def test_a_permit_that_is_brought_back_keeps_its_place_in_the_lists(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, outboxing(server.url, NoMinistry()):
        (standing,) = await zavod.grants(1)
        await until_settled(redis)
        before = await listed(redis)
        await zavod.proclaims(Epoch(1, "deactivate", now_ms(), "decree", "staff", "0" * 32))
        await eventually(partial(_is_later, now_ms()))
        employee = zavod.employment.employee(standing.permit)
        again = Request(employee=employee, from_ms=standing.permit.from_ms, until_ms=standing.permit.until_ms)
        (back,) = await zavod.employment.create(TIN, "Zavod", [again], actor=ACTOR, now_ms=now_ms())
        assert back.result == "reactivated"
        await until_settled(redis)
        assert await listed(redis) == before


async def _is_later(than_ms: int) -> bool:
    return now_ms() > than_ms


async def test_the_index_can_be_made_anew_from_the_records(
    server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(server.url) as zavod:
        async with outboxing(server.url, NoMinistry()):
            granted = await zavod.grants(100)
            await until_settled(redis)
        before = await listed(redis)
        await redis.execute_command("DEL", PARTITIONS[ROUTE.of_organisation(TIN)].org(TIN))
        partition, key = ROUTE.of_person(zavod.fin(granted[0].permit))
        await redis.execute_command("DEL", PARTITIONS[partition].person(key))
        done: list[int] = []
        index = Index(zavod.wire, route=ROUTE, partitions=PARTITIONS)
        monkeypatch.setattr("dispatch.outbox.index.PAGE", 7)
        assert await index.rebuild(lambda: done.append(1)) >= 100
        assert len(done) == len(PARTITIONS)
        assert await listed(redis) == before
        assert await of_person(redis, zavod.fin(granted[0].permit)) == [granted[0].permit.code]
