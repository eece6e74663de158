"""Has employees' permits confirmed by the registry, for the partitions that this worker holds.

Reads `applications:{p}`; writes, in one atomic call each, the permit as confirmed or refused, and the entry's removal.
One pipelined look at all partitions is cheaper than a blocked connection each. Two workers at one partition do no
harm: a permit changes from the version that was seen, and an entry is settled once. Each step gives way to SMS.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec
from redis.exceptions import RedisError, ResponseError

from lua.calls import Command
from lua.changes import ANY_VERSION, Change, Done, change
from lua.keys import PartitionKeys
from permits.employees import Actor, Employee
from permits.messages import APPLICATION_DECODER, ENCODER, Application, DeadLetter
from processor.application_queue import ApplicationQueue, Waiting
from processor.registry.port import MOST_ASKED, Registry, RegistryAwayError, Verdict
from processor.sms_first import SmsFirst
from runtime.connection import STORE_ERRORS
from runtime.employment import Employment
from runtime.permit_changes import Versioned
from runtime.shared import SharedWire
from runtime.telemetry import CONFIRMED, REGISTRY_FAILURES, Log

T = TypeVar("T")
R = TypeVar("R")
LOOK_S: Final = 0.15
"""The promise: a permit that the registry knows is confirmed within a second."""
QUESTIONS: Final = 4
"""Under way at once while the registry answers; one while it does not."""
FEWER: Final = 4
"""After one that fails, questions are a fourth as large, so that one employee whom the registry chokes on is found."""
STEP: Final = 25
"""Permits read or changed at once: some 3 ms, in which the worker decides no SMS."""
PAUSE_S: Final = (0.5, 30.0)
"""First and longest pause of a registry that does not answer."""
STORE_PAUSE_S: Final = 1.0
REGISTRY: Final = "registry"
"""Actor of what the registry's word does to a permit."""
HOUSE: Final = "icaze"
"""Actor of what happens to a permit about which nobody can be asked."""
UNREADABLE: Final = "the employee's data cannot be read any more: apply again"


class _Asked(msgspec.Struct, frozen=True):
    """One application, read: its permit as it stands, and who it is for."""

    waiting: Waiting
    application: Application
    standing: Versioned
    employee: Employee


class _Word(msgspec.Struct, frozen=True):
    """What came of one question."""

    heard: bool
    """The registry had a word on somebody."""
    too_large: bool = False
    """It failed, and a smaller one might not."""
    pause_s: float = 0.0
    """The registry wants to be left alone for so long."""


class ApplicationLoop:
    """The applications of one worker's partitions."""

    def __init__(
        self,
        store: SharedWire,
        *,
        held: Callable[[], Sequence[int]],
        partitions: Sequence[PartitionKeys],
        employment: Employment,
        registry: Registry,
        wall_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._held = held
        """Indexes of the partitions that are ours now."""
        self._partitions = partitions
        self._employment = employment
        self._registry = registry
        self._wall_ms = wall_ms
        self._sms_first = SmsFirst(store.ask, lambda: [partitions[index] for index in held()])
        self._queues: dict[int, ApplicationQueue] = {}
        self._turn = asyncio.Lock()
        self._size = MOST_ASKED
        self._failures = 0
        """Looks in a row in which the registry had no word on anybody."""
        self._wished_s = 0.0
        self._log = Log("process")

    async def run(self) -> None:
        """Work until cancelled; a registry or a store that is away is asked again."""
        while True:
            try:
                pause_s = self._pause_s(more=await self.work())
            except Exception as error:  # noqa: BLE001  # whatever happened, the applications stand in their streams
                is_store = isinstance(error, (*STORE_ERRORS, RedisError))
                self._log.warning("applications put off", error=type(error).__name__, store=is_store)
                self._queues.clear()
                pause_s = STORE_PAUSE_S
            await asyncio.sleep(pause_s)

    async def work(self) -> bool:
        """One look at every partition, and the registry asked about what waits; whether there may be more."""
        waiting, more = await self._look()
        together = [one for one in waiting if not one.alone]
        batches = [together[start : start + self._size] for start in range(0, len(together), self._size)]
        batches += [[one] for one in waiting if one.alone]
        words = await _all(self._judge(batch) for batch in batches)
        self._pace([word for word in words if word is not None])
        return more

    async def _look(self) -> tuple[list[Waiting], bool]:
        """The next entries of all partitions, as many as the registry may be asked about now."""
        held = list(self._held())
        self._queues = {at: self._queues.get(at) or ApplicationQueue(at, self._partitions[at]) for at in held}
        room = self._size if self._failures else self._size * QUESTIONS
        count = -(-room // max(len(held), 1))
        now_s = time.monotonic()
        queues = list(self._queues.values())
        random.shuffle(queues)  # where there is not room for all, each partition has its turn
        looks: list[Command] = [
            ["XRANGE", queue.keys.applications, queue.start(now_s), "+", "COUNT", count] for queue in queues
        ]
        found: list[Waiting] = []
        pages = await self._store.ask(looks)
        for queue, page in zip(queues, pages, strict=True):
            found += queue.take(page, room - len(found), now_s)
        return found, any(len(page) == count for page in pages)

    async def _judge(self, batch: Sequence[Waiting]) -> _Word | None:
        """Asks about some; None where nobody was left to ask about."""
        asked = [one for one in await self._in_steps(batch, self._read) if one is not None]
        if not asked:
            return None
        try:
            verdicts = await self._registry.confirm([one.employee for one in asked])
        except RegistryAwayError as away:
            REGISTRY_FAILURES.labels(away.cause).inc()
            for one in asked:
                if len(asked) == 1:
                    self._put_off(one.waiting, alone=True)
                else:
                    one.waiting.queue.look_again()
            return _Word(heard=False, too_large=len(asked) > 1, pause_s=away.pause_s)
        return _Word(heard=any(await self._in_steps(list(zip(asked, verdicts, strict=True)), self._settle)))

    async def _in_steps(self, items: Sequence[T], step: Callable[[T], Coroutine[Any, Any, R]]) -> list[R]:
        """A step on each, some at once, in turn with the other questions."""
        done: list[R] = []
        for start in range(0, len(items), STEP):
            async with self._turn:
                await self._sms_first.give_way()
                done += await _all(step(item) for item in items[start : start + STEP])
        return done

    async def _read(self, waiting: Waiting) -> _Asked | None:
        """An application with its permit; None where it is settled without the registry."""
        try:
            application = APPLICATION_DECODER.decode(waiting.raw)
            place = self._employment.place(application.code)
            if place is None or place.partition != waiting.queue.index:
                raise ValueError("the code is of another partition")
            (standing,) = await self._employment.load([application.code])
            if standing is None or standing.permit.status != "submitted":
                await self._end(waiting, "dropped")
                return None
            employee = self._employee(standing)
            if employee is None:
                await self._refuse(waiting, application, standing)
                return None
            return _Asked(waiting, application, standing, employee)
        except ValueError:  # no error text: it may repeat what is in the record
            await self._end(waiting, "dead", "the application, or its permit's record, cannot be read")
        except ResponseError as error:
            self._log.error("application not read", error=type(error).__name__)
            self._put_off(waiting)
        return None

    async def _settle(self, judged: tuple[_Asked, Verdict]) -> bool:
        """Writes the registry's word down; False where there is none, or it cannot be written now."""
        asked, verdict = judged
        waiting = asked.waiting
        if verdict.status == "unknown":
            REGISTRY_FAILURES.labels("no_word").inc()
            self._put_off(waiting)
            return False
        actor = Actor(REGISTRY, trace=asked.application.trace)
        try:
            await self._amend(waiting, asked.standing, actor, verdict.status, verdict.reason)
        except ResponseError as error:
            self._log.error("application not settled", error=type(error).__name__)
            self._put_off(waiting)
            return False
        return True

    def _employee(self, standing: Versioned) -> Employee | None:
        """Who a permit is for; None where nobody can read that any more."""
        try:
            return self._employment.employee(standing.permit)
        except ValueError:
            return None

    async def _refuse(self, waiting: Waiting, application: Application, standing: Versioned) -> None:
        """A permit that nobody can be asked about does not stay submitted for ever."""
        letter = self._dead(waiting, "the employee's data cannot be read: its key is missing, or it is damaged")
        await self._amend(waiting, standing, Actor(HOUSE, trace=application.trace), "refused", UNREADABLE, dead=letter)

    async def _amend(
        self,
        waiting: Waiting,
        standing: Versioned,
        actor: Actor,
        status: Literal["confirmed", "refused"],
        reason: str | None,
        *,
        dead: bytes = b"",
    ) -> None:
        """A word written down, and its application settled."""
        amended = await self._employment.amend(
            standing,
            deed="confirm" if status == "confirmed" else "refuse",
            status=status,
            reason=reason,
            actor=actor,
            now_ms=self._wall_ms(),
            settles=Change(hash="", applied=waiting.entry_id, dead=dead),
        )
        if amended is None:  # the permit changed meanwhile: it is judged as it stands now
            waiting.queue.look_again()
        else:
            self._count(waiting, "dead" if dead else status)

    async def _end(self, waiting: Waiting, status: str, reason: str = "") -> None:
        """An entry settled without a change of its permit; with a reason, as a dead letter."""
        dead = self._dead(waiting, reason) if reason else b""
        keys = waiting.queue.keys
        asked = Change(hash=keys.feed, expected=ANY_VERSION, applied=waiting.entry_id, dead=dead)
        if isinstance(await change(self._store, keys, asked), Done):
            self._count(waiting, status)

    def _dead(self, waiting: Waiting, reason: str) -> bytes:
        self._log.error("application made a dead letter", partition=waiting.queue.index)
        raw = waiting.raw.decode("utf-8", "backslashreplace")
        return ENCODER.encode(DeadLetter("application", waiting.entry_id.decode(), reason, self._wall_ms(), raw))

    def _count(self, waiting: Waiting, status: str) -> None:
        waiting.queue.settled(waiting.entry_id)
        CONFIRMED.labels(status).inc()

    def _put_off(self, waiting: Waiting, *, alone: bool = False) -> None:
        waiting.queue.put_off(waiting.entry_id, time.monotonic(), alone=alone)

    def _pace(self, words: Sequence[_Word]) -> None:
        """Smaller questions after one that failed, larger ones after a word; longer pauses while there is none."""
        heard = any(word.heard for word in words)
        if words:
            self._failures = 0 if heard else self._failures + 1
        if any(word.too_large for word in words):
            self._size = max(1, self._size // FEWER)
        elif heard:
            self._size = min(MOST_ASKED, self._size * FEWER)
        self._wished_s = max((word.pause_s for word in words), default=0.0)

    def _pause_s(self, *, more: bool) -> float:
        """How long to leave store and registry alone."""
        if not self._failures:
            return max(self._wished_s, 0.0 if more else LOOK_S)
        grown_s = min(PAUSE_S[0] * 2 ** min(self._failures - 1, 10), PAUSE_S[1])
        return max(self._wished_s, grown_s * random.uniform(0.5, 1))


async def _all(work: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """All results; an error is raised when all have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    done: list[R] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done
