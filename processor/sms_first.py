"""SMS first: people stand at their doors. What a worker does for organisations' employees gives way to its lanes.

Reads the lengths of `inbound:{p}`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from lua.calls import Command
from lua.keys import PartitionKeys

SMS_WAITING: Final = 32
"""Undecided SMS in a worker's partitions, a tenth of a second's at the national peak: with more, employees wait."""
LOOK_S: Final = 0.05
MOST_GIVEN_S: Final = 2.0
"""Before each step at the most: an import must end even while SMS are never done."""


class SmsFirst:
    """Whether it is the employees' turn. `ask` sends commands and raises what the store refuses."""

    def __init__(
        self, ask: Callable[[Sequence[Command]], Awaitable[list[Any]]], held: Callable[[], Sequence[PartitionKeys]]
    ) -> None:
        self._ask = ask
        self._held = held

    async def give_way(self) -> None:
        """Return when few SMS wait, or when there was time enough for them."""
        until_s = time.monotonic() + MOST_GIVEN_S
        while (held := self._held()) and time.monotonic() < until_s:
            looks: list[Command] = [["XLEN", keys.inbound] for keys in held]
            if sum(await self._ask(looks)) <= SMS_WAITING:
                return
            await asyncio.sleep(LOOK_S)
