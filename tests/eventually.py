"""Waiting on a condition, with a time limit: the only place where a test waits for time to pass."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(condition: Callable[[], Awaitable[T]], *, within_s: float = 10.0) -> T:
    """The first true value of `condition`; AssertionError with its last value where none comes in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not (value := await condition()):
        assert loop.time() < deadline, f"not within {within_s} s: {value!r}"
        await asyncio.sleep(0.01)
    return value
