"""Keys of one Baku day each: whoever erases a day's key erases what rests under it, in every copy there is.

Reads and makes the fields `YYYYMMDD` of `day_keys:{p}` in the first partition: random keys, sealed by the keyring.
What rests under them: `runtime.sealing`. Who erases them: `processor.erasure`.
"""

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import RedisError

from permits.calendar import DAY_MS, day_name, local_day
from runtime.connection import STORE_ERRORS
from runtime.errors import StartupError
from runtime.keyring import KEY_BYTES, NONCE_BYTES, Keyring, UnsealedError
from runtime.telemetry import Log

AHEAD_MS: Final = DAY_MS
"""So long before its day a key is made: nothing waits at midnight, though the store be away since the day before."""
POLL_S: Final = 60.0
"""How long a process may go on reading what is erased."""
SOON_S: Final = 1.0
"""The next look where a key that we need is missing."""
NONCES: Final = 256
"""Random nonces drawn at once: one by one they cost a third of a sealing. A key may have 2^32, far above a day's."""


class UnreadDayKeyError(StoreConnectionError):
    """A day's key is not known yet: nothing of that day can be read or written, as if the store were away."""


class DayKey:
    """Seals and opens what belongs to one day."""

    def __init__(self, day: str, key: bytes) -> None:
        self.day = day
        cipher = AESGCM(key)
        self._encrypt, self._decrypt = cipher.encrypt, cipher.decrypt
        self._nonces: list[bytes] = []

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """Nonce and ciphertext; only `open` with the same `place` reads it."""
        return self.seal_each(((plain, place),))[0]

    def seal_each(self, contents: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """As `seal` of each (content, place); for one thread at a time."""
        encrypt, nonces = self._encrypt, self._nonces
        if len(nonces) < len(contents):
            count = max(NONCES, len(contents))
            drawn = os.urandom(count * NONCE_BYTES)
            nonces += [drawn[at : at + NONCE_BYTES] for at in range(0, len(drawn), NONCE_BYTES)]
        sealed: list[bytes] = []
        for plain, place in contents:
            nonce = nonces.pop()
            sealed.append(nonce + encrypt(nonce, plain, place))
        return sealed

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """What was sealed for this place on this day; UnsealedError for anything else."""
        try:
            return self._decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
        except (ValueError, InvalidTag):
            raise UnsealedError(f"not sealed by the key of {self.day} for this place") from None


class DayKeys:
    """The keys that stand, as last read."""

    def __init__(
        self,
        ask: Callable[..., Awaitable[Any]],
        *,
        key: str,
        keyring: Keyring,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._ask = ask
        """Sends one command for any number of tasks at once: `SharedWire.execute_command`, or alike."""
        self._key = key
        self._keyring = keyring
        self._wall_ms = wall_ms
        self._asked = itertools.count()
        self._answered = -1
        self.known: dict[str, DayKey] = {}
        self._log = Log("day keys")

    def of(self, day: str) -> DayKey:
        """The key of a day, `YYYYMMDD`; UnreadDayKeyError where none is known: `refresh` tells whether it stands."""
        key = self.known.get(day)
        if key is None:
            raise UnreadDayKeyError(f"no key of {day} is known")
        return key

    def at(self, wall_ms: int) -> DayKey:
        """The key of the Baku day that holds an instant; raises as `of`."""
        return self.of(day_name(local_day(wall_ms)))

    async def begin(self) -> None:
        """The first refresh; StartupError where it fails."""
        try:
            await self.refresh()
        except UnreadDayKeyError as error:
            raise StartupError(str(error)) from None

    async def refresh(self) -> None:
        """Read what stands, and make what will be needed; what `of` does not know then, stands no more.

        UnreadDayKeyError where the keys cannot be read. A key that the store does not take yet, as a full one, is
        made at a later refresh.
        """
        missing = self._needed() - (await self.read()).keys()
        if missing:
            await self._make(missing)
            await self.read()

    async def follow(self) -> None:
        """Refresh for ever; a store that is away is asked again."""
        due_s = time.monotonic() + POLL_S
        while True:
            await asyncio.sleep(SOON_S)
            # Looked for each time: a clock that was set forward needs keys that nobody has made.
            if time.monotonic() < due_s and not self._needed() - self.known.keys():
                continue
            due_s = time.monotonic() + POLL_S
            try:
                await self.refresh()
            except UnreadDayKeyError as error:
                self._log.warning("day keys not read", reason=str(error))

    def _needed(self) -> set[str]:
        now_ms = self._wall_ms()
        return {day_name(local_day(ms)) for ms in (now_ms, now_ms + AHEAD_MS)}

    async def read(self) -> dict[str, DayKey]:
        """The keys that stand now, and known from now on; UnreadDayKeyError where they cannot be read."""
        asked = next(self._asked)
        try:
            flat: list[bytes] = await self._ask("HGETALL", self._key)
            found = {name.decode(): sealed.decode() for name, sealed in zip(flat[::2], flat[1::2], strict=True)}
            keys = {day: DayKey(day, self._opened(day, sealed)) for day, sealed in found.items() if day.isdigit()}
        except (*STORE_ERRORS, RedisError, ValueError) as error:
            raise UnreadDayKeyError(f"day keys (`{self._key}`): {type(error).__name__}: {error}") from None
        if asked > self._answered:  # of two reads at once the later one tells more
            self._answered, self.known = asked, keys
        return keys

    def _opened(self, day: str, sealed: str) -> bytes:
        return self._keyring.open(sealed, _place(day))

    async def _make(self, days: set[str]) -> None:
        """Of all who make a day's key at once the first makes it."""
        for day in sorted(days):
            key = secrets.token_bytes(KEY_BYTES)
            try:
                await self._ask("HSETNX", self._key, day, self._keyring.seal(key, _place(day)))
            except (*STORE_ERRORS, RedisError) as error:
                self._log.warning("day key not made", day=day, error=str(error)[:80])


def _place(day: str) -> str:
    return f"day key {day}"
