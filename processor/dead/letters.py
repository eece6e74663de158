"""Dead letters as they stand, and which of them are meant. Reads `dead:{p}`."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from lua.keys import partition_keys
from lua.store import Store
from permits.messages import DEAD_DECODER, DeadLetter

PAGE: Final = 200
NAME: Final = re.compile(r"([0-9a-z]{1,16})/(\d{1,20}-\d{1,20})")


class Wanted(msgspec.Struct, frozen=True):
    """Which letters are meant: those that fit everything that is given. Times are milliseconds since 1970."""

    kind: str | None = None
    reason: str = ""
    """A part of it, in any case of letters."""
    since_ms: int = 0
    until_ms: int | None = None
    limit: int | None = None

    def fits(self, letter: DeadLetter) -> bool:
        """Whether one is meant; the limit is for whoever counts."""
        return (
            self.kind in (None, letter.kind)
            and self.reason.casefold() in letter.reason.casefold()
            and self.since_ms <= letter.dead_ms
            and (self.until_ms is None or letter.dead_ms < self.until_ms)
        )


async def letters(store: Store, tags: Sequence[str], wanted: Wanted) -> AsyncIterator[tuple[str, DeadLetter]]:
    """(name, letter) of those that are meant, oldest first in each partition."""
    count = 0
    for tag in tags:
        async for entry_id, fields in entries(store, partition_keys(tag).dead):
            letter = decoded(entry_id, fields)
            if wanted.fits(letter):
                if wanted.limit is not None and count >= wanted.limit:
                    return
                count += 1
                yield f"{tag}/{entry_id.decode()}", letter


async def entries(store: Store, stream: str) -> AsyncIterator[tuple[bytes, dict[bytes, bytes]]]:
    """All of a stream, a page at a time."""
    after = "-"
    while True:
        page: list[tuple[bytes, dict[bytes, bytes]]] = await store.execute_command(
            "XRANGE", stream, after, "+", "COUNT", PAGE
        )
        for entry in page:
            yield entry
        if len(page) < PAGE:
            return
        after = "(" + page[-1][0].decode()


async def found(store: Store, name: str) -> DeadLetter | None:
    """The letter of a name; None where there is none."""
    parts = NAME.fullmatch(name)
    if parts is None:
        return None
    page: list[tuple[bytes, Any]] = await store.execute_command(
        "XRANGE", partition_keys(parts[1]).dead, parts[2], parts[2]
    )
    return decoded(*page[0]) if page else None


def decoded(entry_id: bytes, fields: dict[bytes, bytes]) -> DeadLetter:
    """An entry of the stream; what somebody else put there is shown as it stands."""
    try:
        return DEAD_DECODER.decode(fields[b"m"])
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = entry_id.decode()
        raw = b" ".join(part for pair in fields.items() for part in pair).decode("utf-8", "backslashreplace")
        return DeadLetter(
            kind="inbound",
            entry_id=name,
            reason=f"not a dead letter: {error}",
            dead_ms=int(name.partition("-")[0]),
            raw=raw,
        )
