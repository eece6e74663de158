"""What every client saw, as NDJSON that is only ever appended to: the checks read it, nobody else.

Writes a line an event: `pushed` (`id`, `source`, `from`, `text`, `received_at_ms`), `acknowledged`, `refused` and
`unknown` (`id`), `shown` (`permit`, `valid`), `cancelled` (`permit`), `acted` (`deed`, `permit`, `under`), `fault`
(`name`, `struck`) and `quiet`.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def wall_ms() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


class History:
    """The writer, for any thread; a line is in the kernel when `add` returns."""

    def __init__(self, path: Path, clock: Callable[[], int] = wall_ms) -> None:
        self.path = path
        self.clock = clock
        """Whose clock the times are by: the house's."""
        self.counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, event: str, *, who: str = "laboratory", **facts: Any) -> int:
        """Append an event; its time."""
        with self._lock:
            at_ms = self.clock()
            line = {"at_ms": at_ms, "who": who, "event": event, **facts}
            os.write(self._file, json.dumps(line, ensure_ascii=True).encode() + b"\n")
            self.counts[event] = self.counts.get(event, 0) + 1
        return at_ms

    @property
    def under_way(self) -> int:
        """SMS that were pushed, and whose pushers have no answer yet."""
        answered = sum(self.counts.get(event, 0) for event in ("acknowledged", "refused", "unknown"))
        return self.counts.get("pushed", 0) - answered

    def events(self) -> Iterator[dict[str, Any]]:
        """All of it, from the first on."""
        with self.path.open() as lines:
            for line in lines:
                yield json.loads(line)

    def close(self) -> None:
        """End writing."""
        os.close(self._file)
