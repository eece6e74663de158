"""Which node of a Cluster a command goes to: its key, the key's slot, and the slot's owner as far as it is known."""

import asyncio
import binascii
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache, lru_cache
from typing import Any, Final, TypeVar

from redis.exceptions import AskError, MovedError, RedisError, ResponseError

from lua.keys import SLOTS
from runtime.address import StoreAddress
from runtime.connection import STORE_ERRORS, StoreConnectionError, Wire

LIVELY_S: Final = 1.5
"""How long a primary may have been silent towards us when its reply is trusted. One that slept, was replaced and wakes
up answers what stood in its sockets before it learns of it; within less none is replaced (node time-out: 2 s)."""
ASK_S: Final = 1.0
"""Patience with one node that is asked for the map: the next one is asked then."""
KEYLESS: Final = frozenset(
    "ACL ASKING BGREWRITEAOF CLIENT CLUSTER CONFIG DBSIZE FLUSHALL FUNCTION INFO LASTSAVE PING ROLE SCAN SHUTDOWN "
    "TIME WAIT WAITAOF".split()
)
Whose = TypeVar("Whose", str, int)
"""A node, or a slot."""
_SECOND: Final = frozenset(("MEMORY", "OBJECT", "XGROUP", "XINFO"))
"""Commands whose second word is part of the name."""
_UP_TO_SLOTS: Final = 8
"""Words of a line of CLUSTER NODES before the slots of its node."""
_NOWHERE: Final = 0
_COUNTED: Final = -1
_STREAMS: Final = -2


def key_of(command: Sequence[Any]) -> Any:
    """The first key of a command, None where it has none; all keys of a command of ours share a slot."""
    place = _where(command[0])
    if place > 0:
        return command[place]
    if place == _COUNTED:
        return command[3] if int(command[2]) else None
    return command[command.index("STREAMS") + 1] if place == _STREAMS else None


@cache
def _where(name: str) -> int:
    """Where the key of a command stands, or how to find it; redis-py's clients write some names with both words."""
    first, *more = name.split()
    if first in ("FCALL", "FCALL_RO"):
        return _COUNTED
    if first in ("XREADGROUP", "XREAD"):
        return _STREAMS
    if first in KEYLESS:
        return _NOWHERE
    return 2 if first in _SECOND and not more else 1


@lru_cache(maxsize=4096)
def slot_of(key: str | bytes) -> int:
    """The slot of a key: of what stands in its first braces, where that is anything."""
    text = key.encode() if isinstance(key, str) else key
    start = text.find(b"{") + 1
    end = text.find(b"}", start) if start else -1
    return binascii.crc_hqx(text[start:end] if end > start else text, 0) % SLOTS


async def shared_out(whose: Sequence[Whose], ask: Callable[[Whose, Sequence[int]], Awaitable[list[Any]]]) -> list[Any]:
    """The replies to commands in their order, each owner asked for those at its places, all owners at once.

    Where one of them fails, raises what it raised once all others have answered.
    """
    places: dict[Whose, list[int]] = {}
    for place, owner in enumerate(whose):
        places.setdefault(owner, []).append(place)
    parts = await asyncio.gather(*(ask(owner, own) for owner, own in places.items()), return_exceptions=True)
    replies: list[Any] = [None] * len(whose)
    for own, part in zip(places.values(), parts, strict=True):
        if isinstance(part, BaseException):
            raise part
        for place, reply in zip(own, part, strict=True):
            replies[place] = reply
    return replies


def target(error: AskError) -> str:
    """`host:port` of the node that a redirection names; empty where it names none."""
    found: Any = error
    return f"{found.host}:{found.port}" if found.host else ""


class SlotMap:
    """The owners of all slots, read from the Cluster when first needed and after a doubt."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._is_known = False
        self._ranges: list[tuple[int, int, str]] = []
        self._owners: dict[int, str] = {}
        self._hosts: set[str] = set(address.hosts)
        self._heard: dict[str, float] = {}

    @property
    def is_known(self) -> bool:
        """Whether the map has been read."""
        return self._is_known

    @property
    def primaries(self) -> list[str]:
        """`host:port` of all that own slots."""
        return sorted({owner for _, _, owner in self._ranges})

    def owner(self, slot: int) -> str:
        """`host:port` of a slot's owner; one of STORE_ERRORS where none is known."""
        owner = self._owners.get(slot)
        if owner is None:
            owner = next((host for first, last, host in self._ranges if first <= slot <= last), None)
            if owner is None:
                self.forget()
                raise StoreConnectionError(f"no node of the Cluster serves slot {slot}")
            self._owners[slot] = owner
        return owner

    def moved(self, error: MovedError) -> None:
        """Keep where a slot has gone."""
        self._owners[error.slot_id] = target(error)

    def forget(self) -> None:
        """Have the map read anew before it is used again."""
        self._is_known, self._owners = False, {}

    async def trust(self, host: str) -> None:
        """Note a reply of a primary that came just now; one of STORE_ERRORS where it may be none any more.

        One that we have heard lately cannot have been replaced; of another the other primaries are asked.
        """
        now_s = time.monotonic()
        if now_s - self._heard.get(host, 0.0) > LIVELY_S and (others := [o for o in self.primaries if o != host]):
            said = await asyncio.gather(*map(self._slots, others), return_exceptions=True)
            known = [found for found in said if not isinstance(found, BaseException)]
            if not known or any(host not in [places[0] for _, _, places in found] for found in known):
                raise StoreConnectionError(f"{host} may be no primary any more")
        self._heard[host] = now_s

    async def read(self) -> None:
        """Read the map from any node that answers; raises what the last one said where none does."""
        # The nodes of the URL may all be gone by now: those that the Cluster has named are asked as well.
        hosts = random.sample(sorted(self._hosts), len(self._hosts))
        failure: Exception = StoreConnectionError("no node of the Cluster is known")
        for host in hosts:
            try:
                found = await self._slots(host)
            except (*STORE_ERRORS, RedisError) as error:
                failure = error
                continue
            self._ranges = [(first, last, places[0]) for first, last, places in found]
            self._owners = {}
            self._hosts = {*self._address.hosts, *(place for _, _, places in found for place in places)}
            self._is_known = bool(found)
            if found:
                self._heard |= dict.fromkeys(set(self.primaries) - {host}, time.monotonic())
                return
            failure = StoreConnectionError("the Cluster serves no slots yet")
        raise failure

    async def others(self) -> list[str]:
        """`host:port` of all nodes without slots that a primary knows: those that are gone too, until CLUSTER FORGET.

        Raises what the last primary said where none answers.
        """
        failure: Exception = StoreConnectionError("no primary of the Cluster is known")
        for host in self.primaries:
            try:
                told: bytes = await self._asked(host, "NODES")
            except (*STORE_ERRORS, RedisError) as error:
                failure = error
                continue
            nodes = [line.split() for line in told.decode().splitlines()]
            return sorted(_told_place(node) for node in nodes if len(node) <= _UP_TO_SLOTS and node[1][0] != ":")
        raise failure

    async def _slots(self, host: str) -> list[tuple[int, int, list[str]]]:
        """(first slot, last, primary and replicas) as one node has it."""
        told = await self._asked(host, "SLOTS")
        return [(first, last, [_place(node, host) for node in nodes]) for first, last, *nodes in told]

    async def _asked(self, host: str, what: str) -> Any:
        """One node's reply to CLUSTER."""
        wire = Wire(self._address.of(host))
        try:
            (reply,) = await wire.call(["CLUSTER", what], timeout_s=ASK_S)
        finally:
            await wire.close()
        if isinstance(reply, ResponseError):
            raise reply
        return reply


def _told_place(node: Sequence[str]) -> str:
    """`host:port` of a line of CLUSTER NODES: `id host:port@bus,name flags ...`."""
    return node[1].partition("@")[0]


def _place(node: Sequence[Any], asked: str) -> str:
    """`host:port` of a node; one that does not know its own name is where we asked."""
    host = (node[0] or b"").decode()
    return f"{host if host and host != '?' else asked.rpartition(':')[0]}:{node[1]}"
