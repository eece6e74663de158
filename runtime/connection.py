"""Connections to one server: a client for single calls, and a `Wire` for pipelines on the hot path.

Nothing here retries a command: a repeated write is a second write. Who calls repeats what is idempotent.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

from hiredis import pack_command  # pyright: ignore[reportUnknownVariableType]
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as StoreTimeoutError

from lua.calls import Command
from lua.store import Store
from runtime.address import parts_of

TIMEOUT_S: Final = 5.0
WAIT_S: Final = 1.0
"""Longest wait for replicas."""
_pack: Callable[[tuple[Any, ...]], bytes] = cast("Any", pack_command)
STORE_ERRORS: Final = (StoreConnectionError, StoreTimeoutError, OSError)
"""The store is away, or an answer was lost: the outcome of a write is unknown."""
CONDITIONS: Final = frozenset(
    "LOADING READONLY MASTERDOWN CLUSTERDOWN TRYAGAIN MOVED ASK OOM MISCONF BUSY NOREPLICAS NOPERM UNBLOCKED".split()
)
"""Error codes that tell of the store's state and not of the entries: they are waited out."""


class NotReplicatedError(StoreConnectionError):
    """Fewer replicas than asked have what was written; whether one of them will, nobody knows."""


class Client(Store, Protocol):
    """A client for single calls, on a pool of connections."""

    async def aclose(self) -> None:
        """Close all connections."""
        ...


def pool(url: str, timeout_s: float | None, *, greet: Any = None) -> ConnectionPool:
    """Connections to one server, never retried; `greet` is run on each new one in place of redis-py's own greeting."""
    return ConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        redis_connect_func=greet,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=TIMEOUT_S,
        protocol=2,
        health_check_interval=0,
    )


def connect(url: str) -> Client:
    """A client of one server that never retries by itself; nothing is sent before the first command."""
    return Redis.from_pool(pool(url, TIMEOUT_S))


def shown(url: str) -> str:
    """The store's address as it may be printed: without its password, before the host or in the query."""
    _, colon, password = parts_of(url)[0].removesuffix("@").partition(":")
    told = url.replace(f":{password}@", ":***@", 1) if colon else url
    return re.sub(r"([?&]\w*password=)[^&#]*", r"\1***", told)


def wait_command(replicas: int) -> Command:
    """What waits for what this connection wrote; for pipelines."""
    return ["WAIT", replicas, int(WAIT_S * 1000)]


def stored(counted: Any, replicas: int) -> None:
    """NotReplicatedError where a WAIT's answer is not enough."""
    if isinstance(counted, ResponseError):
        raise NotReplicatedError(f"stored, and not waited for: {counted}")
    if counted < replicas:
        raise NotReplicatedError(f"stored by {counted} of {replicas} replicas")


async def _replies(parser: Any, count: int) -> list[Any]:
    """So many replies, an error reply in its place.

    The connection's own way costs 0.4 us a reply more, the parser's 0.1: together a twentieth of ingest's time.
    """
    replies: list[Any] = []
    come: Callable[[bool], Any] = parser._reader.gets
    while len(replies) < count:
        reply = come(False)
        if reply is NOT_ENOUGH_DATA:
            reply = await parser.read_response(disable_decoding=True)
        elif isinstance(reply, StoreConnectionError):  # LOADING, as the parser has it
            raise reply
        replies.append(reply)
    return replies


class Wire:
    """One connection of its own: commands go out in one write, their replies come back raw and in order."""

    def __init__(self, url: str) -> None:
        # No time limit of redis-py's own: its wait_for can swallow a cancellation on Python 3.11.
        self._pool = pool(url, None)
        self._connection: Any = None

    async def call(
        self, *commands: Command | Sequence[Any], timeout_s: float = TIMEOUT_S, replicas: int = 0
    ) -> list[Any]:
        """Replies of all commands; an error reply stands in its place as a ResponseError.

        With `replicas`, so many have what the commands wrote. Raises one of STORE_ERRORS where the outcome is unknown;
        the next call connects anew. Blocking commands need a `timeout_s` above their own, by 2 s with `replicas`.
        """
        if replicas:
            commands = (*commands, wait_command(replicas))
        try:
            async with asyncio.timeout(timeout_s):
                if self._connection is None:
                    await self._open()
                connection: Any = self._connection
                # hiredis packs in C what redis-py's asyncio client packs in Python: a sixth of ingest's time.
                packed = b"".join([_pack(tuple(command)) for command in commands])
                await connection.send_packed_command([packed], check_health=False)
                replies = await _replies(connection._parser, len(commands))
        except TimeoutError:
            await self.close()
            raise StoreTimeoutError(f"no answer within {timeout_s} s") from None
        except RuntimeError as error:  # uvloop's word for a connection that was reset meanwhile, and a fault of ours
            is_gone = self._is_gone()
            await self.close()
            if not is_gone:
                raise
            raise StoreConnectionError(f"the connection is gone: {error}") from None
        except BaseException:
            await self.close()
            raise
        if replicas:
            stored(replies.pop(), replicas)
        return replies

    async def execute_command(self, *args: Any) -> Any:
        """One command and its reply; an error reply is raised."""
        (reply,) = await self.call(args)
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def _open(self) -> None:
        self._connection = self._pool.make_connection()
        await self._connection.connect()

    def _is_gone(self) -> bool:
        """Whether the connection was lost; redis-py drops its writer where sending fails."""
        connection = self._connection
        return connection is not None and (connection._writer is None or connection._writer.transport.is_closing())

    async def close(self) -> None:
        """Drop the connection; the next call makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.is_connected:
                # Over TLS a mere close waits for the server's goodbye, which a frozen one never says.
                connection._writer.transport.abort()
            try:
                await connection.disconnect(nowait=True)
            except (RedisError, OSError):
                return
