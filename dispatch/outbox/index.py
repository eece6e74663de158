"""The index of employees' permits: by organisation and by person, in the order of their creation.

Reads entries of `outbox:{p}`; writes `org:{q}:<tin>`, `person:{q}:<fin>`, and how far it has come in `feed:{p}`.
Each step may be repeated; `rebuild` makes the whole anew from the records.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from dispatch.outbox.entries import Entry, entries
from dispatch.outbox.records import held_records
from lua.calls import Command
from lua.keys import PartitionKeys
from permits.employees import EmployeePermit
from permits.messages import ENCODER, DeadLetter
from permits.partition import Route
from runtime.shared import SharedWire
from runtime.telemetry import Log

PAGE: Final = 200
INDEXED: Final = "indexed"
"""Field of `feed:{p}`: the last entry that the index has seen."""


class Index:
    """Brings the index up to date, partition by partition."""

    def __init__(self, store: SharedWire, *, route: Route, partitions: Sequence[PartitionKeys]) -> None:
        self._store = store
        self._route = route
        self._partitions = partitions
        self._log = Log("outbox")

    async def follow(self, held: Sequence[int]) -> bool:
        """Index what is new in some partitions, one page of each; whether there may be more."""
        keys = [self._partitions[index] for index in held]
        positions = await self._store.ask([["HGET", names.feed, INDEXED] for names in keys])
        looks: list[Command] = [
            ["XRANGE", names.outbox, b"(" + (after or b"0-0"), "+", "COUNT", PAGE]
            for names, after in zip(keys, positions, strict=True)
        ]
        pages = await self._store.ask(looks)
        found = [(names, entries(page)) for names, page in zip(keys, pages, strict=True) if page]
        await self._store.ask([command for _, page in found for entry in page for command in self._indexed(entry)])
        # Only what is indexed may leave the stream.
        await self._store.ask([command for names, page in found for command in self._done(names, page)])
        return any(len(page) == PAGE for _, page in found)

    def _indexed(self, entry: Entry) -> list[Command]:
        event = entry.event
        if event is None or event.number:
            return []
        return self._added(event.tin, event.person_partition, event.person, event.code, event.at_ms)

    def _done(self, names: PartitionKeys, page: Sequence[Entry]) -> list[Command]:
        """What is numbered stays for the Ministry; what nobody can read becomes a dead letter."""
        commands: list[Command] = []
        for entry in page:
            if entry.event is None:
                self._log.error("an outbox entry cannot be read", partition=names.tag, entry_id=entry.entry_id.decode())
                letter = DeadLetter(
                    "feed", entry.entry_id.decode(), "unreadable", time.time_ns() // 1_000_000, entry.text
                )
                commands.append(["XADD", names.dead, "*", "m", ENCODER.encode(letter)])
        gone = [entry.entry_id for entry in page if entry.event is None or not entry.event.number]
        if gone:
            commands.append(["XDEL", names.outbox, *gone])
        commands.append(["HSET", names.feed, INDEXED, page[-1].entry_id])
        return commands

    def _added(self, tin: str, person_partition: int, person: str, code: str, at_ms: int) -> list[Command]:
        org, mine = self._keys(tin, person_partition, person)
        return [["ZADD", org, "NX", at_ms, code], ["ZADD", mine, "NX", at_ms, code]]

    def _keys(self, tin: str, person_partition: int, person: str) -> tuple[str, str]:
        organisation = self._partitions[self._route.of_organisation(tin)]
        return organisation.org(tin), self._partitions[person_partition].person(bytes.fromhex(person))

    def added(self, permit: EmployeePermit) -> list[Command]:
        """Puts a permit into the index."""
        return self._added(permit.tin, permit.person_partition, permit.person, permit.code, permit.acts[0].at_ms)

    def removed(self, permit: EmployeePermit) -> list[Command]:
        """Takes a permit out of the index."""
        return [["ZREM", key, permit.code] for key in self._keys(permit.tin, permit.person_partition, permit.person)]

    async def rebuild(self, advance: Callable[[], None]) -> int:
        """Add every permit that stands, whatever the index has; the number of permits. `advance`: a partition done."""
        permits = 0
        for names in self._partitions:
            cursor = b"0"
            while True:
                ((cursor, flat),) = await self._store.ask([["ZSCAN", names.ends, cursor, "COUNT", PAGE]])
                members: Sequence[bytes] = flat[::2]
                hashes = [names.holder(bytes.fromhex(member.decode())) for member in members]
                found = await self._store.ask([["HGETALL", key] for key in hashes])
                records = [held.record for raw in found for held in held_records(raw)]
                standing = [record for record in records if isinstance(record, EmployeePermit)]
                await self._store.ask([command for permit in standing for command in self.added(permit)])
                permits += len(standing)
                if cursor == b"0":
                    break
            advance()
        return permits
