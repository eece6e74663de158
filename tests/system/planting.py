"""A copy of a true house in a store of its own, where violations are planted and taken back.

What is planted is what a fault would leave: an entry, a field, a line that is not as it was.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from redis import Redis

from tests.system.checker.__main__ import check, gather, main, parser
from tests.system.checker.finding import Finding
from tests.system.checker.layout import code_of, day_name, day_of
from tests.system.checker.store import record
from tests.system.checker.trail import Row
from tests.system.true_house import TrueHouse, write

ENTRY: Final = 22
DECISIONS: Final = "amubxqdskhzlocyn"
EVERY_LETTER: Final = DECISIONS + "DSMX"
Line = dict[str, Any]


class Planting:
    """The store, and what the clients saw, as they are to be checked."""

    def __init__(self, url: str, true: TrueHouse, folder: Path) -> None:
        self.redis: Any = Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]
        self._url, self._true, self._folder = url, true, folder
        self.afresh()
        self.baseline = folder / "baseline"
        assert main(["--redis", url, "--snapshot", str(self.baseline)]) == 0

    def afresh(self) -> None:
        """Take everything back."""
        self._true.restore(self.redis)
        self.history: list[Line] = [dict(line) for line in self._true.history]
        self.sink: list[Line] = [json.loads(line) for line in self._true.house.sink_log.read_text().splitlines()]
        self.log = ""
        self.metrics = self._true.metrics.read_text()

    def command(self) -> list[str]:
        """The checker's words for the house as it is now; its files are written."""
        logs = self._folder / "logs"
        logs.mkdir(exist_ok=True)
        (logs / "role.log").write_text("a role has begun\n" + self.log)
        (self._folder / "metrics").write_text(self.metrics)
        keys = self._true.house.data / "keys"
        return [
            *("--redis", self._url, "--keys", str(keys), "--logs", str(logs), "--baseline", str(self.baseline)),
            *("--metrics", str(self._folder / "metrics")),
            *("--history", str(write(self._folder / "history", self.history))),
            *("--sink", str(write(self._folder / "sink", self.sink))),
            *("--policy", str(self._true.policy)),
        ]

    def findings(self) -> dict[str, Finding]:
        """What the checker finds, by invariant."""
        evidence = gather(parser().parse_args(self.command()))
        found = {finding.invariant: finding for finding in check(evidence)}
        evidence.store.close()
        return found

    def rows(self, letters: str = DECISIONS) -> Iterator[Row]:
        """Rows of the trail with one of some letters."""
        evidence = gather(parser().parse_args(self.command()))
        evidence.store.close()
        return (row for row in evidence.trail.rows() if row.letter in letters)

    def told(self, letters: str) -> Iterator[Row]:
        """Those of them that were answered at once, if they are decisions."""
        return (row for row in self.rows(letters) if not row.is_held and not row.is_silent)

    def row(self, letters: str = DECISIONS) -> Row:
        """The first of those."""
        return next(self.told(letters))

    def tag(self, row: Row) -> str:
        """The hash tag of a row's partition."""
        tags: list[str] = json.loads(self.redis.get("layout"))["tags"]
        return f"{{{tags[row.partition]}}}"

    def said(self, event: str, name: str) -> Line:
        """The first such line of the history about an SMS or a permit."""
        return next(one for one in self.history if one["event"] == event and name in (one.get("id"), one.get("permit")))

    def say(self, event: str, at_ms: int | None = None, **facts: Any) -> None:
        """A line more in the history, before it is quiet: at its end, or where its time belongs."""
        at_ms = self.history[-1]["at_ms"] if at_ms is None else at_ms
        place = next((n for n, one in enumerate(self.history) if one["at_ms"] >= at_ms), len(self.history) - 1)
        self.history.insert(place, {"at_ms": at_ms, "who": "api-1", "event": event, **facts})

    def sent(self, row: Row) -> Line:
        """The operator's line of the reply to a row."""
        return next(one for one in self.sink if one["in_reply_to"] == row.sms_id)

    def edit_stream(self, name: str, edit: Callable[[dict[bytes, bytes]], "dict[bytes, bytes] | None"]) -> int:
        """Write a stream without groups anew, each entry as `edit` makes it (None: as it was); how many it changed."""
        entries, about = self.redis.xrange(name), self.redis.xinfo_stream(name)
        changed = 0
        self.redis.delete(name)
        for place, fields in entries:
            edited = edit(dict(fields))
            changed += edited is not None
            self.redis.xadd(name, edited or fields, id=place)
        self.redis.execute_command("XSETID", name, about["last-generated-id"], "ENTRIESADDED", about["entries-added"],
                                   "MAXDELETEDID", about["max-deleted-entry-id"])  # fmt: skip
        return changed

    def edit_row(self, row: Row, edit: Callable[[list[Any]], None] = lambda row: None, letter: str = "") -> None:
        """Change one row of the trail, or its letter."""

        def edit_entry(fields: dict[bytes, bytes]) -> "dict[bytes, bytes] | None":
            batch = json.loads(fields[b"m"])
            places = [at for at, one in enumerate(batch["rows"]) if one[0] == row.entry_id]
            for at in places:
                edit(batch["rows"][at])
                if letter:
                    fields[b"v"] = fields[b"v"][:at] + letter.encode() + fields[b"v"][at + 1 :]
            return {**fields, b"m": json.dumps(batch).encode()} if places else None

        assert self.edit_stream(f"audit:{self.tag(row)}", edit_entry) == 1

    def edit_record(self, row: Row, edit: Callable[[bytes], bytes]) -> None:
        """Change the 22 bytes that a row has left in its day record."""
        name = f"day:{self.tag(row)}:{day_name(day_of(row.arrived_ms))}"
        field = bytes.fromhex(row.owner[:8])
        value = self.redis.hget(name, field)
        entries = [value[at : at + ENTRY] for at in range(0, len(value), ENTRY)]
        edited = [edit(entry) if entry[4:10].hex() == row.digest else entry for entry in entries]
        assert edited != entries
        self.redis.hset(name, field, b"".join(edited))

    def edit_json(self, kind: str, edit: Callable[[dict[str, Any]], bool]) -> None:
        """Change the first record of a hash, `<version> <JSON>`, that `edit` says it has changed."""
        for name in sorted(self.redis.scan_iter(f"{kind}:*")):
            for field, value in sorted(self.redis.hgetall(name).items()):
                version, said = record(value)
                if edit(said):
                    self.redis.hset(name, field, f"{version} {json.dumps(said)}")
                    return
        raise AssertionError(f"no record of {kind} to change")

    def edit_act(self, deed: str, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change the first act of a kind."""
        done: list[str] = []

        def edit_entry(fields: dict[bytes, bytes]) -> "dict[bytes, bytes] | None":
            act = json.loads(fields[b"m"])
            if done or act["deed"] != deed:
                return None
            done.append(deed)
            edit(act)
            return {b"m": json.dumps(act).encode()}

        for name in sorted(self.redis.scan_iter("acts:*")):
            self.edit_stream(name.decode(), edit_entry)
        assert done, f"no act {deed}"


def code(row: Row) -> str:
    """The code of a row's permit."""
    return code_of(row.partition, row.owner, row.digest)
