"""The one entry of the api's requests to the store, whatever its URL names."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from api.cluster_wires import ClusterWires
from api.link import MasterAddress
from api.seals import Seals
from api.wires import Wires
from runtime.address import StoreAddress, store_address
from runtime.connection import STORE_ERRORS
from runtime.sentinel import Sentinels


def wires_to(url: str, *, seals: Seals | None = None) -> Wires:
    """What requests share; it connects on first use."""
    address = store_address(url)
    if address.kind == "cluster":
        return ClusterWires(address, seals=seals)
    return MasterWires(address, seals=seals) if address.kind == "sentinel" else Wires(url, seals=seals)


class MasterWires(Wires):
    """`Wires` to the master; no reply is trusted unless the sentinels have lately named it."""

    def __init__(self, address: StoreAddress, *, seals: Seals | None = None) -> None:
        self._sentinels = Sentinels(address)
        self._master = MasterAddress(self._sentinels)
        super().__init__(self._master, seals=seals)

    def ask_packed(self, commands: bytes, count: int, *, repeatable: bool = True) -> "asyncio.Future[list[Any]]":
        """As `Wires.ask_packed`; a reply of a server that is the master no more is one of STORE_ERRORS."""
        return asyncio.ensure_future(self._confirmed(super().ask_packed(commands, count, repeatable=repeatable)))

    async def close(self) -> None:
        """As `Wires.close`, the sentinels included."""
        await super().close()
        await self._sentinels.close()

    async def _confirmed(self, asked: Awaitable[list[Any]]) -> list[Any]:
        replies = await asked
        try:
            await self._sentinels.confirm(self._master.url)
        except STORE_ERRORS:
            if self._link is not None:
                self._lost(self._link)
            raise
        return replies
