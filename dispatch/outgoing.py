"""One reply between its stream and its settlement, and what can be said of it before it is sent.

Reads an entry of `replies:{p}`.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from dispatch.operators.port import Parcel
from permits.messages import REPLY_DECODER

if TYPE_CHECKING:
    from dispatch.reply_lane import ReplyLane

MARK: Final = b',"ambiguous":true}'
"""How a reply ends that was put back and may have been sent: what is sent is marked anew, or not at all."""
PHONE: Final = re.compile(r"\+[0-9]{7,15}")
"""Short codes and alphanumeric senders are never answered: two machines could answer each other for ever."""


class Outgoing(Parcel, eq=False, gc=False, kw_only=True):
    """A reply under way."""

    lane: "ReplyLane"
    entry_id: bytes
    verdict: str = ""
    expires_s: float = 0.0
    """Wall clock, seconds since 1970; not sent from then on."""
    flaw: str = ""
    """Why it can never be sent; empty where it can."""
    attempts: int = 0

    @property
    def decided_ms(self) -> bytes:
        """When the store took the reply in, wall clock, in digits."""
        return self.entry_id.partition(b"-")[0]


def from_entry(lane: "ReplyLane", entry_id: bytes, fields: Sequence[bytes] | None, *, ambiguous: bool) -> Outgoing:
    """What stands in an entry; what is no reply of ours keeps its bytes for the dead letter."""
    body = _payload(fields or [])
    try:
        reply = REPLY_DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Outgoing(lane=lane, entry_id=entry_id, id="", body=body, flaw="unreadable: not a reply")
    if reply.ambiguous is True:
        body, ambiguous = body.removesuffix(MARK) + b"}" if body.endswith(MARK) else body, True
    return Outgoing(
        lane=lane,
        entry_id=entry_id,
        id=reply.id,
        body=body,
        ambiguous=ambiguous,
        verdict=reply.verdict,
        expires_s=moment_s(reply.expires_at),
        flaw="" if PHONE.fullmatch(reply.to) else "unanswerable: not a phone number",
    )


def _payload(fields: Sequence[bytes]) -> bytes:
    """The field `m`, which a mark can be added to; of an entry without it, all that it holds."""
    if len(fields) == 2 and fields[0] == b"m":
        return fields[1].strip()
    return dict(zip(fields[::2], fields[1::2], strict=True)).get(b"m", b" ".join(fields)).strip()


@lru_cache(1024)  # replies of one call of `decide` end at a few moments
def moment_s(rfc3339: str) -> float:
    """Seconds since 1970; a time without a zone is UTC, and what is no time has lapsed."""
    try:
        moment = datetime.fromisoformat(rfc3339)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
