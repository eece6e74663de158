"""The laboratory's Ministry: takes the feed of a house on the stage, fails as it is told to, and keeps a log.

Writes the log before the answer goes out: NDJSON, a line an event of each POST that it has taken, repeats too (`id`,
`partition`, `number`, `event`, `permit`, `at`, `status` as answered). Who an event is for stands there as a digest
(`person`), and so does all of it (`content`).
"""

import base64
import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.integration.ministry_simulator import SECRET, Fault, Simulator
from tests.system.laboratory.history import wall_ms


class Ministry:
    """One Ministry: made, opened, closed on the stage."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "ministry"
        self.address = ""
        """Where it listens, once it is open."""
        self._secret = folder / "ministry.secret"
        self._secret.write_text("whsec_" + base64.b64encode(SECRET).decode())
        self._simulator = Simulator()
        self._simulator.heard = self._heard
        self._times = Counter[str]()
        self._file = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def open(self) -> None:
        """Listen on a free port of loopback."""
        app = web.Application()
        app.router.add_post("/feed", self._simulator.take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = f"127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """End it."""
        await self._runner.cleanup()
        os.close(self._file)

    def environ(self, port: int) -> dict[str, str]:
        """What makes a dispatcher tell it, by a door on loopback."""
        return {
            "ICAZE_MINISTRY": "http",
            "ICAZE_MINISTRY_URL": f"http://127.0.0.1:{port}/feed",
            "ICAZE_MINISTRY_SECRET_FILE": str(self._secret),
        }

    def fail(self, fault: Fault) -> None:
        """Fail so at the next POST."""
        self._simulator.faults.append(fault)

    @property
    def has_failed(self) -> bool:
        """Whether every fault that it was told of has met a POST."""
        return not self._simulator.faults

    @property
    def taken(self) -> int:
        """Events that it has taken, each counted once."""
        return len(self._times)

    @property
    def repeats(self) -> int:
        """Events that came when it had taken them before."""
        return self._times.total() - len(self._times)

    @property
    def wrong(self) -> list[str]:
        """What must never come to it: what is not signed, or out of a person's order."""
        return self._simulator.wrong

    def _heard(self, event: dict[str, Any], status: str) -> None:
        line = {name: event[name] for name in ("id", "partition", "number", "event", "permit", "at")}
        line |= {"person": _digest(event["employee"]["document"]), "content": _digest(event), "status": status}
        os.write(self._file, json.dumps({"at_ms": wall_ms(), **line}).encode() + b"\n")
        self._times[event["id"]] += 1


def _digest(of: object) -> str:
    return hashlib.blake2b(json.dumps(of, sort_keys=True).encode(), digest_size=8).hexdigest()
