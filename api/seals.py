"""Answers handed out only once the replicas have what they rest on: one mark and one WAIT behind each write of a link.

At level `replicated` alone. So no operation need know which of its answers tell of something fresh.
"""

import asyncio
from functools import partial
from typing import Final

from api.link import Ask, Held, packed
from lua.calls import Command
from runtime.connection import NotReplicatedError, stored, wait_command

PLACE_OF_COUNT: Final = 1


class Seals:
    """What is asked behind the questions of one write, and what its answer makes of theirs."""

    def __init__(self, replicas: int, mark: Command) -> None:
        self._replicas = replicas
        self._packed = packed((mark, wait_command(replicas)))

    def over(self, asks: list[Ask]) -> Ask:
        """The ask to send behind some; their answers wait for it, and fail with it as one of STORE_ERRORS."""
        answer: asyncio.Future[list[object]] = asks[0].answer.get_loop().create_future()
        held: Held = []
        for ask in asks:
            ask.held = held
        answer.add_done_callback(partial(self._hand_out, held))
        return Ask(answer, self._packed, 2, asks[-1].due_s, repeatable=False)

    def _hand_out(self, held: Held, answer: "asyncio.Future[list[object]]") -> None:
        failed = answer.exception() if not answer.cancelled() else asyncio.CancelledError()
        if failed is None:
            try:
                stored(answer.result()[PLACE_OF_COUNT], self._replicas)
            except NotReplicatedError as error:
                failed = error
        for given, replies, error in held:
            if given.done():
                continue
            if failed is not None:
                given.set_exception(NotReplicatedError(str(failed)))
            elif error is not None:
                given.set_exception(error)
            else:
                given.set_result(replies)
