"""What the store holds beside the trail, read partition by partition.

Reads `inbound:{p}`, `replies:{p}`, `held:{p}`, `dead:{p}`, `acts:{p}`, `counts:{p}:*`, `day:{p}:*`; changes nothing.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from lua import keys
from lua.held import SEAL_BYTES
from lua.keys import PartitionKeys
from lua.store import Store, primaries
from permits.calendar import day_number
from permits.employees import AuditAct
from permits.messages import DEAD_DECODER, HELD_DECODER
from processor.verification.accounts import AtRest
from processor.verification.buried import DeadLetters
from processor.verification.inputs import UnusableInputError
from processor.verification.trail import PAGE
from runtime.errors import StartupError
from runtime.layout import Layout

_SCAN: Final = 1000


class _Named(msgspec.Struct):
    id: str


_NAMED: Final = msgspec.json.Decoder(_Named)
_ACT: Final = msgspec.json.Decoder(AuditAct)


async def read_layout(store: Store) -> Layout:
    """How the store was laid out; StartupError where nothing was ever run on it."""
    raw: bytes | None = await store.execute_command("GET", keys.LAYOUT)
    if raw is None:
        raise StartupError("the store is empty: no role has ever started on it")
    return msgspec.json.decode(raw, type=Layout)


async def days_of(store: Store, kind: str) -> dict[str, set[int]]:
    """Partition tag → days for which a key `<kind>:{tag}:<YYYYMMDD>` stands."""
    found: dict[str, set[int]] = {}
    for server in await primaries(store):
        cursor: Any = 0
        while True:
            cursor, names = await server.execute_command("SCAN", cursor, "MATCH", f"{kind}:*", "COUNT", _SCAN)
            for name in names:
                _, tag, day = name.decode().split(":")
                found.setdefault(tag.strip("{}"), set()).add(day_number(day))
            if not int(cursor):
                break
    return found


async def entries_of(store: Store, stream: str) -> tuple[int, bool]:
    """Entries in a stream that is trimmed by age, and whether earlier ones were removed."""
    info = await _stream(store, stream)
    return info.get(b"length", 0), info.get(b"entries-added", 0) > info.get(b"length", 0)


async def read_at_rest(store: Store, names: PartitionKeys, count_days: dict[int, str]) -> AtRest:
    """A partition's streams and counters; `count_days` names the days whose counters stand."""
    inbound = await _stream(store, names.inbound)
    inbound_pending, _ = await _group(store, names.inbound, keys.INBOUND_GROUP)
    replies_pending, replies_read = await _group(store, names.replies, keys.DISPATCH_GROUP)
    unread: list[Any] = await store.execute_command("XRANGE", names.replies, f"({replies_read}", "+", "COUNT", 1)
    counts: dict[int, dict[str, int]] = {}
    for day, name in count_days.items():
        stored: dict[bytes, bytes] = await store.execute_command("HGETALL", names.counts(name))
        counts[day] = {counter.decode(): int(times) for counter, times in stored.items()}
    return AtRest(
        undecided=inbound.get(b"length", 0),
        appended=inbound.get(b"entries-added", 0 if not inbound else None),
        pending=inbound_pending + replies_pending,
        unread_replies=bool(unread),
        counts=counts,
    )


async def records(store: Store, key: str) -> AsyncIterator[tuple[bytes, bytes]]:
    """Field and value of each record of a day, once."""
    seen: set[bytes] = set()
    cursor: Any = 0
    while True:
        cursor, page = await store.execute_command("HSCAN", key, cursor, "COUNT", _SCAN)
        for field, value in page.items():
            if field not in seen:
                seen.add(field)
                yield field, value
        if not int(cursor):
            return


class Dead(msgspec.Struct, frozen=True):
    """The dead letters of a partition, and what became of those that are not there any more."""

    replies: set[str]
    """Ids of replies among them, also of approvals that could not be told, and of those that were dropped."""
    letters: DeadLetters


NO_DEAD: Final = Dead(set(), DeadLetters(0, 0, 0, 0, 0))


async def dead(store: Store, names: PartitionKeys) -> Dead:
    """What stands among the dead letters, and what the acts tell of the others."""
    info = await _stream(store, names.dead)
    replies: set[str] = set()
    standing, inbound = 0, 0
    async for payload in _payloads(store, names.dead):
        standing += 1
        try:
            letter = DEAD_DECODER.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        inbound += letter.kind == "inbound"
        if letter.reply_id is not msgspec.UNSET:
            replies.add(letter.reply_id)
    acted, inbound_acted = 0, 0
    added: int = info.get(b"entries-added", 0)
    if added > standing:  # somebody acted, or age has taken some
        async for payload in _payloads(store, names.acts):
            act = _act(names, payload)
            if act.letter:
                acted += 1
                inbound_acted += act.letter.startswith("inbound ")
                if act.deed == "drop":
                    replies.add(act.reply_id)
    return Dead(replies, DeadLetters(added, standing, inbound, acted, inbound_acted))


async def waiting_replies(store: Store, names: PartitionKeys) -> set[str]:
    """Ids of replies that stand on the reply stream."""
    found: set[str] = set()
    async for payload in _payloads(store, names.replies):
        try:
            found.add(_NAMED.decode(payload).id)
        except msgspec.DecodeError:
            continue
    return found


async def held_entries(store: Store, names: PartitionKeys) -> dict[str, float]:
    """SMS whose approval waits, each with the moment of its release, ms."""
    found: dict[str, float] = {}
    cursor: Any = 0
    while True:
        cursor, page = await store.execute_command("ZSCAN", names.held, cursor, "COUNT", _SCAN)
        for member, score in page:
            try:
                found[HELD_DECODER.decode(member[:-SEAL_BYTES]).entry_id] = float(score)
            except msgspec.DecodeError:
                raise UnusableInputError(f"{names.held}: a member is no approval") from None
        if not int(cursor):
            return found


async def acts(store: Store, names: PartitionKeys) -> AsyncIterator[tuple[str, str]]:
    """(permit code, deed) of each act on a permit; UnusableInputError where one cannot be read."""
    async for payload in _payloads(store, names.acts):
        act = _act(names, payload)
        if act.code:
            yield act.code, act.deed


def _act(names: PartitionKeys, payload: bytes) -> AuditAct:
    try:
        return _ACT.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableInputError(f"{names.acts}: {error}") from None


async def _payloads(store: Store, stream: str) -> AsyncIterator[bytes]:
    start = "-"
    while True:
        page: list[tuple[bytes, dict[bytes, bytes]]] = await store.execute_command(
            "XRANGE", stream, start, "+", "COUNT", PAGE
        )
        for _, fields in page:
            yield fields.get(b"m", b"")
        if len(page) < PAGE:
            return
        start = f"({page[-1][0].decode()}"


async def _stream(store: Store, stream: str) -> dict[bytes, Any]:
    try:
        return _fields(await store.execute_command("XINFO", "STREAM", stream))
    except ResponseError as error:
        if "no such key" in str(error):
            return {}
        raise


async def _group(store: Store, stream: str, group: str) -> tuple[int, str]:
    """(entries pending, last entry delivered) of a group; a group that does not stand has read nothing."""
    try:
        groups: list[list[Any] | dict[bytes, Any]] = await store.execute_command("XINFO", "GROUPS", stream)
    except ResponseError as error:
        if "no such key" in str(error):
            return 0, "0-0"
        raise
    for found in map(_fields, groups):
        if found[b"name"] == group.encode():
            return found[b"pending"], found[b"last-delivered-id"].decode()
    return 0, "0-0"


def _fields(reply: list[Any] | dict[bytes, Any]) -> dict[bytes, Any]:
    """A map in either protocol's shape."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
