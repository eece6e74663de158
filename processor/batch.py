"""From a lane's entries to one call of `decide`: the third step of a lane.

Everything that needs no knowledge of earlier decisions is settled here: form, policy, both texts of a reply. What
the rules must decide goes to the function with both outcomes prepared.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from lua.calls import CANCEL, Arg, Batch, cancellable_since, message
from lua.keys import PartitionKeys
from lua.records import timing
from permits import codes
from permits.calendar import day_name, day_start_ms, hour_name, local_day
from permits.cancel_word import asks_to_cancel
from permits.documents import shape, tail
from permits.messages import (
    ENCODER,
    SEALED_DECODER,
    AuditBatch,
    AuditRow,
    DeadLetter,
    HeldApproval,
    Lang,
    ReplyHead,
)
from permits.outcomes import DEAD, MOVED, REFUSALS
from permits.partition import FIELD_BYTES, Route
from permits.policy import Policy
from permits.replies import Texts
from processor.approvals import Wordings
from processor.busy_phones import BusyPhones
from processor.kinds import InForce, Kind
from processor.numbered import Numbered
from processor.reading import LATEST_RECEIPT_MS, Asked, Reader, UnreadableError
from runtime.day_keys import DayKeys
from runtime.keyring import SenderSeal
from runtime.sealing import sealed_letter

Entry = tuple[bytes, bytes | None]
"""Entry id and its field `m`."""

COUNTS_DAYS: Final = 8
EXPIRY_STAGGER_S: Final = 20
"""Records of one day expire partition by partition, not all at midnight."""
NO_TAIL: Final = b"    "
NO_PERMIT: Final = b""
CANCELS: Final = CANCEL.encode()
ABUSE: Final = REFUSALS["abuse_sender"].encode()


class Prepared(msgspec.Struct, frozen=True):
    """One call, and the entries that must first be appended elsewhere."""

    batch: Batch
    moves: list[tuple[int, bytes]]
    """(partition, payload) of entries that another partition owns."""
    oldest_ms: int
    """Arrival of the oldest SMS in the batch."""


class Preparer:
    """Prepares the batches of one partition."""

    def __init__(
        self,
        *,
        index: int,
        keys: PartitionKeys,
        route: Route,
        policy: Callable[[], Policy],
        wordings: Wordings,
        seal: SenderSeal,
        phones: BusyPhones,
        day_keys: DayKeys,
    ) -> None:
        self.index = index
        self.keys = keys
        self.route = route
        self._policy = policy
        """The rules to decide by; raises one of STORE_ERRORS where nobody can say."""
        self._wordings = wordings
        self.seal = seal
        self.phones = phones
        self.day_keys = day_keys

    def prepare(
        self,
        entries: Sequence[Entry],
        *,
        epoch: str,
        now_ms: int,
        unfit: str | None = None,
        keys_are_read: bool = False,
    ) -> Prepared:
        """The call that decides `entries`, from the first on; with `unfit` it makes dead letters of them.

        UnreadDayKeyError where a day's key is not known. With `keys_are_read` the keys were read after the entries
        were: an entry whose key is not among them is a dead letter.
        """
        policy = self._policy()
        draft = _Draft(self, now_ms, policy, self._wordings.of(policy))
        read: Sequence[Asked | UnreadableError]
        if unfit is None:
            reader = Reader(self.route, self.day_keys, now_ms)
            read = reader.read_all([payload for _, payload in entries], keys_are_read=keys_are_read)
        else:
            read = [UnreadableError(unfit)] * len(entries)
        taken = 0
        for (entry_id, payload), asked in zip(entries, read, strict=True):
            if draft.numbered.is_full:
                break
            taken += 1
            if isinstance(asked, UnreadableError):
                draft.bury(entry_id, payload, str(asked))
            elif asked.says.partition == self.index:
                draft.judge(entry_id, asked)
            else:
                draft.move(entry_id, asked)
        return draft.finish(entries[:taken], epoch)


class _Draft:
    """One batch while it grows."""

    def __init__(self, preparer: Preparer, now_ms: int, policy: Policy, texts: dict[str, Texts]) -> None:
        self._index = preparer.index
        self._tag = preparer.keys.tag
        self._route = preparer.route
        self._policy = policy
        self._seal = preparer.seal
        self._phones = preparer.phones
        self._day_keys = preparer.day_keys
        self._now_ms = now_ms
        self._now_s = now_ms // 1000
        self._messages: list[bytes] = []
        self._texts: list[Arg] = []
        self._rows: list[AuditRow] = []
        self._moves: list[tuple[int, bytes]] = []
        self._senders: list[tuple[str, Lang, bytes, bytes]] = []
        self._holders: list[bytes] = []
        self.numbered = Numbered(policy, texts, now_ms)
        self._in_force = InForce(policy, now_ms, self.numbered, now_ms)
        self._of_moments = {self._in_force.from_ms: self._in_force}
        self._today = local_day(now_ms)
        # A clock of ingest may be ahead: what it filed under tomorrow is looked up too.
        self._highest_day = local_day(now_ms + LATEST_RECEIPT_MS)
        self._lowest_day = self._today - 2
        self._oldest_ms = now_ms

    def bury(self, entry_id: bytes, payload: bytes | None, reason: str) -> None:
        """An entry that is no SMS: a dead letter in the same call, sealed unless it is what ingest has sealed."""
        letter = DeadLetter("inbound", entry_id.decode(), reason, self._now_ms, "")
        try:
            # Encoded anew, so that nothing of it but what we know stands in clear.
            letter = replace(letter, raw=ENCODER.encode(SEALED_DECODER.decode(payload or b"")).decode())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            letter = replace(letter, raw=(payload or b"").decode("utf-8", "backslashreplace"))
            letter = sealed_letter(self._day_keys.at(self._now_ms), letter)
        self._unowned(entry_id, DEAD, "", "", self._now_ms)
        self._texts.append(ENCODER.encode(letter))

    def move(self, entry_id: bytes, asked: Asked) -> None:
        """An entry of another partition: it is appended there first and only then removed here."""
        self._moves.append((asked.says.partition, asked.payload))
        self._unowned(entry_id, MOVED, asked.sms.id, asked.sms.source, asked.arrived_ms)

    def judge(self, entry_id: bytes, asked: Asked) -> None:
        """An entry that is ours: decided by its form, or left to the rules."""
        sms, says = asked.sms, asked.says
        asked_ms, arrived_ms = asked.asked_ms, asked.arrived_ms
        document, owner, digest, sender = says.document, says.owner, says.digest, says.sender
        form = "" if document is None else shape(document)
        kind = self._kind(asked, form)
        frame = kind.frame
        if kind.letter == ABUSE and not self._phones.is_told(sender, entry_id, self._now_ms):
            frame = 0
        document_tail = None if document is None else tail(document)
        name = entry_id.decode()
        head = ReplyHead(f"{self._tag}-{name}", asked.phone, sms.id, says.lang, says.purpose, document_tail, sms.trace)
        # The object stays open: the outcome's fields follow.
        self._texts.append(ENCODER.encode(head)[:-1] + b",")
        arrived_s = arrived_ms // 1000
        hour = hold = 0
        permit = NO_PERMIT
        if kind.letter == CANCELS:
            self._cancel(owner, kind.code)
        elif kind.reason is None and document_tail is not None:
            # Its number is kept if it is approved, which the function alone will know.
            self._senders.append((asked.phone, says.lang, owner, digest))
            hold = kind.hold
            if hold:
                self._texts.append(self._waiting(name, asked, kind.code, document_tail))
            else:
                hour = kind.hour
                if arrived_s > self._now_s and kind.purpose is not None:
                    hour = self.numbered.hour(kind.purpose, arrived_s)
                permit = codes.encode(self._index, owner, digest).encode()
        arrival_day, asked_day = asked.arrival_day, asked.asked_day
        self._messages.append(
            message(
                owner,
                owner[FIELD_BYTES:],
                digest,
                arrived_s,
                timing(arrived_s, self._now_s, kind.minutes, arrival_day - asked_day),
                sender,
                kind.code,
                kind.letter,
                self._highest_day - arrival_day,
                kind.rule,
                frame,
                sms.by_text,
                hour,
                NO_TAIL if document_tail is None else document_tail.encode(),
                hold,
                permit,
            )
        )
        self._rows.append(
            AuditRow(
                name,
                sms.id,
                sms.source,
                kind.code,
                owner.hex(),
                digest.hex(),
                asked_ms,
                arrived_ms,
                sms.by_text,
                says.purpose or 0,
                form,
                says.fault or "",
                sender.hex(),
                hold,
            )
        )
        if arrival_day != self._today or asked_day != arrival_day:
            # Records of one quota day can stand from a day before it (a gateway's clock ahead) to the last arrival.
            self._lowest_day = min(self._lowest_day, arrival_day - 2, asked_day - 1)
        if arrived_ms < self._oldest_ms:
            self._oldest_ms = arrived_ms

    def _kind(self, asked: Asked, form: str) -> Kind:
        """What an SMS comes to; most of a batch is of a few kinds, which are looked up."""
        says, asked_ms = asked.says, asked.asked_ms
        # A gateway whose clock is ahead names a moment whose rules may not be known yet.
        moment_ms = asked_ms if asked_ms < asked.arrived_ms else asked.arrived_ms
        in_force = self._in_force
        if not in_force.from_ms <= moment_ms < in_force.until_ms:
            in_force = self._change(moment_ms)
        key = (
            says.purpose,
            form,
            says.fault,
            says.lang,
            asked.sms.channel,
            asked_ms < in_force.late_before_ms,
            in_force.regime.clock(asked_ms) if in_force.looks_at_clock else None,
        )
        kind = in_force.kinds.get(key)
        if kind is None:
            kind = in_force.kinds[key] = in_force.judged(says.reading, asked.sms.channel, asked_ms)
        if says.document is None:
            return kind
        regime = in_force.regime
        word = regime.cancel_word
        cancels = word is not None and asks_to_cancel(word, asked.text, says.reading, kind.reason)
        # Whether the phone has named more documents today than it may, in requests or in what is refused for form.
        limit = regime.limits.documents_per_sender
        if limit is not None and self._phones.is_busy(
            says.sender,
            says.sender_partition,
            says.owner,
            day=asked.arrival_day,
            limit=limit,
            refused=kind.reason is not None and not cancels,
        ):
            return in_force.turned(says.reading, "abuse_sender")
        return in_force.turned(says.reading, "cancels") if cancels else kind

    def _change(self, moment_ms: int) -> InForce:
        """The regime of another moment than the last SMS's."""
        found = InForce(self._policy, moment_ms, self.numbered, self._now_ms)
        self._in_force = self._of_moments.setdefault(found.from_ms, found)
        return self._in_force

    def finish(self, entries: Sequence[Entry], epoch: str) -> Prepared:
        """The call, now that the span of days is known."""
        days = range(self._lowest_day, self._highest_day + 1)
        counts_day = local_day(self._now_ms)
        stagger_s = self._index * EXPIRY_STAGGER_S
        keep = self._policy.keep_days
        audit = AuditBatch(
            partition=self._index,
            epoch=int(epoch),
            policy=self._policy.version,
            decided_ms=self._now_ms,
            rows=self._rows,
        )
        batch = Batch(
            first_id=entries[0][0],
            last_id=entries[-1][0],
            count=len(entries),
            messages=b"".join(self._messages),
            days=[day_name(day) for day in days],
            day_expiries_s=[day_start_ms(day + 1 + keep) // 1000 + stagger_s for day in days],
            hours=[hour_name(hour) for hour in self.numbered.hour_at],
            hour_expiries_s=list(self.numbered.hour_at),
            seals=self._seal.seal_many(self._senders),
            holders=self._holders,
            rules=self.numbered.rules,
            frames=self.numbered.frames,
            texts=self._texts,
            now_ms=self._now_ms,
            audit=ENCODER.encode(audit),
            counts_day=day_name(counts_day),
            counts_expiry_s=day_start_ms(counts_day + COUNTS_DAYS) // 1000 + stagger_s,
        )
        return Prepared(batch=batch, moves=self._moves, oldest_ms=self._oldest_ms)

    def _cancel(self, owner: bytes, code: int) -> None:
        """What `decide` needs to find the permit that an SMS cancels: as far back as records stand."""
        lowest = self._today - self._policy.keep_days
        self._lowest_day = min(self._lowest_day, lowest)
        self._holders.append(owner[:FIELD_BYTES])
        endless_since_ms = self._policy.endless_since_ms(code or None, self._now_ms)
        self._texts.append(
            cancellable_since(arrived_since_s=day_start_ms(lowest) // 1000, endless_since_s=endless_since_ms // 1000)
        )

    def _unowned(self, entry_id: bytes, letter: str, sms_id: str, source: str, arrived_ms: int) -> None:
        self._messages.append(
            message(b"", b"", b"", 0, 0, b"", 0, letter.encode(), 0, 0, 0, False, 0, NO_TAIL, 0, NO_PERMIT)
        )
        self._rows.append(
            AuditRow(entry_id.decode(), sms_id, source, 0, "", "", arrived_ms, arrived_ms, False, 0, "", "", "")
        )

    def _waiting(self, name: str, asked: Asked, code: int, document_tail: str) -> bytes:
        """What is held in the place of an approval; it is worded when it is told."""
        sms, says = asked.sms, asked.says
        return ENCODER.encode(
            HeldApproval(
                name,
                sms.id,
                code,
                document_tail,
                says.owner.hex(),
                says.digest.hex(),
                asked.asked_ms,
                asked.arrived_ms,
                sms.trace or "",
            )
        )
