"""The store as all requests share it, where it is a Cluster: one connection a node, each question to its slot's owner.

A slot's question that was redirected is asked once more; a write only where it is one command, which then was not made.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from redis.exceptions import AskError, MovedError, ResponseError

from api.link import packed
from api.seals import Seals
from api.wires import PATIENCE_S, Wires
from lua.calls import Command
from runtime.address import StoreAddress
from runtime.connection import STORE_ERRORS, StoreConnectionError
from runtime.slots import SlotMap, key_of, shared_out, slot_of, target


class ClusterWires(Wires):
    """`Wires` to each node that is needed."""

    def __init__(self, address: StoreAddress, *, patience_s: float = PATIENCE_S, seals: Seals | None = None) -> None:
        self._store = address
        self._seals = seals
        self._patience_s = patience_s
        self._slots = SlotMap(address)
        self._nodes: dict[str, Wires] = {}
        self._reading: asyncio.Task[None] | None = None

    def read(self, *commands: Command | Sequence[Any]) -> "asyncio.Future[list[Any]]":
        """As `Wires.read`, from all nodes at once."""
        return asyncio.ensure_future(self._asked(commands, repeatable=True))

    def write(self, *commands: Command | Sequence[Any]) -> "asyncio.Future[list[Any]]":
        """As `Wires.write`; a redirected command was not executed, and goes on to where it belongs."""
        return asyncio.ensure_future(self._asked(commands, repeatable=False))

    def ask_packed(self, commands: bytes, count: int, *, repeatable: bool = True) -> "asyncio.Future[list[Any]]":
        """As `Wires.ask_packed`; all of one partition, whose tag stands in the first braces."""
        slot = slot_of(commands[commands.find(b"{") : commands.find(b"}") + 1])
        return asyncio.ensure_future(self._of_slot(slot, commands, count, repeatable=repeatable))

    async def close(self) -> None:
        """As `Wires.close`, of all nodes."""
        if self._reading is not None:
            self._reading.cancel()
        for node in self._nodes.values():
            await node.close()

    async def _asked(self, commands: Sequence[Command | Sequence[Any]], *, repeatable: bool) -> list[Any]:
        def ask(slot: int, places: Sequence[int]) -> Awaitable[list[Any]]:
            own = packed([commands[place] for place in places])
            return self._of_slot(slot, own, len(places), repeatable=repeatable)

        return await shared_out([slot_of(key_of(command)) for command in commands], ask)

    async def _of_slot(self, slot: int, commands: bytes, count: int, *, repeatable: bool) -> list[Any]:
        """The replies to what is asked of one slot, wherever it is by now."""
        try:
            if not self._slots.is_known:
                await self._read_map()
            host = self._slots.owner(slot)
            try:
                replies = await self._node(host).ask_packed(commands, count, repeatable=repeatable)
                await self._slots.trust(host)
                return replies
            except ResponseError as error:
                moved = _redirection(error)
                if moved is None:
                    raise
                if count > 1 and not repeatable:  # those before the first that was redirected may have been made
                    raise StoreConnectionError("a slot moved while it was written") from None
                return await self._again(moved, commands, count, repeatable=repeatable)
        except STORE_ERRORS:
            self._slots.forget()
            raise

    async def _again(self, moved: AskError, commands: bytes, count: int, *, repeatable: bool) -> list[Any]:
        node = self._node(target(moved))
        try:
            if isinstance(moved, MovedError):
                self._slots.moved(moved)
                return await node.ask_packed(commands, count, repeatable=repeatable)
            if count == 1:
                asking = packed([("ASKING",)]) + commands
                return (await node.ask_packed(asking, 2, repeatable=repeatable))[1:]
        except ResponseError as error:
            if _redirection(error) is None:
                raise
        raise StoreConnectionError("a slot is on its way to another node")

    async def _read_map(self) -> None:
        """One reading for all that wait for it."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._slots.read())
        async with asyncio.timeout(self._patience_s):
            await asyncio.shield(self._reading)

    def _node(self, host: str) -> Wires:
        node = self._nodes.get(host)
        if node is None:
            node = self._nodes[host] = Wires(self._store.of(host), patience_s=self._patience_s, seals=self._seals)
        return node


def _redirection(error: ResponseError) -> AskError | None:
    """Where an error reply sends us; TRYAGAIN: nowhere yet."""
    code, _, rest = str(error).partition(" ")
    if code == "TRYAGAIN":
        raise StoreConnectionError("a slot is on its way to another node") from None
    if code == "MOVED":
        return MovedError(rest)
    return AskError(rest) if code == "ASK" else None
