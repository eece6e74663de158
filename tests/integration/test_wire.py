"""A wire's replies: each in its place, however they come, and what they are when the store is in no state to answer."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import BusyLoadingError, InvalidResponse, ResponseError
from redis.exceptions import ConnectionError as StoreConnectionError

from runtime.connection import Wire, connect
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.pretended_store import pretending

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"


def greeted(said: bytes) -> Callable[[int, bytes], bytes]:
    """A store that takes redis-py's words about itself, and says this to anything else."""
    return lambda _, data: b"+OK\r\n" * data.count(b"SETINFO") if b"SETINFO" in data else said


async def answered(said: bytes, commands: int) -> list[object]:
    """A call of so many commands that a store answers so."""
    async with pretending() as store:
        store.answer = greeted(said)
        wire = Wire(store.url)
        try:
            return await wire.call(*[("GET", number) for number in range(commands)])
        finally:
            await wire.close()


@given(cuts=st.lists(st.integers(1, 40), max_size=8))
@settings(max_examples=30, deadline=None)
def test_replies_may_arrive_in_any_pieces(cuts: list[int]) -> None:
    said = b"$3\r\na\r\n\r\n*2\r\n:1\r\n$-1\r\n-ERR no\r\n$0\r\n\r\n"

    async def ask() -> list[object]:
        async with pretending() as store:
            store.answer = greeted(b"")
            wire = Wire(store.url)
            waiting = asyncio.create_task(wire.call(*[("GET", number) for number in range(4)]))

            async def is_asked() -> bool:
                return any(b"GET" in chunk for chunk in store.chunks)

            await eventually(is_asked)
            at = 0
            for cut in [*cuts, len(said)]:
                store.writers[0].write(said[at : at + cut])
                at += cut
                await asyncio.sleep(0.001)
            try:
                return await waiting
            finally:
                await wire.close()

    first, second, third, fourth = asyncio.run(ask())
    assert (first, second, fourth) == (b"a\r\n", [1, None], b"")
    assert isinstance(third, ResponseError)


@pytest.mark.parametrize("said", [LOADING, b"+OK\r\n" + LOADING])
async def test_a_store_that_loads_its_data_counts_as_away(said: bytes) -> None:
    with pytest.raises(BusyLoadingError) as caught:
        await answered(said * 2, 3)
    assert isinstance(caught.value, StoreConnectionError)


async def test_a_reply_that_is_none_of_the_protocol_s_ends_the_call() -> None:
    with pytest.raises(InvalidResponse):
        await answered(b"+OK\r\n?\r\n", 2)


class Endless(list[str]):
    """A command that never ends."""

    def __iter__(self) -> Iterator[str]:
        return iter(self)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_fault_of_ours_is_not_the_stores_failure(
    run: Callable[[Coroutine[Any, Any, None]], None], server: EmbeddedStore
) -> None:
    async def asked() -> None:
        wire = Wire(server.url)
        with pytest.raises(RecursionError):
            await wire.call(Endless())
        waiting = asyncio.create_task(wire.call(["BLPOP", "nothing", 2]))
        await eventually(lambda: is_blocked(server))
        with pytest.raises(RuntimeError, match="another coroutine is already waiting"):
            await wire.call(["PING"])  # a wire serves one call at a time
        with pytest.raises(StoreConnectionError):
            await waiting
        assert await wire.execute_command("PING") == b"PONG"
        await wire.close()

    run(asked())


async def is_blocked(server: EmbeddedStore) -> bool:
    """Whether a command waits in the store."""
    async with aclosing(connect(server.url)) as client:
        return (await client.execute_command("INFO", "clients"))["blocked_clients"] > 0
