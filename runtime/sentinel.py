"""The master of a replicated pair as one store: found through its sentinels at each new connection.

What the sentinels say is not believed alone: a server that answers ROLE with anything but master is left at once. And
no reply is trusted unless most sentinels have lately named the server that gave it.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError, RedisError

from lua.calls import Command
from runtime.address import StoreAddress
from runtime.connection import STORE_ERRORS, TIMEOUT_S, Client, StoreConnectionError, Wire, connect, pool

ASK_S: Final = 1.0
"""Patience with one sentinel; all are asked at once."""
CONFIRM_S: Final = 0.5
"""How old the sentinels' word may be when a reply is trusted. A master that slept, was replaced and wakes up answers as
if nothing had been until the sentinels demote it, ten seconds later; they replace none within less than this."""
_DOUBTS: Final = frozenset((b"o_down", b"failover_in_progress"))


class Sentinels:
    """Those who know the master; most of them must agree."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._wires = [Wire(address.of_sentinel(host)) for host in address.hosts]
        self._turn = asyncio.Lock()
        self._confirmed = ("", 0.0)

    async def master(self) -> str:
        """URL of the master now; one of STORE_ERRORS where most of them do not answer or are replacing it."""
        async with self._turn:
            return await self._asked()

    async def _asked(self) -> str:
        asked_s = time.monotonic()
        known = [_facts(flat) for flat in await self._said("MASTER")]
        latest = max(known, key=lambda facts: int(facts[b"config-epoch"]))
        if any(_DOUBTS & set(facts[b"flags"].split(b",")) for facts in known):  # one alone may be cut off: s_down
            raise StoreConnectionError("the sentinels doubt the master or are replacing it")
        url = self._address.of(f"{latest[b'ip'].decode()}:{int(latest[b'port'])}")
        self._confirmed = (url, asked_s)
        return url

    async def confirm(self, url: str) -> None:
        """Nothing where that is surely the master still; one of STORE_ERRORS otherwise: a reply must not be trusted."""
        if self._is_confirmed(url):
            return
        async with self._turn:
            if not self._is_confirmed(url) and await self._asked() != url:
                raise StoreConnectionError("another server is the master now")

    def _is_confirmed(self, url: str) -> bool:
        return self._confirmed[0] == url and time.monotonic() - self._confirmed[1] < CONFIRM_S

    async def replicas(self) -> list[str]:
        """`host:port` of all that one of them knows, those that are gone too, until SENTINEL RESET.

        One of STORE_ERRORS where most of them do not answer.
        """
        async with self._turn:
            found = [_facts(flat) for replicas in await self._said("REPLICAS") for flat in replicas]
        return sorted({f"{facts[b'ip'].decode()}:{int(facts[b'port'])}" for facts in found})

    async def _said(self, what: str) -> list[Any]:
        """What those say who answer; one of STORE_ERRORS where that is not most of them."""
        told = await asyncio.gather(*(self._told(wire, what) for wire in self._wires))
        said = [reply for reply in told if not isinstance(reply, Exception)]
        if len(said) * 2 <= len(told):
            why = next(reply for reply in told if isinstance(reply, Exception))
            raise StoreConnectionError(f"{len(said)} of {len(told)} sentinels know {self._address.service!r}: {why}")
        return said

    async def _told(self, wire: Wire, what: str) -> Any:
        try:
            (reply,) = await wire.call(["SENTINEL", what, self._address.service], timeout_s=ASK_S)
        except (*STORE_ERRORS, RedisError) as error:
            return error
        return reply

    async def close(self) -> None:
        """Drop the connections."""
        for wire in self._wires:
            await wire.close()


def _facts(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def refuse_other_than_master(role: Sequence[Any]) -> None:
    """Raise one of STORE_ERRORS where a reply to ROLE is not a master's."""
    if role[0] != b"master":
        raise StoreConnectionError(f"the server that the sentinels name is a {role[0].decode()}")


async def _greet(connection: Any) -> None:
    await connection.on_connect()
    await connection.send_command("ROLE")
    refuse_other_than_master(await connection.read_response(disable_decoding=True))


class MasterWire(Wire):
    """A `Wire` to whoever is the master when it connects, and as long as that is so."""

    def __init__(self, address: StoreAddress) -> None:
        self._sentinels = Sentinels(address)
        self._url = ""
        self._connection: Any = None

    async def call(
        self, *commands: Command | Sequence[Any], timeout_s: float = TIMEOUT_S, replicas: int = 0
    ) -> list[Any]:
        """As `Wire.call`; after a READONLY reply the next call looks for the master anew."""
        replies = await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            await super().close()
        else:
            try:
                await self._sentinels.confirm(self._url)
            except BaseException:
                await super().close()
                raise
        return replies

    async def close(self) -> None:
        """Drop all connections; the next call makes others."""
        await super().close()
        await self._sentinels.close()

    async def _open(self) -> None:
        self._url = await self._sentinels.master()
        self._pool = pool(self._url, None, greet=_greet)
        await super()._open()


class MasterClient:
    """A client for single calls of whoever is the master."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._sentinels = Sentinels(address)
        self._url = ""
        self._client: Redis | None = None
        self._replicas: dict[str, Client] = {}

    async def execute_command(self, *args: Any) -> Any:
        """The master's reply; after a lost connection or a READONLY reply the next call looks for it anew."""
        if self._client is None:
            url = await self._sentinels.master()
            if self._client is None:
                self._url, self._client = url, Redis.from_pool(pool(url, TIMEOUT_S, greet=_greet))
        client: Any = self._client
        try:
            reply = await client.execute_command(*args)
            await self._sentinels.confirm(self._url)
        except (*STORE_ERRORS, ReadOnlyError):
            if client is self._client:
                self._client = None
                await client.aclose()
            raise
        return reply

    async def servers(self) -> list[Client]:
        """This one, and a client of each replica, those too that are gone for the time being."""
        hosts = await self._sentinels.replicas()
        self._replicas |= {host: connect(self._address.of(host)) for host in hosts if host not in self._replicas}
        return [self, *(self._replicas[host] for host in hosts)]

    async def aclose(self) -> None:
        """Close all connections."""
        await self._sentinels.close()
        client, self._client = self._client, None
        for one in (client, *self._replicas.values()):
            if one is not None:
                await one.aclose()
