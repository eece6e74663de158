"""`POST /v1/blocked/bulk`: many documents onto one status list, from the health or the border service.

Writes as `blocked` does, a batch at a time, and reports each line as soon as it is done. Safe to repeat: what stands
already is left alone, so a caller whose report ends early sends the same again.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta
from redis.exceptions import RedisError

from api.blocked import PATH, SCOPE, From, ListName, Reason, Until, acts_of, number_of, times
from api.contract import Call, Operation
from api.door import NO_STORE
from api.sheets import NDJSON
from api.wires import Wires
from lua import blocked
from lua.blocked import Listing
from lua.calls import Command
from lua.keys import PartitionKeys
from permits.documents import canonical
from permits.partition import Route
from permits.policy import Policy
from runtime.tracing import REQUEST_ID

MOST_DOCUMENTS: Final = 100_000
MOST_BYTES: Final = 8 << 20
BATCH: Final = 100
"""A few milliseconds of the store's work; then as long a pause, so that half of its time stays with the others."""
UNREAD_S: Final = 10.0
"""So long a report may wait for its reader: the turn is everybody's."""
_Documents = Annotated[
    list[Annotated[str, Meta(max_length=40, examples=["AZE1111111"])]], Meta(min_length=1, max_length=MOST_DOCUMENTS)
]
_encode = msgspec.json.Encoder().encode


class BulkBlocking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """Documents that are to stand on a list."""

    documents: _Documents
    list: ListName
    reason: Reason
    start: From | None = None
    """None, or a moment that has passed: from now on, or since each has stood there."""
    until: Until | None = None
    """None: without end."""


class BulkLine(msgspec.Struct, frozen=True):
    """What became of one document, by its place in the request, from 1."""

    line: int
    result: Literal["changed", "unchanged", "no_document", "no_room", "not_done"]
    """not_done: from this one on, since the store is away. Send the same again."""


class BulkBlockedDoor:
    """The operation and what it needs."""

    def __init__(
        self,
        *,
        wires: Wires,
        partitions: Sequence[PartitionKeys],
        route: Route,
        policy: Callable[[], Policy],
        now_ms: Callable[[], int],
    ) -> None:
        self._wires = wires
        self._partitions = partitions
        self._route = route
        self._policy = policy
        self._now_ms = now_ms
        self._turn = asyncio.Lock()
        """One request at a time: several would leave the store no pause."""

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="POST",
                path=f"{PATH}/bulk",
                name="block_documents",
                summary="Put many documents on a status list; answered line by line, and safe to repeat",
                tag="lists",
                handler=self.block,
                scope=SCOPE,
                body=BulkBlocking,
                max_body_bytes=MOST_BYTES,
                answers={200: BulkLine},
                answer_media=NDJSON,
                problems=(422, 503),
            )
        ]

    async def block(self, call: Call) -> web.StreamResponse:
        """Every document, in order."""
        body: BulkBlocking = call.body
        number = number_of(self._policy(), body.list)
        from_ms, until_ms = times(body.start, body.until, self._now_ms())
        headers = {REQUEST_ID: call.request_id, hdrs.CACHE_CONTROL: NO_STORE, hdrs.CONTENT_TYPE: NDJSON}
        response = web.StreamResponse(headers=headers)
        await response.prepare(call.request)
        loop = asyncio.get_running_loop()
        async with self._turn:
            for start in range(0, len(body.documents), BATCH):
                began_s = loop.time()
                lines = await self._blocked(call, start, number, from_ms, until_ms)
                try:
                    async with asyncio.timeout(UNREAD_S):
                        await response.write(b"".join(_encode(line) + b"\n" for line in lines))
                except TimeoutError:
                    if call.request.transport is not None:
                        call.request.transport.abort()
                    return response
                if lines[-1].result == "not_done":
                    break
                await asyncio.sleep(loop.time() - began_s)
        await response.write_eof()
        return response

    async def _blocked(self, call: Call, start: int, number: int, from_ms: int, until_ms: int) -> list[BulkLine]:
        """One batch; where the store is away, one line that says so."""
        now_ms = self._now_ms()
        place = Listing(number, from_ms // 1000, -(-until_ms // 1000))
        results: dict[int, Literal["changed", "unchanged", "no_document", "no_room"]] = {}
        commands: dict[int, Command] = {}
        for line, text in enumerate(call.body.documents[start : start + BATCH], start + 1):
            document = canonical(text)
            if document is None:
                results[line] = "no_document"
                continue
            partition, owner = self._route.of_document(document)
            act, look = acts_of(call, "block", owner, now_ms, from_ms=from_ms, until_ms=until_ms)
            commands[line] = blocked.block_command(
                self._partitions[partition], owner=owner, listing=place, now_s=now_ms // 1000, act=act, look=look
            )
        try:
            replies = await self._wires.write(*commands.values())
        except (RedisError, OSError):  # the answer has begun: no problem can be told any more
            return [BulkLine(start + 1, "not_done")]
        for line, reply in zip(commands, replies, strict=True):
            found = blocked.blocked_reply(reply)
            results[line] = "no_room" if found == "full" else "changed" if found.changed else "unchanged"
        return [BulkLine(line, results[line]) for line in sorted(results)]
