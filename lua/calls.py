"""The typed Python face of each function: what goes in, and what comes back as a Struct or a plain value.

`decide` is built and read apart from sending it, since a lane sends it together with its next read.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from lua import library
from lua.keys import PartitionKeys
from lua.store import Store
from permits.regimes import Limits, Rule

Arg = bytes | str | int
Command = list[Arg]

_MESSAGE: Final = struct.Struct(">4s4s6sII2sBcBBB?B4sB10s")
MESSAGE_BYTES: Final = _MESSAGE.size
message = _MESSAGE.pack
"""(field, owner's tag, digest, arrival s, timing, sender's first bytes, purpose, letter, days from arrival to the
last of the batch, places of the rule row and the frame, known by its text, place of the hour, document's tail, minutes
held, permit's code) → MESSAGE_BYTES of a batch."""
ASK: Final = "?"
"""In the place of an outcome letter: the rules decide."""
CANCEL: Final = "!"
"""In its place, too: the SMS asks to cancel a permit."""


class Decided(msgspec.Struct, frozen=True):
    """The batch was decided by this call."""

    letters: str
    ids_reused: int
    removed: int
    unanswered: int
    """Refusals of whoever had too many within the hour."""


class Fenced(msgspec.Struct, frozen=True):
    """Another lane holds the partition; nothing was changed."""

    epoch: str


class Applied(msgspec.Struct, frozen=True):
    """An earlier call decided this batch; nothing was changed."""


class Gap(msgspec.Struct, frozen=True):
    """The batch is not the head of the stream; nothing was changed."""


DecideReply = Decided | Fenced | Applied | Gap


class Batch(msgspec.Struct, frozen=True):
    """One batch of a partition, prepared for `decide` (byte layouts in `decide.lua`)."""

    first_id: bytes
    last_id: bytes
    count: int
    messages: bytes
    """MESSAGE_BYTES for each entry."""
    days: Sequence[str]
    """Consecutive days of arrival, `YYYYMMDD`, oldest first."""
    day_expiries_s: Sequence[int]
    hours: Sequence[str]
    """Hours before which permits end, `YYYYMMDDHH` in UTC; a message names one by its place, from 1."""
    hour_expiries_s: Sequence[int]
    seals: bytes
    """Sealed numbers, 16 bytes for each message that is left to the rules."""
    rules: Sequence[bytes]
    """Rows of limits, lists and rules (`rule_row`)."""
    frames: Sequence[tuple[str, str]]
    """Rests of replies: of refusals, before and after the document's tail; of an approval two, around its code and the
    tail."""
    holders: Sequence[bytes]
    """The field of each message that asks to cancel."""
    texts: Sequence[Arg]
    now_ms: int
    audit: bytes
    counts_day: str
    counts_expiry_s: int


def decide_command(keys: PartitionKeys, *, epoch: str, batch: Batch, record_bytes: int) -> Command:
    """The FCALL of one batch."""
    frames = [part for frame in batch.frames for part in frame]
    command: Command = [
        "FCALL",
        library.DECIDE,
        8 + len(batch.days) + len(batch.hours) + len(batch.holders),
        keys.fence("decide"),
        keys.inbound,
        keys.replies,
        keys.audit,
        keys.dead,
        keys.counts(batch.counts_day),
        keys.blocked,
        keys.held,
    ]
    command += [keys.day(day) for day in batch.days]
    command += [keys.senders(hour) for hour in batch.hours]
    command += [keys.holder(field) for field in batch.holders]
    command += [epoch, batch.first_id, id_after(batch.last_id), batch.count, record_bytes, batch.audit]
    command += [batch.counts_expiry_s, batch.messages, batch.seals, len(batch.days), len(batch.holders), batch.now_ms]
    command += [len(batch.rules), *batch.rules, len(batch.frames), *frames]
    command += batch.day_expiries_s
    command += batch.hour_expiries_s
    command += batch.texts
    return command


def rule_row(limits: Limits, lists: Sequence[int], rules: Sequence[Rule]) -> bytes:
    """What a request must pass, as `decide` reads it; `lists` are the numbers of those that bar."""
    return bytes(
        (
            limits.refusals_answered_per_hour or 0,
            limits.requests_per_document or 0,
            limits.senders_per_document or 0,
            len(lists),
            *lists,
            *(byte for rule in rules for byte in (rule.limit, len(rule.purposes), *rule.purposes)),
        )
    )


def cancellable_since(*, arrived_since_s: int, endless_since_s: int) -> bytes:
    """Which permits an SMS may cancel: by when the SMS that obtained them arrived, and when those without end began."""
    return struct.pack(">II", arrived_since_s, endless_since_s)


def decide_reply(reply: Any) -> DecideReply:
    """What `decide` answered."""
    tag = reply[0]
    if tag == b"decided":
        return Decided(letters=reply[1].decode(), ids_reused=reply[2], removed=reply[3], unanswered=reply[4])
    if tag == b"fenced":
        return Fenced(epoch=reply[1].decode())
    if tag == b"applied":
        return Applied()
    if tag == b"gap":
        return Gap()
    raise ValueError(f"decide answered {tag!r}")


def id_after(entry_id: bytes) -> bytes:
    """The lowest entry id above one."""
    ms, _, sequence = entry_id.partition(b"-")
    return b"%b-%d" % (ms, int(sequence) + 1)


def lease_command(*, lease_key: str, fence_key: str, owner: str, ttl_ms: int) -> Command:
    """Take or renew a lease; for pipelines."""
    return ["FCALL", library.LEASE, 2, lease_key, fence_key, owner, ttl_ms]


def lease_reply(reply: Any) -> str | None:
    """The epoch of a lease that is ours, or None where another holds it."""
    return None if reply is None else reply.decode()


async def lease(store: Store, *, lease_key: str, fence_key: str, owner: str, ttl_ms: int) -> str | None:
    """Take or renew a lease: its epoch, or None where another holds it."""
    command = lease_command(lease_key=lease_key, fence_key=fence_key, owner=owner, ttl_ms=ttl_ms)
    return lease_reply(await store.execute_command(*command))


async def release(store: Store, *, lease_key: str, owner: str) -> bool:
    """Give a lease back; False where it was no longer ours."""
    return bool(await store.execute_command("FCALL", library.RELEASE, 1, lease_key, owner))


async def join(store: Store, *, members_key: str, member: str, ttl_ms: int) -> int:
    """Say that a member is alive; the number of live members."""
    return int(await store.execute_command("FCALL", library.JOIN, 1, members_key, member, ttl_ms))


async def register(store: Store, keys: PartitionKeys, *, group: str, now_ms: int) -> bool:
    """Put a consumer group on the register of a reply stream; True where it is new there."""
    return bool(await store.execute_command("FCALL", library.REGISTER, 2, keys.replies, keys.groups, group, now_ms))


def bury_command(keys: PartitionKeys, *, group: str, entry_id: bytes, letter: bytes) -> Command:
    """Make a dead letter of a pending reply and acknowledge it, in one step and once, on a full store too."""
    return ["FCALL", library.BURY, 2, keys.dead, keys.replies, group, entry_id, letter]


def mark_command(key: str) -> Command:
    """A write to the replicas alone: a WAIT behind it covers every earlier write to that server, whoever made it."""
    return ["FCALL", library.MARK, 1, key]


async def trim(store: Store, keys: PartitionKeys, *, now_ms: int, silence_ms: int) -> tuple[int, list[str]]:
    """Remove replies that every registered group is done with: (entries removed, groups dropped for silence)."""
    removed, *dropped = await store.execute_command(
        "FCALL", library.TRIM, 2, keys.replies, keys.groups, now_ms, silence_ms
    )
    return removed, [name.decode() for name in dropped]
