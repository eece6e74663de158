"""Police and officers at the api: they ask what is valid, cancel some of it, and ask again.

Writes to the history what they were shown (`shown`) and what they have cancelled (`cancelled`).
"""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout

from tests.system.house import House
from tests.system.laboratory.history import History
from tests.system.laboratory.pusher import Pusher

WHO: Final = "api-1"
EVERY_S: Final = 0.05
CANCEL_SHARE: Final = 0.2
MOST_KEPT: Final = 200


class Police:
    """One patrol and one officer."""

    def __init__(self, history: History, house: House, url: str, pushers: Sequence[Pusher]) -> None:
        self._history = history
        self._url = url
        self._pushers = pushers
        self._tokens = {role: house.call("token", "--role", role).stdout.strip() for role in ("police", "officer")}
        self._draw = Random(1)
        self._cancelled: list[str] = []
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Ask until told to stop; an api that is away is asked later."""
        async with ClientSession(timeout=ClientTimeout(total=8)) as http:
            while not self._stopping.is_set():
                await asyncio.sleep(EVERY_S)
                try:
                    await self._patrol(http)
                except (ClientError, TimeoutError, OSError):
                    continue

    def stop(self) -> None:
        """Ask nothing new."""
        self._stopping.set()

    async def _patrol(self, http: ClientSession) -> None:
        """Check a document, and each permit that it has; cancel some."""
        draw = self._draw
        known = [pusher for pusher in self._pushers if pusher.acknowledged]
        if not known:
            return
        document = draw.choice(draw.choice(known).acknowledged).text.partition("AZE")[2].strip()
        codes = draw.sample(self._cancelled, min(1, len(self._cancelled)))
        if document.isdigit():
            found = await self._post(http, "police", "/v1/checks", {"document": f"AZE{document}"})
            codes += [permit["code"] for permit in (found or {}).get("permits", []) if permit["code"] is not None]
        for code in codes:
            shown = await self._post(http, "police", "/v1/checks", {"permit": code})
            if shown is None:
                continue
            self._history.add("shown", who=WHO, permit=code, valid=shown["valid"])
            if shown["valid"] and draw.random() < CANCEL_SHARE:
                if (
                    await self._post(http, "officer", f"/v1/permits/{code}/cancel", {"reason": "laboratory"})
                    is not None
                ):
                    self._history.add("cancelled", who=WHO, permit=code)
                    self._cancelled = [code, *self._cancelled][:MOST_KEPT]

    async def _post(self, http: ClientSession, role: str, path: str, body: dict[str, str]) -> dict[str, Any] | None:
        """The answer of a 2xx; None of anything else."""
        headers = {"Authorization": f"Bearer {self._tokens[role]}"}
        async with http.post(self._url + path, json=body, headers=headers) as answer:
            return await answer.json() if answer.status < 300 else None
