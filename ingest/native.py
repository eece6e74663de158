"""Our own dialect: `POST /v1/sms` with one SMS, an array, or NDJSON, into `InboundSms` or a rejection each.

Pure: bytes in, messages out. What can never be processed is rejected by itself and does not spoil its neighbours.
"""

import re
from datetime import datetime
from typing import Any, Final

import msgspec

from permits.messages import Channel, InboundSms

MAX_ITEMS: Final = 1000
MAX_TEXT: Final = 4000
"""Characters; 25 segments, far above what a request needs."""
MAX_ID: Final = 128
MSISDN: Final = re.compile(r"\+?[0-9]{7,15}")
"""Short codes and alphanumeric senders are no phones: an answer to them could loop."""


class BodyError(ValueError):
    """The body as a whole cannot be used."""


class Item(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One SMS as an aggregator posts it."""

    sender: str = msgspec.field(name="from")
    text: str
    to: str = "8103"
    id: str | None = None
    received_at: datetime | None = None


class Rejection(msgspec.Struct, frozen=True):
    """One item that was not accepted, and why."""

    index: int
    error: str


_ITEM: Final = msgspec.json.Decoder(Item)
_RAW_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def split(body: bytes, *, ndjson: bool) -> list[msgspec.Raw | bytes]:
    """The items of a body, undecoded; BodyError where it is no object, array or NDJSON of 1 to MAX_ITEMS."""
    items: list[msgspec.Raw | bytes]
    if ndjson:
        items = [line for line in body.splitlines() if line.strip()]
    elif body.lstrip()[:1] == b"[":
        try:
            items = list(_RAW_ITEMS.decode(body))
        except (msgspec.DecodeError, RecursionError) as error:
            raise BodyError(f"not JSON: {error}") from None
    else:
        items = [body]
    if not items:
        raise BodyError("no SMS in the body")
    if len(items) > MAX_ITEMS:
        raise BodyError(f"{len(items)} SMS in one request; at most {MAX_ITEMS}")
    return items


def accept(
    raw: msgspec.Raw | bytes,
    *,
    source: str,
    arrived_ms: int,
    index: int,
    webhook_id: str | None,
    token: str,
    trace: str | msgspec.UnsetType = msgspec.UNSET,
    channel: Channel | msgspec.UnsetType = msgspec.UNSET,
) -> InboundSms:
    """One item as it will be stored; ValueError says what is wrong with it.

    An item without an id is known by the request's webhook-id and its place there; where there is none, `token`, new
    with the request, only names it, and its identity is its text.
    """
    try:
        item = _ITEM.decode(raw)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if not MSISDN.fullmatch(item.sender):
        raise ValueError("from: not a phone number (`+` and 7 to 15 digits); other senders are not answered")
    if len(item.text) > MAX_TEXT:
        raise ValueError(f"text: longer than {MAX_TEXT} characters")
    if item.id is not None and not 0 < len(item.id) <= MAX_ID:
        raise ValueError(f"id: 1 to {MAX_ID} characters")
    if len(item.to) > 16:
        raise ValueError("to: longer than 16 characters")
    received: datetime | None = item.received_at
    if received is not None and received.tzinfo is None:
        raise ValueError("received_at: no time zone (RFC 3339 needs one)")
    known = item.id or (None if webhook_id is None else f"{webhook_id}:{index}")
    sender = item.sender
    return InboundSms(
        id=known or f"{token}:{index}",
        source=source,
        sender=sender if sender[0] == "+" else f"+{sender}",
        to=item.to,
        text=item.text,
        arrived_ms=arrived_ms,
        received_ms=None if received is None else int(received.timestamp() * 1000),
        by_text=known is None,
        trace=trace,
        channel=channel,
    )


def answer(ids: list[str], rejected: list[Rejection]) -> dict[str, Any]:
    """The body of a 202."""
    return {"accepted": len(ids), "ids": ids, "rejected": rejected}
