"""An aggregator: pushes small arrays of SMS, and repeats under the same ids until it is told yes or no.

Reads nothing. Writes the history: an attempt and its outcome for each SMS. Some SMS are pushed once more after their
acknowledgement, as by one whose answer was lost.
"""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any, Final

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout

from tests.system.laboratory.history import History

SOURCE: Final = "dev"
"""As unsigned posts from loopback are named."""
PATIENCE_S: Final = 8.0
"""With one request; ingest gives the store five."""
PAUSE_S: Final = 0.25
"""Before a repeat: shorter than the Retry-After, so that a recovery is seen when it comes."""
LARGEST: Final = 8
MOST_UNDER_WAY: Final = 64
AGAIN_SHARE: Final = 0.03
DIRT: Final = ("salam", "2 AZE", "9 AZE {n}", "AZE{n}", "1 2 AZE{n}", "Çölə çıxmaq olar?", "можно выйти?")


class Sms(msgspec.Struct, frozen=True, gc=False):
    """One SMS as it is pushed."""

    id: str
    sender: str
    text: str
    received_at_ms: int | None = None

    def wire(self) -> dict[str, Any]:
        """Its object in the body."""
        facts: dict[str, Any] = {"id": self.id, "from": self.sender, "to": "8103", "text": self.text}
        if self.received_at_ms is not None:
            facts["received_at"] = moment(self.received_at_ms)
        return facts


def moment(at_ms: int) -> str:
    """RFC 3339 of a moment."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def people(draw: Random) -> Iterator[tuple[str, str]]:
    """(sender, text) without end: mostly new people, some who ask again, some who write something else."""
    asked = 0
    while True:
        if draw.random() < 0.2 and asked:
            person = draw.randrange(asked)
        else:
            person, asked = asked, asked + 1
        number = f"{1_000_000 + person}"
        text = f"{draw.choice('1223')} AZE {number}"
        if draw.random() < 0.15:
            text = draw.choice(DIRT).format(n=number)
        yield f"+99450{2_000_000 + person}", text


class Pusher:
    """One aggregator."""

    def __init__(
        self,
        name: str,
        history: History,
        *,
        url: str,
        rate: float,
        draw: Random,
        received_earlier_ms: int = 0,
        copies: int = 1,
    ) -> None:
        self._name = name
        self._history = history
        self._url = url
        self._rate = rate
        self._draw = draw
        self._people = people(draw)
        self._received_earlier_ms = received_earlier_ms
        self._copies = copies
        self._numbers = count(1)
        self._stopping = asyncio.Event()
        self._under_way = asyncio.Semaphore(MOST_UNDER_WAY)
        self.acknowledged: list[Sms] = []
        self.retries = 0

    def stop(self) -> None:
        """Push nothing new; what is under way goes on."""
        self._stopping.set()

    async def run(self) -> None:
        """Push at the rate until told to stop; ends when everything was answered."""
        async with ClientSession(timeout=ClientTimeout(total=PATIENCE_S)) as http, asyncio.TaskGroup() as tasks:
            while not self._stopping.is_set():
                batch = [self._new() for _ in range(self._draw.randint(1, LARGEST))]
                await self._under_way.acquire()
                tasks.create_task(self._push(http, batch))
                try:
                    async with asyncio.timeout(self._draw.expovariate(self._rate / len(batch))):
                        await self._stopping.wait()
                except TimeoutError:
                    continue

    async def push(self, *batch: Sms) -> None:
        """Push one array, beside the load; returns when it was answered."""
        await self._under_way.acquire()
        async with ClientSession(timeout=ClientTimeout(total=PATIENCE_S)) as http:
            await self._push(http, batch)

    def _new(self) -> Sms:
        sender, text = next(self._people)
        received_at_ms = None
        if self._received_earlier_ms:
            received_at_ms = self._history.clock() - self._draw.randrange(self._received_earlier_ms)
        return Sms(f"{self._name}-{next(self._numbers)}", sender, text, received_at_ms)

    async def _push(self, http: ClientSession, batch: "tuple[Sms, ...] | list[Sms]") -> None:
        try:
            await asyncio.gather(*(self._until_answered(http, batch) for _ in range(self._copies)))
            if self._draw.random() < AGAIN_SHARE:
                await self._until_answered(http, batch)
        finally:
            self._under_way.release()

    async def _until_answered(self, http: ClientSession, batch: "tuple[Sms, ...] | list[Sms]") -> None:
        while not await self._tried(http, batch):
            self.retries += 1
            await asyncio.sleep(PAUSE_S * self._draw.uniform(0.5, 1.5))

    async def _tried(self, http: ClientSession, batch: "tuple[Sms, ...] | list[Sms]") -> bool:
        """Whether one attempt brought an answer for good."""
        for sms in batch:
            self._history.add(
                "pushed",
                who=self._name,
                id=sms.id,
                source=SOURCE,
                **{"from": sms.sender},
                text=sms.text,
                received_at_ms=sms.received_at_ms,
            )
        body = json.dumps([sms.wire() for sms in batch], ensure_ascii=True).encode()
        try:
            async with http.post(self._url, data=body, headers={"Content-Type": "application/json"}) as answer:
                status, said = answer.status, await answer.read()
        except (ClientError, TimeoutError, OSError):
            status, said = 0, b""
        accepted: set[str] = set()
        if status == 202:
            accepted = set(json.loads(said)["ids"])
        for sms in batch:
            event = "acknowledged" if sms.id in accepted else "refused" if status in (202, 400, 413) else "unknown"
            self._history.add(event, who=self._name, id=sms.id)
            if event == "acknowledged":
                self.acknowledged.append(sms)
        return status in (202, 400, 413)
