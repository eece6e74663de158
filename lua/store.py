"""What the functions need of a client: one command in, one reply out."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol


class Store(Protocol):
    """Anything that sends one command and returns its reply: a client of a real server, or of the fake one."""

    async def execute_command(self, *args: Any) -> Any:
        """The reply; raises redis.exceptions.RedisError."""
        ...


async def primaries(store: Store) -> Sequence[Store]:
    """Each server that holds a part of the store, for what a server has for itself: the store alone, unless a Cluster.

    Raises as the store does.
    """
    return await _listed(store, "primaries")


async def servers(store: Store) -> Sequence[Store]:
    """The same, and after them the replicas that stand behind one URL; raises as the store does."""
    return await _listed(store, "servers")


async def _listed(store: Store, name: str) -> Sequence[Store]:
    found: Callable[[], Awaitable[Sequence[Store]]] | None = getattr(store, name, None)
    return [store] if found is None else await found()
