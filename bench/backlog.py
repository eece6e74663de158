"""What a measurement drains: SMS of a synthetic day as ingest stores them, and as peers get them.

The SMS go once through a real `icaze ingest`; what it has stored, sealed and read, is then written into every store of
the measurement. The same arguments give the same SMS; they arrive now.
"""

import argparse
import http.client
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from bench.day import Sms, generate
from bench.posts import PATH
from bench.progress import passed_on
from bench.role import free_port, role
from bench.spell import say
from bench.store import Command, opened
from lua.keys import PartitionKeys, partition_keys, tags
from permits.sms import read

SENDING: Final = timedelta(milliseconds=300)
"""Between the gateway's receipt and ingest."""
AT_ONCE: Final = 1000
"""SMS of one request."""


class PeerSms(msgspec.Struct, frozen=True, gc=False, rename={"sender": "from"}):
    """One SMS as a peer gets it: already read, so that nobody is measured by our grammar."""

    id: str
    sender: str
    purpose: int
    """0: refused for its form."""
    document: str


class Backlog:
    """Some SMS, their partitions, and where they will stand."""

    def __init__(self, messages: int, folder: Path, *, mix: str, seed: int, partitions: int) -> None:
        self.messages = messages
        self.partitions: list[PartitionKeys] = [partition_keys(tag) for tag in tags(partitions)]
        self.peer_sms: list[bytes] = []
        """The SMS as JSON of `PeerSms`."""
        self.arrived_ms = time.time_ns() // 1_000_000
        drawn = (sms for sms, _ in passed_on(generate(messages, seed, mix, date(2026, 1, 1)), messages, doing="SMS"))
        self._written: list[Command] = list(self._taken_in(drawn, folder))

    @classmethod
    def asked_for(cls, arguments: argparse.Namespace, folder: Path) -> Self:
        """As the arguments of a measurement say (`measurement.of_backlog`)."""
        return cls(arguments.messages, folder, mix=arguments.mix, seed=arguments.seed, partitions=arguments.partitions)

    @property
    def inbound(self) -> list[str]:
        """The streams that are drained."""
        return [keys.inbound for keys in self.partitions]

    @property
    def replies(self) -> list[str]:
        """The streams that are filled."""
        return [keys.replies for keys in self.partitions]

    def appends(self) -> Iterator[Command]:
        """What writes it into a store: the keys that it is sealed with, and every entry under the id that it had."""
        return iter(self._written)

    def _taken_in(self, drawn: Iterator[Sms], folder: Path) -> Iterator[Command]:
        """Hand all SMS to ingest, and say what it wrote."""
        say("ingest takes the SMS in")
        port = free_port()
        with opened(folder / f"taken-{time.monotonic_ns()}", fsync=True) as store:
            with role("ingest", store.url, folder, len(self.partitions), port=port) as ingest:
                ingest.await_port(port)
                line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                while some := list(islice(drawn, AT_ONCE)):
                    self.peer_sms += map(_as_peers_get_it, some)
                    line.request("POST", PATH, msgspec.json.encode(_posted(some)), {"Content-Type": "application/json"})
                    answer = line.getresponse()
                    told: dict[str, Any] = msgspec.json.decode(answer.read())
                    if answer.status != 202 or told["accepted"] != len(some):
                        raise SystemExit(f"icaze bench: ingest answered {answer.status}: {told}")
                line.close()
            key = self.partitions[0].day_keys
            sealed: dict[bytes, bytes] = store.client.hgetall(key)
            yield ["HSET", key, *(word for field in sealed.items() for word in field)]
            for stream in self.inbound:
                entries: list[tuple[bytes, dict[bytes, bytes]]] = store.client.xrange(stream)
                for entry_id, fields in entries:
                    yield ["XADD", stream, entry_id, "m", fields[b"m"]]


def _posted(some: list[Sms]) -> list[dict[str, str]]:
    received_at = (datetime.now(UTC) - SENDING).isoformat()
    return [{"id": s.id, "from": s.sender, "to": s.to, "text": s.text, "received_at": received_at} for s in some]


def _as_peers_get_it(sms: Sms) -> bytes:
    reading = read(sms.text)
    readable = reading.purpose in (1, 2, 3) and reading.document is not None and reading.fault is None
    purpose, document = (reading.purpose or 0, reading.document or "") if readable else (0, "")
    return msgspec.json.encode(PeerSms(sms.id, sms.sender, purpose, document))
