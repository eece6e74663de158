"""Approvals that were held back, told when their time has come: the loop of one worker over its partitions.

Reads `held:{p}`. Writes, in one atomic call, the reply on `replies:{p}`, the permit in the day record, the sender's
sealed number, and what was released on `audit:{p}`. What cannot be told becomes a dead letter.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError, ResponseError

from lua import held, library
from lua.calls import Command
from lua.held import SEAL_BYTES, Release
from permits import codes
from permits.calendar import day_name, hour_end, hour_name, local_day
from permits.messages import (
    ENCODER,
    HELD_DECODER,
    DeadLetter,
    HeldApproval,
    ReplyHead,
    settled_row,
)
from permits.policy import Policy
from permits.regimes import Purpose
from permits.replies import Script
from processor.approvals import Wordings, approval, ends_s, joined
from runtime.connection import STORE_ERRORS, Wire
from runtime.keyring import SenderSeal
from runtime.leases import Lease
from runtime.telemetry import HELD_BURIED, RELEASE_LATENESS, Log

LOOK_S: Final = 0.2
PAGE: Final = 200
"""Approvals of one partition told in one call: a call of this size holds the store for a millisecond."""

Due = tuple[bytes, float]
"""A member and its score."""


class _UntellableError(ValueError):
    """The approval cannot be told; the message is the dead letter's reason."""


class HeldReplies:
    """Tells the approvals of the partitions that a worker holds."""

    def __init__(
        self,
        wire: Wire,
        *,
        leases: Callable[[], Sequence[Lease]],
        policy: Callable[[], Policy],
        script: Script,
        seal: SenderSeal,
        wall_ms: Callable[[], int],
    ) -> None:
        self._wire = wire
        self._leases = leases
        self._policy = policy
        """The rules as last read: what was decided has begun, and no version changes what has begun."""
        self._wordings = Wordings(script)
        self._seal = seal
        self._wall_ms = wall_ms
        self._log = Log("process")

    async def run(self) -> None:
        """Tell what is due, for ever; a store that is away is asked again."""
        try:
            while True:
                try:
                    more = await self.tell()
                except (*STORE_ERRORS, RedisError) as error:
                    self._log.warning("held replies put off", error=type(error).__name__)
                    more = False
                if not more:
                    await asyncio.sleep(LOOK_S)
        finally:
            await self._wire.close()

    async def tell(self) -> bool:
        """One page of each partition; whether more is due. Raises where the store does not answer."""
        leases = [lease for lease in self._leases() if lease.surely_ours]
        looks: list[Command] = [
            ["ZRANGEBYSCORE", lease.keys.held, "-inf", self._wall_ms(), "WITHSCORES", "LIMIT", 0, PAGE]
            for lease in leases
        ]
        more = False
        for lease, reply in zip(leases, await self._wire.call(*looks) if looks else (), strict=True):
            if isinstance(reply, ResponseError):
                raise reply
            due: list[Due] = [(member, float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)]
            if due:
                await self._tell(lease, due)
                more |= len(due) == PAGE
        return more

    async def _tell(self, lease: Lease, due: Sequence[Due]) -> None:
        now_ms = self._wall_ms()
        releases: list[Release] = []
        scores: list[float] = []
        buried: list[tuple[bytes, str]] = []
        for member, score in due:
            try:
                releases.append(self._release(lease, member, now_ms))
                scores.append(score)
            except _UntellableError as error:
                buried.append((member, str(error)))
        if releases:
            start = b'{"partition":%d,"at_ms":%d,"became":"released","rows":[' % (lease.index, now_ms)
            call = held.release_command(lease.keys, releases, now_s=now_ms // 1000, audit_start=start)
            letters = held.release_reply(await self._answer(call))
            for release, score, letter in zip(releases, scores, letters, strict=True):
                if letter == held.RELEASED:
                    RELEASE_LATENESS.observe(max(0.0, now_ms - score) / 1000)
                elif letter == held.UNRECORDED:
                    buried.append((release.member, "its day record does not hold it any more"))
        for member, reason in buried:
            await self._bury(lease, member, reason, now_ms)

    def _release(self, lease: Lease, member: bytes, now_ms: int) -> Release:
        waiting = read_member(member)
        owner, digest = bytes.fromhex(waiting.owner), bytes.fromhex(waiting.digest)
        known = self._seal.open(member[-SEAL_BYTES:], owner, digest)
        if known is None:
            raise _UntellableError("the key that seals its number is missing")
        number, lang = known
        policy = self._policy()
        regime = policy.at(min(waiting.asked_ms, waiting.arrived_ms))
        purpose = regime.purpose(waiting.purpose)
        if purpose is None:
            raise _UntellableError(f"the rules know no purpose {waiting.purpose}")
        head = ReplyHead(
            f"{lease.keys.tag}-{waiting.entry_id}",
            number,
            waiting.in_reply_to,
            lang,
            waiting.purpose,
            waiting.document_tail,
            waiting.trace or msgspec.UNSET,
        )
        frames = approval(self._wordings.of(policy)[regime.name], purpose, lang, now_ms)
        rest = joined(frames, codes.encode(lease.index, owner, digest), waiting.document_tail)
        return self._placed(member, waiting, purpose, now_ms, ENCODER.encode(head)[:-1] + b"," + rest.encode())

    @staticmethod
    def _placed(member: bytes, waiting: HeldApproval, purpose: Purpose, now_ms: int, reply: bytes) -> Release:
        hour = hour_end(ends_s(purpose, now_ms // 1000))
        return Release(
            member=member,
            owner=bytes.fromhex(waiting.owner),
            digest=bytes.fromhex(waiting.digest),
            day=day_name(local_day(waiting.arrived_ms)),
            ends_s=hour,
            hour=hour_name(hour),
            reply=reply,
            audit_row=ENCODER.encode(settled_row(waiting)),
        )

    async def _bury(self, lease: Lease, member: bytes, reason: str, now_ms: int) -> None:
        raw = member[:-SEAL_BYTES].decode("utf-8", "backslashreplace")
        letter = DeadLetter(kind="held", entry_id=str(now_ms), reason=reason, dead_ms=now_ms, raw=raw)
        await self._answer(held.bury_command(lease.keys, member=member, letter=ENCODER.encode(letter)))
        HELD_BURIED.inc()
        self._log.error("an approval cannot be told", why=reason, partition=lease.index)

    async def _answer(self, command: Command) -> Any:
        (reply,) = await self._wire.call(command)
        if isinstance(reply, ResponseError):
            if "Function not found" in str(reply):
                await self._wire.execute_command("FUNCTION", "LOAD", library.source())
            raise reply
        return reply


def read_member(member: bytes) -> HeldApproval:
    """What waits, without the sealed number behind it; _UntellableError where it is none of ours."""
    try:
        return HELD_DECODER.decode(member[:-SEAL_BYTES])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _UntellableError(f"not an approval: {error}") from None
