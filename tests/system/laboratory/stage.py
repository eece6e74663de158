"""The event loop of links and clients, in a thread beside the experiment, which waits for processes in its own."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Stage:
    """One loop, from its making to `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start something, and go on."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, work: Coroutine[Any, Any, T], *, within_s: float = 60.0) -> T:
        """The result of something."""
        return self.begin(work).result(within_s)

    def call(self, act: Any) -> None:
        """Call something on the loop, soon."""
        self._loop.call_soon_threadsafe(act)

    def close(self) -> None:
        """Cancel what still runs, and end."""

        async def rest() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.wait(rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
