"""The stored versions of the rules, for `icaze policy`. Reads `layout` and `policies:{p}`."""

from contextlib import aclosing

import msgspec
import uvloop
from redis.exceptions import RedisError

from lua.keys import LAYOUT, partition_keys
from permits.versions import Book
from runtime import embedded, settings
from runtime.connection import shown
from runtime.errors import StartupError
from runtime.layout import Layout
from runtime.policies import book_of
from runtime.topology import client_to


def book() -> Book:
    """All versions so far; StartupError where the store is away or another's."""
    current = settings.load()
    return uvloop.run(_book(current.redis_url or embedded.url(current.data)))


async def _book(url: str) -> Book:
    async with aclosing(client_to(url)) as client:
        try:
            raw: bytes | None = await client.execute_command("GET", LAYOUT)
            if raw is None:
                raise StartupError(f"store {shown(url)}: no icaze data in it")
            tags = msgspec.json.decode(raw, type=Layout).tags
            return await book_of(client, partition_keys(tags[0]).policies)
        except (RedisError, OSError, ValueError) as error:
            raise StartupError(f"store {shown(url)}: {error}") from None
