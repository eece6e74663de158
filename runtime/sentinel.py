"""The master of a replicated pair as one store: found through its sentinels at each new connection.

What the sentinels say is not believed alone: a server that answers ROLE with anything but master is left at once.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from lua.calls import Command
from runtime.address import StoreAddress
from runtime.connection import STORE_ERRORS, TIMEOUT_S, Client, StoreConnectionError, Wire, connect, pool

ASK_S: Final = 1.0
"""Patience with one sentinel; all are asked at once."""


async def master(address: StoreAddress) -> str:
    """URL of the master, by the sentinel that knows of the latest failover; one of STORE_ERRORS where none answers."""
    said = await asyncio.gather(*(_said(address, host) for host in address.hosts))
    known = [(int(facts[b"config-epoch"]), facts) for facts in said if not isinstance(facts, Exception)]
    if not known:
        raise StoreConnectionError(f"no sentinel knows a master {address.service!r}: {said[0]}")
    _, facts = max(known, key=lambda one: one[0])
    return address.of(f"{facts[b'ip'].decode()}:{int(facts[b'port'])}")


async def _said(address: StoreAddress, host: str) -> dict[bytes, bytes] | Exception:
    wire = Wire(address.of_sentinel(host))
    try:
        (flat,) = await wire.call(["SENTINEL", "MASTER", address.service], timeout_s=ASK_S)
    except (*STORE_ERRORS, RedisError) as error:
        return error
    finally:
        await wire.close()
    return flat if isinstance(flat, ResponseError) else dict(zip(flat[::2], flat[1::2], strict=True))


def refuse_other_than_master(role: Sequence[Any]) -> None:
    """Raise one of STORE_ERRORS where a reply to ROLE is not a master's."""
    if role[0] != b"master":
        raise StoreConnectionError(f"the server that the sentinels name is a {role[0].decode()}")


async def _greet(connection: Any) -> None:
    await connection.on_connect()
    await connection.send_command("ROLE")
    refuse_other_than_master(await connection.read_response(disable_decoding=True))


class MasterWire(Wire):
    """A `Wire` to whoever is the master when it connects."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._connection: Any = None

    async def call(
        self, *commands: Command | Sequence[Any], timeout_s: float = TIMEOUT_S, replicas: int = 0
    ) -> list[Any]:
        """As `Wire.call`; after a READONLY reply the next call looks for the master anew."""
        replies = await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            await self.close()
        return replies

    async def _open(self) -> None:
        self._pool = pool(await master(self._address), None, greet=_greet)
        await super()._open()


class MasterClient:
    """A client for single calls of whoever is the master."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._client: Redis | None = None
        self._replicas: dict[str, Client] = {}

    async def execute_command(self, *args: Any) -> Any:
        """The master's reply; after a lost connection or a READONLY reply the next call looks for it anew."""
        if self._client is None:
            url = await master(self._address)
            self._client = self._client or Redis.from_pool(pool(url, TIMEOUT_S, greet=_greet))
        client: Any = self._client
        try:
            return await client.execute_command(*args)
        except (*STORE_ERRORS, ReadOnlyError):
            if client is self._client:
                self._client = None
                await client.aclose()
            raise

    async def servers(self) -> list[Client]:
        """This one, and a client of each replica that is connected to the master."""
        facts: dict[str, Any] = await self.execute_command("INFO", "replication")
        slaves: list[dict[str, Any]] = [facts[f"slave{number}"] for number in range(facts["connected_slaves"])]
        hosts = [f"{slave['ip']}:{slave['port']}" for slave in slaves]
        self._replicas |= {host: connect(self._address.of(host)) for host in hosts if host not in self._replicas}
        return [self, *(self._replicas[host] for host in hosts)]

    async def aclose(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        for one in (client, *self._replicas.values()):
            if one is not None:
                await one.aclose()
