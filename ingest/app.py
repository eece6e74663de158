"""Ingest: `icaze ingest`. Takes SMS over HTTP and acknowledges only what is stored, or on disk in its spool."""

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from http import HTTPStatus
from random import getrandbits
from typing import Any, Final, cast

import msgspec
from aiohttp import hdrs, web
from multidict import istr

from ingest import native, signature, spool
from ingest.group_commit import GroupCommit, NotStoredError
from ingest.high_water import HighWater
from ingest.spool import Spool
from ingest.spool_replay import Replay
from lua.keys import PartitionKeys
from permits.identified import read_all
from permits.messages import ENCODER
from permits.partition import Route
from runtime import doors, embedded, keyring, layout, lifecycle, settings
from runtime.day_keys import DayKeys, UnreadDayKeyError
from runtime.fitness import answers, settled
from runtime.problems import ProblemError, problem_of
from runtime.quick_response import QuickResponse, fits
from runtime.sealing import sealed_each
from runtime.shared import SharedWire
from runtime.telemetry import APPEND_SECONDS, SMS_ACCEPTED, SMS_REJECTED, start_logging
from runtime.topology import client_to, wire_to
from runtime.tracing import REQUEST_ID, given_request_id, given_trace

PATH: Final = "/v1/sms"
RETRY_AFTER: Final = {"Retry-After": "5"}
JSON: Final = "application/json"
NDJSON: Final = ("application/x-ndjson", "application/jsonl")
WEBHOOK_ID: Final = istr("webhook-id")
WEBHOOK_TIMESTAMP: Final = istr("webhook-timestamp")
WEBHOOK_SIGNATURE: Final = istr("webhook-signature")
_encode = msgspec.json.Encoder().encode


class Ingest:
    """The handlers, and what they need."""

    def __init__(
        self,
        *,
        route: Route,
        partitions: list[PartitionKeys],
        signatures: signature.Signatures,
        commit: GroupCommit,
        high_water: HighWater,
        day_keys: DayKeys,
        spool: Spool | None = None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._route = route
        self._inbound = [keys.inbound for keys in partitions]
        self._signatures = signatures
        self._commit = commit
        self._high_water = high_water
        self._day_keys = day_keys
        self._spool = spool
        self._wall_ms = wall_ms
        self._counted: dict[str, Callable[[float], None]] = {}

    async def post_sms(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/sms`: 202 once every accepted SMS is stored. Never raises: it is a short way (`runtime.doors`)."""
        request_id = _id_of(request)
        try:
            body = _encode(await self._taken(request))
        except Exception as error:  # noqa: BLE001  # the last line: a caller gets a problem, never a traceback
            response = problem_of(error, method=request.method, route=PATH).response()
            response.headers[REQUEST_ID] = request_id
            return response
        if fits(request):
            return QuickResponse(JSON, request_id, body, HTTPStatus.ACCEPTED)
        return web.Response(body=body, status=202, content_type=JSON, headers={REQUEST_ID: request_id})

    async def _taken(self, request: web.Request) -> dict[str, Any]:
        """The body of a 202: every accepted SMS is stored."""
        media = request.headers.get(hdrs.CONTENT_TYPE)
        if media != JSON and (media := request.content_type) != JSON and media not in NDJSON:
            _refused("media_type")
            raise ProblemError(415, "Unsupported media type", f"{JSON} or {NDJSON[0]}")
        full_because = self._high_water.full_because
        if full_because is not None and not self._signatures.once:
            raise _too_much(full_because)
        content = request.content
        if content.is_eof() and content.exception() is None and content.total_bytes <= request.client_max_size:
            body = content.read_nowait()  # it came with its headers: nothing to wait for
        else:
            body = await request.read()
        source, webhook_id = self._source(request, body)
        if full_because is not None:
            if self._spool is None or source not in self._signatures.once:
                raise _too_much(full_because)
            self._spool.begin(full_because)
        began = time.perf_counter()
        try:
            items = native.items_of(body, ndjson=media in NDJSON)
        except native.BodyError as error:
            _refused("body")
            raise ProblemError(400, "Unusable body", str(error)) from None
        try:
            entries, ids, rejected = self._accept(items, source, webhook_id, given_trace(request) or msgspec.UNSET)
        except UnreadDayKeyError as error:
            _refused("day_key", len(items))
            raise ProblemError(503, "Not stored", f"{error}; send again", headers=RETRY_AFTER) from None
        if not entries:
            raise ProblemError(400, "No usable SMS", "; ".join(f"[{r.index}] {r.error}" for r in rejected[:5]))
        try:
            await self._commit.append(entries)
        except NotStoredError as error:
            _refused("store", len(entries))
            raise ProblemError(503, "Not stored", f"{error}; send again", headers=RETRY_AFTER) from None
        APPEND_SECONDS.observe(time.perf_counter() - began)
        self._count(source, len(ids))
        return native.answer(ids, rejected)

    def _count(self, source: str, accepted: int) -> None:
        count = self._counted.get(source)
        if count is None:  # finding a labelled counter costs more than counting
            count = self._counted[source] = SMS_ACCEPTED.labels(source).inc
        count(accepted)

    def _source(self, request: web.Request, body: bytes) -> tuple[str, str | None]:
        """Who posted, and the signed webhook-id where there is one."""
        webhook_id = request.headers.get(WEBHOOK_ID)
        try:
            source = self._signatures.source(
                remote=request.remote,
                webhook_id=webhook_id,
                timestamp=request.headers.get(WEBHOOK_TIMESTAMP),
                signature=request.headers.get(WEBHOOK_SIGNATURE),
                body=body,
                now_s=time.time(),
            )
        except signature.SignatureError as error:
            _refused("signature")
            raise ProblemError(401, "Not signed", str(error)) from None
        return source, None if source == signature.DEVELOPMENT else webhook_id

    def _accept(
        self,
        items: Sequence[native.Item | native.Rejection],
        source: str,
        webhook_id: str | None,
        trace: str | msgspec.UnsetType,
    ) -> tuple[list[tuple[str, bytes]], list[str], list[native.Rejection]]:
        """(stream, payload) of each usable item in order, their ids, and the rejections; UnreadDayKeyError."""
        arrived_ms = self._wall_ms()
        day_key = self._day_keys.at(arrived_ms)
        request = native.Request(
            source=source,
            arrived_ms=arrived_ms,
            webhook_id=webhook_id,
            token=f"{arrived_ms:x}{getrandbits(32):08x}",
            trace=trace,
            channel=self._signatures.channels.get(source, msgspec.UNSET),
        )
        taken, rejected = request.taken(items)
        if rejected:
            _refused("item", len(rejected))
        read = read_all(taken, self._route)
        lines = ENCODER.encode_lines(sealed_each(day_key, taken, read)).split(b"\n")  # JSON has no line break inside
        entries = [(self._inbound[says.partition], line) for says, line in zip(read, lines[:-1], strict=True)]
        return entries, [sms.id for sms in taken], rejected


async def identify(request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer the request's id, whether it was handled or not."""
    response.headers.setdefault(REQUEST_ID, _id_of(request))


def _id_of(request: web.Request) -> str:
    return given_request_id(request) or f"{getrandbits(128):032x}"


def _too_much(full_because: str) -> ProblemError:
    _refused("high_water")
    return ProblemError(503, "Too much is waiting", full_because, headers=RETRY_AFTER)


def _refused(reason: str, times: int = 1) -> None:
    SMS_REJECTED.labels(reason).inc(times)


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments: settings say everything."""
    parser.description = "take SMS from aggregators over HTTP; any number of processes"


def run(_: argparse.Namespace) -> int:
    """The role, until it is told to stop."""
    return lifecycle.run(serve)


async def serve(stop: asyncio.Event) -> int:
    """Connect, check the store, open the door; at a stop finish the requests under way."""
    current = settings.load()
    start_logging(current.log_level)
    url = current.redis_url or embedded.url(current.data)
    route = layout.route(current)
    personal = keyring.load(current)
    signatures = signature.load(current.aggregators_file)
    async with aclosing(client_to(url)) as client:
        partitions = await settled(client, current, route, url)
        keys_wire = SharedWire(wire_to(url))
        day_keys = DayKeys(keys_wire.execute_command, key=partitions[0].day_keys, keyring=personal)
        await day_keys.begin()
        high_water = HighWater(wire_to(url), partitions, current)
        spooled = await spool.opened(current)
        commit = GroupCommit(wire_to(url), spooled, replicas=current.awaited)
        replay = Replay(
            spooled,
            wire_to(url),
            full=lambda: high_water.full_because,
            shown_at=partitions[0].spools,
            replicas=current.awaited,
        )
        ingest = Ingest(
            route=route,
            partitions=partitions,
            signatures=signatures,
            commit=commit,
            high_water=high_water,
            day_keys=day_keys,
            spool=spooled,
        )

        async def readiness() -> dict[str, Any]:
            stored = await answers(client)
            direct = stored and not spooled.holds and high_water.full_because is None
            return {
                "ready": direct or spooled.accepts,
                "role": "ingest",
                **current.promise,
                "full_because": high_water.full_because,
                "stored": stored,
                **spooled.facts(),
            }

        app = doors.new_app(readiness=readiness, max_body_bytes=current.max_body_bytes)
        app.router.add_post(PATH, ingest.post_sms)
        app[doors.SHORT_WAYS] = {(hdrs.METH_POST, PATH): cast("doors.ShortWay", ingest.post_sms)}
        app.on_response_prepare.append(identify)
        async with doors.opened(app, current, current.ingest_port, "ingest") as port:
            beside = [asyncio.create_task(work) for work in (high_water.watch(), day_keys.follow(), replay.run())]
            print(f"ingest  http://{current.host}:{port}", flush=True)
            await stop.wait()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await commit.close()
        await replay.close()
        await spooled.close()
        await keys_wire.close()
    return 0
