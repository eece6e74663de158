"""Each fault of a link really happens to the bytes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.eventually import eventually
from tests.link import Link, Trap, linked


class Echo:
    """A server that answers each piece with the same, and keeps what it got."""

    def __init__(self) -> None:
        self.got = b""
        self.begun = 0
        self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.begun += 1
        try:
            while data := await reader.read(1 << 16):
                self.got += data
                writer.write(data)
        except OSError:
            pass
        self.ended += 1
        writer.close()


@asynccontextmanager
async def echoing() -> AsyncGenerator[tuple[Echo, Link]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with linked(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as link:
        yield echo, link

    async def done() -> bool:
        return echo.begun == echo.ended

    await eventually(done)
    server.close()


async def call(link: Link) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", link.port)


async def silent(reader: asyncio.StreamReader) -> bool:
    """Whether a connection stays open and says nothing."""
    try:
        async with asyncio.timeout(0.1):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def test_it_carries_both_ways_and_tells_each_side_of_the_others_end() -> None:
    async with echoing() as (echo, link):
        reader, writer = await call(link)
        writer.write(b"salam")
        assert await reader.readexactly(5) == b"salam"
        writer.close()

        async def ended() -> bool:
            return echo.ended == 1

        await eventually(ended)
        assert not link.struck


async def test_a_dropped_request_never_arrives_nor_does_anything_behind_it() -> None:
    async with echoing() as (echo, link):
        reader, writer = await call(link)
        link.drop_requests = True
        writer.write(b"one")
        assert await silent(reader)
        link.drop_requests = False
        writer.write(b"two")
        assert await silent(reader)
        assert echo.got == b""
        assert link.struck["drop_requests"] == 1
        writer.close()
        reader, writer = await call(link)  # a new connection knows of nothing
        writer.write(b"new")
        assert await reader.readexactly(3) == b"new"
        writer.close()


async def test_a_dropped_reply_was_asked_and_stays_away() -> None:
    async with echoing() as (echo, link):
        reader, writer = await call(link)
        link.drop_replies = True
        writer.write(b"one")
        assert await silent(reader)
        assert echo.got == b"one"
        assert link.struck["drop_replies"] == 1
        writer.close()


async def test_a_delay_and_a_throttle_cost_their_time() -> None:
    async with echoing() as (_, link):
        reader, writer = await call(link)
        loop = asyncio.get_running_loop()
        began, link.delay_s = loop.time(), 0.05
        writer.write(b"x")
        await reader.readexactly(1)
        assert loop.time() - began >= 0.1  # there and back
        began, link.delay_s, link.bytes_a_second = loop.time(), 0.0, 10_000.0
        writer.write(b"x" * 1000)
        await reader.readexactly(1000)
        assert loop.time() - began >= 0.2
        assert link.struck["delay"] == 2
        assert link.struck["throttle"] >= 2
        writer.close()


async def test_a_reset_breaks_what_is_open_and_not_what_comes_after() -> None:
    async with echoing() as (echo, link):
        reader, writer = await call(link)
        writer.write(b"x")
        await reader.readexactly(1)
        link.reset()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()

        async def ended() -> bool:
            return echo.ended == 1

        await eventually(ended)
        assert link.struck["reset"] == 1
        reader, writer = await call(link)
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
        writer.close()


async def test_who_hangs_is_gone_for_the_server_and_silent_for_the_client_for_ever() -> None:
    async with echoing() as (echo, link):
        reader, writer = await call(link)
        writer.write(b"x")
        await reader.readexactly(1)
        link.hang()

        async def ended() -> bool:
            return echo.ended == 1

        await eventually(ended)
        other, another = await call(link)
        another.write(b"y")
        assert await silent(reader)
        assert await silent(other)
        link.hung = False
        writer.write(b"z")
        assert await silent(reader)
        assert echo.got == b"x"
        assert link.struck["hung"] >= 1
        for each in (writer, another):
            each.close()


@pytest.mark.parametrize(("step", "arrived"), [("asked", b""), ("answered", b"say XADD now")])
async def test_a_trap_springs_once_before_the_request_or_with_its_reply(step: str, arrived: bytes) -> None:
    async with echoing() as (echo, link):
        sprung: list[bytes] = []
        link.traps.append(Trap(b"XADD", "asked" if step == "asked" else "answered", lambda: sprung.append(echo.got)))
        reader, writer = await call(link)
        writer.write(b"say XA")
        assert await reader.readexactly(6) == b"say XA"
        writer.write(b"DD now")
        assert await silent(reader)
        assert sprung == [arrived if step == "answered" else b"say XA"]
        assert link.struck[step] == 1
        assert link.traps == []
        writer.close()


async def test_a_word_is_counted_once_wherever_it_is_torn() -> None:
    async with echoing() as (_, link):
        link.words = {b"aa": 0, b"decide": 0}
        reader, writer = await call(link)
        for piece in (b"xaa dec", b"ide de", b"cid", b"e xa", b"ax"):
            writer.write(piece)
            await reader.readexactly(len(piece))
        assert link.words == {b"aa": 2, b"decide": 2}
        writer.close()


async def test_a_caller_is_refused_where_nobody_is_behind_the_link() -> None:
    async with linked("127.0.0.1:1") as link:
        reader, writer = await call(link)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
