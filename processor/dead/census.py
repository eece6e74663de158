"""How many dead letters stand, by kind and class of reason, as a metric: what an operator is woken by.

Reads `dead:{p}` of the partitions that a worker holds, where something has changed there.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from lua.keys import PartitionKeys
from lua.store import Store
from processor.dead.letters import decoded, entries
from runtime.telemetry import DEAD_LETTERS

MOST_LETTERS: Final = 10_000
"""Of one partition looked through; more of them count under the reason `more`."""
MOST_CLASSES: Final = 20
"""Of one kind; whatever is rarer counts as `other`: a label must not grow with the data."""
_VARIES: Final = re.compile(r"\d+|'[^']*'|\"[^\"]*\"")


class Census:
    """Counted anew where the stream has changed."""

    def __init__(self, store: Store, held: Callable[[], Sequence[PartitionKeys]]) -> None:
        self._store = store
        self._held = held
        self._stood: dict[str, tuple[Any, Counter[tuple[str, str]]]] = {}
        self._told: set[tuple[str, str]] = set()

    async def round(self) -> None:
        """Look at every partition that is ours, and tell the sum; raises as the client does."""
        held = self._held()
        self._stood = {keys.tag: self._stood[keys.tag] for keys in held if keys.tag in self._stood}
        for keys in held:
            state = await _state(self._store, keys.dead)
            if keys.tag not in self._stood or self._stood[keys.tag][0] != state:
                self._stood[keys.tag] = state, await _counted(self._store, keys.dead, state[0])
        total: Counter[tuple[str, str]] = Counter()
        for _, counted in self._stood.values():
            total += counted
        found = _bounded(total)
        for kind, reason in self._told - found.keys():
            DEAD_LETTERS.remove(kind, reason)
        for (kind, reason), count in found.items():
            DEAD_LETTERS.labels(kind, reason).set(count)
        self._told = set(found)


def class_of(reason: str) -> str:
    """What a reason has in common with others: its beginning, without what differs from letter to letter."""
    return _VARIES.sub("…", reason.partition(":")[0])[:60]


def _bounded(counted: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    classes: Counter[str] = Counter()
    for (kind, reason), count in counted.most_common():
        classes[kind] += 1
        found[kind, reason if classes[kind] <= MOST_CLASSES else "other"] += count
    return found


async def _state(store: Store, stream: str) -> tuple[int, Any]:
    """(length, what tells it from any other state) of a stream."""
    try:
        info: list[Any] = await store.execute_command("XINFO", "STREAM", stream)
    except ResponseError as error:
        if "no such key" in str(error):
            return 0, None
        raise
    facts = dict(zip(info[::2], info[1::2], strict=True))
    return facts[b"length"], facts[b"last-generated-id"]


async def _counted(store: Store, stream: str, length: int) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    looked = 0
    async for entry_id, fields in entries(store, stream):
        letter = decoded(entry_id, fields)
        found[letter.kind, class_of(letter.reason)] += 1
        looked += 1
        if looked == MOST_LETTERS:
            found["any", "more"] += max(0, length - looked)
            break
    return found
