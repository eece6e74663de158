"""Deciding lanes for tests: four partitions of the real server, lanes on them, and what came of the SMS."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from lua import calls
from permits import policy as policies
from permits.messages import AUDIT_DECODER, DEAD_DECODER, ENCODER, REPLY_DECODER, DeadLetter, InboundSms, Reply
from permits.outcomes import NAME_OF
from permits.policy import Policy
from permits.sms import read
from processor.app import make_groups
from processor.approvals import Wordings
from processor.batch import Preparer
from processor.busy_phones import BusyPhones
from processor.lane import DecideLane
from processor.turns import Turns
from runtime.connection import Client, Wire
from runtime.day_keys import DayKeys
from runtime.keyring import SenderSeal
from runtime.leases import Lease
from runtime.sealing import opened_letter
from runtime.telemetry import REGISTRY
from tests.day_keys import KEYRING, every_day
from tests.eventually import eventually
from tests.integration.ingest_door import KEYS, ROUTE
from tests.uncounted import phones

Rules = Callable[[], Policy]
ONE_PHONE: Final = policies.DEFAULT_FILE.read_bytes().replace(b"documents_per_sender = 10", b"")
"""The default rules, but for one thing: all that these tests send comes from one phone."""
POLICY: Final = policies.parse(ONE_PHONE, policies.DEFAULT_FILE)
SEAL: Final = SenderSeal(KEYRING)
DAY_KEYS: Final = every_day()
HOME: Final = ROUTE.of_document("AZE1111111")[0]
AT_HOME: Final = [f"AZE{n}" for n in range(1000000, 1030000) if ROUTE.of_document(f"AZE{n}")[0] == HOME]
"""Documents of the partition that most tests look at."""
AWAY: Final = next(f"AZE{n}" for n in range(1000000, 1000100) if ROUTE.of_document(f"AZE{n}")[0] != HOME)
PHONE: Final = next(f"+9945012345{n:02d}" for n in range(100) if ROUTE.of_sender(f"+9945012345{n:02d}")[0] == HOME)
"""A phone whose SMS without a document belong there too."""


def payload(text: str, sms_id: str, **other: Any) -> bytes:
    """One SMS as ingest stores it."""
    fields: dict[str, Any] = {
        "id": sms_id,
        "source": "dev",
        "sender": PHONE,
        "to": "8103",
        "text": text,
        "arrived_ms": time.time_ns() // 1_000_000,
    }
    return ENCODER.encode(InboundSms(**(fields | other)))


def preparer(index: int, policy: Rules, day_keys: DayKeys, counting: BusyPhones) -> Preparer:
    """What prepares the batches of a partition."""
    return Preparer(
        index=index,
        keys=KEYS[index],
        route=ROUTE,
        policy=policy,
        wordings=Wordings("plain"),
        seal=SEAL,
        phones=counting,
        day_keys=day_keys,
    )


class Floor:
    """The partitions of one store."""

    def __init__(self, client: Client, url: str) -> None:
        self.client = client
        self.url = url

    async def open(self) -> "Floor":
        """Make the consumer groups."""
        await make_groups(self.client, KEYS)
        return self

    async def lease(self, index: int = HOME, *, owner: str = "lane") -> Lease:
        """Take a partition for a minute, whoever holds it."""
        keys = KEYS[index]
        await self.client.execute_command("DEL", keys.lease("decide"))
        epoch = await calls.lease(
            self.client,
            lease_key=keys.lease("decide"),
            fence_key=keys.fence("decide"),
            owner=owner,
            ttl_ms=60_000,
        )
        assert epoch is not None
        return Lease(index, keys, epoch, time.monotonic() + 60)

    def lane(
        self,
        lease: Lease,
        *,
        wire: Wire | None = None,
        batch: int = 512,
        policy: Rules = lambda: POLICY,
        day_keys: DayKeys = DAY_KEYS,
        counting: BusyPhones | None = None,
        turns: Turns | None = None,
    ) -> DecideLane:
        """A lane on a lease."""
        return DecideLane(
            lease,
            preparer=preparer(lease.index, policy, day_keys, counting or phones()),
            wire=wire or Wire(self.url),
            partitions=KEYS,
            turns=turns or Turns(4),
            batch=batch,
            wall_ms=lambda: time.time_ns() // 1_000_000,
        )

    @asynccontextmanager
    async def deciding(
        self,
        *indexes: int,
        wire: Wire | None = None,
        batch: int = 512,
        policy: Rules = lambda: POLICY,
        day_keys: DayKeys = DAY_KEYS,
    ) -> AsyncGenerator["asyncio.Task[Any]"]:
        """Lanes at work on some partitions (HOME alone where none are named); they must not fail."""
        lanes = [
            self.lane(await self.lease(index), wire=wire, batch=batch, policy=policy, day_keys=day_keys)
            for index in indexes or (HOME,)
        ]
        task = asyncio.create_task(_all(lanes))
        try:
            yield task
        finally:
            for lane in lanes:
                lane.stop()
            await asyncio.wait_for(task, 10)

    async def put(self, raw: bytes, *, index: int = HOME) -> bytes:
        """Append an entry as it is."""
        return await self.client.execute_command("XADD", KEYS[index].inbound, "*", "m", raw)

    async def push(self, texts: Sequence[str], *, prefix: str = "sms") -> list[str]:
        """Append SMS to their own partitions: their ids."""
        ids = [f"{prefix}-{n}" for n in range(len(texts))]
        for sms_id, text in zip(ids, texts, strict=True):
            await self.put(payload(text, sms_id), index=ROUTE.owner(read(text).document, PHONE)[0])
        return ids

    async def undecided(self) -> int:
        """SMS in all inbound streams."""
        return sum([await self.client.execute_command("XLEN", keys.inbound) for keys in KEYS])

    async def settled(self, *, within_s: float = 20.0) -> None:
        """Returns when nothing undecided is left."""

        async def done() -> bool:
            return await self.undecided() == 0

        await eventually(done, within_s=within_s)

    async def replies(self) -> list[Reply]:
        """All replies, partition by partition."""
        return [REPLY_DECODER.decode(raw) for raw in await self._m("replies")]

    async def dead(self) -> list[DeadLetter]:
        """All dead letters, opened."""
        return [opened_letter(DAY_KEYS, letter) for letter in await self.dead_as_stored()]

    async def dead_as_stored(self) -> list[DeadLetter]:
        """All dead letters, as they stand."""
        return [DEAD_DECODER.decode(raw) for raw in await self._m("dead")]

    async def raw_replies(self) -> list[bytes]:
        """All replies as they stand."""
        return await self._m("replies")

    async def outcomes(self) -> Counter[tuple[str, str]]:
        """How often each (SMS, outcome) stands in the audit trail."""
        found: Counter[tuple[str, str]] = Counter()
        for keys in KEYS:
            for _, fields in await self.client.execute_command("XRANGE", keys.audit, "-", "+"):
                rows = AUDIT_DECODER.decode(fields[b"m"]).rows
                for row, letter in zip(rows, fields[b"v"].decode(), strict=True):
                    found[row.sms_id, NAME_OF[letter]] += 1
        return found

    async def _m(self, stream: str) -> list[bytes]:
        return [
            fields[b"m"]
            for keys in KEYS
            for _, fields in await self.client.execute_command("XRANGE", getattr(keys, stream), "-", "+")
        ]


async def _all(lanes: Sequence[DecideLane]) -> None:
    await asyncio.gather(*(lane.run() for lane in lanes))


def restarts(cause: str) -> float:
    """How often lanes began anew for this cause, in the life of this process."""
    return REGISTRY.get_sample_value("icaze_lane_restarts_total", {"cause": cause}) or 0.0


async def each_decided_once(floor: Floor, ids: Sequence[str]) -> None:
    """Every SMS has one approval, and one reply."""
    assert await floor.outcomes() == Counter({(one, "approved"): 1 for one in ids})
    assert Counter(reply.in_reply_to for reply in await floor.replies()) == Counter(ids)
    assert await floor.dead() == []
