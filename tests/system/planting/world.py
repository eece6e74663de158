"""What is left of a true day, to be changed: store, history, operator's log, logs and metrics."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from tests.system.true_house import TrueHouse

ENTRY: Final = 22


class World:
    """A store, a history, an operator's log, logs and metrics that a plant may change."""

    def __init__(self, true: TrueHouse, store: Any, folder: Path) -> None:
        self.store = store
        self.code = true.code
        self.history = deepcopy(true.history)
        self.pushed = Counter(line["id"] for line in self.history if line["event"] == "pushed")
        """How often each SMS was."""
        self.sent: list[dict[str, Any]] = [json.loads(line) for line in true.house.sink_log.read_text().splitlines()]
        self.taken: list[dict[str, Any]] = [json.loads(line) for line in true.ministry.log.read_text().splitlines()]
        """By the Ministry."""
        self.logs = folder / "logs"
        self.logs.mkdir()
        for log in true.folder.glob("*.log"):
            (self.logs / log.name).write_bytes(log.read_bytes())
        self.metrics = folder / "metrics"
        self.metrics.write_bytes(true.metrics.read_bytes())

    def named(self, kind: str) -> list[str]:
        """Keys of a kind, sorted."""
        return sorted(name.decode() for name in self.store.scan_iter(f"{kind}:*", count=1000))

    def batches(self) -> Iterator[tuple[str, str, dict[str, Any], str]]:
        """(key, entry id, batch, letters) of the trail."""
        for name in self.named("audit"):
            for entry_id, fields in self.store.xrange(name):
                yield name, entry_id.decode(), json.loads(fields[b"m"]), fields[b"v"].decode()

    def row(self, letter: str, at: int = 0) -> tuple[str, list[Any]]:
        """(audit key, row) with a letter: the first, or a later one."""
        found = (
            (name, row)
            for name, _, batch, letters in self.batches()
            for row, became in zip(batch["rows"], letters, strict=True)
            if became == letter and self.pushed[row[1]] == 1
        )
        for _ in range(at):
            next(found)
        return next(found)

    def rewrite(self, name: str, edit: Callable[[dict[bytes, bytes]], dict[bytes, bytes] | None]) -> None:
        """A stream with each entry edited, or left out; as if it had been written so."""
        entries = self.store.xrange(name)
        self.store.delete(name)
        for entry_id, fields in entries:
            edited = edit(fields)
            if edited is not None:
                self.store.xadd(name, edited, id=entry_id)

    def edit_row(
        self, name: str, entry_id: str, change: Callable[[list[Any], str], tuple[list[Any], str] | None]
    ) -> None:
        """One row of the trail and its letter, changed; None leaves it out."""

        def edit(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
            batch, letters = json.loads(fields[b"m"]), fields[b"v"].decode()
            silent = fields.get(b"w", b"0" * len(letters)).decode()
            rows: list[Any] = []
            became = mute = ""
            for row, letter, one in zip(batch["rows"], letters, silent, strict=True):
                changed = change(row, letter) if row[0] == entry_id else (row, letter)
                if changed is not None:
                    rows.append(changed[0])
                    became, mute = became + changed[1], mute + one
            batch["rows"] = rows
            return {
                **fields,
                b"m": json.dumps(batch).encode(),
                b"v": became.encode(),
                **({b"w": mute.encode()} if b"w" in fields else {}),
            }

        self.rewrite(name, edit)

    def count(self, audit: str, field: str, by: int) -> None:
        """Change a counter of the same partition as a trail's."""
        (name,) = self.store.keys(audit.replace("audit", "counts") + ":*")
        self.store.hincrby(name, field, by)
        if self.store.hget(name, field) == b"0":
            self.store.hdel(name, field)

    def record(self, audit: str, row: list[Any]) -> tuple[str, bytes, bytes, int]:
        """(key, field, value, place) of a row's entry in its day record."""
        (name,) = self.store.keys(audit.replace("audit", "day") + ":*")
        field = bytes.fromhex(row[4][:8])
        value = self.store.hget(name, field)
        for at in range(0, len(value), ENTRY):
            if value[at + 4 : at + 10] == bytes.fromhex(row[5]):
                return name, field, value, at
        raise AssertionError(f"no entry of {row[1]}")

    def put(self, audit: str, row: list[Any], place: int, new: bytes) -> None:
        """Other bytes at a place of a row's entry in its day record."""
        name, field, value, at = self.record(audit, row)
        self.store.hset(name, field, value[: at + place] + new + value[at + place + len(new) :])

    def reply(self, audit: str, row: list[Any]) -> int:
        """Where in the operator's log a row's reply stands."""
        name = f"{audit.removeprefix('audit:{').removesuffix('}')}-{row[0]}"
        return next(at for at, line in enumerate(self.sent) if line["id"] == name)

    def act(self, deed: str, change: Callable[[dict[str, Any]], None], *, under: bool | None = None) -> str:
        """The first act of a deed, changed; its permit's code."""
        done: list[str] = []

        def edit(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
            act = json.loads(fields[b"m"])
            if act["deed"] == deed and act.get("tin") and not done and under in (None, "under" in act):
                done.append(act.get("code", ""))
                change(act)
            return {b"m": json.dumps(act).encode()}

        for name in self.named("acts"):
            self.rewrite(name, edit)
        return done[0]

    def organisation(self, change: Callable[[dict[str, Any]], None]) -> None:
        """The organisation's record, changed."""
        (name,) = self.named("organisations")
        ((tin, value),) = self.store.hgetall(name).items()
        version, _, body = value.partition(b" ")
        said = json.loads(body)
        change(said)
        self.store.hset(name, tin, version + b" " + json.dumps(said).encode())

    def holder(self, kind: str, change: Callable[[dict[str, Any]], None]) -> str:
        """A holder's first record of a kind, changed; its code."""
        for name in self.named("holder"):
            for field, value in self.store.hgetall(name).items():
                version, _, body = value.partition(b" ")
                said = json.loads(body)
                if said["kind"] == kind:
                    change(said)
                    self.store.hset(name, field, version + b" " + json.dumps(said).encode())
                    return said["code"]
        raise AssertionError("no such record")


Plant = Callable[[World], str]
PLANTS: Final[list[tuple[str, set[str], Plant]]] = []
"""(name, invariants that must break: no others, what does it)."""


def plant(*breaks: str) -> Callable[[Plant], Plant]:
    """Put a plant among the others."""

    def named(what: Plant) -> Plant:
        PLANTS.append((what.__name__, set(breaks), what))
        return what

    return named
