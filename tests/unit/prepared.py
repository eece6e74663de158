"""Batches as a worker prepares them, and what stands in their calls, for tests."""

from typing import Any

from lua.calls import MESSAGE_BYTES, Arg, Batch
from lua.keys import partition_keys, tags
from permits import policy as policies
from permits.calendar import local_day
from permits.messages import AUDIT_DECODER, ENCODER, InboundSms
from permits.partition import Route
from permits.policy import Policy
from processor.approvals import Wordings
from processor.batch import Entry, Preparer
from runtime.keyring import SenderSeal
from tests.day_keys import KEYRING, every_day
from tests.uncounted import phones

ROUTE = Route(key=b"a key for tests only", partitions=2)
HOME = ROUTE.of_document("AZE1111111")[0]
NOW_MS = 1_767_254_400_000
"""2026-01-01 12:00 in Baku."""
TODAY = local_day(NOW_MS)
SEAL = SenderSeal(KEYRING)
DAY_KEYS = every_day()
ELSEWHERE = next(
    f"2 AZE {number}" for number in range(1111112, 1111200) if ROUTE.of_document(f"AZE{number}")[0] != HOME
)


def preparer(policy: Policy | None = None, *, index: int = HOME) -> Preparer:
    rules = policy or policies.load()
    return Preparer(
        index=index,
        keys=partition_keys(tags(2)[index]),
        route=ROUTE,
        policy=lambda: rules,
        wordings=Wordings("plain"),
        seal=SEAL,
        phones=phones(),
        day_keys=DAY_KEYS,
    )


def home_sender() -> str:
    """A phone whose SMS without a document belong to our partition."""
    return next(s for s in (f"+9945012345{n:02d}" for n in range(100)) if ROUTE.of_sender(s)[0] == HOME)


def payload(text: str, **other: Any) -> bytes:
    fields: dict[str, Any] = {
        "id": "agg-1",
        "source": "dev",
        "sender": home_sender(),
        "to": "8103",
        "text": text,
        "arrived_ms": NOW_MS - 1000,
    }
    return ENCODER.encode(InboundSms(**(fields | other)))


def numbered(*payloads: bytes | None) -> list[Entry]:
    return [(b"1767254399000-%d" % at, raw) for at, raw in enumerate(payloads)]


def letters(batch: Batch) -> str:
    return batch.messages[25::MESSAGE_BYTES].decode()


def joined(*parts: Arg) -> bytes:
    """Parts of a text as the function joins them."""
    return b"".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)


def around(tail: str, frame: tuple[str, str]) -> tuple[str, str, str]:
    return frame[0], tail, frame[1]


def approved(batch: Batch, at: int = 0) -> bytes:
    """The reply of the first message that is left to the rules, if it is approved."""
    start = at * MESSAGE_BYTES
    frame, tail, permit = (
        batch.messages[start + 28],
        batch.messages[start + 31 : start + 35],
        batch.messages[start + 36 :][:10],
    )
    (begin, before), (between, after) = batch.frames[frame + 2 : frame + 4]
    return joined(batch.texts[0], begin, permit, before, tail, between, permit, after)


def prepare(*payloads: bytes | None, policy: Policy | None = None, unfit: str | None = None) -> Batch:
    return preparer(policy).prepare(numbered(*payloads), epoch="7", now_ms=NOW_MS, unfit=unfit).batch


def owner_and_digest(batch: Batch, at: int) -> tuple[bytes, bytes]:
    row = AUDIT_DECODER.decode(batch.audit).rows[at]
    return bytes.fromhex(row.owner), bytes.fromhex(row.digest)
