"""The load of a house: aggregators, and where it is wanted police, officers and a clerk, from first to last answer."""

from concurrent.futures import Future
from random import Random
from typing import Final, Protocol

from tests.system.house import House
from tests.system.laboratory.clerk import Clerk
from tests.system.laboratory.history import History
from tests.system.laboratory.needs import Needs
from tests.system.laboratory.police import Police
from tests.system.laboratory.pusher import Pusher
from tests.system.laboratory.stage import Stage

PUSHERS: Final = 2


class Client(Protocol):
    """Somebody who asks the house."""

    async def run(self) -> None:
        """Ask until told to stop; returns when everything was answered."""
        ...

    def stop(self) -> None:
        """Ask nothing new."""
        ...


class Load:
    """All clients of one house, on the stage."""

    def __init__(self, stage: Stage, history: History, needs: Needs, draw: Random) -> None:
        self.pushers: list[Pusher] = []
        self._stage = stage
        self._history = history
        self._needs = needs
        self._draw = draw
        self._running: list[tuple[Client, Future[None]]] = []

    def begin(self, house: House, *, ingest_port: int, api_port: int) -> None:
        """Let all begin, by these doors on loopback."""
        self.pushers += [self._pusher(f"pusher-{at + 1}", ingest_port) for at in range(PUSHERS)]
        clients: list[Client] = [*self.pushers]
        if self._needs.asks:
            api = f"http://127.0.0.1:{api_port}"
            clients.append(Police(self._history, house, api, self.pushers))
            clients.append(Clerk(self._history, house, api, Random(self._draw.random())))
        self._running += [(client, self._stage.begin(client.run())) for client in clients]

    def stop(self, *, within_s: float) -> None:
        """Returns when all have their last answer; raises what one of them has ended with."""
        for client, _ in self._running:
            self._stage.call(client.stop)
        for _, work in self._running:
            work.result(within_s)

    def _pusher(self, name: str, port: int) -> Pusher:
        return Pusher(
            name,
            self._history,
            url=f"http://127.0.0.1:{port}/v1/sms",
            rate=self._needs.rate / PUSHERS,
            draw=Random(self._draw.random()),
            received_earlier_ms=self._needs.received_earlier_ms,
            copies=self._needs.copies,
        )
