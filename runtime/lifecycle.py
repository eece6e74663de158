"""How a role lives: uvloop, one stop signal, one clear line where it cannot start.

A role that `up` started also stops when its standard input ends: so it never outlives its parent.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import uvloop

from runtime.errors import StartupError

SUPERVISED: Final = "ICAZE_SUPERVISED"
"""Set by `up` for its children."""
GARBAGE_AFTER: Final = 50_000
"""Containers made and not yet freed, before those in cycles are looked for; of the interpreter's own: 700."""


def run(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Run a role until it returns its exit code; SIGINT and SIGTERM set its stop event, once."""
    # What is imported lives for ever, and a batch is thousands of objects in no cycle: a twentieth of a worker's time
    # went into looking through them.
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER)
    try:
        return uvloop.run(_with_signals(main))
    except StartupError as error:
        sys.stderr.write(f"icaze: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if os.environ.get(SUPERVISED):
        loop.add_reader(sys.stdin.fileno(), _stop_at_end, loop, stop)
    return await main(stop)


def _stop_at_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        stop.set()


async def stopped(stop: asyncio.Event, within_s: float) -> bool:
    """Wait for the stop, at most `within_s`; True where it came."""
    try:
        await asyncio.wait_for(stop.wait(), within_s)
    except TimeoutError:
        return False
    return True
