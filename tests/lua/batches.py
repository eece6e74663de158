"""Builds what a lane would hand to `decide`, from SMS written as a test thinks of them.

All times stand in the year 2090, so that no expiry passes while a test runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from lua import calls, records
from lua.calls import ASK, CANCEL, Batch, Decided, DecideReply, cancellable_since
from lua.keys import PartitionKeys, partition_keys
from lua.store import Store
from permits.calendar import DAY_MS, day_name, day_number, day_start_ms, hour_end, hour_name, local_day
from permits.decision import DEDUP_DAYS, RECORD_ENTRIES
from permits.messages import (
    AUDIT_DECODER,
    CANCELLATIONS_DECODER,
    ENCODER,
    AuditBatch,
    AuditRow,
    Cancellation,
    HeldApproval,
)
from permits.outcomes import DEAD, MOVED
from permits.partition import Route
from permits.regimes import Limits, Rule
from tests.day_records import static_struct
from tests.identities import identity

TODAY: Final = day_number("20900614")
MIDNIGHT_MS: Final = day_start_ms(TODAY)
NOON_MS: Final = MIDNIGHT_MS + DAY_MS // 2
DECIDED_MS: Final = NOON_MS + 5_000
COUNTS_EXPIRY_S: Final = MIDNIGHT_MS // 1000 + 8 * 86_400
RECORD_BYTES: Final = RECORD_ENTRIES * records.ENTRY_BYTES
ONCE_A_DAY: Final = (Rule(limit=1, purposes=(2,)),)
PLAIN: Final = ('"malformed"}', "")
"""The rest of a refusal that names no document."""
TAILED: Final = (('"quota ', '"}'), ('"abuse_document ', '"}'), ('"blocked ', '"}'))
"""What stands around the document's tail in those that do."""
APPROVED: Final = (('"approved ', " "), (" ", '"}'))
"""What stands around code, tail and code again in an approval."""
CANCELLED: Final = (('"cancelled ', '"}'), ('"nothing_to_cancel ', '"}'))
ARRIVED_SINCE_S: Final = MIDNIGHT_MS // 1000 - 3 * 86_400
ENDLESS_SINCE_S: Final = MIDNIGHT_MS // 1000 - 86_400
"""What the tests let an SMS cancel."""

ROUTE: Final = Route(key=b"a key for tests only", partitions=1)


def owner(document: str) -> bytes:
    """The 8-byte owner key of a document."""
    return ROUTE.of_document(document)[1]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One SMS."""

    id: str
    text: str = "2 AZE 1111111"
    owner: bytes = owner("AZE1111111")
    purpose: int = 2
    minutes: int = 180
    arrived_ms: int = NOON_MS
    asked_ms: int | None = None
    """None: asked when it arrived."""
    outcome: str = ASK
    """A letter where the rules have no say: refused for its form, moved or dead; CANCEL: it has the cancel word."""
    rules: Sequence[Rule] = ONCE_A_DAY
    by_text: bool = False
    tail: str = "1111"
    phone: str = "+994500000001"
    limits: Limits = Limits()
    hold_minutes: int = 0
    bars: Sequence[int] = ()
    """Lists that bar the purpose."""
    frames: tuple[tuple[str, str], ...] = ()
    """None given: by whether the form was refused."""

    @property
    def day(self) -> int:
        """The Baku day whose quota this SMS asks for."""
        return local_day(self.arrived_ms if self.asked_ms is None else self.asked_ms)

    @property
    def arrival_day(self) -> int:
        """The Baku day whose record keeps the decision."""
        return local_day(self.arrived_ms)

    @property
    def digest(self) -> bytes:
        """Six bytes of identity."""
        return identity(ROUTE, self.phone, self.id, self.text, by_text=self.by_text)

    @property
    def sender(self) -> bytes:
        """Keyed hash of the phone."""
        return ROUTE.of_sender(self.phone)[1]

    @property
    def permit(self) -> str:
        """The code of its permit: the function does not look into it."""
        return f"P{int.from_bytes(self.digest) % 10**9:09}"

    @property
    def sealed(self) -> bytes:
        """What stands for the sender's sealed number: the function does not look into it."""
        return f"from {self.id}".encode().rjust(16, b".")

    @property
    def sender_field(self) -> bytes:
        """Where an approval leaves it."""
        return self.owner[:4] + self.digest

    def waiting(self, entry_id: bytes) -> bytes:
        """What is held in the place of its approval."""
        held = HeldApproval(
            entry_id=entry_id.decode(),
            in_reply_to=self.id,
            purpose=self.purpose,
            document_tail=self.tail,
            owner=self.owner.hex(),
            digest=self.digest.hex(),
            asked_ms=self.arrived_ms if self.asked_ms is None else self.asked_ms,
            arrived_ms=self.arrived_ms,
        )
        return ENCODER.encode(held)

    def ends_s(self, decided_ms: int) -> int:
        """When a permit that is given now ends."""
        return decided_ms // 1000 + (self.minutes * 60 or 2 * 86_400)


Entry = tuple[bytes, Ask]
"""An SMS and the stream entry in which it stands."""


def record_expiry_s(day: int) -> int:
    """When the tests' day records go."""
    return day_start_ms(day + 4) // 1000


@dataclass
class _Rows:
    """Rows that many messages share, each written once and named by its place, from 1."""

    rows: list[Any] = field(default_factory=list[Any])

    def place(self, row: Any) -> int:
        if row not in self.rows:
            self.rows.append(row)
        return self.rows.index(row) + 1


def _framed(frames: _Rows, group: tuple[tuple[str, str], ...]) -> int:
    """Number of a group's first frame, counted from 1."""
    at = frames.place(group) - 1
    return 1 + sum(len(before) for before in frames.rows[:at])


def reply_start(tag: str, entry_id: bytes) -> str:
    """The part of a reply that is the same whatever is decided."""
    return f'{{"id":"{tag}-{entry_id.decode()}","text":'


def build(tag: str, entries: Sequence[Entry], *, epoch: str, decided_ms: int, today: int) -> Batch:
    """One batch; its day records reach from the earliest that can matter to today's."""
    days = [ask.arrival_day for _, ask in entries]
    oldest = min(days) - DEDUP_DAYS - 1
    newest = max(*days, today)
    rules, frames, hours = _Rows(), _Rows(), _Rows()
    blob, seals, rows, texts = bytearray(), bytearray(), list[AuditRow](), list[calls.Arg]()
    for entry_id, ask in entries:
        asks = ask.outcome == ASK
        frame = ask.frames or (TAILED if asks else CANCELLED if ask.outcome == CANCEL else (PLAIN,))
        if asks and not ask.hold_minutes:
            frame += APPROVED
        timing = records.timing(
            arrived_s=ask.arrived_ms // 1000,
            decided_s=decided_ms // 1000,
            minutes=ask.minutes,
            days_to_arrival=ask.arrival_day - ask.day,
        )
        blob += ask.owner[:4]
        blob += static_struct(
            ask.owner[4:],
            ask.digest,
            ask.arrived_ms // 1000,
            timing,
            ask.sender[: records.SENDER_BYTES],
            ask.purpose,
        )
        blob += ask.outcome.encode()
        blob += bytes(
            [
                newest - ask.arrival_day,
                rules.place(calls.rule_row(ask.limits, ask.bars, ask.rules)),
                _framed(frames, frame),
                ask.by_text,
            ]
        )
        blob.append(hours.place(hour_end(ask.ends_s(decided_ms))) if asks and not ask.hold_minutes else 0)
        blob += ask.tail.encode().rjust(4)
        blob.append(ask.hold_minutes)
        blob += ask.permit.encode()
        if ask.outcome == DEAD:
            texts.append(f'{{"entry_id":"{entry_id.decode()}"}}')
        elif ask.outcome != MOVED:
            texts.append(reply_start(tag, entry_id))
            if ask.outcome == CANCEL:
                texts.append(cancellable_since(arrived_since_s=ARRIVED_SINCE_S, endless_since_s=ENDLESS_SINCE_S))
            if asks:
                texts += [ask.waiting(entry_id)] if ask.hold_minutes else []
                seals += ask.sealed
        rows.append(_audit_row(entry_id, ask))
    audit = AuditBatch(partition=0, epoch=int(epoch), policy="test", decided_ms=decided_ms, rows=rows)
    return Batch(
        first_id=entries[0][0],
        last_id=entries[-1][0],
        count=len(entries),
        messages=bytes(blob),
        days=[day_name(day) for day in range(oldest, newest + 1)],
        day_expiries_s=[record_expiry_s(day) for day in range(oldest, newest + 1)],
        hours=[hour_name(hour) for hour in hours.rows],
        hour_expiries_s=hours.rows,
        seals=bytes(seals),
        rules=rules.rows,
        frames=[rest for group in frames.rows for rest in group],
        holders=[ask.owner[:4] for _, ask in entries if ask.outcome == CANCEL],
        texts=texts,
        now_ms=decided_ms,
        audit=ENCODER.encode(audit),
        counts_day=day_name(local_day(decided_ms)),
        counts_expiry_s=COUNTS_EXPIRY_S,
    )


def _audit_row(entry_id: bytes, ask: Ask) -> AuditRow:
    return AuditRow(
        entry_id=entry_id.decode(),
        sms_id=ask.id,
        source="dev",
        purpose=ask.purpose,
        owner=ask.owner.hex(),
        digest=ask.digest.hex(),
        asked_ms=ask.arrived_ms if ask.asked_ms is None else ask.asked_ms,
        arrived_ms=ask.arrived_ms,
        by_text=ask.by_text,
        asked=ask.purpose,
        shape="AZE9999999",
        fault="",
        sender=ask.sender.hex(),
        hold_minutes=ask.hold_minutes,
    )


class Audited(NamedTuple):
    """What one call left in the trail."""

    batch: AuditBatch
    letters: str
    silent: str


class Partition:
    """One partition of a store under test, held by one lane."""

    def __init__(self, store: Store, tag: str = "t", *, record_bytes: int = RECORD_BYTES) -> None:
        self.store = store
        self.tag = tag
        self.keys: PartitionKeys = partition_keys(tag)
        self.record_bytes = record_bytes
        self.epoch = "0"
        self.today = 0

    async def lease(self, owner: str = "lane") -> str | None:
        """Take the lane's lease; its epoch is ours from now on."""
        epoch = await calls.lease(
            self.store,
            lease_key=self.keys.lease("decide"),
            fence_key=self.keys.fence("decide"),
            owner=owner,
            ttl_ms=60_000,
        )
        self.epoch = epoch or self.epoch
        return epoch

    async def push(self, *asks: Ask) -> list[Entry]:
        """Append SMS to the inbound stream."""
        self.today = max([self.today, *(ask.arrival_day for ask in asks)])
        return [(await self.store.execute_command("XADD", self.keys.inbound, "*", "m", ask.id), ask) for ask in asks]

    def batch(self, entries: Sequence[Entry], *, decided_ms: int = DECIDED_MS) -> Batch:
        """A batch of this lane."""
        return build(self.tag, entries, epoch=self.epoch, decided_ms=decided_ms, today=self.today)

    async def call(self, batch: Batch, *, epoch: str | None = None, store: Store | None = None) -> DecideReply:
        """Decide a batch."""
        command = calls.decide_command(
            self.keys, epoch=epoch or self.epoch, batch=batch, record_bytes=self.record_bytes
        )
        return calls.decide_reply(await (store or self.store).execute_command(*command))

    async def decided(self, batch: Batch) -> Decided:
        """Decide a batch that is ours to decide."""
        reply = await self.call(batch)
        assert isinstance(reply, Decided), reply
        return reply

    async def decide(self, *asks: Ask, decided_ms: int = DECIDED_MS) -> str:
        """Append SMS and decide them in one batch: their outcome letters."""
        reply = await self.decided(self.batch(await self.push(*asks), decided_ms=decided_ms))
        assert reply.removed == len(asks)
        return reply.letters

    async def record(self, ask: Ask) -> list[records.RecordEntry]:
        """The owner's entries in the record of the day on which an SMS arrived."""
        key = self.keys.day(day_name(ask.arrival_day))
        value = await self.store.execute_command("HGET", key, ask.owner[:4])
        return records.entries(value or b"", ask.owner[4:])

    async def texts(self, stream: str) -> list[str]:
        """The field `m` of each entry of a stream."""
        return [fields[b"m"].decode() for _, fields in await self.store.execute_command("XRANGE", stream, "-", "+")]

    async def replies(self) -> list[str]:
        """All replies so far."""
        return await self.texts(self.keys.replies)

    async def counts(self, decided_ms: int = DECIDED_MS) -> dict[str, int]:
        """The counters of one day of decision."""
        key = self.keys.counts(day_name(local_day(decided_ms)))
        counted: dict[bytes, bytes] = await self.store.execute_command("HGETALL", key)
        return {name.decode(): int(times) for name, times in counted.items()}

    async def audit(self) -> list[Audited]:
        """All audited batches with their outcome letters."""
        found = await self.store.execute_command("XRANGE", self.keys.audit, "-", "+")
        return [Audited(AUDIT_DECODER.decode(f[b"m"]), f[b"v"].decode(), f.get(b"w", b"").decode()) for _, f in found]

    async def cancellations(self) -> list[Cancellation]:
        """What the trail tells of each SMS with the cancel word."""
        found = await self.store.execute_command("XRANGE", self.keys.audit, "-", "+")
        return [one for _, f in found if b"c" in f for one in CANCELLATIONS_DECODER.decode(f[b"c"])]

    async def senders(self, ends_s: int) -> dict[bytes, bytes]:
        """What is kept of the senders of permits that end before an hour."""
        return await self.store.execute_command("HGETALL", self.keys.senders(hour_name(hour_end(ends_s))))

    async def undecided(self) -> int:
        """How many entries stand in the inbound stream."""
        return await self.store.execute_command("XLEN", self.keys.inbound)


async def dump(store: Store) -> dict[bytes, tuple[bytes, int]]:
    """Every key of the store: its value in the server's own bytes, and when it expires."""
    names: list[bytes] = await store.execute_command("KEYS", "*")
    return {
        name: (await store.execute_command("DUMP", name), await store.execute_command("PEXPIRETIME", name))
        for name in sorted(names)
    }
