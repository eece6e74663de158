"""Carries out organisations' imports, a chunk of each in turn, for the partitions that this worker holds.

Reads `imports:{p}`, the chunks in `import:{p}:<id>`, and `organisations:{p}`; writes permits and, in the place of each
chunk, its report. A worker that dies anywhere, or works on after it has lost a partition, does no harm: who does a
chunk again finds the permits that were made, and reports the same.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError, ResponseError

from lua import changes
from lua.calls import Command
from lua.keys import PartitionKeys
from permits.applications import read_row
from permits.employees import Flaw, Request
from permits.imports import KEPT_S, Chunk, ImportEntry, ImportHead, ReportLine, WrittenRow, row_digest
from permits.messages import ENCODER, DeadLetter
from permits.organisations import Organisation
from processor.lane import CONDITIONS
from runtime.connection import STORE_ERRORS, Wire
from runtime.employment import Created, Employment
from runtime.keyring import Keyring, UnsealedError
from runtime.telemetry import IMPORTED, Log

LOOK_S: Final = 0.5
"""Between two looks for imports where there was none."""
PAUSE_S: Final = 2.0
"""After a fault of the store."""
IMPORTS_AT_ONCE: Final = 4
"""Of one partition: a small one need not wait for a large one."""
BATCH_ROWS: Final = 25
"""Sealed and written at once: some 3 ms, in which the worker decides no SMS."""
SMS_WAITING: Final = 32
"""Undecided SMS in a worker's partitions, a tenth of a second's at the national peak: with more, imports give way."""
GIVE_WAY_S: Final = 0.05
MOST_GIVEN_S: Final = 2.0
"""Before each batch at the most: an import must end even while SMS are never done."""
_ENTRY: Final = msgspec.json.Decoder(ImportEntry)
_HEAD: Final = msgspec.json.Decoder(ImportHead)
_ORGANISATION: Final = msgspec.json.Decoder(Organisation)
_CHUNK: Final = msgspec.json.Decoder(Chunk)
_ROWS: Final = msgspec.json.Decoder(list[WrittenRow])


class ImportLoop:
    """The imports of one worker's partitions. `employment` must send on the same wire."""

    def __init__(
        self,
        wire: Wire,
        *,
        held: Callable[[], Sequence[PartitionKeys]],
        employment: Employment,
        keyring: Keyring,
        accepts: Callable[[str], bool],
        wall_ms: Callable[[], int],
    ) -> None:
        self._wire = wire
        self._held = held
        self._employment = employment
        self._keyring = keyring
        self._accepts = accepts
        self._wall_ms = wall_ms
        self._log = Log("process")

    async def run(self) -> None:
        """Work for ever; cancelled at the worker's stop."""
        try:
            while True:
                try:
                    pause_s = 0.0 if await self.work() else LOOK_S
                except (*STORE_ERRORS, RedisError) as error:
                    self._log.warning("imports put off", error=type(error).__name__)
                    pause_s = PAUSE_S
                await asyncio.sleep(pause_s)
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the connection."""
        await self._wire.close()

    async def work(self) -> bool:
        """One chunk of each import at the head of its partition; False where nothing could be done."""
        held = list(self._held())
        looks: list[Command] = [["XRANGE", keys.imports, "-", "+", "COUNT", IMPORTS_AT_ONCE] for keys in held]
        found = await self._call(*looks) if looks else []
        worked = False
        for keys, entries in zip(held, found, strict=True):
            for entry_id, fields in entries:
                try:
                    await self._step(keys, entry_id, fields)
                    worked = True
                except STORE_ERRORS:
                    raise
                except Exception as error:  # noqa: BLE001  # whatever one import does, the others go on
                    self._log.error("import put off", error=type(error).__name__)
        return worked

    async def _step(self, keys: PartitionKeys, entry_id: bytes, fields: Sequence[bytes]) -> None:
        """The next chunk of one import, or its end."""
        try:
            name = _ENTRY.decode(dict(zip(fields[::2], fields[1::2], strict=True))[b"m"]).id
            key = keys.bulk(name)
            raw, names = await self._call(["HGET", key, "head"], ["HKEYS", key])
            head = None if raw is None else _HEAD.decode(raw)
        except (KeyError, msgspec.DecodeError, UnicodeDecodeError):
            letter = self._dead(entry_id, "not an import", b" ".join(fields))
            await self._call(["XADD", keys.dead, "*", "m", letter], ["XDEL", keys.imports, entry_id])
            return
        left = [int(field[6:]) for field in names if field.startswith(b"chunk:")]
        if head is None:  # it has waited for longer than it is kept
            self._log.error("import lapsed", name=name)
            await self._call(["XDEL", keys.imports, entry_id])
        elif left:
            await self._chunk(keys, name, head, min(left))
        else:
            await self._call(
                ["HSETNX", key, "started", self._wall_ms()],
                ["HSETNX", key, "finished", self._wall_ms()],
                ["EXPIRE", key, KEPT_S],
                ["XDEL", keys.imports, entry_id],
            )

    async def _chunk(self, keys: PartitionKeys, name: str, head: ImportHead, at: int) -> None:
        """One chunk done, and its report in its place."""
        key = keys.bulk(name)
        _, _, raw, organisation = await self._call(
            ["HSETNX", key, "started", self._wall_ms()],
            ["EXPIRE", key, KEPT_S],
            ["HGET", key, f"chunk:{at}"],
            ["HGET", keys.organisations, head.tin],
        )
        if raw is None:
            return
        numbers: Sequence[int] = ()
        writes: list[Command] = []
        try:
            chunk = _CHUNK.decode(raw)
            numbers = chunk.lines
            rows = _ROWS.decode(self._keyring.open(chunk.rows, name))
        except (UnsealedError, msgspec.DecodeError, UnicodeDecodeError):
            self._log.error("chunk not readable, making a dead letter of it", name=name, chunk=at)
            flaw = Flaw("row", "could not be read again: send it once more")
            lines = [ReportLine(line, "refused", errors=(flaw,)) for line in numbers]
            letter = self._dead(f"{name} chunk {at}".encode(), "its key is missing, or it is damaged", raw)
            writes.append(["XADD", keys.dead, "*", "m", letter])
        else:
            if self._may(head, organisation):
                lines = await self._done(name, head, numbers, rows)
            else:
                flaw = Flaw("row", "the delegation has ended")
                lines = [ReportLine(line, "refused", errors=(flaw,)) for line in numbers]
        tally = Counter(line.result for line in lines)
        # The report first: whoever dies between the two leaves a chunk that is done again, to the same report.
        report: Sequence[Command] = [
            ["HSET", key, f"report:{at}", ENCODER.encode(lines), f"tally:{at}", ENCODER.encode(tally)],
            ["EXPIRE", key, KEPT_S],
            ["HDEL", key, f"chunk:{at}"],
        ]
        await self._call(*writes, *report)
        for result, count in tally.items():
            IMPORTED.labels(result).inc(count)

    def _may(self, head: ImportHead, organisation: bytes | None) -> bool:
        """Whether an import may go on: one under a delegation no longer than that."""
        under, now_ms = head.actor.under, max(self._wall_ms(), head.requested_ms)
        if not under:
            return True
        delegations = () if organisation is None else _ORGANISATION.decode(changes.read(organisation)[1]).delegations
        return any(delegation.id == under and delegation.stands(now_ms) for delegation in delegations)

    async def _done(
        self, name: str, head: ImportHead, numbers: Sequence[int], rows: Sequence[WrittenRow]
    ) -> list[ReportLine]:
        """What became of each row."""
        lines: dict[int, ReportLine] = {}
        requests: list[tuple[int, Request]] = []
        for number, row in zip(numbers, rows, strict=True):
            flaws: Sequence[Flaw] = row.flaws
            if row.row is not None:
                digest = row_digest(name, number)
                read = read_row(row.row, accepts=self._accepts, now_ms=head.requested_ms, digest=digest)
                if isinstance(read, Request):
                    requests.append((number, read))
                    continue
                flaws = read
            lines[number] = ReportLine(number, "refused", errors=tuple(flaws))
        for start in range(0, len(requests), BATCH_ROWS):
            await self._give_way()
            some = requests[start : start + BATCH_ROWS]
            made = await self._created(head, [request for _, request in some])
            lines |= {number: _line(number, created) for (number, _), created in zip(some, made, strict=True)}
        return [lines[number] for number in numbers]

    async def _give_way(self) -> None:
        """SMS first: people stand at their doors."""
        until_s = time.monotonic() + MOST_GIVEN_S
        while (held := self._held()) and time.monotonic() < until_s:
            looks: list[Command] = [["XLEN", keys.inbound] for keys in held]
            if sum(await self._call(*looks)) <= SMS_WAITING:
                return
            await asyncio.sleep(GIVE_WAY_S)

    async def _created(self, head: ImportHead, requests: Sequence[Request]) -> list[Created | None]:
        """Permits for some rows; None for a row that fails by itself."""
        try:
            return list(
                await self._employment.create(
                    head.tin, head.employer, requests, actor=head.actor, now_ms=self._wall_ms(), seen=head.epochs
                )
            )
        except STORE_ERRORS:
            raise
        except Exception as error:
            if isinstance(error, ResponseError) and _passes(error):
                raise
            if len(requests) == 1:
                self._log.error("row not stored", error=type(error).__name__)
                return [None]
        return [made for request in requests for made in await self._created(head, [request])]

    async def _call(self, *commands: Command) -> list[Any]:
        replies = await self._wire.call(*commands)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    def _dead(self, entry_id: bytes, reason: str, raw: bytes) -> bytes:
        text = raw.decode("utf-8", "backslashreplace")
        return ENCODER.encode(DeadLetter("import", entry_id.decode(), reason, self._wall_ms(), text))


def _passes(error: ResponseError) -> bool:
    """Whether an error reply tells of the store's state, and not of what was asked."""
    text = str(error)
    # The client cuts the codes that it knows off the text.
    return (error.status_code or text.split(" ", 1)[0]) in CONDITIONS or "Function not found" in text


def _line(number: int, created: Created | None) -> ReportLine:
    if created is None:
        return ReportLine(number, "refused", errors=(Flaw("row", "could not be stored"),))
    if created.result == "full":
        return ReportLine(number, "refused", errors=(Flaw("document", "has as many permits as may stand at once"),))
    code = None if created.standing is None else created.standing.permit.code
    return ReportLine(number, created.result, code)
