"""Employees confirmed by the registry: each once, whatever the registry, the store or the records do."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from lua.library import ensure_loaded
from permits.employees import Employee
from permits.messages import ENCODER, Application
from processor import app
from processor.registry.http import HttpRegistry
from processor.registry.port import CONFIRMED, RegistryAwayError, Verdict
from runtime import keyring, settings
from runtime.connection import Client, connect
from runtime.embedded import EmbeddedStore
from runtime.keyring import Keyring
from runtime.telemetry import REGISTRY
from tests.eventually import eventually
from tests.integration.applications import KEYRING, PARTITIONS, ROUTING_KEY, TRACE, Desk, fin
from tests.integration.ingest_door import no_logging, settings_of
from tests.integration.registry_simulator import FAULTS, Fault, Simulator, simulating


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and back-offs shorter than usual."""
    monkeypatch.setattr("processor.application_loop.LOOK_S", 0.01)
    monkeypatch.setattr("processor.application_loop.PAUSE_S", (0.01, 0.1))
    monkeypatch.setattr("processor.application_loop.STORE_PAUSE_S", 0.05)
    monkeypatch.setattr("processor.application_queue.WAIT_S", (0.05, 0.2))


@pytest.fixture
async def desk(redis: Client, server: EmbeddedStore) -> AsyncGenerator[Desk]:
    one = Desk(redis, server.url)
    yield one
    await one.wire.close()


@pytest.fixture
async def simulator() -> AsyncGenerator[Simulator]:
    async with simulating() as one:
        yield one


@pytest.fixture
async def registry(simulator: Simulator) -> AsyncGenerator[HttpRegistry]:
    one = simulator.client(patience_s=0.3)
    yield one
    await one.close()


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
        await _asked(simulator)
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


async def test_who_is_sealed_with_a_lost_key_is_a_dead_letter(
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
    assert await desk.statuses([lost, known]) == {"submitted": 1, "confirmed": 1}
    assert simulator.questions == [[fin(1)]]


async def test_a_record_of_another_kind_is_put_off_and_the_others_go_on(desk: Desk, registry: HttpRegistry) -> None:
    odd, *codes = await desk.asks(9, partition=1)
    place = desk.employment.place(odd)
    assert place is not None
    await desk.client.execute_command("SET", place.hash, "no hash")
    async with desk.working(registry):
        await _left(desk, 1)
        assert await desk.statuses(codes) == {"confirmed": 8}
        await desk.client.execute_command("DEL", place.hash)
        await desk.settled()


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
        await _left(desk, 150)
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
        await _left(desk, 1)
        assert await desk.statuses(codes) == {"confirmed": 199, "submitted": 1}
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
        await _asked(simulator)
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


async def test_killed_connections_cost_no_judgement_and_double_none(desk: Desk, registry: HttpRegistry) -> None:
    codes = await desk.asks(400)
    killer, kills, looks = connect(desk.url), 0, 0

    async def killed_until_done() -> bool:
        nonlocal kills, looks
        looks += 1
        if looks % 5 == 0:  # a question takes some time
            kills += await killer.execute_command("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
        left = [await killer.execute_command("XLEN", keys.applications) for keys in PARTITIONS]
        return sum(left) == 0

    async with desk.working(registry):
        await eventually(killed_until_done, within_s=60)
    await killer.aclose()
    assert kills > 2
    after = Desk(connect(desk.url), desk.url)
    await after.each_judged_once(codes)
    await after.wire.close()
    await after.client.aclose()


async def test_a_killed_server_comes_back_and_each_is_judged_once(
    own_store: EmbeddedStore, simulator: Simulator, registry: HttpRegistry
) -> None:
    client = connect(own_store.url)
    await ensure_loaded(client)
    desk = Desk(client, own_store.url)
    codes = await desk.asks(300)
    simulator.hold = asyncio.Event()
    async with desk.working(registry):
        await _asked(simulator)
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
        await _asked(simulator)
        assert await desk.waiting() == 20
        assert not task.done()
        await ensure_loaded(desk.client)
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
    monkeypatch.setattr(app, "HOUSEKEEPING_S", 0.05)
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


def _application(code: str) -> bytes:
    return ENCODER.encode(Application(code, 1, TRACE))


def _failures(cause: str) -> float:
    return REGISTRY.get_sample_value("icaze_registry_failures_total", {"cause": cause}) or 0.0


async def _asked(simulator: Simulator) -> None:
    """Returns when a question is under way."""

    async def is_asked() -> bool:
        return bool(simulator.questions)

    await eventually(is_asked)


async def _left(desk: Desk, count: int) -> None:
    """Returns when so many applications wait."""

    async def are_left() -> bool:
        return await desk.waiting() == count

    await eventually(are_left)
