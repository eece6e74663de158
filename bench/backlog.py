"""What a measurement drains: SMS of a synthetic day as they stand in the inbound streams, and as peers get them.

The same arguments give the same backlog but for the moment of arrival, which is now.
"""

import time
from collections.abc import Iterator
from datetime import date
from typing import Final

import msgspec

from bench.day import generate
from bench.progress import passed_on
from bench.store import Command
from lua.keys import PartitionKeys, partition_keys, tags
from permits.messages import ENCODER, InboundSms
from permits.partition import Route
from permits.sms import read

ROUTING_KEY: Final = b"the measurements' own routing key"
SENDING_MS: Final = 300
"""Between the gateway's receipt and ingest."""


class PeerSms(msgspec.Struct, frozen=True, gc=False, rename={"sender": "from"}):
    """One SMS as a peer gets it: already read, so that nobody is measured by our grammar."""

    id: str
    sender: str
    purpose: int
    """0: refused for its form."""
    document: str


class Backlog:
    """Some SMS, their partitions, and where they will stand."""

    def __init__(self, messages: int, *, mix: str, seed: int, partitions: int) -> None:
        self.messages = messages
        self.partitions: list[PartitionKeys] = [partition_keys(tag) for tag in tags(partitions)]
        self.entries: list[tuple[int, bytes]] = []
        """(partition, payload) in order of arrival."""
        self.peer_sms: list[bytes] = []
        """The same as JSON of `PeerSms`."""
        self.arrived_ms = time.time_ns() // 1_000_000
        route = Route(key=ROUTING_KEY, partitions=partitions)
        drawn = generate(messages, seed, mix, date(2026, 1, 1))
        for sms, _ in passed_on(drawn, messages, doing="writing SMS"):
            reading = read(sms.text)
            stored = InboundSms(
                sms.id,
                "bench",
                sms.sender,
                sms.to,
                sms.text,
                self.arrived_ms,
                self.arrived_ms - SENDING_MS,
            )
            self.entries.append((route.owner(reading.document, sms.sender)[0], ENCODER.encode(stored)))
            readable = reading.purpose in (1, 2, 3) and reading.document is not None and reading.fault is None
            purpose, document = (reading.purpose or 0, reading.document or "") if readable else (0, "")
            self.peer_sms.append(ENCODER.encode(PeerSms(sms.id, sms.sender, purpose, document)))

    @property
    def inbound(self) -> list[str]:
        """The streams that are drained."""
        return [keys.inbound for keys in self.partitions]

    @property
    def replies(self) -> list[str]:
        """The streams that are filled."""
        return [keys.replies for keys in self.partitions]

    def appends(self) -> Iterator[Command]:
        """What writes it into a store, under ids that are the same each time."""
        for number, (partition, payload) in enumerate(self.entries, 1):
            yield ["XADD", self.partitions[partition].inbound, f"{self.arrived_ms}-{number}", "m", payload]
