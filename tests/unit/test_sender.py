"""How replies become batches: one alone goes at once, those right behind it together."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from dispatch.outgoing import Outgoing
from dispatch.sender import Sender
from dispatch.throttle import Throttle
from tests.eventually import eventually
from tests.integration.dispatching import Recorder


class Taken:
    """A ledger that keeps what was sent."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def sent(self, *taken: Outgoing) -> None:
        """As a ledger's."""
        self.names += [outgoing.id for outgoing in taken]


class Lane:
    """A lane whose lease holds."""

    may_send = True


def page(first: int, count: int) -> list[Outgoing]:
    lane = cast("Any", Lane())
    ends_s = time.time() + 60
    return [
        Outgoing(lane=lane, entry_id=b"1-%d" % n, id=f"r-{n}", body=b"{}", verdict="approved", expires_s=ends_s)
        for n in range(first, first + count)
    ]


@asynccontextmanager
async def sending(operator: Recorder, ledger: Taken) -> AsyncGenerator[Sender]:
    sender = Sender(operator=operator, ledger=cast("Any", ledger), throttle=Throttle(1e6, 100), window=3)
    running = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def until_taken(ledger: Taken, count: int) -> None:
    async def is_so() -> bool:
        return len(ledger.names) == count

    await eventually(is_so)


async def test_what_comes_right_after_a_batch_waits_until_it_fills_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatch.sender.GATHER_S", 60.0)
    operator, ledger = Recorder(), Taken()
    async with sending(operator, ledger) as sender:
        sender.submit(page(0, 1))
        await until_taken(ledger, 1)
        sender.submit(page(1, 40))
        for _ in range(100):
            await asyncio.sleep(0)
        assert operator.batches == [1]
        sender.submit(page(41, 70))
        await until_taken(ledger, 101)
        assert operator.batches == [1, 100]
    assert ledger.names == [f"r-{n}" for n in range(101)]


async def test_a_part_of_a_batch_waits_no_longer_than_a_moment() -> None:
    operator, ledger = Recorder(), Taken()
    async with sending(operator, ledger) as sender:
        sender.submit(page(0, 1))
        await until_taken(ledger, 1)
        sender.submit(page(1, 2))
        await until_taken(ledger, 3)
    assert operator.batches == [1, 2]
