"""What travels: the messages on the streams, each in the field `m` of an entry, as JSON that a person can read.

`SealedSms` or `InboundSms` on `inbound:{p}`, `Reply` on `replies:{p}`, `AuditBatch` on `audit:{p}`, `DeadLetter` on
`dead:{p}`, `Application` on `applications:{p}`, `OutboxEvent` on `outbox:{p}`, `AuditAct` on `acts:{p}`. `HeldApproval`
is in `held:{p}`.
"""

from typing import Final, Literal

import msgspec

from permits.calendar import local_day
from permits.employees import Deed, Stored
from permits.outcomes import Reason

Lang = Literal["az", "ru", "en"]
Channel = Literal["sms", "app"]
"""By which way an SMS came: an aggregator's, as its configuration says."""
Verdict = Literal["approved", "refused", "cancelled", "extended"]
"""Of a decision, the first two; of an officer's act on a permit, the others. An SMS with the cancel word is answered
`cancelled` too."""


class InboundSms(msgspec.Struct, frozen=True, gc=False):
    """One SMS to be read, as a program may append it by itself. Times are milliseconds since 1970, UTC."""

    id: str
    """The aggregator's id, or ours where it gave none."""
    source: str
    """The aggregator's name in our configuration."""
    sender: str = msgspec.field(name="from")
    """MSISDN, `+` and 7 to 15 digits."""
    to: str
    text: str
    arrived_ms: int
    """Ingest's clock at the first arrival."""
    received_ms: int | None = None
    """The gateway's own time, where it gave one."""
    by_text: bool = False
    """No id was given: the SMS is known by source, sender and text, within 120 s."""
    trace: str | msgspec.UnsetType = msgspec.UNSET
    """W3C traceparent of the request that brought it, where that had one."""
    channel: Channel | msgspec.UnsetType = msgspec.UNSET
    """Unset: `sms`."""


class SealedSms(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One SMS as ingest stored it: its text and sender sealed under the key of the Baku day of its arrival.

    Every other field is as in `InboundSms`.
    """

    id: str
    source: str
    to: str
    arrived_ms: int
    received_ms: int | None = None
    by_text: bool = False
    trace: str | msgspec.UnsetType = msgspec.UNSET
    channel: Channel | msgspec.UnsetType = msgspec.UNSET
    day: str
    """`YYYYMMDD`, whose key in `day_keys:{p}` opens it."""
    sealed: bytes
    """Nonce and ciphertext (AES-256-GCM; base64 in JSON) of the MessagePack `[from, text, what ingest read]`, bound to
    source and id."""


class ReplyHead(msgspec.Struct, frozen=True, gc=False):
    """The part of a reply that is known before the decision: its first fields, in the order of `Reply`."""

    id: str
    """Stable: partition tag and inbound entry id."""
    to: str
    in_reply_to: str | None
    """The aggregator's id; None: an officer's act is no answer to an SMS."""
    lang: Lang
    purpose: int | None
    document_tail: str | None
    trace: str | msgspec.UnsetType = msgspec.UNSET
    """W3C traceparent of the SMS, or of the officer's request."""


class Reply(ReplyHead, frozen=True, gc=False, kw_only=True):
    """One answer as it stands on the reply stream. Times are RFC 3339 in UTC."""

    verdict: Verdict
    reason: Reason | None
    permit: str | None
    valid_from: str | None
    valid_until: str | None
    """None on an approval: no end."""
    expires_at: str
    """After this moment the reply is no longer worth sending."""
    text: str
    ambiguous: bool | msgspec.UnsetType = msgspec.UNSET
    """True: it was put back from the dead letters and may have been sent before."""


class AuditRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The static fields of one decided entry; its outcome is the letter at the same index."""

    entry_id: str
    sms_id: str
    source: str
    purpose: int
    """0 where none could be read."""
    owner: str
    """Keyed hash of the document (else of the sender), 16 hex digits; empty where there is no owner."""
    digest: str
    """Digest of the SMS's identity, 12 hex digits."""
    asked_ms: int
    """The moment whose Baku day counts for the quota."""
    arrived_ms: int
    by_text: bool
    asked: int
    """The purpose code as it was read, whether there is such a purpose or not; 0 where none could be read."""
    shape: str
    """The document without its digits (`permits.documents.shape`); empty where none could be read."""
    fault: str
    """What the grammar had against the text; empty: nothing."""
    sender: str
    """Keyed hash of the phone, 16 hex digits."""
    hold_minutes: int = 0
    """How long its reply is held back if it is approved."""


class AuditBatch(msgspec.Struct, frozen=True):
    """What one call of `decide` did: the field `m` of an audit entry.

    The field `v` beside it holds one outcome letter a row, in order (`permits.outcomes`). Where refusals went
    unanswered there is a field `w` too: `1` for each such row, `0` for any other. Where rows have the cancel word, the
    field `c` is an array of `Cancellation`.
    """

    partition: int
    epoch: int
    policy: str
    """Version of the policy in force."""
    decided_ms: int
    rows: list[AuditRow]


class CancelledPermit(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A permit that an SMS has cancelled, as the day record names it."""

    digest: str
    """Of the SMS that obtained it, 12 hex digits."""
    arrived_s: int
    """When that SMS arrived."""
    purpose: int
    days_to_arrival: int
    """From the day whose permit it was to the day of arrival."""

    @property
    def day(self) -> int:
        """The Baku day whose permit it was."""
        return local_day(self.arrived_s * 1000) - self.days_to_arrival


class Cancellation(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What an SMS with the cancel word has done."""

    row: int
    """Its place in the batch, from 0."""
    permit: CancelledPermit | None
    """None: nothing was left for it to cancel."""
    passed_over: list[tuple[str, int]]
    """Digest and arrival, s, of newer permits that it could not have: an officer has changed them, or they were held
    and cannot be told any more."""


class HeldApproval(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An approval that waits in `held:{p}`; behind its JSON there stand the 16 bytes of the sealed number."""

    entry_id: str
    """Of the SMS: what the reply's id is made of."""
    in_reply_to: str
    purpose: int
    document_tail: str
    owner: str
    digest: str
    asked_ms: int
    arrived_ms: int
    trace: str = ""


class SettledApproval(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One approval that waits no more."""

    entry_id: str
    owner: str
    digest: str
    purpose: int
    asked_ms: int
    arrived_ms: int


def settled_row(waiting: HeldApproval) -> SettledApproval:
    """The trail's row of an approval that waits no more."""
    return SettledApproval(
        waiting.entry_id, waiting.owner, waiting.digest, waiting.purpose, waiting.asked_ms, waiting.arrived_ms
    )


class AuditSettled(msgspec.Struct, frozen=True):
    """What became of approvals that were held: the field `r` of an audit entry that has no `m`."""

    partition: int
    at_ms: int
    became: Literal["released", "withdrawn"]
    rows: list[SettledApproval]


DeadKind = Literal["inbound", "reply", "feed", "import", "application", "held"]


class DeadLetter(msgspec.Struct, frozen=True):
    """What could not be processed, with its reason, as it stood; what may hold a text or a phone only sealed."""

    kind: DeadKind
    entry_id: str
    reason: str
    dead_ms: int
    raw: str
    """The entry's payload; bytes that are not UTF-8 as `\\xNN`."""
    day: str | msgspec.UnsetType = msgspec.UNSET
    """`YYYYMMDD`, whose key in `day_keys:{p}` opens `raw`, base64 of nonce and ciphertext; left out: not sealed."""
    reply_id: str | msgspec.UnsetType = msgspec.UNSET
    """Of a reply that could be read."""


class Application(msgspec.Struct, frozen=True):
    """An employee's permit that waits for the registry's word, on `applications:{p}`."""

    code: str
    version: int
    trace: str


class OutboxEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of an employee's permit, on `outbox:{p}`: for the index, and where it is numbered, for the Ministry."""

    number: int = 0
    """Place in the partition's feed, from 1, without gaps; 0: not for the Ministry."""
    deed: Deed
    code: str
    version: int
    at_ms: int
    tin: str
    employer: str
    status: Stored
    owner: str
    person: str
    person_partition: int
    from_ms: int
    until_ms: int
    epoch: int
    zone: str | None = None
    activity: str | None = None
    reason: str | None = None
    employee: str
    """Sealed `Employee`, bound to the owner."""
    trace: str = ""


APPLICATION_DECODER = msgspec.json.Decoder(Application)
OUTBOX_DECODER = msgspec.json.Decoder(OutboxEvent)
INBOUND_DECODER = msgspec.json.Decoder(InboundSms)
SEALED_DECODER = msgspec.json.Decoder(SealedSms)
SEALED_MARK: Final = b'"sealed":'
"""Stands in every entry that ingest stored, and in no other: inside a text of JSON its quotes are escaped."""
REPLY_DECODER = msgspec.json.Decoder(Reply)
AUDIT_DECODER = msgspec.json.Decoder(AuditBatch)
SETTLED_DECODER = msgspec.json.Decoder(AuditSettled)
CANCELLATIONS_DECODER = msgspec.json.Decoder(list[Cancellation])
HELD_DECODER = msgspec.json.Decoder(HeldApproval)
DEAD_DECODER = msgspec.json.Decoder(DeadLetter)
ENCODER = msgspec.json.Encoder()
