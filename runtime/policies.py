"""The rules as a role sees them: the versions in the store, polled, so that a decree holds everywhere when it starts.

Reads `policies:{p}` of the first partition. Until a first version is confirmed, the policy file holds. Why no SMS is
ever decided by the wrong version: docs/decisions/0014-policies-in-the-store.md.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import RedisError

from lua.store import Store
from permits.policy import DEFAULT_FILE, Policy, PolicyError
from permits.policy import load as load_file
from permits.versions import Book, Founding
from runtime.connection import STORE_ERRORS
from runtime.errors import StartupError
from runtime.settings import Settings
from runtime.telemetry import Log

NOTICE_MS: Final = 60_000
"""From a version's confirmation to its first change, at least."""
STALE_S: Final = 30.0
"""Since the last good read: half the notice. The other half is left for clocks that differ."""
POLL_S: Final = 2.0
UNREAD: Final = (*STORE_ERRORS, RedisError, ValueError)
"""What `refresh` raises: the store is away, or an item cannot be read, as one of a newer release."""


class UnreadPoliciesError(StoreConnectionError):
    """The rules have not been read lately: nothing can be decided, as if the store were away."""


class Policies:
    """The versions known so far, and the rules to go by."""

    def __init__(
        self,
        ask: Callable[..., Awaitable[Any]],
        *,
        key: str,
        file: Policy,
        stale_s: float = STALE_S,
        mono_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        """Sends one command: `Wire.execute_command`, or alike."""
        self._key = key
        self._file = file
        self._stale_s = stale_s
        self._mono_s = mono_s
        self._read_s = mono_s() - stale_s
        """When the last good read was sent: an answer may be as old as its question."""
        self.book = Book()
        self._log = Log("policies")

    def latest(self) -> Policy:
        """The rules as last read: good enough to tell what was decided."""
        return self.book.latest or self._file

    def current(self) -> Policy:
        """The rules to decide by; UnreadPoliciesError where others, which we have not read, may be in force."""
        if self._mono_s() - self._read_s >= self._stale_s:
            raise UnreadPoliciesError(f"the rules have not been read for {self._stale_s:g} s")
        return self.latest()

    async def begin(self) -> None:
        """The first refresh; StartupError where it fails."""
        try:
            await self.refresh()
        except UNREAD as error:
            raise StartupError(f"the rules (`{self._key}`) cannot be read: {type(error).__name__}: {error}") from None
        if self.latest().version != self._file.version:
            self._log.info("the store's rules hold, not the file's", version=self.latest().version)

    async def refresh(self) -> None:
        """Read what is new, up to the first that cannot be read; raises one of UNREAD."""
        asked_s, book = self._mono_s(), self.book
        start = book.items
        new: list[bytes] = await self._ask("LRANGE", self._key, start, -1)
        if not new and start and await self._ask("LLEN", self._key) < start:
            # A store restored from before: its next items would take the places of those that we know.
            book, start, new = Book(), 0, await self._ask("LRANGE", self._key, 0, -1)
        # Of two refreshes at once neither may add twice, nor leave out what only it has read.
        for raw in new[book.items - start :]:
            book.add(raw)
        if not start and book is not self.book:
            self._log.error("the store has lost versions of the rules", known=self.book.items, stand=book.items)
            self.book = book
        self._read_s = max(self._read_s, asked_s)

    async def follow(self) -> None:
        """Refresh for ever; a store that is away is asked again."""
        while True:
            before = self.latest()
            try:
                await self.refresh()
            except UNREAD as error:
                self._log.warning("rules not read", error=type(error).__name__)
            if self.latest() is not before:
                self._log.info("new rules", version=self.latest().version)
            await asyncio.sleep(POLL_S)


def file_of(settings: Settings) -> tuple[Policy, Founding]:
    """The policy file of this deployment, read and as it stands; StartupError says what is wrong with it."""
    path = Path(settings.policy_file) if settings.policy_file else DEFAULT_FILE
    try:
        policy = load_file(path)
        return policy, Founding(policy.version, path.read_bytes().decode())
    except PolicyError as error:
        raise StartupError(f"policy: {error}") from None


async def book_of(store: Store, key: str) -> Book:
    """All that was proposed, confirmed and withdrawn so far; raises one of UNREAD."""
    book = Book()
    for raw in await store.execute_command("LRANGE", key, 0, -1):
        book.add(raw)
    return book


async def load_all(store: Store, key: str) -> dict[str, Policy]:
    """Every version that ever held, by the name that the trail uses; empty where the store has none."""
    return (await book_of(store, key)).confirmed()
