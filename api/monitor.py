"""`GET /v1/monitor` and its stream of events: how the system stands, looked at once a second for all who ask.

Reads counters, stream lengths and heads of every partition, on a connection of its own.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

import msgspec
from aiohttp import web
from redis.exceptions import RedisError

from api.contract import Answer, Call, Operation
from api.events import MEDIA_TYPE, Events
from api.figures import Monitor, monitor
from lua.keys import PartitionKeys
from permits.calendar import local_day
from runtime import spools
from runtime.connection import Wire
from runtime.figures import Figures, look
from runtime.problems import ProblemError
from runtime.telemetry import Log

SCOPE: Final = "monitor"
EVERY_S: Final = 1.0
PATIENCE_S: Final = 2.0
STALE_MS: Final = 3000
"""Two looks and a store that thinks for a moment."""
RATED_LOOKS: Final = 10
"""Rates are those of the last so many seconds: one alone jumps with the size of a batch."""
_log = Log("api")


class MonitorDoor:
    """The handlers, and the task that looks."""

    def __init__(
        self,
        *,
        wire: Wire,
        partitions: Sequence[PartitionKeys],
        now_ms: Callable[[], int],
        events: Events | None = None,
    ) -> None:
        self._wire = wire
        self._partitions = partitions
        self._now_ms = now_ms
        self._events = events or Events("figures")
        self._looks: deque[Figures] = deque(maxlen=RATED_LOOKS + 1)
        self._newest: Monitor | None = None

    def operations(self) -> list[Operation]:
        """What the door answers."""
        return [
            Operation(
                method="GET",
                path="/v1/monitor",
                name="get_monitor",
                summary="Rates, verdicts and lag of today and now",
                tag="monitor",
                handler=self.show,
                scope=SCOPE,
                answers={200: Monitor},
                problems=(503,),
            ),
            Operation(
                method="GET",
                path="/v1/monitor/events",
                name="stream_monitor",
                summary="The same once a second, as server-sent events; Last-Event-ID resumes",
                tag="monitor",
                handler=self.stream,
                scope=SCOPE,
                answers={200: str},
                answer_media=MEDIA_TYPE,
                problems=(503,),
            ),
        ]

    def attach(self, app: web.Application) -> None:
        """Look while the application runs, and end the streams as soon as it stops."""
        app.cleanup_ctx.append(self._looking)
        app.on_shutdown.append(self._end_streams)

    async def show(self, _: Call) -> Answer:
        """The last look; stale where the store has not answered for a while."""
        if self._newest is None:
            raise ProblemError(503, "No figures yet", "ask again in a moment", headers={"Retry-After": "1"})
        stale = self._now_ms() - self._looks[-1].at_ms > STALE_MS
        return Answer(msgspec.structs.replace(self._newest, stale=stale))

    async def stream(self, call: Call) -> web.StreamResponse:
        """Each look as it comes."""
        return await self._events.stream(call)

    async def look(self) -> None:
        """Look once, and tell all who listen; raises where the store does not answer."""
        now = await look(self._wire, self._partitions, now_ms=self._now_ms(), timeout_s=PATIENCE_S)
        spooled = spools.together(
            await self._wire.execute_command("HGETALL", self._partitions[0].spools), now_ms=now.at_ms
        )
        self._looks.append(now)
        before = next(past for past in self._looks if local_day(past.at_ms) == local_day(now.at_ms))
        self._newest = monitor(before, now, spooled)
        self._events.publish(now.at_ms // 1000, msgspec.json.encode(self._newest))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        away = False
        while True:
            began_s = loop.time()
            try:
                await self.look()
                away = False
            except (RedisError, OSError) as error:
                if not away:
                    _log.warning("the monitor cannot look at the store", error=type(error).__name__)
                away = True
            await asyncio.sleep(max(0.0, began_s + EVERY_S - loop.time()))

    async def _looking(self, _: web.Application) -> AsyncGenerator[None]:
        task = asyncio.create_task(self._run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._wire.close()

    async def _end_streams(self, _: web.Application) -> None:
        self._events.close()
