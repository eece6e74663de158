"""Our own dialect: `POST /v1/sms` with one SMS, an array, or NDJSON, into `InboundSms` or a rejection each.

Pure: bytes in, messages out. What can never be processed is rejected by itself and does not spoil its neighbours.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from permits.messages import Channel, InboundSms

MAX_ITEMS: Final = 1000
MAX_TEXT: Final = 4000
"""Characters; 25 segments, far above what a request needs."""
MSISDN: Final = re.compile(r"\+?[0-9]{7,15}")
"""Short codes and alphanumeric senders are no phones: an answer to them could loop."""
NO_PHONE: Final = "from: not a phone number (`+` and 7 to 15 digits); other senders are not answered"


class BodyError(ValueError):
    """The body as a whole cannot be used."""


class Item(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One SMS as an aggregator posts it."""

    sender: str = msgspec.field(name="from")
    text: Annotated[str, Meta(max_length=MAX_TEXT)]
    to: Annotated[str, Meta(max_length=16)] = "8103"
    id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    received_at: Annotated[datetime, Meta(tz=True)] | None = None


class Rejection(msgspec.Struct, frozen=True):
    """One item that was not accepted, and why."""

    index: int
    error: str


_ITEM: Final = msgspec.json.Decoder(Item)
_ITEMS: Final = msgspec.json.Decoder(list[Item])
_RAW_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def items_of(body: bytes, *, ndjson: bool) -> Sequence[Item | Rejection]:
    """The items of a body, in order; BodyError where it is no object, array or NDJSON of 1 to MAX_ITEMS."""
    raws: list[msgspec.Raw] | list[bytes]
    if ndjson:
        raws = [line for line in body.splitlines() if line.strip()]
    elif body.lstrip()[:1] == b"[":
        try:
            items = _ITEMS.decode(body)  # all at once, in half the time; one that is wrong has each looked at by itself
        except (ValueError, RecursionError):
            try:
                raws = _RAW_ITEMS.decode(body)
            except (msgspec.DecodeError, RecursionError) as error:
                raise BodyError(f"not JSON: {error}") from None
        else:
            _refuse_size(len(items))
            return items
    else:
        raws = [body]
    _refuse_size(len(raws))
    return [item_of(raw, index) for index, raw in enumerate(raws)]


def _refuse_size(items: int) -> None:
    if not items:
        raise BodyError("no SMS in the body")
    if items > MAX_ITEMS:
        raise BodyError(f"{items} SMS in one request; at most {MAX_ITEMS}")


def item_of(raw: msgspec.Raw | bytes, index: int) -> Item | Rejection:
    """One item by itself."""
    try:
        return _ITEM.decode(raw)
    except msgspec.DecodeError as error:
        return Rejection(index, str(error))
    except UnicodeDecodeError:
        return Rejection(index, "not UTF-8")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of all SMS of a request."""

    source: str
    arrived_ms: int
    webhook_id: str | None
    """An item without an id is known by this and its place."""
    token: str
    """New with the request: where there is no webhook-id either, it only names an item, whose identity is its text."""
    trace: str | msgspec.UnsetType = msgspec.UNSET
    channel: Channel | msgspec.UnsetType = msgspec.UNSET

    def taken(self, items: Sequence[Item | Rejection]) -> tuple[list[InboundSms], list[Rejection]]:
        """SMS as they will be read, and what cannot be: each in order."""
        taken: list[InboundSms] = []
        rejected: list[Rejection] = []
        source, arrived_ms, trace, channel = self.source, self.arrived_ms, self.trace, self.channel
        for index, item in enumerate(items):
            if isinstance(item, Rejection):
                rejected.append(item)
                continue
            sender, received, sms_id = item.sender, item.received_at, item.id
            if not MSISDN.fullmatch(sender):
                rejected.append(Rejection(index, NO_PHONE))
                continue
            if sender[0] != "+":
                sender = f"+{sender}"
            by_text = sms_id is None and self.webhook_id is None
            if sms_id is None:
                sms_id = f"{self.token if by_text else self.webhook_id}:{index}"
            received_ms = None if received is None else int(received.timestamp() * 1000)
            # By place: by name it takes a third longer.
            taken.append(
                InboundSms(sms_id, source, sender, item.to, item.text, arrived_ms, received_ms, by_text, trace, channel)
            )
        return taken, rejected


def answer(ids: list[str], rejected: list[Rejection]) -> dict[str, Any]:
    """The body of a 202."""
    return {"accepted": len(ids), "ids": ids, "rejected": rejected}
