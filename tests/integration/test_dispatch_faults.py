"""An operator that misbehaves, over http: each reply is accepted once, goes again marked, or is a dead letter."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from bench.sink import Behaviour
from dispatch.operators.http import HttpOperator
from dispatch.operators.port import Outcome, Parcel
from dispatch.reply_lane import MOST_UNSETTLED
from permits.calendar import rfc3339
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.dispatching import (
    PARTITIONS,
    SETTINGS,
    Post,
    Recorder,
    accepted,
    answering,
    dead,
    dispatching,
    queue,
    reply,
    sinking,
    twice_unmarked,
    until_empty,
)


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(retry_share=0.3),
        Behaviour(fail_share=0.2),
        Behaviour(retry_share=0.2, fail_share=0.1, latency_ms=2),
    ],
    ids=["retry", "503", "both"],
)
async def test_what_was_surely_not_taken_goes_again_unmarked_until_it_is_accepted_once(
    behaviour: Behaviour, server: EmbeddedStore, redis: Client, tmp_path: Path
) -> None:
    names = await queue(redis, 300)
    settings = msgspec.structs.replace(SETTINGS, operator_window=2)
    async with sinking(tmp_path / "log", behaviour) as sink:
        async with dispatching(server.url, sink.operator(), settings=settings):
            await until_empty(redis, within_s=40)
        assert Counter(sink.names) == Counter(names)
        assert not any(line.get("ambiguous") for line in sink.lines)


async def test_what_the_operator_refuses_is_a_dead_letter_with_its_words(
    server: EmbeddedStore, redis: Client, tmp_path: Path
) -> None:
    names = await queue(redis, 200)
    async with sinking(tmp_path / "log", Behaviour(refuse_share=0.3)) as sink:
        async with dispatching(server.url, sink.operator()):
            await until_empty(redis)
        refused = {line["id"] for line in sink.lines if line.get("status") == "refused"}
        assert Counter(sink.names) == Counter(names)
    letters = await dead(redis)
    assert 0 < len(refused) < 200
    assert {msgspec.json.decode(letter["raw"])["id"] for letter in letters} == refused
    assert {letter["reason"] for letter in letters} == {"refused: no such subscriber"}
    assert {letter["kind"] for letter in letters} == {"reply"}
    assert len(letters) == len(refused)


async def test_a_connection_cut_after_acceptance_is_sent_again_only_with_the_mark(
    server: EmbeddedStore, redis: Client, tmp_path: Path
) -> None:
    names = await queue(redis, 200)
    async with sinking(tmp_path / "log", Behaviour(drop_after_accept_share=0.2)) as sink:
        async with dispatching(server.url, sink.operator()):
            await until_empty(redis, within_s=40)
        seen = [(line["id"], line.get("ambiguous", False)) for line in sink.lines]
    assert {name for name, _ in seen} == set(names)
    assert len(seen) > len(names)
    assert twice_unmarked(seen) == []


def retry_all(post: list[Post]) -> web.Response:
    return web.json_response({"results": [{"id": one["id"], "status": "retry"} for one in post]})


FIRST_ANSWERS: dict[str, tuple[Callable[[list[Post]], web.Response], bool]] = {
    "500": (lambda _: web.Response(status=500), True),
    "202": (lambda _: web.Response(status=202), True),
    "unreadable": (lambda _: web.Response(body=b"\xff not JSON"), True),
    "no results": (lambda _: web.json_response({"results": []}), True),
    "strangers": (lambda _: web.json_response({"results": [{"id": "stranger", "status": "accepted"}]}), True),
    "retry": (retry_all, False),
    "429": (lambda _: web.Response(status=429, headers={"Retry-After": "0"}), False),
    "503": (lambda _: web.Response(status=503), False),
}
"""The first answer to a reply, and whether it may have been taken nevertheless."""


@pytest.mark.parametrize(("first", "ambiguous"), FIRST_ANSWERS.values(), ids=FIRST_ANSWERS)
async def test_after_such_a_first_answer_the_second_send_is_marked_or_not(
    first: Callable[[list[Post]], web.Response],
    ambiguous: bool,
    server: EmbeddedStore,
    redis: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dispatch.post.MISCONFIGURED_PAUSE_S", 0.2)
    names = await queue(redis, 30)
    failed: set[str] = set()

    async def answer(post: list[Post]) -> web.StreamResponse:
        fresh = {one["id"] for one in post} - failed
        failed.update(fresh)
        return first(post) if fresh else accepted(post)

    async with answering(answer) as gateway, dispatching(server.url, gateway.operator()):
        await until_empty(redis)
    sends: dict[str, list[bool]] = {name: [] for name in names}
    for name, mark in gateway.seen:
        sends[name].append(mark)
    for marks in sends.values():
        assert len(marks) >= 2
        assert marks == [False] + [ambiguous] * (len(marks) - 1)


async def test_an_answer_that_misses_some_ids_repeats_those_alone(server: EmbeddedStore, redis: Client) -> None:
    names = await queue(redis, 60)
    taken: set[str] = set()

    async def answer(post: list[Post]) -> web.StreamResponse:
        named = [one for one in post if one["id"] in taken or int(one["id"][2:]) % 3]
        taken.update(one["id"] for one in post)
        return accepted(named)

    async with answering(answer) as gateway, dispatching(server.url, gateway.operator()):
        await until_empty(redis)
    expected = Counter((name, False) for name in names)
    expected.update((name, True) for name in names if int(name[2:]) % 3 == 0)
    assert Counter(gateway.seen) == expected


async def test_an_operator_slower_than_our_patience_gets_them_again_marked(
    server: EmbeddedStore, redis: Client
) -> None:
    names = await queue(redis, 40)
    slow = asyncio.Event()

    async def answer(post: list[Post]) -> web.StreamResponse:
        if not any(one.get("ambiguous") for one in post):
            await slow.wait()
        return accepted(post)

    async with answering(answer) as gateway:
        async with dispatching(server.url, gateway.operator(timeout_s=0.2)):
            await until_empty(redis)
        slow.set()
    assert {name for name, _ in gateway.seen} == set(names)
    assert twice_unmarked(gateway.seen) == []


async def test_an_operator_that_was_away_gets_everything_unmarked(
    server: EmbeddedStore, redis: Client, tmp_path: Path
) -> None:
    names = await queue(redis, 200)
    async with sinking(tmp_path / "closed") as closed:
        pass
    async with sinking(tmp_path / "log") as sink:
        operator = SwitchedOperator(closed.operator(), sink.operator())
        async with dispatching(server.url, operator):

            async def failed_often() -> bool:
                return operator.failures >= 10

            await eventually(failed_often)
            operator.is_later = True
            await until_empty(redis)
        assert Counter(sink.names) == Counter(names)
        assert not any(line.get("ambiguous") for line in sink.lines)


class SwitchedOperator:
    """A way to one gateway, later to another."""

    def __init__(self, way: HttpOperator, later: HttpOperator) -> None:
        self.failures = 0
        self.is_later = False
        self._ways = (way, later)

    async def send(self, parcels: Sequence[Parcel]) -> Outcome:
        outcome = await self._ways[self.is_later].send(parcels)
        self.failures += outcome.cause == "unreachable"
        return outcome

    async def close(self) -> None:
        for way in self._ways:
            await way.close()


async def test_an_operator_that_asks_for_a_pause_is_left_alone_by_the_whole_window(
    server: EmbeddedStore, redis: Client
) -> None:
    await queue(redis, 400)
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def answer(post: list[Post]) -> web.StreamResponse:
        times.append(loop.time())
        return web.Response(status=503, headers={"Retry-After": "1"}) if len(times) == 1 else accepted(post)

    settings = msgspec.structs.replace(SETTINGS, operator_window=1)
    async with answering(answer) as gateway, dispatching(server.url, gateway.operator(), settings=settings):
        await until_empty(redis)
    assert times[1] - times[0] >= 0.95


async def test_an_approval_that_lapses_while_the_operator_is_away_is_not_sent_later(
    server: EmbeddedStore, redis: Client
) -> None:
    loop = asyncio.get_running_loop()
    await queue(redis, 5, expires_at=rfc3339(time.time_ns() // 1_000_000 + 2000))
    until = loop.time() + 3

    async def answer(post: list[Post]) -> web.StreamResponse:
        return accepted(post) if loop.time() > until else web.Response(status=429, headers={"Retry-After": "3"})

    async with answering(answer) as gateway, dispatching(server.url, gateway.operator()):
        await until_empty(redis)
    assert {letter["reason"] for letter in await dead(redis)} == {"lapsed: not sent in time"}
    assert len(gateway.seen) <= 5


async def test_replies_to_one_network_that_is_down_do_not_stop_the_others(server: EmbeddedStore, redis: Client) -> None:
    class OneNetworkDown(Recorder):
        async def send(self, parcels: Sequence[Parcel]) -> Outcome:
            down = frozenset(parcel.id for parcel in parcels if parcel.id.startswith("r"))
            accepted = frozenset(parcel.id for parcel in parcels) - down
            self.seen += [(name, False) for name in accepted]
            return Outcome(accepted=accepted, retry=down, cause="retry")

    one = PARTITIONS[:1]
    await queue(redis, 2 * MOST_UNSETTLED, partitions=one)
    for name in range(50):
        await redis.execute_command("XADD", one[0].replies, "*", "m", reply(f"healthy-{name}"))
    operator = OneNetworkDown()
    async with dispatching(server.url, operator, settings=msgspec.structs.replace(SETTINGS, drain_s=0)):

        async def all_healthy_are_sent() -> bool:
            return len(operator.seen) == 50

        await eventually(all_healthy_are_sent)
