"""The http registry over a socket: every failure is one, and nobody is confirmed or refused but by a word on them."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from permits.employees import Employee
from processor.registry import registry_of
from processor.registry.format_rules import FormatRules
from processor.registry.http import LONGEST_PAUSE_S, HttpRegistry
from processor.registry.port import CONFIRMED, MOST_ASKED, UNKNOWN, RegistryAwayError, Verdict
from runtime.errors import StartupError
from runtime.settings import Settings
from tests.integration.registry_simulator import Fault, Simulator, simulating

PEOPLE = [Employee(fin=f"{n:07d}", document=f"AZE{1000000 + n}", name=f"Employee {n}") for n in range(MOST_ASKED)]


@pytest.fixture
async def simulator() -> AsyncGenerator[Simulator]:
    async with simulating() as one:
        yield one


async def ask(simulator: Simulator, people: Sequence[Employee] = PEOPLE, *, patience_s: float = 5) -> Sequence[Verdict]:
    registry = simulator.client(patience_s=patience_s)
    try:
        return await registry.confirm(people)
    finally:
        await registry.close()


async def away(simulator: Simulator, *, patience_s: float = 5) -> RegistryAwayError:
    with pytest.raises(RegistryAwayError) as raised:
        await ask(simulator, patience_s=patience_s)
    for one in PEOPLE:
        assert one.fin not in str(raised.value)
    return raised.value


async def said(results: Any, people: Sequence[Employee] = PEOPLE[:3]) -> Sequence[Verdict]:
    """What comes of an answer; `#n` in it stands for the ref of the n-th employee."""

    async def answer(request: web.Request) -> web.Response:
        text = str(await request.text())
        refs = [part.partition('"')[0] for part in text.split('"ref":"')[1:]]
        body = results
        for at, ref in enumerate(refs):
            body = body.replace(f'"#{at}"', f'"{ref}"')
        return web.Response(body=body.encode())

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestServer(app) as server:
        registry = HttpRegistry(str(server.make_url("/")))
        try:
            return await registry.confirm(people)
        finally:
            await registry.close()


# --- what it says


async def test_each_employee_gets_the_word_on_them_whatever_the_order(simulator: Simulator) -> None:
    simulator.refuse = {"0000001": "deceased", "0000007": "name_mismatch"}
    simulator.stuck = {"0000009"}
    verdicts = await ask(simulator)
    assert [at for at, verdict in enumerate(verdicts) if verdict != CONFIRMED] == [1, 7, 9]
    assert (verdicts[1], verdicts[7]) == (Verdict("refused", "deceased"), Verdict("refused", "name_mismatch"))
    assert verdicts[9] == UNKNOWN
    assert simulator.questions == [[one.fin for one in PEOPLE]]


@pytest.mark.parametrize("reason", ["Employee 1 is unknown to us", "", None, 7, ["deceased"], {"a": 1}])
async def test_a_reason_in_words_of_its_own_is_kept_from_everybody(reason: Any, simulator: Simulator) -> None:
    simulator.refuse = {"0000001": reason}
    assert (await ask(simulator))[1] == Verdict("refused", "not_confirmed")


async def test_a_word_on_somebody_else_says_nothing_of_ours() -> None:
    verdicts = await said('{"results": [{"ref": "0", "status": "confirmed"}, {"ref": "#1", "status": "confirmed"}]}')
    assert verdicts == [UNKNOWN, CONFIRMED, UNKNOWN]


async def test_refs_of_one_question_mean_nothing_in_another() -> None:
    refs = list[list[str]]()

    async def late(request: web.Request) -> web.Response:
        refs.append([one["ref"] for one in await request.json()])
        return web.json_response({"results": [{"ref": ref, "status": "confirmed"} for ref in refs[0]]})

    app = web.Application()
    app.router.add_post("/", late)
    async with TestServer(app) as server:
        registry = HttpRegistry(str(server.make_url("/")))
        assert await registry.confirm(PEOPLE[:2]) == [CONFIRMED] * 2
        assert await registry.confirm(PEOPLE[2:4]) == [UNKNOWN] * 2
        await registry.close()


@pytest.mark.parametrize(
    "odd",
    [
        "7", "null", '"#1"', "[]", "{}", '{"ref": "#1"}', '{"ref": "#1", "status": "maybe"}',
        '{"ref": "#1", "status": true}', '{"ref": ["#1"], "status": "confirmed"}', '{"status": "confirmed"}',
    ],
)  # fmt: skip
async def test_one_odd_result_does_not_make_the_others_unknown(odd: str) -> None:
    results = ", ".join(['{"ref": "#0", "status": "confirmed"}', odd, '{"ref": "#2", "status": "refused"}'])
    assert await said(f'{{"results": [{results}]}}') == [CONFIRMED, UNKNOWN, Verdict("refused", "not_confirmed")]


async def test_who_is_named_twice_alike_is_named_once() -> None:
    one = '{"ref": "#0", "status": "confirmed"}'
    assert await said(f'{{"results": [{one}, {one}]}}', PEOPLE[:1]) == [CONFIRMED]


@pytest.mark.parametrize("order", ["confirmed refused confirmed", "retry confirmed", "refused confirmed"])
async def test_two_words_that_differ_are_none(order: str) -> None:
    results = ", ".join(f'{{"ref": "#0", "status": "{status}"}}' for status in order.split())
    assert await said(f'{{"results": [{results}]}}', PEOPLE[:1]) == [UNKNOWN]


# --- where it says nothing


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("error", "status_500"),
        ("busy", "status_429"),
        ("closed", "status_503"),
        ("moved", "status_307"),
        ("bad_request", "status_400"),
        ("garbage", "unreadable_answer"),
        ("huge", "too_large"),
        ("cut", "ServerDisconnectedError"),
    ],
)
async def test_every_failure_is_told_from_a_word(fault: Fault, cause: str, simulator: Simulator) -> None:
    simulator.faults = [fault]
    assert (await away(simulator)).cause == cause
    assert await ask(simulator, PEOPLE[:2]) == [CONFIRMED] * 2


@pytest.mark.parametrize("fault", ["silent", "strange", "typed", "twofold"])
async def test_an_answer_without_a_word_on_anybody_leaves_all_unknown(fault: Fault, simulator: Simulator) -> None:
    simulator.faults = [fault]
    assert set(await ask(simulator)) == {UNKNOWN}


async def test_half_an_answer_is_half_the_words(simulator: Simulator) -> None:
    simulator.faults = ["half"]
    verdicts = await ask(simulator)
    assert verdicts == [CONFIRMED] * 50 + [UNKNOWN] * 50


@pytest.mark.parametrize(
    "body", ["", "ok", "[]", "{}", '{"results": null}', '{"results": {}}', '{"results":' + "[" * 5000]
)
async def test_what_cannot_be_read_is_no_word(body: str) -> None:
    with pytest.raises(RegistryAwayError, match="unreadable_answer"):
        await said(body)


async def test_an_answer_that_never_comes_is_waited_for_so_long_and_no_longer(simulator: Simulator) -> None:
    simulator.hold = asyncio.Event()
    assert (await away(simulator, patience_s=0.1)).cause == "timeout"
    simulator.hold.set()


async def test_an_answer_that_stops_in_the_middle_is_no_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"]")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"results": []}')
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        registry = HttpRegistry(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        with pytest.raises(RegistryAwayError, match="ClientPayloadError"):
            await registry.confirm(PEOPLE[:1])
        await registry.close()


async def test_nobody_there_is_told_from_a_fault() -> None:
    registry = HttpRegistry(f"http://127.0.0.1:{unused_port()}/")
    with pytest.raises(RegistryAwayError, match="unreachable"):
        await registry.confirm(PEOPLE[:1])
    await registry.close()


async def test_a_port_that_takes_connections_and_is_silent_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = HttpRegistry(f"http://127.0.0.1:{silent.getsockname()[1]}/", patience_s=0.1)
        with pytest.raises(RegistryAwayError, match="timeout"):
            await registry.confirm(PEOPLE[:1])
        await registry.close()


@pytest.mark.parametrize(("retry_after", "pause_s"), [("7", 7), ("86400", LONGEST_PAUSE_S), ("soon", 0), (None, 0)])
async def test_a_registry_may_wish_to_be_left_alone(retry_after: str | None, pause_s: float) -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={} if retry_after is None else {"Retry-After": retry_after})

    app = web.Application()
    app.router.add_post("/", busy)
    async with TestServer(app) as server:
        registry = HttpRegistry(str(server.make_url("/")))
        with pytest.raises(RegistryAwayError) as raised:
            await registry.confirm(PEOPLE[:1])
        await registry.close()
    assert raised.value.pause_s == pause_s


# --- which one it is


async def test_the_settings_name_the_registry() -> None:
    assert isinstance(registry_of(Settings(), accepts=bool), FormatRules)
    settings = Settings(registry="http", registry_url="https://registry.example/confirm")
    assert isinstance(registry_of(settings, accepts=bool), HttpRegistry)


@pytest.mark.parametrize("url", ["", "registry.example", "http://registry.example/", "ftp://127.0.0.1/"])
def test_personal_data_goes_to_no_open_address(url: str) -> None:
    with pytest.raises(StartupError, match="ICAZE_REGISTRY_URL"):
        registry_of(Settings(registry="http", registry_url=url), accepts=bool)
