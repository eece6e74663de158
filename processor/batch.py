"""From a lane's entries to one call of `decide`: the third step of a lane.

Everything that needs no knowledge of earlier decisions is settled here: form, policy, both texts of a reply. What
the rules must decide goes to the function with both outcomes prepared.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from lua.calls import ASK, CANCEL, Arg, Batch, cancellable_since, message
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
from permits.regimes import Purpose, Regime
from permits.replies import Script, Texts
from processor.approvals import Wordings, joined
from processor.busy_phones import BusyPhones
from processor.numbered import RULED, Numbered
from processor.reading import LATEST_RECEIPT_MS, Asked, UnreadableError, read_entry
from runtime.day_keys import DayKeys, UnreadDayKeyError
from runtime.keyring import SenderSeal
from runtime.sealing import sealed_letter

Entry = tuple[bytes, bytes | None]
"""Entry id and its field `m`."""

COUNTS_DAYS: Final = 8
EXPIRY_STAGGER_S: Final = 20
"""Records of one day expire partition by partition, not all at midnight."""
NO_TAIL: Final = b"    "
DAY_AT: Final = 8
"""Where a part names its day of arrival."""


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
        script: Script,
        seal: SenderSeal,
        phones: BusyPhones,
        day_keys: DayKeys,
    ) -> None:
        self.index = index
        self.keys = keys
        self.route = route
        self._policy = policy
        """The rules to decide by; raises one of STORE_ERRORS where nobody can say."""
        self._wordings = Wordings(script)
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
        taken = 0
        for entry_id, payload in entries:
            if draft.numbered.is_full:
                break
            taken += 1
            try:
                if unfit is not None:
                    raise UnreadableError(unfit)
                asked = read_entry(payload, self.route, now_ms, self.day_keys)
            except UnreadableError as error:
                draft.bury(entry_id, payload, str(error))
                continue
            except UnreadDayKeyError:
                if not keys_are_read:
                    raise
                draft.bury(entry_id, payload, "text and sender are gone: the key of their day was erased")
                continue
            if asked.partition == self.index:
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
        self._parts: list[tuple[Any, ...]] = []
        """What `message` packs, with the day of arrival in the place of its place."""
        self._texts: list[Arg] = []
        self._rows: list[AuditRow] = []
        self._moves: list[tuple[int, bytes]] = []
        self._senders: list[tuple[str, Lang, bytes, bytes]] = []
        self._holders: list[bytes] = []
        self.numbered = Numbered(policy, texts, now_ms)
        self._lowest_day = local_day(now_ms) - 2
        # A clock of ingest may be ahead: what it filed under tomorrow is looked up too.
        self._highest_day = local_day(now_ms + LATEST_RECEIPT_MS)
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
        self._moves.append((asked.partition, asked.payload))
        self._unowned(entry_id, MOVED, asked.sms.id, asked.sms.source, asked.arrived_ms)

    def judge(self, entry_id: bytes, asked: Asked) -> None:
        """An entry that is ours: decided by its form, or left to the rules."""
        sms, reading = asked.sms, asked.reading
        # A gateway whose clock is ahead names a moment whose rules may not be known yet.
        numbered = self.numbered
        regime = self._policy.at(min(asked.asked_ms, asked.arrived_ms))
        reason = self._policy.refuses(regime, reading, asked_ms=asked.asked_ms, now_ms=self._now_ms)
        word = regime.cancel_word
        cancels = word is not None and asks_to_cancel(word, sms.text, reading, reason)
        refused = reason is not None and not cancels
        if reading.document is not None and self._asks_too_much(regime, asked, refused=refused):
            reason, cancels = "abuse_sender", False
        purpose = regime.purpose(reading.purpose)
        code = 0 if purpose is None else purpose.code
        digest = asked.digest
        document_tail = None if reading.document is None else tail(reading.document)
        name = entry_id.decode()
        lang = reading.lang
        head = ReplyHead(f"{self._tag}-{name}", sms.sender, sms.id, lang, reading.purpose, document_tail, sms.trace)
        # The object stays open: the outcome's fields follow.
        self._texts.append(ENCODER.encode(head)[:-1] + b",")
        arrived_s = asked.arrived_ms // 1000
        minutes = frame = hour = hold = 0
        if cancels:
            letter = CANCEL
            rule = numbered.rule(regime, None)
            frame = numbered.frames_of(regime, lang, ("cancelled", "nothing_to_cancel"), code or None)
            self._cancel(asked, code)
        elif reason is None and purpose is not None and document_tail is not None:
            letter = ASK
            minutes = purpose.minutes or 0
            rule = numbered.rule(regime, purpose)
            frame = numbered.frames_of(regime, lang, RULED, code)
            # Its number is kept if it is approved, which the function alone will know.
            self._senders.append((sms.sender, lang, asked.owner, digest))
            hold = regime.hold_minutes.get(sms.channel or "sms", 0) if regime.hold_minutes else 0
            if hold:
                self._texts.append(self._waiting(name, asked, digest, purpose, document_tail))
            else:
                hour = numbered.hour(purpose, arrived_s)
                permit = codes.encode(self._index, asked.owner, digest)
                self._texts.append(joined(numbered.approval(regime, purpose, lang), permit, document_tail))
        else:
            reason = reason or "malformed"
            letter = REFUSALS[reason]
            rule = numbered.rule(regime, None)
            if reason != "abuse_sender" or self._phones.is_told(asked.sender, entry_id, self._now_ms):
                frame = numbered.frames_of(regime, lang, (reason,), code or None)
        when = timing(
            arrived_s=arrived_s,
            decided_s=self._now_s,
            minutes=minutes,
            days_to_arrival=asked.arrival_day - asked.asked_day,
        )
        self._parts.append(
            (
                asked.owner,
                asked.owner[FIELD_BYTES:],
                digest,
                arrived_s,
                when,
                asked.sender,
                code,
                letter.encode(),
                asked.arrival_day,
                rule,
                frame,
                sms.by_text,
                hour,
                document_tail.encode() if document_tail else NO_TAIL,
                hold,
            )
        )
        self._rows.append(
            AuditRow(
                name,
                sms.id,
                sms.source,
                code,
                asked.owner.hex(),
                digest.hex(),
                asked.asked_ms,
                asked.arrived_ms,
                sms.by_text,
                reading.purpose or 0,
                "" if reading.document is None else shape(reading.document),
                reading.fault or "",
                asked.sender.hex(),
                hold,
            )
        )
        # Records of one quota day can stand from a day before it (a gateway's clock ahead) to the last arrival.
        self._lowest_day = min(self._lowest_day, asked.arrival_day - 2, asked.asked_day - 1)
        self._highest_day = max(self._highest_day, asked.arrival_day)
        self._oldest_ms = min(self._oldest_ms, asked.arrived_ms)

    def finish(self, entries: Sequence[Entry], epoch: str) -> Prepared:
        """The call, now that the span of days is known."""
        lowest = self._lowest_day
        days = range(lowest, self._highest_day + 1)
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
            messages=b"".join(
                [message(*part[:DAY_AT], max(part[DAY_AT] - lowest, 0), *part[DAY_AT + 1 :]) for part in self._parts]
            ),
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

    def _cancel(self, asked: Asked, code: int) -> None:
        """What `decide` needs to find the permit that an SMS cancels: as far back as records stand."""
        lowest = local_day(self._now_ms) - self._policy.keep_days
        self._lowest_day = min(self._lowest_day, lowest)
        self._holders.append(asked.owner[:4])
        endless_since_ms = self._policy.endless_since_ms(code or None, self._now_ms)
        self._texts.append(
            cancellable_since(arrived_since_s=day_start_ms(lowest) // 1000, endless_since_s=endless_since_ms // 1000)
        )

    def _unowned(self, entry_id: bytes, letter: str, sms_id: str, source: str, arrived_ms: int) -> None:
        self._parts.append((b"", b"", b"", 0, 0, b"", 0, letter.encode(), 0, 0, 0, False, 0, NO_TAIL, 0))
        self._rows.append(
            AuditRow(entry_id.decode(), sms_id, source, 0, "", "", arrived_ms, arrived_ms, False, 0, "", "", "")
        )

    def _asks_too_much(self, regime: Regime, asked: Asked, *, refused: bool) -> bool:
        """Whether the phone has named more documents today than it may, in requests or in what is refused for form."""
        limit = regime.limits.documents_per_sender
        return limit is not None and self._phones.is_busy(
            asked.sender, asked.sender_partition, asked.owner, day=asked.arrival_day, limit=limit, refused=refused
        )

    def _waiting(self, name: str, asked: Asked, digest: bytes, purpose: Purpose, document_tail: str) -> bytes:
        """What is held in the place of an approval; it is worded when it is told."""
        sms = asked.sms
        return ENCODER.encode(
            HeldApproval(
                name,
                sms.id,
                purpose.code,
                document_tail,
                asked.owner.hex(),
                digest.hex(),
                asked.asked_ms,
                asked.arrived_ms,
                sms.trace or "",
            )
        )
