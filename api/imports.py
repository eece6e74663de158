"""Applications in bulk: takes in an organisation's sheet of employees, and tells how its import goes.

Writes `import:{q}:<id>` and, once all of it is stored, `imports:{q}`. Reads `import:{q}:<id>`, which the workers fill.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Literal, get_args

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta
from redis.exceptions import ResponseError

from api.authority import Organisations, actor, not_here
from api.contract import Answer, Call, Operation
from api.door import NO_STORE, REQUEST_ID
from api.organisations import SCOPE
from api.sheet_process import SheetReader
from api.sheets import CSV, SheetChunk
from api.wires import Wires
from lua import library
from lua.calls import Command
from permits.calendar import rfc3339
from permits.employees import Epoch
from permits.imports import (
    CHUNK_ROWS,
    KEPT_S,
    MOST_ROWS,
    Chunk,
    ImportEntry,
    ImportHead,
    LineResult,
    ReportLine,
    Tally,
    import_id,
)
from permits.messages import ENCODER
from permits.organisations import Authority, Organisation
from permits.partition import Route
from runtime.keyring import Keyring
from runtime.problems import ProblemError

MOST_WAITING: Final = 20
"""Imports of one partition that wait or are under way, 20 MB each at most."""
CHUNKS_A_WRITE: Final = 2
"""Some 200 kB: other callers' questions wait behind them on the same connection."""
MOST_LINES: Final = 1000
_MOST_CHUNKS: Final = MOST_ROWS // CHUNK_ROWS
_TALLIES: Final = tuple(f"tally:{at}" for at in range(_MOST_CHUNKS))
_RESULTS: Final[tuple[LineResult, ...]] = get_args(LineResult)
_HEAD: Final = msgspec.json.Decoder(ImportHead)
_TALLY: Final = msgspec.json.Decoder(Tally)
_LINES: Final = msgspec.json.Decoder(list[ReportLine])


class ImportShown(msgspec.Struct, frozen=True):
    """How an import goes."""

    id: str
    state: Literal["queued", "running", "done"]
    rows: int
    done: int
    created: int
    unchanged: int
    reactivated: int
    conflict: int
    refused: int
    failed: int
    """By a fault of ours: to be sent again under another Idempotency-Key."""
    started_at: str | None
    finished_at: str | None


class ReportPage(msgspec.Struct, frozen=True):
    """Lines of a report in the order of the sheet. A page may be short, even empty, while the import runs."""

    lines: list[ReportLine]
    next: str | None
    """The `cursor` of the next page; None: this was the last of an import that is done."""


class ReportQuery(msgspec.Struct, frozen=True):
    """Which part of a report."""

    cursor: Annotated[str, Meta(pattern=r"^[0-9]{1,6}$", description="`next` of the page before")] = "0"
    limit: Annotated[int, Meta(ge=1, le=MOST_LINES)] = CHUNK_ROWS


class Imports:
    """The operations on imports, and the way in, which is the organisation's own operation on its permits."""

    def __init__(
        self,
        organisations: Organisations,
        wires: Wires,
        *,
        route: Route,
        keyring: Keyring,
        epochs: Sequence[Epoch],
        now_ms: Callable[[], int],
    ) -> None:
        self._organisations = organisations
        self._wires = wires
        self._route = route
        self._keyring = keyring
        self._epochs = epochs
        self._now_ms = now_ms
        self._sheets = SheetReader()

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="GET",
                path="/v1/organisations/{tin}/imports/{import}",
                name="show_import",
                summary="How an import goes",
                tag="imports",
                handler=self.show,
                scope=SCOPE,
                answers={200: ImportShown},
            ),
            Operation(
                method="GET",
                path="/v1/organisations/{tin}/imports/{import}/report",
                name="show_import_report",
                summary="What became of each row; with Accept: text/csv all of them so far, as a file",
                tag="imports",
                handler=self.report,
                scope=SCOPE,
                query=ReportQuery,
                answers={200: ReportPage},
            ),
        ]

    async def enlist(self, call: Call, organisation: Organisation, authority: Authority) -> Answer:
        """Store a sheet and hand it to the workers: 202 where all of it is stored, also for a repeat.

        ProblemError 400 or 422 where the sheet cannot be used, or the idempotency key stands for another one.
        """
        tin = organisation.tin
        name = import_id(tin, f"{call.caller.subject}\0{call.idempotency_key}")
        body: bytes = call.body
        digest = (await asyncio.to_thread(self._route.of_request, body)).encode()
        if not await self._is_enlisted(tin, name, digest):
            chunks = await self._sheets.read(call.request.content_type, body)
            head = ImportHead(
                tin=tin,
                employer=organisation.name,
                rows=sum(len(chunk.lines) for chunk in chunks),
                chunks=len(chunks),
                actor=actor(call, authority),
                requested_ms=self._now_ms(),
                epochs=len(self._epochs),
            )
            try:
                await self._store(tin, name, digest, head, chunks)
            except ResponseError as error:
                if not str(error).startswith("OOM"):
                    raise
                raise ProblemError(503, "Store full", "send it again later", headers={"Retry-After": "60"}) from None
        shown = await self._shown(tin, name)
        return Answer(shown, status=202, location=f"/v1/organisations/{tin}/imports/{name}")

    async def show(self, call: Call) -> Answer:
        """How an import goes."""
        await self._admit(call)
        return Answer(await self._shown(call.path("tin"), call.path("import")))

    async def report(self, call: Call) -> Answer | web.StreamResponse:
        """What became of each row, as far as that is decided."""
        await self._admit(call)
        tin, name = call.path("tin"), call.path("import")
        shown = await self._shown(tin, name)
        if CSV in call.request.headers.get(hdrs.ACCEPT, ""):
            return await self._file(call, tin, name, shown)
        query: ReportQuery = call.query or ReportQuery()
        start = int(query.cursor)
        first, skipped = divmod(start, CHUNK_ROWS)
        lines: list[ReportLine] = []
        for at in range(first, first + 2 + query.limit // CHUNK_ROWS):
            some = await self._lines(tin, name, at)
            lines += some
            if len(some) < CHUNK_ROWS:
                break
        page = lines[skipped : skipped + query.limit]
        following = start + len(page)
        over = shown.state == "done" and following >= shown.rows
        return Answer(ReportPage(page, None if over else str(following)))

    async def _admit(self, call: Call) -> None:
        """Who may see permits or apply for them may see imports."""
        if not (await self._organisations.acting(call)).may_read:
            await self._organisations.acting(call, "apply")

    async def _is_enlisted(self, tin: str, name: str, digest: bytes) -> bool:
        """Whether the same request has been carried out before."""
        keys = self._organisations.keys(tin)
        stood, head, waiting = await self._wires.read(
            ("HGET", keys.bulk(name), "body"), ("HEXISTS", keys.bulk(name), "head"), ("XLEN", keys.imports)
        )
        self._check_same(stood, digest)
        if not head and waiting >= MOST_WAITING:
            raise ProblemError(503, "Busy", "other imports are under way", headers={"Retry-After": "60"})
        return bool(head)

    async def _store(self, tin: str, name: str, digest: bytes, head: ImportHead, chunks: Sequence[SheetChunk]) -> None:
        """Every chunk, and last the head: a repeat after a lost answer writes the same again."""
        keys = self._organisations.keys(tin)
        key = keys.bulk(name)
        _, _, stood = await self._wires.write(
            ("HSETNX", key, "body", digest), ("EXPIRE", key, KEPT_S), ("HGET", key, "body")
        )
        self._check_same(stood, digest)  # two sheets may have come under one idempotency key at once
        for start in range(0, len(chunks), CHUNKS_A_WRITE):
            fields: Command = []
            for at, chunk in enumerate(chunks[start : start + CHUNKS_A_WRITE], start):
                sealed = self._keyring.seal(bytes(chunk.rows), name)
                fields += [f"chunk:{at}", ENCODER.encode(Chunk(chunk.lines, sealed))]
            await self._wires.write(["HSET", key, *fields])
        entry = ENCODER.encode(ImportEntry(name))
        await self._wires.write(["FCALL", library.ENLIST, 2, key, keys.imports, ENCODER.encode(head), entry])

    def _check_same(self, stood: bytes | None, digest: bytes) -> None:
        if stood not in (None, digest):
            raise ProblemError(422, "Idempotency key reused", "this Idempotency-Key was sent with another body")

    async def _shown(self, tin: str, name: str) -> ImportShown:
        """How an import goes; ProblemError 404 where the organisation has none of this name."""
        key = self._organisations.keys(tin).bulk(name)
        (fields,) = await self._wires.read(("HMGET", key, "head", "started", "finished", *_TALLIES))
        raw, started, finished, *tallies = fields
        head = None if raw is None else _HEAD.decode(raw)
        if head is None or head.tin != tin:
            raise not_here()
        counts: dict[LineResult, int] = dict.fromkeys(_RESULTS, 0)
        for tally in tallies:
            for result, count in ({} if tally is None else _TALLY.decode(tally)).items():
                counts[result] += count
        return ImportShown(
            id=name,
            state="queued" if started is None else "running" if finished is None else "done",
            rows=head.rows,
            done=sum(counts.values()),
            **counts,
            started_at=None if started is None else rfc3339(int(started)),
            finished_at=None if finished is None else rfc3339(int(finished)),
        )

    async def _lines(self, tin: str, name: str, at: int) -> list[ReportLine]:
        """The report of one chunk; empty where it is not done."""
        (raw,) = await self._wires.read(("HGET", self._organisations.keys(tin).bulk(name), f"report:{at}"))
        return [] if raw is None else _LINES.decode(raw)

    async def _file(self, call: Call, tin: str, name: str, shown: ImportShown) -> web.StreamResponse:
        """The whole report so far as CSV. It holds codes and our own words alone: nothing that a sheet could run."""
        headers = {
            REQUEST_ID: call.request_id,
            hdrs.CACHE_CONTROL: NO_STORE,
            hdrs.CONTENT_TYPE: f"{CSV}; charset=utf-8",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}.csv"',
        }
        response = web.StreamResponse(headers=headers)
        await response.prepare(call.request)
        await response.write(b"line,result,permit,errors\r\n")
        try:
            for at in range(-(-shown.rows // CHUNK_ROWS)):
                await response.write("".join(map(_csv_line, await self._lines(tin, name, at))).encode())
        except Exception:
            _break_off(call.request)
            raise
        await response.write_eof()
        return response


def _break_off(request: web.Request) -> None:
    """End an answer that has begun and cannot be completed: over HTTP/1.0 nothing but a reset tells."""
    transport = request.transport
    if transport is not None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _csv_line(line: ReportLine) -> str:
    errors = "; ".join(f"{flaw.field}: {flaw.error}" for flaw in line.errors).replace('"', '""')
    return f'{line.line},{line.result},{line.permit or ""},"{errors}"\r\n'
