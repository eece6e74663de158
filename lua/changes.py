"""The typed Python face of `change.lua`: one versioned record, and what follows from its change, in one step.

`change_command` and `change_reply` stand apart for pipelines.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from lua import library
from lua.calls import Arg, Command
from lua.keys import EPOCHS, PartitionKeys
from lua.store import Store

MOST_HELD: Final = 64
"""Records of the holders that share a key: more is no person's need."""
ANY_VERSION: Final = -1


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change, prepared. Texts are JSON objects; times are seconds since 1970."""

    hash: str
    """Key of the hash in which the record stands."""
    field: str = ""
    expected: int = 0
    """Version that must stand; 0: none yet; ANY_VERSION: whatever stands."""
    record: bytes = b""
    """The new record as `written` makes it; empty: the record stays as it is."""
    most: int = 0
    """Most records of the hash; 0: no limit."""
    member: str = ""
    """Name under which `ends` keeps the hash."""
    ends_s: int = 0
    """When the hash must be looked at again: the earlier of this and what stands."""
    act: bytes = b""
    event: bytes = b""
    """For the outbox, to be indexed only."""
    feed: bytes = b""
    """For the outbox, to be transmitted: the function adds `number` in front."""
    application: bytes = b""
    reply: bytes = b""
    dead: bytes = b""
    done: bytes = b""
    """Outbox entry that is settled; `Gone` where it was settled before."""
    ack: Literal["taken", "refused", "off"] = "taken"
    applied: bytes = b""
    """Entry of applications that is settled; `Gone` where it was settled before."""
    senders: str = ""
    """Key of the hash of a sealed number."""
    sender: bytes = b""
    number: bytes = b""
    """Empty: the sender's number is taken away."""
    number_until_s: int = 0


class Done(msgspec.Struct, frozen=True):
    """The change was made; its number in the feed, 0 where it has none."""

    number: int


class Stale(msgspec.Struct, frozen=True):
    """Another version stands, or nothing: b"". Nothing was changed."""

    record: bytes


class Full(msgspec.Struct, frozen=True):
    """The hash holds the most records that it may. Nothing was changed."""


class Gone(msgspec.Struct, frozen=True):
    """The entry was settled before. Nothing was changed."""


ChangeReply = Done | Stale | Full | Gone


def written(version: int, body: bytes) -> bytes:
    """A record as it stands in its hash: version, a space, JSON."""
    return b"%d %b" % (version, body)


def read(record: bytes) -> tuple[int, bytes]:
    """Version and JSON of a record; ValueError where it is none."""
    version, _, body = record.partition(b" ")
    return int(version), body


def change_command(keys: PartitionKeys, change: Change) -> Command:
    """The FCALL of one change, which a full store carries out."""
    return _command(library.CHANGE, keys, change)


def create_command(keys: PartitionKeys, change: Change) -> Command:
    """The FCALL of one change that begins something: a full store refuses it."""
    return _command(library.CREATE, keys, change)


def _command(function: str, keys: PartitionKeys, change: Change) -> Command:
    command: Command = ["FCALL", function, 9, change.hash, keys.ends, keys.outbox, keys.feed, keys.applications]
    command += [keys.replies, keys.acts, keys.dead, change.senders or keys.senders("none"), change.field]
    expected = change.expected
    command += ["*" if expected == ANY_VERSION else expected or "", change.record, change.most]
    parts: tuple[tuple[str, Arg], ...] = (
        ("member", change.member),
        ("ends", change.ends_s),
        ("act", change.act),
        ("event", change.event),
        ("feed", change.feed[1:]),
        ("application", change.application),
        ("reply", change.reply),
        ("dead", change.dead),
        ("done", change.done),
        ("ack", change.ack if change.done else ""),
        ("applied", change.applied),
        ("sender", change.sender),
        ("number", change.number),
        ("until_s", change.number_until_s),
    )
    for name, value in parts:
        if value:
            command += [name, value]
    return command


def change_reply(reply: Any) -> ChangeReply:
    """What `change` answered."""
    tag = reply[0]
    if tag == b"done":
        return Done(number=reply[1])
    if tag == b"stale":
        return Stale(record=reply[1])
    if tag == b"full":
        return Full()
    if tag == b"gone":
        return Gone()
    raise ValueError(f"change answered {tag!r}")


async def change(store: Store, keys: PartitionKeys, asked: Change) -> ChangeReply:
    """Make one change. After a lost answer repeat it: `Stale` with our own record means that it was made."""
    return change_reply(await store.execute_command(*change_command(keys, asked)))


async def forget(
    store: Store, keys: PartitionKeys, *, hash_key: str, member: str, look_s: int, records: Sequence[tuple[str, int]]
) -> int:
    """Remove (field, version) records that stand unchanged; the number of records left, looked at again at `look_s`."""
    flat = [part for record in records for part in record]
    return int(await store.execute_command("FCALL", library.FORGET, 2, hash_key, keys.ends, member, look_s, *flat))


def proclaim_command(*, number: int, epoch: bytes, request: str) -> Command:
    """Append an epoch, whose JSON names the request."""
    return ["FCALL", library.PROCLAIM, 1, EPOCHS, number, epoch, request]


def proclaim_reply(reply: Any) -> int | None:
    """The epoch's number, or an earlier one's that the same request made; None where the number was not the next."""
    tag, at = reply
    return None if tag == b"stale" else int(at)


async def enlist(store: Store, keys: PartitionKeys, *, name: str, head: bytes, entry: bytes) -> bool:
    """Hand an import to the workers; False where it was handed over before."""
    return bool(await store.execute_command("FCALL", library.ENLIST, 2, keys.bulk(name), keys.imports, head, entry))
