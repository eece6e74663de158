"""One connection to the store: sends what `wires` hands it, and gives each asker its replies."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis
import msgspec
from hiredis import pack_command  # pyright: ignore[reportUnknownVariableType]
from redis.asyncio import ConnectionPool
from redis.exceptions import BusyLoadingError, RedisError, ResponseError

from lua.calls import Command
from runtime.sentinel import Sentinels, refuse_other_than_master

_NOT_YET: Final = object()
_STORE_AWAY: Final = ("LOADING", "MASTERDOWN", "READONLY", "CLUSTERDOWN")
"""Error replies of a server that serves again by itself, or in whose place another does."""
_pack: Callable[[tuple[Any, ...]], bytes] = cast("Any", pack_command)


def packed(commands: Sequence[Command | Sequence[Any]]) -> bytes:
    """Commands as they go over the wire."""
    if len(commands) == 1:  # most of what is written
        return _pack(tuple(commands[0]))
    return b"".join([_pack(tuple(command)) for command in commands])


Held = list[tuple["asyncio.Future[list[Any]]", list[Any], RedisError | None]]
"""Replies, or an error, that their caller has not yet."""


class Ask(msgspec.Struct):
    """The commands of one caller, and the replies so far."""

    answer: "asyncio.Future[list[Any]]"
    packed: bytes
    count: int
    due_s: float
    repeatable: bool
    replies: list[Any] = []
    held: Held | None = None
    """Where its replies wait instead of going to its caller."""

    def fail(self, error: RedisError) -> None:
        """Unless its caller has its answer, or is gone."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, on_lost: "Callable[[Link], None]") -> None:
        self.loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._reader: Any = hiredis.Reader(replyError=self._failed, notEnoughData=_NOT_YET)
        self._error: RedisError | None = None
        """The first error among the replies so far of the ask whose turn it is."""
        self._demoted = False
        self.sent: deque[Ask] = deque()
        self.lost: asyncio.Future[None] = self.loop.create_future()

    async def greet(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Proves that the store serves us, by its replies; raises what it says where it does not."""
        ask = Ask(self.loop.create_future(), packed(commands), len(commands), 0.0, False)
        self.send([ask])
        return await ask.answer

    def send(self, asks: list[Ask]) -> None:
        """All in one write."""
        assert self._transport is not None  # noqa: S101  # for the types: a link is used once it is connected
        self.sent.extend(asks)
        self._transport.write(b"".join([ask.packed for ask in asks]))

    def drop(self) -> None:
        """Close at once; `lost` is done when it is."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop: hands each caller its replies."""
        sent, next_reply = self.sent, self._reader.gets
        try:
            self._reader.feed(data)
            while sent:
                ask = sent[0]
                replies, answer = ask.replies, ask.answer
                for _ in range(len(replies), ask.count):  # some six a question: as little as can be is done for each
                    if (reply := next_reply()) is _NOT_YET:
                        return
                    replies.append(reply)
                sent.popleft()
                error, self._error = self._error, None
                if not answer.done():
                    if ask.held is not None:
                        ask.held.append((answer, replies, error))
                    elif error is None:
                        answer.set_result(replies)
                    else:
                        answer.set_exception(error)
            if next_reply() is not _NOT_YET or self._demoted:  # nobody waits for it, or it takes no writes any more
                self._on_lost(self)
        except hiredis.ProtocolError:  # not the store's language
            self._on_lost(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once."""
        self.lost.set_result(None)
        self._on_lost(self)

    def _failed(self, text: str) -> RedisError:
        """Called by the reader with each error reply."""
        error = BusyLoadingError(text) if text.startswith(_STORE_AWAY) else ResponseError(text)
        self._demoted = self._demoted or text.startswith("READONLY")
        self._error = self._error or error
        return error


class Address:
    """Where a server is and how it greets, read from its URL as every other connection of the role reads it."""

    def __init__(self, url: str) -> None:
        made: Any = ConnectionPool.from_url(url).make_connection()  # pyright: ignore[reportUnknownMemberType]
        self._path: str | None = getattr(made, "path", None)
        self._host: str = getattr(made, "host", "")
        self._port: int = int(getattr(made, "port", 0))
        self._tls: Any = getattr(made, "ssl_context", None)
        password = [word for word in (made.username, made.password) if word]
        self.greeting: list[tuple[Any, ...]] = [("AUTH", *password)] if made.password else []
        self.greeting += [("SELECT", made.db)] if made.db else []
        self.greeting.append(("PING",))

    async def reach(self, link: Link) -> None:
        """Connect the link; raises OSError, or one of STORE_ERRORS."""
        loop = asyncio.get_running_loop()
        if self._path is not None:
            await loop.create_unix_connection(lambda: link, self._path)
        else:
            tls = None if self._tls is None else self._tls.get()
            await loop.create_connection(lambda: link, self._host, self._port, ssl=tls)

    def accept(self, replies: Sequence[Any]) -> None:
        """Take what the server answered to the greeting; raises where it is not whom we look for."""


class MasterAddress(Address):
    """The master of a replicated pair, found anew for each connection."""

    def __init__(self, sentinels: Sentinels) -> None:
        self._sentinels = sentinels
        self.url = ""

    async def reach(self, link: Link) -> None:
        """Ask the sentinels, then connect."""
        self.url = await self._sentinels.master()
        super().__init__(self.url)
        self.greeting.append(("ROLE",))
        await super().reach(link)

    def accept(self, replies: Sequence[Any]) -> None:
        """Only a master's."""
        refuse_other_than_master(replies[-1])
