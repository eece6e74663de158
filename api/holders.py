"""What is known of a permit's holder: by document, by code, by person.

Reads the day records of the last days and `holder:{p}:<field>`, in one round trip for any number of documents;
a person's employee permits, by `person:{p}:<fin>`, in one more.
"""

from collections.abc import Callable, Sequence
from typing import Final

from api.link import packed
from api.standing import Standing, employed, employees, standing
from api.wires import Wires
from lua.keys import PartitionKeys
from permits import codes
from permits.calendar import day_name, local_day
from permits.employees import Epoch
from permits.partition import FIELD_BYTES, Route
from permits.policy import Policy

MOST_EMPLOYMENTS: Final = 100
"""Of one person, the newest: who has more gets no more."""
Owner = tuple[int, bytes]
"""Partition and owner key."""
_ANY_FIELD: Final = b"\x00\x01\xfe\xff"
"""In the place of an owner's field in a packed question; its bytes stand in no key."""
_ANY_HEX: Final = _ANY_FIELD.hex().encode()
_Look = tuple[str | bytes | int, ...]


class Holders:
    """Reads and never writes; whoever is unknown costs the store the same questions as who is known."""

    def __init__(
        self,
        wires: Wires,
        *,
        partitions: Sequence[PartitionKeys],
        route: Route,
        policy: Callable[[], Policy],
        epochs: Sequence[Epoch],
        now_ms: Callable[[], int],
    ) -> None:
        self.route = route
        self._wires = wires
        self._partitions = partitions
        self._policy = policy
        """The rules as last read."""
        self._rules = policy()
        self._days = self._rules.keep_days + 2
        self._epochs = epochs
        """Grows as epochs are proclaimed."""
        self._now_ms = now_ms
        self._today = 0
        self._names: dict[int, tuple[str, ...]] = {}
        self._packed_on = 0
        self._packed: dict[int, tuple[bytes, list[bytes]]] = {}

    async def of_document(self, owner: Owner) -> list[Standing]:
        """All decisions and permits of a document, newest first."""
        self._follow()
        partition, key = owner
        now_ms = self._now_ms()
        question = self._question(partition, key[:FIELD_BYTES], local_day(now_ms))
        held, *records = await self._wires.ask_packed(question, self._days + 1)
        return self._standing(owner, held, records, now_ms)

    async def of_code(self, address: tuple[int, bytes, int]) -> list[Standing]:
        """The permits that a decoded code names, newest first: nearly always one."""
        partition, field, byte = address
        code = codes.encode(partition, field, bytes((byte,)))
        # A code of more partitions than there are costs the same as another: it is none of those found.
        found = await self.of_document((partition % len(self._partitions), field))
        return [standing for standing in found if standing.permit.code == code]

    async def of_person(self, person: Owner) -> list[Standing]:
        """A person's permits as an employee, newest first."""
        return await self.of_citizen((), person)

    async def of_citizen(self, owners: Sequence[Owner], person: Owner | None) -> list[Standing]:
        """All decisions and permits of some documents, and of the person as an employee; each once, newest first."""
        self._follow()
        now_ms = self._now_ms()
        looks: list[_Look] = [
            look for partition, key in owners for look in self._looks(partition, key, local_day(now_ms))
        ]
        if person is not None:
            names = self._partitions[person[0]]
            looks.append(("ZRANGE", names.person(person[1]), 0, MOST_EMPLOYMENTS - 1, "REV"))
        replies = await self._wires.read(*looks)
        found: list[Standing] = []
        for at, owner in enumerate(owners):
            held, *records = replies[at * (self._days + 1) : (at + 1) * (self._days + 1)]
            found += self._standing(owner, held, records, now_ms)
        if person is not None:
            shown = {known.permit.code for known in found if known.permit.kind == "organisation"}
            found += [
                job for job in await self._employments(replies[-1], person, now_ms) if job.permit.code not in shown
            ]
        return sorted(found, key=lambda known: -known.at_ms)

    async def _employments(self, person_codes: Sequence[bytes], person: Owner, now_ms: int) -> list[Standing]:
        addresses = [address for code in person_codes if (address := codes.decode(code.decode())) is not None]
        places = [(partition, field) for partition, field, _ in addresses]
        places.append((person[0], person[1][:FIELD_BYTES]))  # whoever has no permit costs a round trip, too
        looks = dict.fromkeys(self._partitions[partition].holder(field) for partition, field in places)
        key = person[1].hex()
        return [
            employed(record, self._epochs, now_ms)
            for held in await self._wires.read(*(("HGETALL", look) for look in looks))
            for record in employees(held)
            if record.person == key and record.status != "draft"
        ]

    def _standing(
        self, owner: Owner, held: Sequence[bytes], records: Sequence[bytes | None], now_ms: int
    ) -> list[Standing]:
        partition, key = owner
        return standing(
            records,
            held,
            partition=partition,
            owner=key,
            policy=self._rules,
            epochs=self._epochs,
            now_ms=now_ms,
        )

    def _follow(self) -> None:
        """Go by new rules, which may have records kept longer."""
        rules = self._policy()
        if rules is not self._rules:
            self._rules, self._days = rules, rules.keep_days + 2
            self._today = self._packed_on = 0

    def _question(self, partition: int, field: bytes, today: int) -> bytes:
        """The looks of one document as they go over the wire: packing them each time costs more than sending them."""
        if today != self._packed_on:
            self._packed_on, self._packed = today, {}
        parts = self._packed.get(partition)
        if parts is None:
            start, rest = packed(self._looks(partition, _ANY_FIELD, today)).split(_ANY_HEX)
            parts = self._packed[partition] = (start, rest.split(_ANY_FIELD))
        start, between = parts
        return b"%b%b%b" % (start, field.hex().encode(), field.join(between))

    def _looks(self, partition: int, key: bytes, today: int) -> list[_Look]:
        field = key[:FIELD_BYTES]
        looks: list[_Look] = [("HGETALL", self._partitions[partition].holder(field))]
        looks += [("HGET", name, field) for name in self._day_keys(partition, today)]
        return looks

    def _day_keys(self, partition: int, today: int) -> tuple[str, ...]:
        """From tomorrow, which a processor's clock may have reached, to as far back as records are kept.

        Made once a day, since dates cost more than the question.
        """
        if today != self._today:
            self._today, self._names = today, {}
        names = self._names.get(partition)
        if names is None:
            keys = self._partitions[partition]
            days = range(today + 1, today + 1 - self._days, -1)
            names = self._names[partition] = tuple(keys.day(day_name(day)) for day in days)
        return names
