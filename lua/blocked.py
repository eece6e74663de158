"""The typed Python face of `blocked.lua`: the status lists that documents stand on.

Commands and replies stand apart, for pipelines.
"""

import struct
from typing import Any, Final, Literal

import msgspec

from lua import library
from lua.calls import Command
from lua.keys import PartitionKeys

LATEST_S: Final = (1 << 32) - 1
"""An entry's times have four bytes."""
_ENTRY: Final = struct.Struct(">BII")


class Listing(msgspec.Struct, frozen=True):
    """A document's place on a list. Times are seconds since 1970."""

    list: int
    """Number of the list, as the policy has it."""
    from_s: int
    until_s: int
    """0: no end."""


class Listed(msgspec.Struct, frozen=True):
    """What a call found or made: the place that stands, or that stood and was taken away."""

    changed: bool
    listing: Listing | None


def listings(value: bytes) -> list[Listing]:
    """The places of a document as `blocked:{p}` keeps them, those that are over among them."""
    return [Listing(*entry) for entry in _ENTRY.iter_unpack(value)]


def block_command(
    keys: PartitionKeys, *, owner: bytes, listing: Listing, now_s: int, act: bytes, look: bytes
) -> Command:
    """Put a document on a list. `act` goes to the audit where that changes something, else `look`."""
    entry = _ENTRY.pack(listing.list, listing.from_s, listing.until_s)
    return ["FCALL", library.BLOCK, 2, keys.blocked, keys.acts, owner, listing.list, now_s, act, look, entry]


def unblock_command(keys: PartitionKeys, *, owner: bytes, number: int, now_s: int, act: bytes, look: bytes) -> Command:
    """Take a document off the list of a number, on a full store too."""
    return ["FCALL", library.UNBLOCK, 2, keys.blocked, keys.acts, owner, number, now_s, act, look]


def blocked_reply(reply: Any) -> Listed | Literal["full"]:
    """What either answered; full: the document stands on so many other lists that there is no room."""
    tag = reply[0]
    if tag == b"full":
        return "full"
    if tag in (b"changed", b"unchanged"):
        return Listed(changed=tag == b"changed", listing=next(iter(listings(reply[1])), None))
    raise ValueError(f"block answered {tag!r}")
