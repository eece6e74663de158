"""Whose turn it is: how many batches of one worker are under way at once, and whether a lane is by itself."""

import asyncio
from types import TracebackType


class Turns(asyncio.Semaphore):
    """A semaphore that knows how many hold it."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.under_way = 0

    async def __aenter__(self) -> None:
        await super().__aenter__()
        self.under_way += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.under_way -= 1
        await super().__aexit__(kind, error, traceback)
