"""The store as all requests share it: one connection, on which the questions of one turn of the loop leave in one
write and the replies go back to their askers in order.

Pools and tasks cost a request more than the store does: here it costs one future.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as StoreTimeoutError

from api.link import Address, Ask, Link, packed
from api.seals import Seals
from lua.calls import Command

PATIENCE_S: Final = 2.0
"""How long a request waits for the store, a connection included, before its caller is sent away."""
MOST_WAITING: Final = 10_000
"""Questions on their way; the next is refused at once. At the store's speed this is some 0.1 s of work."""
BACK_OFF_S: Final = 0.05
MOST_BACK_OFF_S: Final = 1.0
"""Between two attempts to connect: 0.05 s after the first failure, doubled up to this."""


class Wires:
    """Connects on first use, and again after a break."""

    def __init__(self, url: str | Address, *, patience_s: float = PATIENCE_S, seals: Seals | None = None) -> None:
        self._address = Address(url) if isinstance(url, str) else url
        self._seals = seals
        self._patience_s = patience_s
        self._link: Link | None = None
        self._unsent: list[Ask] = []  # with those sent before them, in the order in which their patience ends
        self._connecting: asyncio.Task[None] | None = None
        self._back_off_s = BACK_OFF_S
        self._not_before_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def read(self, *commands: Command | Sequence[Any]) -> "asyncio.Future[list[Any]]":
        """Raw replies in order, from one round trip; asked once more where the connection breaks meanwhile.

        Raises one of STORE_ERRORS, within the patience, where the store is away; an error reply is raised too.
        """
        return self.ask_packed(packed(commands), len(commands))

    def write(self, *commands: Command | Sequence[Any]) -> "asyncio.Future[list[Any]]":
        """As `read`, but never sent twice: after one of STORE_ERRORS the caller cannot know whether it was applied."""
        return self.ask_packed(packed(commands), len(commands), repeatable=False)

    def ask_packed(self, commands: bytes, count: int, *, repeatable: bool = True) -> "asyncio.Future[list[Any]]":
        """As `read`, or `write`, for so many commands that the caller has made into `link.packed` bytes."""
        link = self._link
        loop = asyncio.get_running_loop() if link is None else link.loop  # which costs a system call
        answer = loop.create_future()
        unsent = self._unsent
        sent = 0 if link is None else len(link.sent)
        if not count:
            answer.set_result([])
        elif self._closed or sent + len(unsent) >= MOST_WAITING:
            answer.set_exception(
                StoreConnectionError("closed" if self._closed else "too many questions wait for the store")
            )
        else:
            due_s = loop.time() + self._patience_s
            if not unsent:
                loop.call_soon(self._send)
            unsent.append(Ask(answer, commands, count, due_s, repeatable))
            if self._timer is None:
                self._timer = loop.call_at(due_s, self._expire)
        return answer

    async def close(self) -> None:
        """Drop the connection; whoever still waits is told that the store is away."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self._timer is not None:
            self._timer.cancel()
        link = self._link
        if link is not None:
            self._lost(link)
            await link.lost
        self._fail_unsent("closed")

    def _send(self) -> None:
        """Everything asked since the last turn of the loop, in one write."""
        if self._link is not None:
            asks, self._unsent = self._unsent, []
            live = [ask for ask in asks if not ask.answer.done()]
            if self._seals is not None and live:
                live.append(self._seals.over(live))
            self._link.send(live)
        elif self._unsent and self._connecting is None and not self._closed:
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        """A new connection for all that wait, or their failure."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._not_before_s - loop.time())
        link = Link(self._lost)
        try:
            async with asyncio.timeout(self._patience_s):
                await self._address.reach(link)
                self._address.accept(await link.greet(self._address.greeting))
        except (RedisError, OSError) as error:  # a TimeoutError is an OSError
            link.drop()
            self._not_before_s = loop.time() + self._back_off_s
            self._back_off_s = min(MOST_BACK_OFF_S, 2 * self._back_off_s)
            self._fail_unsent(type(error).__name__)
        except asyncio.CancelledError:
            link.drop()
            raise
        else:
            self._back_off_s = BACK_OFF_S
            self._link = link
            self._send()
        finally:
            self._connecting = None

    def _lost(self, link: Link) -> None:
        """The link ends: reads on it are asked once more, first of all; the outcome of a write is unknown."""
        link.drop()
        if link is self._link:
            self._link = None
        asks, link.sent = link.sent, deque()
        again: list[Ask] = []
        for ask in asks:
            if ask.answer.done():
                continue
            if ask.repeatable and not self._closed:
                ask.repeatable = False
                ask.replies = []
                again.append(ask)
            else:
                ask.fail(StoreConnectionError("the connection broke"))
        self._unsent[:0] = again
        if again:
            self._send()

    def _expire(self) -> None:
        """Fail what has waited too long. Replies come in order, so the link that owes the oldest hangs: drop it."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        link = self._link
        for ask in (*(() if link is None else link.sent), *self._unsent):
            if ask.due_s > now_s:
                self._timer = loop.call_at(ask.due_s, self._expire)
                break
            ask.fail(StoreTimeoutError(f"no answer within {self._patience_s} s"))
        self._unsent = [ask for ask in self._unsent if not ask.answer.done()]
        if link is not None and link.sent and link.sent[0].due_s <= now_s:
            self._lost(link)

    def _fail_unsent(self, why: str) -> None:
        asks, self._unsent = self._unsent, []
        for ask in asks:
            ask.fail(StoreConnectionError(f"no connection: {why}"))
