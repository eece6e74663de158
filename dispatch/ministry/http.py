"""The Ministry behind http: signed POSTs of up to 100 events, each with its own result, and its own reckoning.

The contract is docs/ministry.md. Who a permit is for is unsealed here, at the last moment.
"""

import base64
import binascii
import hashlib
import hmac
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Literal

import aiohttp
import msgspec

from dispatch.ministry.port import FeedEvent, epoch_id
from dispatch.operators.port import Outcome
from dispatch.post import Poster
from permits.calendar import rfc3339
from permits.employees import Employee, Epoch
from permits.messages import ENCODER, OutboxEvent
from runtime.errors import StartupError
from runtime.keyring import Keyring, UnsealedError
from runtime.outside import is_trustworthy
from runtime.settings import Settings
from runtime.telemetry import FEED_FAILURES, Log

TIMEOUT_S: Final = 10.0
CONNECTIONS: Final = 8
SECRET_BYTES: Final = 24
"""Standard Webhooks: the shortest secret."""
_EMPLOYEE: Final = msgspec.json.Decoder(Employee)


class Tally(msgspec.Struct, frozen=True):
    """What the Ministry has of one partition: ranges of numbers taken, both ends included, and numbers refused."""

    ranges: list[tuple[int, int]] = []
    refused: list[int] = []


class Reckoning(msgspec.Struct, frozen=True):
    """What the Ministry has of all: by partition number, and the last epoch taken."""

    partitions: dict[int, Tally]
    epoch: int


class MinistryError(Exception):
    """The Ministry gave no reckoning; the message says why."""


class HttpMinistry:
    """A Ministry behind one URL."""

    ack: ClassVar[Literal["taken", "off"]] = "taken"

    def __init__(self, url: str, *, secret: bytes, keyring: Keyring, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._secret = secret
        self._keyring = keyring
        self._poster = Poster(url, timeout_s=timeout_s, connections=CONNECTIONS, receiver="the Ministry")
        self._log = Log("ministry")

    async def send(self, events: Sequence[FeedEvent]) -> Outcome:
        """POST the events; what we cannot unseal stays, and must be sent again when its key is back."""
        bodies: dict[str, bytes] = {}
        for event in events:
            try:
                bodies[event.id] = ENCODER.encode(self._shown(event))
            except UnsealedError:
                FEED_FAILURES.labels("sealed").inc()
                self._log.error("an event cannot be unsealed: is a key missing from the keyring?", event_id=event.id)
        if not bodies:
            return Outcome(cause="sealed")
        return await self._post(b"[" + b",".join(bodies.values()) + b"]", frozenset(bodies))

    async def proclaim(self, epoch: Epoch) -> Outcome:
        """POST one epoch."""
        shown = {
            "id": epoch_id(epoch.number),
            "number": epoch.number,
            "event": "epoch",
            "action": epoch.action,
            "at": rfc3339(epoch.at_ms),
            "until": rfc3339(epoch.until_ms) if epoch.action == "extend" else None,
            "reason": epoch.reason,
        }
        return await self._post(ENCODER.encode([shown]), frozenset((epoch_id(epoch.number),)))

    async def reckoning(self) -> Reckoning:
        """What the Ministry has taken; MinistryError where it does not say."""
        url = self._url.rstrip("/") + "/reconciliation"
        headers = signed(self._secret, b"", now_s=int(time.time()))
        try:
            async with self._poster.opened().get(url, headers=headers, allow_redirects=False) as response:
                if response.status != 200:
                    raise MinistryError(f"status {response.status}")
                return msgspec.json.decode(await response.read(), type=Reckoning, strict=False)
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            raise MinistryError(type(error).__name__) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MinistryError(f"unreadable answer: {error}") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()

    async def _post(self, body: bytes, ids: frozenset[str]) -> Outcome:
        return await self._poster.post(body, ids=ids, headers=signed(self._secret, body, now_s=int(time.time())))

    def _shown(self, event: FeedEvent) -> dict[str, object]:
        """An event as the Ministry gets it."""
        of = event.event
        employee = _EMPLOYEE.decode(self._keyring.open(of.employee, of.owner))
        return {
            "id": event.id,
            "partition": event.partition,
            "number": of.number,
            "event": _name(of),
            "permit": of.code,
            "version": of.version,
            "at": rfc3339(of.at_ms),
            "organisation": {"tin": of.tin, "name": of.employer},
            "employee": {"fin": employee.fin, "document": employee.document, "name": employee.name},
            "status": of.status,
            "valid_from": rfc3339(of.from_ms),
            "valid_until": rfc3339(of.until_ms),
            "zone": of.zone,
            "activity": of.activity,
            "reason": of.reason,
            "epoch": of.epoch,
            "trace": of.trace,
        }


def _name(event: OutboxEvent) -> str:
    if event.status == "cancelled":
        return "cancelled"
    return "granted" if event.deed == "confirm" else "changed"


def signed(secret: bytes, body: bytes, *, now_s: int) -> dict[str, str]:
    """The headers of Standard Webhooks for a body."""
    name = f"feed_{uuid.uuid4().hex}"
    signature = hmac.digest(secret, b"%b.%d.%b" % (name.encode(), now_s, body), hashlib.sha256)
    return {
        "webhook-id": name,
        "webhook-timestamp": str(now_s),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def http_ministry(settings: Settings, keyring: Keyring) -> HttpMinistry:
    """The Ministry that the settings name; StartupError where they are not fit for personal data."""
    url = settings.ministry_url
    if not is_trustworthy(url):
        raise StartupError("ICAZE_MINISTRY=http needs ICAZE_MINISTRY_URL, an https:// address (http:// on loopback)")
    return HttpMinistry(url, secret=_secret(settings.ministry_secret_file), keyring=keyring)


def _secret(path: str) -> bytes:
    if not path:
        raise StartupError("ICAZE_MINISTRY=http needs ICAZE_MINISTRY_SECRET_FILE")
    try:
        secret = base64.b64decode(Path(path).read_text().strip().removeprefix("whsec_"), validate=True)
    except OSError as error:
        raise StartupError(f"secret {path}: {error.strerror}") from None
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) < SECRET_BYTES:
        raise StartupError(f"secret {path}: whsec_ and base64 of {SECRET_BYTES} bytes or more")
    return secret
