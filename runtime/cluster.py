"""A Cluster as one store: a wire and a client that send each command to the owner of its slot.

A redirected command was not executed, so it is sent to its new owner, once; nothing else is ever repeated.
"""

from collections.abc import Awaitable, Sequence
from typing import Any

from redis.exceptions import AskError, ClusterDownError, MovedError

from lua.calls import Command
from runtime.address import StoreAddress
from runtime.connection import STORE_ERRORS, TIMEOUT_S, Client, Wire, connect
from runtime.slots import SlotMap, key_of, shared_out, slot_of, target

_ASKING = ("ASKING",)


class ClusterWire(Wire):
    """A `Wire` to each node that is needed: a call's commands go to all of them at once, in order on each."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._slots = SlotMap(address)
        self._wires: dict[str, Wire] = {}

    async def call(
        self, *commands: Command | Sequence[Any], timeout_s: float = TIMEOUT_S, replicas: int = 0
    ) -> list[Any]:
        """As `Wire.call`; where one node does not answer, it raises once all others have."""
        try:
            if not self._slots.is_known:
                await self._slots.read()
            replies = await self._sent(self._owners(commands), commands, timeout_s, replicas)
            astray = [place for place, reply in enumerate(replies) if isinstance(reply, AskError | ClusterDownError)]
            if astray:
                await self._redirect(commands, replies, astray, timeout_s, replicas)
            return replies
        except STORE_ERRORS:
            self._slots.forget()
            raise

    async def primaries(self) -> list[Wire]:
        """A wire to each node that owns slots; they are this wire's own."""
        await self._slots.read()
        return [self._wire(host) for host in self._slots.primaries]

    async def close(self) -> None:
        """Drop all connections; the next call makes others."""
        for wire in self._wires.values():
            await wire.close()

    def _wire(self, host: str) -> Wire:
        wire = self._wires.get(host)
        if wire is None:
            wire = self._wires[host] = Wire(self._address.of(host))
        return wire

    def _owners(self, commands: Sequence[Sequence[Any]]) -> list[str]:
        """Where each command goes; one without a key goes along with the first."""
        owner, keys = self._slots.owner, [key_of(command) for command in commands]
        owners = [None if key is None else owner(slot_of(key)) for key in keys]
        some = next((host for host in owners if host is not None), None) or self._slots.primaries[0]
        return [host or some for host in owners]

    async def _sent(
        self, owners: Sequence[str], commands: Sequence[Command | Sequence[Any]], timeout_s: float, replicas: int
    ) -> list[Any]:
        """The replies of all, each command sent to the node beside it."""
        if len(set(owners)) == 1:
            return await self._answered(owners[0], commands, timeout_s, replicas)

        def ask(host: str, places: Sequence[int]) -> Awaitable[list[Any]]:
            return self._answered(host, [commands[place] for place in places], timeout_s, replicas)

        return await shared_out(owners, ask)

    async def _answered(
        self, host: str, commands: Sequence[Command | Sequence[Any]], timeout_s: float, replicas: int
    ) -> list[Any]:
        replies = await self._wire(host).call(*commands, timeout_s=timeout_s, replicas=replicas)
        await self._slots.trust(host)
        return replies

    async def _redirect(
        self,
        commands: Sequence[Command | Sequence[Any]],
        replies: list[Any],
        astray: Sequence[int],
        timeout_s: float,
        replicas: int,
    ) -> None:
        """Send what was redirected where it belongs, in the order asked, and put its replies in their places."""
        targets: list[str] = []
        again: list[Command | Sequence[Any]] = []
        back: list[int | None] = []
        for place in astray:
            error = replies[place]
            host = target(error) if isinstance(error, AskError) else ""
            if not host:  # of a node that knows no more than we do
                self._slots.forget()
                continue
            if isinstance(error, MovedError):
                self._slots.moved(error)
            else:
                targets.append(host)
                again.append(_ASKING)
                back.append(None)
            targets.append(host)
            again.append(commands[place])
            back.append(place)
        if again:
            for place, reply in zip(back, await self._sent(targets, again, timeout_s, replicas), strict=True):
                if place is not None:
                    replies[place] = reply


class ClusterClient:
    """A client for single calls: one of redis-py's for each node that is needed."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._slots = SlotMap(address)
        self._clients: dict[str, Any] = {}

    async def execute_command(self, *args: Any) -> Any:
        """The reply of the slot's owner; a command without a key goes to some primary."""
        try:
            if not self._slots.is_known:
                await self._slots.read()
            key = key_of(args)
            host = self._slots.primaries[0] if key is None else self._slots.owner(slot_of(key))
            try:
                reply = await self._client(host).execute_command(*args)
                await self._slots.trust(host)
                return reply
            except MovedError as error:
                self._slots.moved(error)
                return await self._client(target(error)).execute_command(*args)
            except AskError as error:
                return await self._asked(target(error), args)
        except (*STORE_ERRORS, ClusterDownError):
            self._slots.forget()
            raise

    async def primaries(self) -> list[Client]:
        """A client of each node that owns slots; they are this client's own."""
        await self._slots.read()
        return [self._client(host) for host in self._slots.primaries]

    async def servers(self) -> list[Client]:
        """The same, and then a client of each other node: replicas, those too that are gone for the time being."""
        await self._slots.read()
        return [self._client(host) for host in (*self._slots.primaries, *await self._slots.others())]

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()

    async def _asked(self, host: str, args: Sequence[Any]) -> Any:
        async with self._client(host).pipeline(transaction=False) as pipeline:
            pipeline.execute_command("ASKING")
            pipeline.execute_command(*args)
            return (await pipeline.execute())[1]

    def _client(self, host: str) -> Any:
        client = self._clients.get(host)
        if client is None:
            client = self._clients[host] = connect(self._address.of(host))
        return client
