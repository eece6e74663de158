"""The shared connection: one write a turn of the loop, replies to their askers, and every way in which it breaks."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as StoreTimeoutError

from api import wires as wires_module
from api.link import Address, packed
from api.wires import Wires
from runtime.connection import STORE_ERRORS, Client
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.pretended_store import PING, greeted, pretending

PATIENCE_S = 0.3


@asynccontextmanager
async def opened(url: str, *, patience_s: float = 2.0) -> AsyncGenerator[Wires]:
    wires = Wires(url, patience_s=patience_s)
    try:
        yield wires
    finally:
        await wires.close()


async def found(wires: Wires) -> list[Any]:
    """The reply to `GET a`, once the store is there again."""

    async def asked() -> list[Any] | None:
        try:
            return await wires.read(("GET", "a"))
        except STORE_ERRORS:
            return None

    return await eventually(asked) or []


# Replies


async def test_replies_come_raw_and_in_order(server: EmbeddedStore, redis: Client) -> None:
    await redis.execute_command("HSET", "h", "a", b"\xff\x00")
    async with opened(server.url) as wires:
        assert await wires.read(("HGET", "h", "a"), ["HGET", "h", b"b"], ("HLEN", "h")) == [b"\xff\x00", None, 1]
        assert await wires.read(("HGETALL", "h")) == [[b"a", b"\xff\x00"]]
        assert await wires.write(("SET", "s", 1), ("GET", "s")) == [b"OK", b"1"]


@pytest.mark.usefixtures("redis")
async def test_commands_packed_before_are_asked_the_same_way(server: EmbeddedStore) -> None:
    async with opened(server.url) as wires:
        commands = packed([("ECHO", b"\xff\x00"), ["ECHO", 7]])
        assert await wires.ask_packed(commands, 2) == [b"\xff\x00", b"7"]
        assert await wires.ask_packed(commands.replace(b"\xff\x00", b"ab"), 2) == [b"ab", b"7"]
        assert await wires.ask_packed(b"", 0) == []


@pytest.mark.usefixtures("redis")
async def test_a_thousand_askers_at_once_each_get_their_own_answer(server: EmbeddedStore) -> None:
    async with opened(server.url) as wires:
        asked = [wires.read(("ECHO", number), ("ECHO", -number)) for number in range(1000)]
        assert await asyncio.gather(*asked) == [[b"%d" % number, b"%d" % -number] for number in range(1000)]


@pytest.mark.usefixtures("redis")
async def test_an_error_reply_is_raised_to_its_asker_alone(server: EmbeddedStore) -> None:
    async with opened(server.url) as wires:
        good, bad, after = await asyncio.gather(
            wires.read(("ECHO", 1)),
            wires.read(("ECHO", 2), ("NOSUCH",), ("ECHO", 3)),
            wires.read(("ECHO", 4)),
            return_exceptions=True,
        )
        assert (good, after) == ([b"1"], [b"4"])
        assert isinstance(bad, ResponseError)
        assert not isinstance(bad, STORE_ERRORS)


async def test_a_store_that_loads_its_data_counts_as_away() -> None:
    async with pretending() as store, opened(store.url) as wires:
        store.answer = greeted(lambda _, data: b"-LOADING Redis is loading the dataset in memory\r\n")
        with pytest.raises(StoreConnectionError):
            await wires.read(("GET", "a"))
    async with pretending() as store, opened(store.url) as wires:
        store.answer = lambda _, data: b"-LOADING Redis is loading the dataset in memory\r\n"
        with pytest.raises(StoreConnectionError):
            await wires.read(("GET", "a"))


async def test_nothing_asked_is_answered_with_nothing() -> None:
    async with pretending() as store, opened(store.url) as wires:
        assert await wires.read() == []
        assert store.received == []


async def test_all_questions_of_one_turn_leave_in_one_write() -> None:
    async with pretending() as store, opened(store.url) as wires:
        await wires.read(("PING",))
        store.chunks.clear()
        await asyncio.gather(*(wires.read(("GET", f"k{number}")) for number in range(50)))
        assert [chunk.count(b"GET") for chunk in store.chunks] == [50]
        assert len(store.received) == 1


@given(cuts=st.lists(st.integers(1, 60), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_replies_may_arrive_in_any_pieces(cuts: list[int]) -> None:
    async def ask() -> None:
        async with pretending() as store, opened(store.url) as wires:
            said = b"$3\r\na\r\n\r\n*2\r\n:1\r\n$-1\r\n-ERR no\r\n$0\r\n\r\n"

            def piecewise(connection: int, data: bytes) -> bytes:
                if data == PING:
                    return b"+PONG\r\n"
                start = 0
                for cut in cuts:
                    store.writers[connection].write(said[start : start + cut])
                    start += cut
                return said[start:]

            store.answer = piecewise
            first, second, third = await asyncio.gather(
                wires.read(("A",), ("B",)), wires.read(("C",)), wires.read(("D",)), return_exceptions=True
            )
            assert (first, third) == ([b"a\r\n", [1, None]], [b""])
            assert isinstance(second, ResponseError)

    asyncio.run(ask())


# Breaks


async def test_reads_under_way_when_the_connection_breaks_are_asked_once_more() -> None:
    async with pretending() as store, opened(store.url) as wires:
        store.answer = greeted(lambda connection, data: None if connection == 0 else b"+OK\r\n" * data.count(b"*"))
        answers = await asyncio.gather(*(wires.read(("GET", f"k{number}")) for number in range(5)))
        assert answers == [[b"OK"]] * 5
        assert [sent.count(b"GET") for sent in store.received] == [5, 5]


async def test_a_read_whose_first_replies_came_is_asked_anew_as_a_whole() -> None:
    async with pretending() as store, opened(store.url) as wires:

        def half(connection: int, data: bytes) -> bytes | None:
            if connection == 0:
                store.writers[0].write(b"+old\r\n")
                return None
            return b"+new\r\n" * data.count(b"*")

        store.answer = greeted(half)
        assert await wires.read(("GET", "a"), ("GET", "b")) == [b"new", b"new"]


async def test_a_read_is_asked_at_most_twice() -> None:
    async with pretending() as store, opened(store.url) as wires:
        store.answer = greeted(lambda connection, data: None)
        with pytest.raises(StoreConnectionError):
            await wires.read(("GET", "a"))
        assert [sent.count(b"GET") for sent in store.received] == [1, 1]


async def test_a_write_that_may_have_been_sent_is_never_sent_again() -> None:
    async with pretending() as store, opened(store.url) as wires:
        store.answer = greeted(lambda connection, data: None if connection == 0 else b"+OK\r\n" * data.count(b"*"))
        written, read = await asyncio.gather(
            wires.write(("XADD", "s", "*", "m", 1)), wires.read(("GET", "a")), return_exceptions=True
        )
        assert isinstance(written, StoreConnectionError)
        assert read == [b"OK"]
        assert b"".join(store.received).count(b"XADD") == 1
        assert await wires.write(("XADD", "s", "*", "m", 2)) == [b"OK"]


async def test_a_connection_closed_while_idle_costs_neither_a_read_nor_the_next_write(
    server: EmbeddedStore, redis: Client
) -> None:
    async with opened(server.url) as wires:
        for number in range(5):
            assert await wires.read(("ECHO", number)) == [b"%d" % number]
            await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await wires.read(("PING",))


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n+nobody asked\r\n"])
async def test_a_store_that_talks_nonsense_is_left(nonsense: bytes) -> None:
    async with pretending() as store, opened(store.url) as wires:
        store.answer = greeted(lambda connection, data: nonsense if connection == 0 else b"+OK\r\n")
        assert await wires.read(("GET", "a")) == [b"OK"]
        assert await wires.read(("GET", "b")) == [b"OK"]
        assert len(store.received) == 2


# A store that is away


async def test_a_store_that_is_not_there_is_told_at_once() -> None:
    async with opened("unix:///nowhere/none.sock", patience_s=60) as wires:
        for _ in range(3):
            failed = await asyncio.gather(*(wires.read(("PING",)) for _ in range(10)), return_exceptions=True)
            assert all(isinstance(error, StoreConnectionError) for error in failed)


async def test_attempts_to_connect_get_rarer() -> None:
    loop = asyncio.get_running_loop()
    async with opened("unix:///nowhere/none.sock") as wires:
        began_s = loop.time()
        for _ in range(4):
            with pytest.raises(StoreConnectionError):
                await wires.read(("PING",))
        assert loop.time() - began_s >= 0.05 + 0.1 + 0.2


async def test_after_a_restart_of_the_store_it_is_found_again(own_store: EmbeddedStore) -> None:
    async with opened(own_store.url) as wires:
        await wires.write(("SET", "a", 1))
        own_store.kill()
        with pytest.raises(STORE_ERRORS):
            await wires.read(("GET", "a"))
        await own_store.start()

        assert await found(wires) == [b"1"]


async def test_a_store_that_hangs_costs_the_patience_and_no_more() -> None:
    loop = asyncio.get_running_loop()
    async with pretending() as store, opened(store.url, patience_s=PATIENCE_S) as wires:
        store.answer = greeted(lambda connection, data: b"")
        began_s = loop.time()
        failed = await asyncio.gather(*(wires.read(("GET", "a")) for _ in range(100)), return_exceptions=True)
        assert all(isinstance(error, StoreTimeoutError) for error in failed)
        assert PATIENCE_S - 0.01 <= loop.time() - began_s < 2 * PATIENCE_S + 1
        store.answer = lambda connection, data: b"+OK\r\n" * data.count(b"*")
        assert await wires.read(("GET", "b")) == [b"OK"]
        assert b"\r\nb\r\n" not in store.received[0]  # on another connection: the first still owes its replies


async def test_a_store_that_hangs_in_its_greeting_costs_the_patience_too() -> None:
    async with pretending() as store, opened(store.url, patience_s=PATIENCE_S) as wires:
        store.answer = lambda connection, data: b""
        with pytest.raises(STORE_ERRORS):
            await wires.read(("GET", "a"))
        store.answer = lambda connection, data: b"+OK\r\n" * data.count(b"*")
        assert await found(wires) == [b"OK"]


async def test_a_question_younger_than_the_one_that_hung_is_asked_again_on_a_new_connection() -> None:
    async with pretending() as store, opened(store.url, patience_s=PATIENCE_S) as wires:
        store.answer = greeted(lambda connection, data: b"" if connection == 0 else b"+OK\r\n" * data.count(b"*"))
        old = asyncio.ensure_future(wires.read(("GET", "old")))

        async def sent() -> bool:
            return bool(store.received) and b"old" in store.received[0]

        await eventually(sent)
        await asyncio.sleep(PATIENCE_S / 2)  # not a wait for anything: the two must differ in age
        young = asyncio.ensure_future(wires.read(("GET", "young")))
        with pytest.raises(StoreTimeoutError):
            await old
        assert await young == [b"OK"]


async def test_more_questions_than_may_wait_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires_module, "MOST_WAITING", 10)
    async with pretending() as store, opened(store.url, patience_s=PATIENCE_S) as wires:
        store.answer = greeted(lambda connection, data: b"")
        waiting = [asyncio.ensure_future(wires.read(("GET", "a"))) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(StoreConnectionError, match="too many"):
            await wires.read(("GET", "b"))
        failed = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, StoreTimeoutError) for error in failed)


# Callers that go away


async def test_a_caller_that_went_away_shifts_nobodys_reply(server: EmbeddedStore, redis: Client) -> None:
    assert redis
    async with opened(server.url) as wires:
        await wires.read(("PING",))
        tasks = [asyncio.ensure_future(wires.read(("ECHO", number))) for number in range(10)]
        await asyncio.sleep(0)
        tasks[1].cancel()  # before it is sent
        await asyncio.sleep(0)
        tasks[4].cancel()  # after
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        kept = [number for number in range(10) if number not in (1, 4)]
        assert [answers[number] for number in kept] == [[b"%d" % number] for number in kept]
        assert await wires.read(("ECHO", "x")) == [b"x"]


async def test_a_write_whose_caller_went_away_before_it_was_sent_is_not_sent() -> None:
    async with pretending() as store, opened(store.url) as wires:
        await wires.read(("PING",))
        writing = asyncio.ensure_future(wires.write(("INCR", "a")))
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await wires.read(("PING",))
        assert b"INCR" not in store.received[0]


async def test_closing_tells_all_who_wait() -> None:
    async with pretending() as store:
        store.answer = greeted(lambda connection, data: b"")
        wires = Wires(store.url)
        waiting = [asyncio.ensure_future(wires.read(("GET", "a"))) for _ in range(3)]

        async def sent() -> bool:
            return bool(store.received) and b"GET" in store.received[0]

        await eventually(sent)
        late = asyncio.ensure_future(wires.read(("GET", "b")))
        await asyncio.sleep(0)
        await wires.close()
        failed = await asyncio.gather(*waiting, late, return_exceptions=True)
        assert all(isinstance(error, StoreConnectionError) for error in failed)
        with pytest.raises(StoreConnectionError):
            await wires.read(("GET", "c"))


async def test_closing_while_it_connects_tells_all_who_wait() -> None:
    async with pretending() as store:
        store.answer = lambda connection, data: b""
        wires = Wires(store.url)
        waiting = asyncio.ensure_future(wires.read(("GET", "a")))

        async def greeted_it() -> bool:
            return bool(store.chunks)

        await eventually(greeted_it)
        await wires.close()
        with pytest.raises(StoreConnectionError):
            await waiting


# Addresses


async def test_user_password_and_database_of_the_url_are_used(server: EmbeddedStore, redis: Client) -> None:
    await redis.execute_command("ACL", "SETUSER", "reader", "on", ">s3 cret", "~*", "+@all")
    await redis.execute_command("SET", "a", "zero")
    url = server.url.replace("unix://", "unix://reader:s3%20cret@")
    try:
        async with opened(f"{url}?db=3") as wires:
            await wires.write(("SET", "a", "three"))
            assert await wires.read(("GET", "a"), ("ACL", "WHOAMI")) == [b"three", b"reader"]
        async with opened(url) as wires:
            assert await wires.read(("GET", "a")) == [b"zero"]
        async with opened(url.replace("s3", "other")) as wires:
            with pytest.raises(StoreConnectionError):
                await wires.read(("GET", "a"))
    finally:
        await redis.execute_command("ACL", "DELUSER", "reader")


@pytest.mark.parametrize(
    ("url", "greeting"),
    [
        ("redis://h:7000/2", [("SELECT", 2), ("PING",)]),
        ("rediss://:p%40ss@h", [("AUTH", "p@ss"), ("PING",)]),
        ("unix://u:p@/run/s.sock?db=1", [("AUTH", "u", "p"), ("SELECT", 1), ("PING",)]),
    ],
)
def test_every_form_of_address_has_its_greeting(url: str, greeting: list[tuple[Any, ...]]) -> None:
    assert Address(url).greeting == greeting


def test_it_serves_on_the_loop_that_roles_use(server: EmbeddedStore) -> None:
    async def ask() -> None:
        async with opened(server.url) as wires:
            answers = await asyncio.gather(*(wires.read(("ECHO", number)) for number in range(100)))
            assert answers == [[b"%d" % number] for number in range(100)]
        async with opened("unix:///nowhere/none.sock") as wires:
            with pytest.raises(StoreConnectionError):
                await wires.read(("PING",))

    uvloop.run(ask())
