"""The typed Python face of `policies.lua`: the versions of the rules, as a list that only grows."""

from typing import Any, Final

import msgspec

from lua import library
from lua.calls import Command
from lua.keys import PartitionKeys

AT_ANY_TIME: Final = 0


class Enacted(msgspec.Struct, frozen=True):
    """The item was appended, at this time of the store's clock."""

    at_ms: int


class Overtaken(msgspec.Struct, frozen=True):
    """Another number of items stands; nothing was changed."""


class Late(msgspec.Struct, frozen=True):
    """The last moment has passed; nothing was changed."""


EnactReply = Enacted | Overtaken | Late


def enact_command(keys: PartitionKeys, *, stood: int, item: bytes, act: bytes, last_ms: int = AT_ANY_TIME) -> Command:
    """Append an item behind `stood` others, and its act, not after `last_ms`; both carry `"at_ms":0` for the time."""
    return ["FCALL", library.ENACT, 2, keys.policies, keys.acts, stood, item, act, last_ms]


def enact_reply(reply: Any) -> EnactReply:
    """What `enact` answered."""
    tag, value = reply
    if tag == b"done":
        return Enacted(at_ms=int(value))
    if tag == b"stale":
        return Overtaken()
    if tag == b"late":
        return Late()
    raise ValueError(f"enact answered {tag!r}")
