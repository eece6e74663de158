"""Dead letters put back or dropped, one by one, each in one atomic step and in its own name.

Writes `dead:{p}`, `acts:{p}`, and what a letter goes back to.
"""

import time
from typing import Literal

import msgspec

from lua import dead
from lua.calls import Command
from lua.keys import partition_keys
from permits.employees import AuditAct
from permits.messages import ENCODER, DeadLetter
from permits.partition import Route
from processor.dead.returns import NotPutBackError, returned
from runtime.connection import NotReplicatedError, Wire
from runtime.day_keys import DayKeys

Deed = Literal["requeue", "drop"]


class Done(msgspec.Struct, frozen=True):
    """What became of one letter."""

    name: str
    kind: str
    did: Literal["requeued", "dropped", "refused", "gone"]
    """`gone`: somebody was quicker."""
    to: str = ""
    why: str = ""


class Acting:
    """Acts of one person with one reason."""

    def __init__(
        self,
        wire: Wire,
        *,
        actor: str,
        reason: str,
        into: tuple[DayKeys, Route] | None,
        replicas: int = 0,
        dry_run: bool = False,
    ) -> None:
        self._wire = wire
        self._deed: Deed = "drop" if into is None else "requeue"
        self._actor = actor
        self._reason = reason
        self._into = into
        """What it takes to put an SMS back; None: letters are dropped."""
        self._replicas = replicas
        self._dry_run = dry_run

    async def act(self, name: str, letter: DeadLetter, mended: bytes = b"") -> Done:
        """One letter; raises one of STORE_ERRORS where its outcome is unknown: asked again, it is done or `gone`."""
        tag, _, entry_id = name.partition("/")
        keys = partition_keys(tag)
        if self._into is None:
            dropping = dead.drop_command(keys, entry_id=entry_id, act=self._act(name, letter))
            return await self._done(name, letter, dropping)
        day_keys, route = self._into
        try:
            back = returned(letter, keys, day_keys=day_keys, route=route, mended=mended)
        except NotPutBackError as error:
            return Done(name, letter.kind, "refused", why=str(error))
        command = dead.requeue_command(keys, entry_id=entry_id, act=self._act(name, letter), back=back)
        return await self._done(name, letter, command, back.key)

    async def _done(self, name: str, letter: DeadLetter, command: Command, to: str = "") -> Done:
        stood = 1 if self._dry_run else await self._called(command)
        did = "gone" if not stood else "dropped" if self._deed == "drop" else "requeued"
        return Done(name, letter.kind, did, to if stood else "")

    async def _called(self, command: Command) -> int:
        try:
            (reply,) = await self._wire.call(command, replicas=self._replicas)
        except NotReplicatedError as error:
            raise NotReplicatedError(f"{error}: done here, and not yet at the replicas") from None
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _act(self, name: str, letter: DeadLetter) -> bytes:
        of_reply = "" if letter.reply_id is msgspec.UNSET else letter.reply_id
        return ENCODER.encode(
            AuditAct(
                at_ms=time.time_ns() // 1_000_000,
                actor=self._actor,
                deed=self._deed,
                reason=self._reason,
                letter=f"{letter.kind} {name}",
                reply_id=of_reply,
            )
        )
