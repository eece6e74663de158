"""The typed Python face of `held.lua`: approvals that wait for their time, released, withdrawn or buried.

`release_command` and `release_reply` stand apart for pipelines.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from lua import library
from lua.calls import Command
from lua.keys import PartitionKeys
from permits.partition import FIELD_BYTES

SEAL_BYTES: Final = 16
"""Of the sealed number at a member's end."""
RELEASED: Final = "r"
UNRECORDED: Final = "?"
"""No waiting entry of a day record belongs to the member: it was left where it is."""


class Release(msgspec.Struct, frozen=True, gc=False):
    """One approval as it is told."""

    member: bytes
    owner: bytes
    digest: bytes
    day: str
    """Of arrival, `YYYYMMDD`: whose record it stands in."""
    ends_s: int
    """The full hour at which its permit has ended."""
    hour: str
    """The same as `YYYYMMDDHH`."""
    reply: bytes
    audit_row: bytes


def release_command(keys: PartitionKeys, releases: Sequence[Release], *, now_s: int, audit_start: bytes) -> Command:
    """The FCALL that tells them; at most 255 days and hours. `audit_start`: the trail's JSON up to its rows."""
    days = list(dict.fromkeys(release.day for release in releases))
    hours = dict.fromkeys((release.hour, release.ends_s) for release in releases)
    hour_at = {hour: at for at, (hour, _) in enumerate(hours, 1)}
    command: Command = ["FCALL", library.RELEASE_HELD, 3 + len(days) + len(hours), keys.held, keys.replies, keys.audit]
    command += [keys.day(day) for day in days]
    command += [keys.senders(hour) for hour in hour_at]
    command += [now_s, len(days), audit_start, len(releases), *(ends_s for _, ends_s in hours)]
    for release in releases:
        places = bytes((days.index(release.day) + 1, hour_at[release.hour]))
        command += [release.member, release.owner + release.digest + places, release.reply, release.audit_row]
    return command


def release_reply(reply: Any) -> str:
    """A letter for each: RELEASED, UNRECORDED, or `-` where another has taken it."""
    return reply.decode()


def withdraw_command(
    keys: PartitionKeys,
    *,
    member: bytes,
    owner: bytes,
    digest: bytes,
    day: str,
    audit: bytes,
    act: bytes,
    notice: bytes,
    field: str,
    record: bytes,
    ends_s: int,
) -> Command:
    """Cancel one before its time. Replies 1, or 0 where it waits no more and nothing was done.

    `field` and `record` are of the amended permit in `holder`, looked at again at `ends_s`.
    """
    holder = owner[:FIELD_BYTES]
    names = (keys.held, keys.day(day), keys.audit, keys.acts, keys.replies, keys.holder(holder), keys.ends)
    words = (member, owner + digest, audit, act, notice, field, record, holder.hex(), ends_s)
    return ["FCALL", library.WITHDRAW, len(names), *names, *words]


def bury_command(keys: PartitionKeys, *, member: bytes, letter: bytes) -> Command:
    """Make a dead letter of one that cannot be told, once."""
    return ["FCALL", library.BURY_HELD, 2, keys.held, keys.dead, member, letter]
