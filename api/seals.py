"""Answers handed out only once the replicas have what they rest on: one mark and one WAIT behind each write of a link.

At level `replicated` alone. So no operation need know which of its answers tell of something fresh.
"""

import asyncio
import re
from functools import partial
from typing import Final

from api.link import Ask, Held, packed
from lua.calls import mark_command
from lua.keys import EPOCHS_MARK
from runtime.connection import NotReplicatedError, stored, wait_command

PLACE_OF_COUNT: Final = 1
_TAG: Final = re.compile(rb"\{[0-9a-z]+\}")


class Seals:
    """What is asked behind the questions of one write, and what its answer makes of theirs."""

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def over(self, asks: list[Ask]) -> Ask:
        """The ask to send behind some; their answers wait for it, and fail with it as one of STORE_ERRORS."""
        answer: asyncio.Future[list[object]] = asks[0].answer.get_loop().create_future()
        held: Held = []
        for ask in asks:
            ask.held = held
        answer.add_done_callback(partial(self._hand_out, held))
        behind = packed((mark_command(_mark_of(asks[0].packed)), wait_command(self._replicas)))
        return Ask(answer, behind, 2, asks[-1].due_s, repeatable=False)

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


def _mark_of(commands: bytes) -> str:
    """A mark beside the first key of some packed commands, so on the same server; the epochs' key has no tag."""
    tag = _TAG.search(commands)
    return EPOCHS_MARK if tag is None else f"mark:{tag[0].decode()}"
