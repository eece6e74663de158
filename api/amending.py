"""What an officer does to one permit: the record, the act, and the citizen's notice.

Reads `senders:{p}:<hour>` and `held:{p}`. Writes, in one atomic call: the record in `holder:{p}:<field>`, the act on
`acts:{p}`, the notice on `replies:{p}`, and for an employee's permit the Ministry's event on `outbox:{p}`.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from api.named import Named, SmsPermit
from api.wires import Wires
from lua import changes
from lua.changes import Change, Done
from lua.held import SEAL_BYTES, withdraw_command
from permits.amended import AmendedPermit
from permits.calendar import DAY_MS, hour_end, hour_name, rfc3339
from permits.employees import RETENTION_MS, Act, Actor, AuditAct, Effective, Epoch, effective, with_act
from permits.messages import ENCODER, HELD_DECODER, AuditSettled, Lang, Reply, settled_row
from permits.partition import FIELD_BYTES
from permits.replies import Script, Texts
from runtime.employment import Employment
from runtime.keyring import Keyring, SenderSeal, UnsealedError
from runtime.permit_changes import Versioned

NOTICE_WORTH_MS: Final = DAY_MS


class Certificate(msgspec.Struct, frozen=True):
    """A doctor's certificate: rests sealed only."""

    facility: str
    number: str


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """What an officer does."""

    deed: Literal["cancel", "extend"]
    actor: Actor
    now_ms: int
    reason: str | None = None
    """Of a cancellation."""
    until_ms: int = 0
    """New end, whole seconds, of an extension."""
    certificate: Certificate | None = None


class ChangedPermit(msgspec.Struct, frozen=True):
    """A permit as the officer left it."""

    code: str
    kind: Literal["sms", "organisation"]
    status: Literal["active", "cancelled"]
    valid_from: str
    valid_until: str | None
    notified: bool
    """Whether an SMS goes to the citizen; where no number is known any more, none can."""


class Amending:
    """Amends permits of either kind."""

    def __init__(
        self, wires: Wires, *, employment: Employment, keyring: Keyring, epochs: Sequence[Epoch], script: Script
    ) -> None:
        self._wires = wires
        self._employment = employment
        self._keyring = keyring
        self._seal = SenderSeal(keyring)
        self._epochs = epochs
        self._texts = Texts(script)

    def now(self, found: SmsPermit | Versioned, now_ms: int) -> Effective:
        """What a permit amounts to; one without end is honoured until `until_ms`."""
        if isinstance(found, Versioned):
            return effective(found.permit, self._epochs, now_ms)
        permit = found.permit
        if found.waiting:
            return Effective("confirmed", None, permit.from_ms, permit.ends_ms)
        over = permit.status == "active" and now_ms >= permit.ends_ms
        return Effective("expired" if over else permit.status, permit.reason, permit.from_ms, permit.ends_ms)

    async def amended(self, named: Named, found: SmsPermit | Versioned, asked: Amendment) -> ChangedPermit | None:
        """The permit after the act; None where another change came first, and nothing was done."""
        if isinstance(found, SmsPermit):
            return await (self._withdrawn if found.waiting else self._sms)(named, found, asked)
        return await self._employee(named, found, asked)

    def stands(self, found: SmsPermit | Versioned, asked: Amendment) -> bool:
        """Whether the last thing that happened to a permit is this very act, by the same officer."""
        acts = [act for act in found.permit.acts if act.deed != "transmit"]
        if not acts or (acts[-1].deed, acts[-1].actor) != (asked.deed, asked.actor.subject):
            return False
        if asked.certificate is None:
            return acts[-1].reason == asked.reason
        return found.permit.until_ms == asked.until_ms and self._certificate(found) == asked.certificate

    def shown(self, found: SmsPermit | Versioned) -> ChangedPermit:
        """A permit that an officer has changed."""
        permit = found.permit
        return ChangedPermit(
            code=permit.code,
            kind="sms" if isinstance(found, SmsPermit) else "organisation",
            status="cancelled" if permit.status == "cancelled" else "active",
            valid_from=rfc3339(permit.from_ms),
            valid_until=None if permit.until_ms is None else rfc3339(permit.until_ms),
            notified=found.permit.notified if isinstance(found, SmsPermit) else self._phone(found) is not None,
        )

    async def _sms(self, named: Named, found: SmsPermit, asked: Amendment) -> ChangedPermit | None:
        old = found.permit
        owner, digest = bytes.fromhex(old.owner), bytes.fromhex(old.digest)
        sender = owner[:FIELD_BYTES] + digest
        senders = _senders(named, old.ends_ms)
        (block,) = await self._wires.read(("HGET", senders, sender))
        known = None if block is None else self._seal.open(block, owner, digest)
        permit = msgspec.structs.replace(
            old,
            **self._fields(old.owner, asked),
            ends_ms=asked.until_ms or old.ends_ms,
            notified=known is not None,
            acts=with_act(old.acts, _act(asked)),
        )
        version = (found.version or _first_version(old)) + 1
        change = Change(
            hash=named.keys.holder(named.field),
            field=permit.field,
            expected=found.version,
            record=changes.written(version, ENCODER.encode(permit)),
            member=named.field.hex(),
            ends_s=(permit.ends_ms + RETENTION_MS) // 1000,
            act=_audited(permit.code, permit.owner, asked),
            reply=b"" if known is None else self._notice(named, version, permit.code, asked, known, permit.purpose),
            # The number goes when the permit ends, or stays with it until its new end.
            senders=senders if asked.deed == "cancel" else _senders(named, permit.ends_ms),
            sender=b"" if block is None else sender,
            number=block if block is not None and asked.deed == "extend" else b"",
            number_until_s=hour_end(permit.ends_ms // 1000),
        )
        (raw,) = await self._wires.write(changes.change_command(named.keys, change))
        done = isinstance(changes.change_reply(raw), Done)
        return self.shown(SmsPermit(version, permit, found.purpose)) if done else None

    async def _withdrawn(self, named: Named, found: SmsPermit, asked: Amendment) -> ChangedPermit | None:
        """An approval that is cancelled before it was told: the document has its permit of the day again."""
        permit = found.permit
        owner, digest = bytes.fromhex(permit.owner), bytes.fromhex(permit.digest)
        since_ms = permit.decided_s * 1000
        (members,) = await self._wires.read(("ZRANGEBYSCORE", named.keys.held, since_ms, since_ms + 999))
        for member in members:
            waiting = HELD_DECODER.decode(member[:-SEAL_BYTES])
            if (waiting.owner, waiting.digest) == (permit.owner, permit.digest):
                break
        else:
            return None
        known = self._seal.open(member[-SEAL_BYTES:], owner, digest)
        gone = AuditSettled(named.partition, asked.now_ms, "withdrawn", [settled_row(waiting)])
        version = _first_version(permit) + 1
        cancelled = msgspec.structs.replace(
            permit,
            **self._fields(permit.owner, asked),
            notified=known is not None,
            acts=with_act(permit.acts, _act(asked)),
        )
        (done,) = await self._wires.write(
            withdraw_command(
                named.keys,
                member=member,
                owner=owner,
                digest=digest,
                day=found.day,
                audit=ENCODER.encode(gone),
                act=_audited(permit.code, permit.owner, asked),
                notice=b""
                if known is None
                else self._notice(named, version, permit.code, asked, known, permit.purpose),
                field=permit.field,
                record=changes.written(version, ENCODER.encode(cancelled)),
                ends_s=(permit.ends_ms + RETENTION_MS) // 1000,
            )
        )
        return self.shown(SmsPermit(version, cancelled, found.purpose)) if done else None

    async def _employee(self, named: Named, found: Versioned, asked: Amendment) -> ChangedPermit | None:
        permit, phone = found.permit, self._phone(found)
        known: tuple[str, Lang] | None = None if phone is None else (phone, "az")
        ends: dict[str, Any] = {"until_ms": self.now(found, asked.now_ms).until_ms}  # epochs may have moved it
        changed = await self._employment.amend(
            found,
            deed=asked.deed,
            actor=asked.actor,
            now_ms=asked.now_ms,
            reply=b"" if known is None else self._notice(named, found.version + 1, permit.code, asked, known, None),
            epoch=len(self._epochs),
            **(ends | self._fields(permit.owner, asked)),
        )
        return None if changed is None else self.shown(changed)

    def _fields(self, owner: str, asked: Amendment) -> dict[str, Any]:
        """What changes in a record of either kind."""
        if asked.certificate is None:
            return {"status": "cancelled", "reason": asked.reason}
        certificate = self._keyring.seal(ENCODER.encode(asked.certificate), owner)
        return {"until_ms": asked.until_ms, "certificate": certificate}

    def _certificate(self, found: SmsPermit | Versioned) -> Certificate | None:
        """The certificate that extended a permit; None where there is none, or the key that seals it is missing."""
        sealed = found.permit.certificate
        try:
            return (
                None
                if sealed is None
                else msgspec.json.decode(self._keyring.open(sealed, found.permit.owner), type=Certificate)
            )
        except UnsealedError:
            return None

    def _phone(self, found: Versioned) -> str | None:
        """The employee's own number, where it was given and the key that seals it is there."""
        try:
            return self._employment.employee(found.permit).phone
        except UnsealedError:
            return None

    def _notice(
        self, named: Named, version: int, code: str, asked: Amendment, known: tuple[str, Lang], purpose: int | None
    ) -> bytes:
        """The SMS to the holder, as it stands on the reply stream: worth a day, but nothing after the permit's end."""
        number, lang = known
        cancelled = asked.deed == "cancel"
        worth_until_ms = asked.now_ms + NOTICE_WORTH_MS
        return ENCODER.encode(
            Reply(
                id=f"{named.keys.tag}-n{version}-{code}",
                to=number,
                in_reply_to=None,
                lang=lang,
                purpose=purpose,
                document_tail=None,
                trace=asked.actor.trace,
                verdict="cancelled" if cancelled else "extended",
                reason=None,
                permit=code,
                valid_from=None,
                valid_until=None if cancelled else rfc3339(asked.until_ms),
                expires_at=rfc3339(worth_until_ms if cancelled else min(worth_until_ms, asked.until_ms)),
                text=self._texts.cancelled(lang, code)
                if cancelled
                else self._texts.extended(lang, code, asked.until_ms),
            )
        )


def _first_version(permit: AmendedPermit) -> int:
    """What versions count from, by second and SMS: of two permits under one code no two notices are alike."""
    return (permit.decided_s << 16) + int(permit.digest[2:6], 16)


def _senders(named: Named, ends_ms: int) -> str:
    """Key of the hash that keeps the number of a permit's sender."""
    return named.keys.senders(hour_name(hour_end(ends_ms // 1000)))


def _act(asked: Amendment) -> Act:
    return Act(
        at_ms=asked.now_ms,
        actor=asked.actor.subject,
        deed=asked.deed,
        status="cancelled" if asked.deed == "cancel" else "active",
        reason=asked.reason or "",
        method=asked.actor.method,
        trace=asked.actor.trace,
    )


def _audited(code: str, owner: str, asked: Amendment) -> bytes:
    act = msgspec.structs.asdict(_act(asked))
    return ENCODER.encode(AuditAct(**act, code=code, owner=owner, client=asked.actor.client))
