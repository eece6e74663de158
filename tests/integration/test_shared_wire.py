"""One connection for many askers: one write a turn, and each gets the replies to what it asked."""

import asyncio

import pytest
import uvloop
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import ResponseError

from lua.calls import Command
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from runtime.shared import SharedWire


async def test_askers_of_one_turn_share_a_write_and_get_their_own_replies(
    server: EmbeddedStore, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(server.url)
    shared = SharedWire(wire)
    writes: list[int] = []
    call = wire.call

    async def counted(*commands: Command, replicas: int = 0) -> list[object]:
        writes.append(len(commands))
        return await call(*commands, replicas=replicas)

    monkeypatch.setattr(wire, "call", counted)
    answers = await asyncio.gather(*(shared.send([["ECHO", n], ["ECHO", -n]]) for n in range(100)), shared.send([]))
    assert answers == [*([b"%d" % n, b"%d" % -n] for n in range(100)), []]
    assert writes == [200]
    assert await shared.execute_command("ECHO", "again") == b"again"
    await shared.close()


async def test_an_error_reply_and_a_lost_connection_reach_those_who_asked(server: EmbeddedStore, redis: Client) -> None:
    shared = SharedWire(Wire(server.url))
    bad, good = await asyncio.gather(shared.send([["NO-SUCH"]]), shared.ask([["PING"]]))
    assert isinstance(bad[0], ResponseError)
    assert good == [b"PONG"]
    with pytest.raises(ResponseError):
        await shared.ask([["PING"], ["NO-SUCH"]])
    name = await shared.execute_command("CLIENT", "ID")
    await redis.execute_command("CLIENT", "KILL", "ID", name)
    lost = await asyncio.gather(shared.send([["PING"]]), shared.send([["PING"]]), return_exceptions=True)
    assert [type(one) for one in lost] == [StoreConnectionError, StoreConnectionError]
    assert await shared.execute_command("PING") == b"PONG"
    await shared.close()


async def test_an_asker_that_gives_up_does_not_disturb_the_others(server: EmbeddedStore, redis: Client) -> None:
    shared = SharedWire(Wire(server.url))
    one = asyncio.create_task(shared.send([["ECHO", "one"]]))
    two = asyncio.create_task(shared.send([["ECHO", "two"]]))
    await asyncio.sleep(0)
    one.cancel()
    assert await two == [b"two"]
    await shared.close()


def test_a_connection_that_uvloop_has_closed_is_the_stores_failure(server: EmbeddedStore) -> None:
    async def asked() -> None:
        wire = Wire(server.url)
        await wire.execute_command("PING")
        wire._connection._writer.transport.abort()  # pyright: ignore[reportPrivateUsage]  # as a reset does
        await asyncio.sleep(0.05)
        with pytest.raises(StoreConnectionError):
            await wire.execute_command("PING")
        assert await wire.execute_command("PING") == b"PONG"
        await wire.close()

    uvloop.run(asked())
