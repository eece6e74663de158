"""Starts a process for each sheet, so that neither its size nor its malice costs other callers an answer.

Called by `imports`. See `sheets` for what the process reads and writes.
"""

import asyncio
import sys
from typing import Final

import msgspec

from api.sheets import SheetChunk, SheetRefused
from runtime.problems import ProblemError

AT_ONCE: Final = 1
"""Sheets being read: the other processors answer people."""
MOST_WAITING: Final = 4
"""Sheets waiting for their turn, 32 MiB each; the next is refused at once."""
PATIENCE_S: Final = 120.0
_CHUNK: Final = msgspec.json.Decoder(SheetChunk)


class SheetReader:
    """Reads sheets, a few at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._here = 0

    async def read(self, media: str, data: bytes) -> list[SheetChunk]:
        """A sheet's chunks; ProblemError 400 or 422 says what is wrong with it, 503 that others wait already."""
        if self._here >= AT_ONCE + MOST_WAITING:
            raise ProblemError(503, "Busy", "other sheets are being read", headers={"Retry-After": "5"})
        self._here += 1
        try:
            async with self._turns:
                output = await _output(media, data)
        finally:
            self._here -= 1
        *lines, rest = output.split(b"\n")
        if rest:
            refused = msgspec.json.decode(rest, type=SheetRefused)
            raise ProblemError(refused.status, "Unusable sheet", refused.detail)
        return [_CHUNK.decode(line) for line in lines]


async def _output(media: str, data: bytes) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "api.sheets",
        media,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # a traceback might show what the sheet says
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            output, _ = await process.communicate(data)
    except TimeoutError:
        output = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode or not output:
        raise ProblemError(422, "Unusable sheet", "it is damaged, or needs more memory or time than a sheet may")
    return output
