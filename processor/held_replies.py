"""Approvals that were held back, told when their time has come: the loop of one worker over its partitions.

Reads `held:{p}`. Writes, in one atomic call, the reply on `replies:{p}`, the permit in the day record, the sender's
sealed number, and what was released on `audit:{p}`. What cannot be told becomes a dead letter.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError, ResponseError

from lua import held
from lua.calls import Command
from lua.held import SEAL_BYTES, Release
from lua.library import ensure_loaded
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
from processor.approvals import Wordings, approval, ends_s, joined
from runtime.connection import STORE_ERRORS, Wire
from runtime.keyring import SenderSeal
from runtime.leases import Lease
from runtime.telemetry import HELD_BURIED, RELEASE_LATENESS, Log

LOOK_S: Final = 0.2
PAGE: Final = 200
"""Approvals of one partition told in one call: a call of this size holds the store for a millisecond."""

AT_ONCE: Final = 1000
"""Told with one sync of the store, over partitions: so long the event loop is busy with their words, some 15 ms."""


class _UntellableError(ValueError):
    """The approval cannot be told; the message is the dead letter's reason."""


class _Page:
    """What is due in one partition, and what becomes of it."""

    def __init__(self, lease: Lease, now_ms: int) -> None:
        self.lease = lease
        self.now_ms = now_ms
        self.releases: list[Release] = []
        self.scores: list[float] = []
        self.untellable: list[tuple[bytes, str]] = []
        """Members, and why."""

    @property
    def command(self) -> Command:
        """The call that tells them."""
        start = b'{"partition":%d,"at_ms":%d,"became":"released","rows":[' % (self.lease.index, self.now_ms)
        return held.release_command(self.lease.keys, self.releases, now_s=self.now_ms // 1000, audit_start=start)

    def answered(self, letters: str) -> None:
        """What the call said of each."""
        for release, score, letter in zip(self.releases, self.scores, letters, strict=True):
            if letter == held.RELEASED:
                RELEASE_LATENESS.observe(max(0.0, self.now_ms - score) / 1000)
            elif letter == held.UNRECORDED:
                self.untellable.append((release.member, "its day record does not hold it any more"))

    @property
    def burials(self) -> list[Command]:
        """The calls that make dead letters of those that cannot be told."""
        return [self._burial(member, reason) for member, reason in self.untellable]

    def _burial(self, member: bytes, reason: str) -> Command:
        waiting, seal = member[:-SEAL_BYTES], member[-SEAL_BYTES:]
        raw = f"{waiting.decode('utf-8', 'backslashreplace')} {seal.hex()}"  # with both it can be put back
        letter = DeadLetter(
            kind="held",
            entry_id=str(self.now_ms),
            reason=reason,
            dead_ms=self.now_ms,
            raw=raw,
            reply_id=self._reply_id(member),
        )
        return held.bury_command(self.lease.keys, member=member, letter=ENCODER.encode(letter))

    def _reply_id(self, member: bytes) -> str | msgspec.UnsetType:
        """Of the reply that would have been, where the member can be read at all."""
        try:
            return f"{self.lease.keys.tag}-{_read(member).entry_id}"
        except _UntellableError:
            return msgspec.UNSET


class HeldReplies:
    """Tells the approvals of the partitions that a worker holds."""

    def __init__(
        self,
        wire: Wire,
        *,
        leases: Callable[[], Sequence[Lease]],
        policy: Callable[[], Policy],
        wordings: Wordings,
        seal: SenderSeal,
        wall_ms: Callable[[], int],
    ) -> None:
        self._wire = wire
        self._leases = leases
        self._policy = policy
        """The rules to decide by: what was decided has begun, and rules that a worker has not read lately may be older
        than that. It raises one of STORE_ERRORS then, and the approvals wait."""
        self._wordings = wordings
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
                except Exception as error:  # noqa: BLE001  # whatever one approval does, the others are told
                    self._log.error("held replies not told", cause=error)
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
        pages: list[_Page] = []
        more, size = False, 0
        for lease, due in zip(leases, await self._wire.call(*looks) if looks else (), strict=True):
            if self._is_refused(lease, due) or not due:
                continue
            pages.append(self._page(lease, due))
            size += len(due) // 2
            if size >= AT_ONCE:
                more |= await self._write(pages)
                pages, size = [], 0
        return await self._write(pages) or more

    async def _write(self, pages: Sequence[_Page]) -> bool:
        """Tell some pages with one sync of the store; whether one was full."""
        telling = [page for page in pages if page.releases]
        more = False
        for page, reply in zip(telling, await self._call([page.command for page in telling]), strict=True):
            if not self._is_refused(page.lease, reply):
                page.answered(held.release_reply(reply))
                more |= len(page.releases) == PAGE
        burials = [(page.lease, command) for page in pages for command in page.burials]
        for (lease, _), reply in zip(burials, await self._call([command for _, command in burials]), strict=True):
            if not self._is_refused(lease, reply) and reply:
                HELD_BURIED.inc()
                self._log.error("an approval cannot be told", partition=lease.index)
        return more

    async def _call(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._wire.call(*commands) if commands else []
        if any("Function not found" in str(reply) for reply in replies if isinstance(reply, ResponseError)):
            await ensure_loaded(self._wire)
        return replies

    def _is_refused(self, lease: Lease, reply: Any) -> bool:
        """Whether the store would not do it: one partition's fault must not keep the others waiting."""
        if isinstance(reply, ResponseError):
            self._log.error("held replies not told", why=str(reply)[:200], partition=lease.index)
            return True
        return False

    def _page(self, lease: Lease, due: Sequence[bytes]) -> _Page:
        page = _Page(lease, self._wall_ms())
        for member, score in zip(due[::2], due[1::2], strict=True):
            try:
                page.releases.append(self._release(lease, member, page.now_ms))
                page.scores.append(float(score))
            except ValueError as error:
                page.untellable.append((member, str(error)))
        return page

    def _release(self, lease: Lease, member: bytes, now_ms: int) -> Release:
        """One approval as it is told now; ValueError says why it cannot be."""
        waiting = _read(member)
        owner, digest = bytes.fromhex(waiting.owner), bytes.fromhex(waiting.digest)
        known = self._seal.open(member[-SEAL_BYTES:], owner, digest)
        if known is None:
            raise _UntellableError("the key that seals its number is missing")
        policy = self._policy()
        regime = policy.at(min(waiting.asked_ms, waiting.arrived_ms))
        purpose = regime.purpose(waiting.purpose)
        if purpose is None:
            raise _UntellableError(f"the rules know no purpose {waiting.purpose}")
        number, lang = known
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
        hour = hour_end(ends_s(purpose, now_ms // 1000))
        return Release(
            member=member,
            owner=owner,
            digest=digest,
            day=day_name(local_day(waiting.arrived_ms)),
            ends_s=hour,
            hour=hour_name(hour),
            reply=ENCODER.encode(head)[:-1] + b"," + rest.encode(),
            audit_row=ENCODER.encode(settled_row(waiting)),
        )


def _read(member: bytes) -> HeldApproval:
    """What waits, without the sealed number behind it; _UntellableError where it is none of ours."""
    try:
        return HELD_DECODER.decode(member[:-SEAL_BYTES])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _UntellableError(f"not an approval: {error}") from None
