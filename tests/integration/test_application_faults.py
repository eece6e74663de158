"""Employees confirmed by the registry: each once, whatever registry, workers and store do."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from redis.exceptions import ConnectionError as StoreConnectionError

from lua.library import ensure_loaded
from permits.employees import Employee
from processor import app, sms_first
from processor.archive import archiver
from processor.registry.http import HttpRegistry
from processor.registry.port import CONFIRMED, RegistryAwayError, Verdict
from runtime import keyring, settings
from runtime.connection import Client, Wire, connect
from runtime.embedded import EmbeddedStore
from runtime.telemetry import REGISTRY
from tests.eventually import eventually
from tests.integration.applications import (
    PARTITIONS,
    ROUTING_KEY,
    Desk,
    asked,
    desk,
    fin,
    left,
    registry,
    short_waits,
    simulator,
)
from tests.integration.ingest_door import no_logging, settings_of
from tests.integration.registry_simulator import FAULTS, Fault, Simulator

__all__ = ["desk", "registry", "short_waits", "simulator"]


# --- a registry that fails


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_is_survived_and_each_is_judged_once(
    fault: Fault, desk: Desk, simulator: Simulator, registry: HttpRegistry
) -> None:
    simulator.faults = [fault] * 3
    codes = await desk.asks(120)
    async with desk.working(registry):
        await desk.settled()
    assert await desk.statuses(codes) == {"confirmed": 120}
    await desk.each_judged_once(codes)


async def test_about_whom_the_registry_has_no_word_is_asked_again_while_others_go_on(
    desk: Desk, simulator: Simulator, registry: HttpRegistry
) -> None:
    simulator.stuck = {fin(n) for n in range(150)}
    stuck = await desk.asks(150)
    codes = await desk.asks(100, first=150)
    async with desk.working(registry):
        await left(desk, 150)
        assert await desk.statuses(codes) == {"confirmed": 100}
        assert await desk.statuses(stuck) == {"submitted": 150}
        simulator.stuck = set()
        await desk.settled()
    await desk.each_judged_once(stuck + codes)


async def test_one_whom_the_registry_chokes_on_holds_nobody_else(
    desk: Desk, simulator: Simulator, registry: HttpRegistry
) -> None:
    simulator.choke = {fin(33)}
    codes = await desk.asks(200)
    async with desk.working(registry):
        await left(desk, 1)
        assert await desk.statuses(codes) == {"confirmed": 199, "submitted": 1}
        await asked(simulator, [fin(33)])
        found_out = simulator.questions.index([fin(33)])
        codes += await desk.asks(100, first=200)
        await left(desk, 1)
        assert {len(one) for one in simulator.questions[found_out:] if fin(33) in one} == {1}
        simulator.choke = set()
        await desk.settled()
    await desk.each_judged_once(codes)


async def test_a_registry_that_nobody_answers_for_comes_back_and_nothing_is_lost(desk: Desk) -> None:
    port = unused_port()
    registry = HttpRegistry(f"http://127.0.0.1:{port}/v1/confirm")
    codes = await desk.asks(120)
    before = _failures("unreachable")
    async with desk.working(registry):

        async def asked_often() -> bool:
            return _failures("unreachable") - before > 20

        await eventually(asked_often)
        assert await desk.statuses(codes) == {"submitted": 120}
        simulator = Simulator()
        application = web.Application()
        application.router.add_post("/v1/confirm", simulator.answer)
        async with TestServer(application, port=port):
            await desk.settled()
            await registry.close()
    await desk.each_judged_once(codes)


class Down:
    """A registry that is away for so many questions."""

    def __init__(self, questions: int, *, wish_s: float = 0.0) -> None:
        self.left = questions
        self.wish_s = wish_s

    async def confirm(self, employees: Sequence[Employee]) -> Sequence[Verdict]:
        """Nothing, or a good word for all."""
        self.left -= 1
        if self.left >= 0:
            raise RegistryAwayError("down", self.wish_s)
        return [CONFIRMED] * len(employees)

    async def close(self) -> None:
        """Nothing is held."""


async def pauses(monkeypatch: pytest.MonkeyPatch, desk: Desk, down: Down) -> list[float]:
    """How long a loop pauses until its registry is back; none of it is really slept."""
    monkeypatch.setattr("processor.application_loop.PAUSE_S", (0.5, 30.0))
    slept, sleep = list[float](), asyncio.sleep

    async def soon(seconds: float) -> None:
        if seconds >= 0.2:
            slept.append(seconds)
        await sleep(0)

    codes = await desk.asks(300)
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", soon)
        async with desk.working(down):

            async def is_back() -> bool:
                return down.left < 0

            await eventually(is_back, within_s=30)
    monkeypatch.setattr("processor.application_loop.PAUSE_S", (0.01, 0.1))
    async with desk.working(down):
        await desk.settled()
    await desk.each_judged_once(codes)
    return slept


async def test_a_registry_that_is_down_for_an_hour_is_asked_ever_less_often(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = Down(200)
    slept = await pauses(monkeypatch, desk, down)
    assert sum(slept) > 3600
    assert len(slept) >= 197  # no question without its pause, but the first ones, which go together
    assert max(slept) <= 30
    assert slept[0] <= 0.5
    assert min(slept[10:]) >= 15
    assert len({round(one, 3) for one in slept[10:]}) > 100  # not all workers at once


async def test_a_registry_that_wishes_to_be_left_alone_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    slept = await pauses(monkeypatch, desk, Down(8, wish_s=20))
    assert min(slept[:4]) == 20


# --- a worker or a store that fails


async def test_what_a_dead_worker_had_asked_about_is_judged_by_the_next(
    desk: Desk, simulator: Simulator, registry: HttpRegistry
) -> None:
    codes = await desk.asks(150)
    simulator.hold = asyncio.Event()
    async with desk.working(registry):
        await asked(simulator)
    simulator.hold.set()
    async with desk.working(registry):
        await desk.settled()
    await desk.each_judged_once(codes)


async def test_workers_that_die_all_the_time_judge_each_once(desk: Desk, registry: HttpRegistry) -> None:
    codes = await desk.asks(600)
    lives = 0
    while left := await desk.waiting():

        async def fewer(than: int = left) -> bool:
            return await desk.waiting() < than

        async with desk.working(registry):
            await eventually(fewer)
        lives += 1
    assert lives > 2
    await desk.each_judged_once(codes)


async def test_two_workers_at_one_partition_judge_each_once(desk: Desk, registry: HttpRegistry) -> None:
    codes = await desk.asks(400)
    async with desk.working(registry), desk.working(registry):
        await desk.settled()
    await desk.each_judged_once(codes)


class LossyWire(Wire):
    """A wire that loses the first changes: each second one on its way out, the others' answers on their way back."""

    def __init__(self, url: str, losses: int) -> None:
        super().__init__(url)
        self.left = losses

    async def call(self, *commands: Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        """As the wire's, but for the losses."""
        if commands[0][0] != "FCALL" or not self.left:
            return await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        self.left -= 1
        if self.left % 2:
            await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        await self.close()
        raise StoreConnectionError("connection lost")


async def test_lost_connections_cost_no_judgement_and_double_none(desk: Desk, registry: HttpRegistry) -> None:
    codes = await desk.asks(400)
    wire = LossyWire(desk.url, 6)
    async with desk.working(registry, wire=wire):
        await desk.settled()
    assert wire.left == 0
    await desk.each_judged_once(codes)


async def test_a_killed_server_comes_back_and_each_is_judged_once(
    own_store: EmbeddedStore, simulator: Simulator, registry: HttpRegistry
) -> None:
    client = connect(own_store.url)
    await ensure_loaded(client)
    desk = Desk(client, own_store.url)
    codes = await desk.asks(300)
    simulator.hold = asyncio.Event()
    async with desk.working(registry):
        await asked(simulator)
        own_store.kill()
        simulator.hold.set()
        await own_store.start()
        after = Desk(connect(own_store.url), own_store.url)
        await after.settled()
        await after.each_judged_once(codes)
    for one in (desk, after):
        await one.wire.close()
        await one.client.aclose()


async def test_functions_that_are_flushed_are_waited_for(
    desk: Desk, simulator: Simulator, registry: HttpRegistry
) -> None:
    codes = await desk.asks(20)
    await desk.client.execute_command("FUNCTION", "FLUSH")
    async with desk.working(registry) as task:
        await asked(simulator)
        assert await desk.waiting() == 20
        assert not task.done()
        await ensure_loaded(desk.client)
        await desk.settled()
    await desk.each_judged_once(codes)


# --- SMS first


async def test_applications_give_way_to_sms(
    desk: Desk, simulator: Simulator, registry: HttpRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sms_first, "MOST_GIVEN_S", 60.0)
    codes = await desk.asks(30)
    for number in range(sms_first.SMS_WAITING + 1):
        await desk.client.execute_command("XADD", PARTITIONS[number % 4].inbound, "*", "m", "sms")
    await desk.client.execute_command("CONFIG", "RESETSTAT")
    async with desk.working(registry):

        async def looked() -> bool:
            stats: dict[str, dict[str, int]] = await desk.client.execute_command("INFO", "commandstats")
            return stats.get("cmdstat_xlen", {"calls": 0})["calls"] >= 3 * len(PARTITIONS)

        await eventually(looked)
        assert simulator.questions == []
        await desk.client.execute_command("DEL", PARTITIONS[0].inbound)
        await desk.settled()
    await desk.each_judged_once(codes)


async def test_applications_are_judged_while_sms_are_never_done(
    desk: Desk, registry: HttpRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sms_first, "MOST_GIVEN_S", 0.01)
    monkeypatch.setattr(sms_first, "SMS_WAITING", 0)
    await desk.client.execute_command("XADD", PARTITIONS[0].inbound, "*", "m", "sms")
    codes = await desk.asks(60)
    async with desk.working(registry):
        await desk.settled()
    await desk.each_judged_once(codes)


# --- in a worker


async def test_a_worker_has_employees_confirmed_and_trims_old_acts(
    redis: Client, server: EmbeddedStore, tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = settings_of(
        tmp_path, server.url, process_port=0, lease_ms=2000, registry="http", registry_url=simulator.url
    )
    (tmp_path / "routing.key").write_bytes(ROUTING_KEY)
    keyring.make(keyring.path(current))
    monkeypatch.setattr(settings, "load", lambda: current)
    monkeypatch.setattr(app, "start_logging", no_logging)
    monkeypatch.setattr("processor.housekeeping.HOUSEKEEPING_S", 0.05)
    monkeypatch.setattr(archiver, "ROUND_S", 0.5)  # nothing is trimmed that is not archived
    desk = Desk(redis, server.url, keyring=keyring.load(current))
    await redis.execute_command("XADD", PARTITIONS[0].acts, "1-1", "m", "long ago")
    codes = await desk.asks(50)
    stop = asyncio.Event()
    worker = asyncio.create_task(app.serve(stop))
    await desk.settled()

    async def is_trimmed() -> bool:
        return not await redis.execute_command("XRANGE", PARTITIONS[0].acts, "1-1", "1-1")

    await eventually(is_trimmed)
    stop.set()
    assert await asyncio.wait_for(worker, 20) == 0
    assert await desk.statuses(codes) == {"confirmed": 50}
    await desk.each_judged_once(codes)
    await desk.wire.close()


def _failures(cause: str) -> float:
    return REGISTRY.get_sample_value("icaze_registry_failures_total", {"cause": cause}) or 0.0
