"""The rows of one chunk of an import: each becomes a permit, or a line that says why not.

Writes permits through `runtime.employment`. A row that is done again finds what it made the first time.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from redis.exceptions import ResponseError

from permits.applications import read_row
from permits.employees import Flaw, Request
from permits.imports import ImportHead, LineResult, ReportLine, WrittenRow, row_digest
from runtime.connection import CONDITIONS, STORE_ERRORS
from runtime.employment import Employment
from runtime.permit_changes import Created
from runtime.telemetry import Log

BATCH_ROWS: Final = 25
"""Sealed and written at once: some 3 ms, in which the worker decides no SMS."""
NOT_DONE: Final = "may not have been processed, by a fault of ours: send it again, under another Idempotency-Key"


class ImportRows:
    """What becomes of rows; `give_way` is awaited before each batch of them."""

    def __init__(
        self,
        employment: Employment,
        *,
        accepts: Callable[[str], bool],
        give_way: Callable[[], Awaitable[None]],
        wall_ms: Callable[[], int],
    ) -> None:
        self._employment = employment
        self._accepts = accepts
        self._give_way = give_way
        self._wall_ms = wall_ms
        self._log = Log("process")

    async def done(
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

    async def _created(self, head: ImportHead, requests: Sequence[Request]) -> list[Created | None]:
        """Permits for some rows; None for a row that fails by itself."""
        try:
            return list(
                await self._employment.create(
                    head.tin, head.employer, requests, actor=head.actor, now_ms=self._wall_ms(), seen=head.epochs
                )
            )
        except Exception as error:
            if of_the_store(error):
                raise
            if len(requests) == 1:
                self._log.error("row not stored", error=type(error).__name__)
                return [None]
        return [made for request in requests for made in await self._created(head, [request])]


def all_alike(numbers: Sequence[int], result: LineResult, error: str) -> list[ReportLine]:
    """The lines of rows that all come to the same."""
    return [ReportLine(number, result, errors=(Flaw("row", error),)) for number in numbers]


def of_the_store(error: Exception) -> bool:
    """Whether an error tells of the store's state, which passes, and not of what was asked."""
    if not isinstance(error, ResponseError):
        return isinstance(error, STORE_ERRORS)
    text = str(error)
    # The client cuts the codes that it knows off the text.
    return (error.status_code or text.split(" ", 1)[0]) in CONDITIONS or "Function not found" in text


def _line(number: int, created: Created | None) -> ReportLine:
    if created is None:
        return ReportLine(number, "failed", errors=(Flaw("row", NOT_DONE),))
    if created.result == "full":
        return ReportLine(number, "refused", errors=(Flaw("document", "has as many permits as may stand at once"),))
    code = None if created.standing is None else created.standing.permit.code
    return ReportLine(number, created.result, code)
