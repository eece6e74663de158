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
from permits.imports import KEPT_S, Chunk, ImportEntry, ImportHead, WrittenRow
from permits.messages import ENCODER, DeadLetter
from permits.organisations import Organisation
from processor.import_rows import NOT_DONE, ImportRows, all_alike, of_the_store
from processor.sms_first import SmsFirst
from runtime.connection import STORE_ERRORS, Wire
from runtime.employment import Employment
from runtime.keyring import Keyring, UnsealedError
from runtime.telemetry import IMPORTED, Log

LOOK_S: Final = 0.5
"""Between two looks for imports where there was none."""
PAUSE_S: Final = 2.0
"""After a fault of the store."""
IMPORTS_AT_ONCE: Final = 4
"""Of one partition: a small one need not wait for a large one."""
FAULTS_BORNE: Final = 10
"""Of one import, before the chunk at hand is given up: with the pauses some six minutes, in which a lease may move to
a healthy worker, or a person undo a bad release."""
FAULT_PAUSE_S: Final = (1.0, 120.0)
"""After the first fault of an import, and doubled up to the longest."""
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
        self._rows = ImportRows(
            employment, accepts=accepts, give_way=SmsFirst(self._ask, held).give_way, wall_ms=wall_ms
        )
        self._keyring = keyring
        self._wall_ms = wall_ms
        self._faults: dict[tuple[str, bytes], tuple[int, float]] = {}
        """By tag and entry: how many, and when to try again (monotonic). Who takes a partition over begins anew."""
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
        seen = {(keys.tag, entry_id) for keys, entries in zip(held, found, strict=True) for entry_id, _ in entries}
        self._faults = {name: known for name, known in self._faults.items() if name in seen}
        worked = False
        for keys, entries in zip(held, found, strict=True):
            for entry_id, fields in entries:
                worked |= await self._try(keys, entry_id, fields)
        return worked

    async def _try(self, keys: PartitionKeys, entry_id: bytes, fields: Sequence[bytes]) -> bool:
        """A step of one import; False where it is put off: whatever one import does, the others go on."""
        _, due_s = self._faults.get((keys.tag, entry_id), (0, 0.0))
        if due_s > time.monotonic():
            return False
        try:
            await self._step(keys, entry_id, fields)
        except STORE_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001
            self._log.error("import put off", error=type(error).__name__)
            return not of_the_store(error) and await self._bear(keys, entry_id, fields, type(error).__name__)
        return True

    async def _bear(self, keys: PartitionKeys, entry_id: bytes, fields: Sequence[bytes], error: str) -> bool:
        """Count a fault of ours; with too many the chunk at hand is given up, and True.

        The next chunk is tried again, but only once: rows that can be done are done, and the import ends.
        """
        times = self._faults.get((keys.tag, entry_id), (0, 0.0))[0] + 1
        pause_s = min(FAULT_PAUSE_S[0] * 2 ** (times - 1), FAULT_PAUSE_S[1]) if times < FAULTS_BORNE else 0.0
        if times == FAULTS_BORNE:
            letter = self._dead(entry_id, f"failed {times} times: {error}", b" ".join(fields))
            await self._call(["XADD", keys.dead, "*", "m", letter])
        if times >= FAULTS_BORNE:
            try:
                await self._step(keys, entry_id, fields, give_up=True)
            except Exception as worse:
                if of_the_store(worse):
                    raise
                self._log.error("import dropped: its report cannot be written", error=type(worse).__name__)
                await self._call(["XDEL", keys.imports, entry_id])
        self._faults[keys.tag, entry_id] = (times, time.monotonic() + pause_s)
        return times >= FAULTS_BORNE

    async def _step(
        self, keys: PartitionKeys, entry_id: bytes, fields: Sequence[bytes], *, give_up: bool = False
    ) -> None:
        """The next chunk of one import done, or given up; or the import's end."""
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
            await self._chunk(keys, name, head, min(left), give_up=give_up)
        else:
            await self._call(
                ["HSETNX", key, "started", self._wall_ms()],
                ["HSETNX", key, "finished", self._wall_ms()],
                ["EXPIRE", key, KEPT_S],
                ["XDEL", keys.imports, entry_id],
            )

    async def _chunk(self, keys: PartitionKeys, name: str, head: ImportHead, at: int, *, give_up: bool) -> None:
        """One chunk done, or given up, and its report in its place."""
        key = keys.bulk(name)
        _, _, raw = await self._call(
            ["HSETNX", key, "started", self._wall_ms()], ["EXPIRE", key, KEPT_S], ["HGET", key, f"chunk:{at}"]
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
            lines = all_alike(numbers, "failed", NOT_DONE)
            letter = self._dead(f"{name} chunk {at}".encode(), "its key is missing, or it is damaged", raw)
            writes.append(["XADD", keys.dead, "*", "m", letter])
        else:
            if give_up:
                lines = all_alike(numbers, "failed", NOT_DONE)
            elif await self._may(keys, head):
                lines = await self._rows.done(name, head, numbers, rows)
            else:
                lines = all_alike(numbers, "refused", "the delegation has ended")
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

    async def _may(self, keys: PartitionKeys, head: ImportHead) -> bool:
        """Whether an import may go on: one under a delegation no longer than that."""
        under = head.actor.under
        if not under:
            return True
        (organisation,) = await self._call(["HGET", keys.organisations, head.tin])
        now_ms = max(self._wall_ms(), head.requested_ms)
        delegations = () if organisation is None else _ORGANISATION.decode(changes.read(organisation)[1]).delegations
        return any(delegation.id == under and delegation.stands(now_ms) for delegation in delegations)

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        return await self._call(*commands)

    async def _call(self, *commands: Command) -> list[Any]:
        replies = await self._wire.call(*commands)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    def _dead(self, entry_id: bytes, reason: str, raw: bytes) -> bytes:
        text = raw.decode("utf-8", "backslashreplace")
        return ENCODER.encode(DeadLetter("import", entry_id.decode(), reason, self._wall_ms(), text))
