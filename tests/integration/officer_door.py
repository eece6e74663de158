"""The officers' and the regime's doors for tests, on a far day: permits decided or planted, and what came of acts."""

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from api.app import build_app, readiness_of
from api.auth import Caller, InvalidTokenError
from api.authority import Organisations
from api.employee_permits import PermitsDoor
from api.named import Named, Naming, SmsPermit
from api.officers import Officers
from api.organisations import OrganisationsDoor
from api.parts import Parts, assembled
from api.regime import RegimeDoor
from api.wires import Wires
from lua import calls
from lua.calls import Decided
from lua.held import SEAL_BYTES
from lua.keys import PartitionKeys
from permits import codes
from permits import policy as policies
from permits.amended import AmendedPermit
from permits.calendar import HOUR_MS, hour_end, hour_name
from permits.employees import Actor, AuditAct, Deed, Employee, Stored
from permits.employees import Request as PermitRequest
from permits.messages import ENCODER, HELD_DECODER, OUTBOX_DECODER, REPLY_DECODER, InboundSms, Lang, OutboxEvent, Reply
from permits.policy import Policy
from permits.sms import read
from permits.versions import Founding
from processor.approvals import Wordings
from processor.batch import Preparer
from runtime.connection import Client
from runtime.keyring import SenderSeal
from runtime.permit_changes import Versioned
from runtime.settings import Settings
from tests.day_keys import every_day
from tests.integration.api_door import DOCUMENT, PARTITIONS, ROUTE, Clock, plant
from tests.integration.organisation_door import KEYRING, SYSTEM, TIN, Bulk
from tests.uncounted import phones

Http = TestClient[Request, Application]

NOON_MS: Final = 3_786_940_800_000
"""2090-01-01 12:00 in Baku (08:00 UTC): the store, by its own clock, lets no number expire yet."""
PHONE: Final = "+994501234567"
DIGEST: Final = bytes.fromhex("a1b2c3d4e5f6")
CALLERS: Final = {
    "officer": Caller(
        subject="officer", scopes=frozenset({"permits.cancel", "permits.extend"}), client="desk", method="asan_imza"
    ),
    "other": Caller(subject="other", scopes=frozenset({"permits.cancel", "permits.extend"})),
    "regime": Caller(subject="regime", scopes=frozenset({"regime"})),
    "colleague": Caller(subject="colleague", scopes=frozenset({"regime"})),
    "seal": Caller(
        subject="seal", scopes=frozenset({"organisation"}), fin="5ABC12D", tin=TIN, method="asan_imza", seal_acr="imza"
    ),
}


async def verify(token: str) -> Caller:
    """A token is its caller's name."""
    caller = CALLERS.get(token)
    if caller is None:
        raise InvalidTokenError
    return caller


class Desk:
    """The doors of one process, and a look at what they leave in the store."""

    def __init__(self, http: Http, redis: Client, clock: Clock, parts: Parts, naming: Naming) -> None:
        self.http = http
        self.redis = redis
        self.clock = clock
        self.parts = parts
        self.naming = naming
        self._keys = itertools.count(1)

    async def post(self, path: str, body: Any, *, by: str = "officer", key: str = "") -> tuple[int, Any]:
        """Status and body of an answer."""
        headers = {"Authorization": f"Bearer {by}", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        if key:
            headers["Idempotency-Key"] = key
        answer = await self.http.post(path, json=body, headers=headers)
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, await answer.json()

    async def cancel(self, code: str, *, by: str = "officer", reason: str = "false purpose") -> tuple[int, Any]:
        """An officer cancels."""
        return await self.post(f"/v1/permits/{code}/cancel", {"reason": reason}, by=by)

    async def extend(
        self, code: str, until: str = "2090-01-01T14:30:00Z", *, by: str = "officer", number: str = "A-1024"
    ) -> tuple[int, Any]:
        """An officer extends; by default to six and a half hours after noon."""
        body = {"facility": "City hospital 1", "number": number, "until": until}
        return await self.post(f"/v1/permits/{code}/extend", body, by=by)

    async def decide(self, text: str, *, sender: str = PHONE) -> Reply:
        """The reply to an SMS that is decided as workers do."""
        keys = await self._decide(text, sender=sender)
        ((_, fields),) = await self.redis.execute_command("XREVRANGE", keys.replies, "+", "-", "COUNT", 1)
        return REPLY_DECODER.decode(fields[b"m"])

    async def hold(self, text: str, *, sender: str = PHONE) -> str:
        """The code of the one approval that waits, under rules that hold it."""
        keys = await self._decide(text, sender=sender)
        (member,) = await self.redis.execute_command("ZRANGE", keys.held, 0, -1)
        waiting = HELD_DECODER.decode(member[:-SEAL_BYTES])
        return codes.encode(PARTITIONS.index(keys), bytes.fromhex(waiting.owner), bytes.fromhex(waiting.digest))

    async def _decide(self, text: str, *, sender: str) -> PartitionKeys:
        index = ROUTE.owner(read(text).document, sender)[0]
        keys, now_ms = PARTITIONS[index], self.clock()
        sms = InboundSms(id=f"sms-{next(self._keys)}", source="dev", sender=sender, to="8103", text=text, arrived_ms=0)
        payload = ENCODER.encode(msgspec.structs.replace(sms, arrived_ms=now_ms))
        entry_id = await self.redis.execute_command("XADD", keys.inbound, "*", "m", payload)
        epoch = await calls.lease(
            self.redis, lease_key=keys.lease("decide"), fence_key=keys.fence("decide"), owner="one", ttl_ms=60_000
        )
        assert epoch is not None
        preparer = Preparer(
            index=index,
            keys=keys,
            route=ROUTE,
            policy=self.parts.policies.latest,
            wordings=Wordings("plain"),
            seal=SenderSeal(KEYRING),
            phones=phones(),
            day_keys=every_day(),
        )
        batch = preparer.prepare([(entry_id, payload)], epoch=epoch, now_ms=now_ms).batch
        raw = await self.redis.execute_command(
            *calls.decide_command(keys, epoch=epoch, batch=batch, record_bytes=5_000)
        )
        assert isinstance(calls.decide_reply(raw), Decided)
        return keys

    async def plant(
        self,
        *,
        purpose: int = 1,
        minutes: int = 180,
        decided_ms: int = NOON_MS,
        digest: bytes = DIGEST,
        phone: str | None = PHONE,
        lang: Lang = "az",
        ends_ms: int | None = None,
        days_to_arrival: int = 0,
    ) -> str:
        """The code of an SMS permit as decisions leave it, and where there is a phone, its sealed number."""
        await plant(
            self.redis,
            purpose=purpose,
            minutes=minutes,
            decided_ms=decided_ms,
            digest=digest,
            days_to_arrival=days_to_arrival,
        )
        partition, owner = ROUTE.of_document(DOCUMENT)
        if phone is not None:
            ends_s = (decided_ms + minutes * 60_000 if ends_ms is None else ends_ms) // 1000
            key = PARTITIONS[partition].senders(hour_name(hour_end(ends_s)))
            block = SenderSeal(KEYRING).seal_many([(phone, lang, owner, digest)])
            await self.redis.execute_command("HSET", key, owner[:4] + digest, block)
        return codes.encode(partition, owner, digest)

    async def employ(self, *, phone: str | None = PHONE, taken: bool = True, **fields: Any) -> Versioned:
        """An employee's permit from noon for two hours, taken by registry and Ministry."""
        employee = Employee(fin="1AAA11A", document=DOCUMENT, name="Aysel Quliyeva", phone=phone)
        asked: dict[str, Any] = {"from_ms": NOON_MS, "until_ms": NOON_MS + 2 * HOUR_MS} | fields
        (created,) = await self.parts.employment.create(
            TIN, "Günəş MMC", [PermitRequest(employee=employee, **asked)], actor=Actor(subject="seal"), now_ms=NOON_MS
        )
        standing = created.standing
        assert standing is not None
        steps: list[tuple[Deed, Stored]] = [("confirm", "confirmed"), ("transmit", "transmitted")]
        for deed, status in steps if taken else []:
            changed = await self.parts.employment.amend(
                standing, deed=deed, actor=SYSTEM, now_ms=NOON_MS, status=status
            )
            assert changed is not None
            standing = changed
        return standing

    async def named(self, code: str) -> Named:
        """What a code names at the next read."""
        found = await self.naming.find(code)
        assert found is not None
        return found

    async def amended(self, code: str) -> AmendedPermit:
        """The one permit of a code, which an officer has changed."""
        (found,) = (await self.named(code)).permits
        assert isinstance(found, SmsPermit)
        assert found.version > 0
        return found.permit

    async def employed(self, code: str) -> Versioned:
        """An employee's permit as it stands."""
        (found,) = await self.parts.employment.load([code])
        assert found is not None
        return found

    async def everything(self) -> bytes:
        """All that stands in streams and hashes, and every other key's name."""
        lines: list[bytes] = []
        for key in sorted(await self.redis.execute_command("KEYS", "*")):
            kind = await self.redis.execute_command("TYPE", key)
            read = {b"stream": ("XRANGE", key, "-", "+"), b"hash": ("HGETALL", key)}.get(kind)
            lines.append(key + (repr(await self.redis.execute_command(*read)).encode() if read else b""))
        return b"\n".join(lines)

    async def notices(self) -> list[Reply]:
        """The SMS of officers' acts, partition by partition."""
        replies = [REPLY_DECODER.decode(raw) for raw in await self._stream("replies")]
        return [reply for reply in replies if reply.verdict in ("cancelled", "extended")]

    async def acts(self, *deeds: str) -> list[AuditAct]:
        """Officers' acts on the audit, or those of some other deeds."""
        acts = [msgspec.json.decode(raw, type=AuditAct) for raw in await self._stream("acts")]
        return [act for act in acts if act.deed in (deeds or ("cancel", "extend"))]

    async def fed(self) -> list[OutboxEvent]:
        """Events for the Ministry."""
        events = [OUTBOX_DECODER.decode(raw) for raw in await self._stream("outbox")]
        return [event for event in events if event.number]

    async def numbers(self) -> dict[str, int]:
        """Sealed numbers by the hour of their end, `YYYYMMDDHH`."""
        keys: list[bytes] = await self.redis.execute_command("KEYS", "senders:*")
        return {key.decode().rpartition(":")[2]: await self.redis.execute_command("HLEN", key) for key in sorted(keys)}

    async def _stream(self, name: str) -> list[bytes]:
        return [
            fields[b"m"]
            for keys in PARTITIONS
            for _, fields in await self.redis.execute_command("XRANGE", getattr(keys, name), "-", "+")
        ]


@asynccontextmanager
async def serving(
    url: str, redis: Client, *, policy: Policy | None = None, clock: Clock | None = None
) -> AsyncGenerator[Desk]:
    """One process of the api: officers, regime, and the permits of organisations."""
    if clock is None:
        clock = Clock()
        clock.now_ms = NOON_MS
    wires = Wires(url)
    parts = assembled(
        wires,
        partitions=PARTITIONS,
        route=ROUTE,
        policy=policy or policies.load(),
        founding=Founding("file-0123abcd", policies.DEFAULT_FILE.read_text()),
        keyring=KEYRING,
        script="plain",
        now_ms=clock,
    )
    naming = Naming(wires, partitions=PARTITIONS, policy=parts.policies.latest, now_ms=clock)
    officers = Officers(
        wires=wires,
        partitions=PARTITIONS,
        naming=naming,
        employment=parts.employment,
        keyring=KEYRING,
        epochs=parts.epochs.known,
        script=parts.script,
        now_ms=clock,
    )
    organisations = Organisations(wires, partitions=PARTITIONS, route=ROUTE, now_ms=clock)
    permits = PermitsDoor(
        organisations,
        parts.employment,
        enlist=Bulk().enlist,
        accepts=parts.policies.latest().documents.accepts,
        epochs=parts.epochs.known,
        now_ms=clock,
    )
    regime = RegimeDoor(wires=wires, epochs=parts.epochs, route=ROUTE, now_ms=clock)
    doors = (officers, regime, OrganisationsDoor(organisations, now_ms=clock), permits)
    operations = [operation for door in doors for operation in door.operations()]
    app = build_app(operations, verify=verify, readiness=readiness_of(parts.epochs, Settings().promise))
    async with TestClient(TestServer(app)) as http:
        yield Desk(http, redis, clock, parts, naming)
    await wires.close()
