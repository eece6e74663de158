"""`/v1/blocked`: staff, and the health and border services, put documents on status lists and take them off.

`lua/blocked.lua` writes `blocked:{p}`, which `decide` reads, together with the act in `acts:{p}`. A look leaves an act
too: no record, no answer. Documents stand in bodies only.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api.contract import Answer, Call, Operation
from api.guessing import Guessing
from api.staff import act_of, asker_of, owner_of
from api.wires import Wires
from lua import blocked
from lua.blocked import LATEST_S, Listed, Listing
from lua.calls import Command
from lua.keys import PartitionKeys
from permits.applications import moment_ms
from permits.calendar import rfc3339
from permits.documents import LONGEST_TEXT
from permits.employees import Deed
from permits.messages import ENCODER
from permits.partition import Route
from permits.policy import Policy
from runtime.problems import ProblemError

SCOPE: Final = "lists"
PATH: Final = "/v1/blocked"
_Words = Meta(
    max_length=LONGEST_TEXT, description="series and number, in any script or spacing", examples=["AZE1111111"]
)
Document = Annotated[str, _Words]
ListName = Annotated[str, Meta(max_length=40, description="as the rules name it", examples=["infected"])]
Reason = Annotated[str, Meta(pattern=r"\S", max_length=200, examples=["order 14 of the health service"])]
_MOMENT: Final = "a time with its zone, or a date in Baku"
From = Annotated[str, Meta(max_length=35, description=f"{_MOMENT}; none before now", examples=["2026-12-01"])]
Until = Annotated[str, Meta(max_length=35, description=f"{_MOMENT}, until its end", examples=["2026-12-31T20:00:00Z"])]


class Blocking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """A document is to stand on a list."""

    document: Document
    list: ListName
    reason: Reason
    start: From | None = None
    """None, or a moment that has passed: from now on, or since it has stood there."""
    until: Until | None = None
    """None: without end."""


class Unblocking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document is to stand on a list no more."""

    document: Document
    list: ListName
    reason: Reason


class BlockedQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which lists a document stands on."""

    document: Document


class ListingShown(msgspec.Struct, frozen=True, rename={"start": "from"}):
    """A document's place on a list. Times are RFC 3339 in UTC."""

    list: str
    start: str
    until: str | None


class BlockedAnswer(msgspec.Struct, frozen=True):
    """The places that are not over, those to come among them."""

    lists: list[ListingShown]


class BlockedChange(msgspec.Struct, frozen=True):
    """What a change came to."""

    changed: bool
    """False: it was so already."""
    place: ListingShown | None
    """That stands now, or stood and was taken away."""


class BlockedDoor:
    """The operations and what they need."""

    def __init__(
        self,
        guessing: Guessing,
        *,
        wires: Wires,
        partitions: Sequence[PartitionKeys],
        route: Route,
        policy: Callable[[], Policy],
        now_ms: Callable[[], int],
    ) -> None:
        self._guessing = guessing
        self._wires = wires
        self._partitions = partitions
        self._route = route
        self._policy = policy
        self._now_ms = now_ms

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="POST",
                path=PATH,
                name="block_document",
                summary="Put a document on a status list, or move its times there",
                tag="lists",
                handler=self.block,
                scope=SCOPE,
                body=Blocking,
                answers={200: BlockedChange},
                problems=(409, 422, 503),
            ),
            Operation(
                method="POST",
                path=f"{PATH}/remove",
                name="unblock_document",
                summary="Take a document off a status list",
                tag="lists",
                handler=self.unblock,
                scope=SCOPE,
                body=Unblocking,
                answers={200: BlockedChange},
                problems=(422, 503),
            ),
            Operation(
                method="POST",
                path=f"{PATH}/look-up",
                name="look_up_blocked",
                summary="The status lists on which a document stands",
                tag="lists",
                handler=self.look_up,
                scope=SCOPE,
                body=BlockedQuestion,
                answers={200: BlockedAnswer},
                problems=(422, 429, 503),
            ),
        ]

    async def block(self, call: Call) -> Answer:
        """Put a document on a list; a repeat changes nothing."""
        body: Blocking = call.body
        partition, owner = owner_of(self._route, body.document)
        number, now_ms = number_of(self._policy(), body.list), self._now_ms()
        from_ms, until_ms = times(body.start, body.until, now_ms)
        keys, seconds = self._partitions[partition], (from_ms // 1000, -(-until_ms // 1000))
        act, look = acts_of(call, "block", owner, now_ms, from_ms=from_ms, until_ms=until_ms)
        listing = Listing(number, *seconds)
        return await self._changed(
            blocked.block_command(keys, owner=owner, listing=listing, now_s=now_ms // 1000, act=act, look=look)
        )

    async def unblock(self, call: Call) -> Answer:
        """Take a document off a list; a repeat changes nothing."""
        body: Unblocking = call.body
        partition, owner = owner_of(self._route, body.document)
        number, now_ms = number_of(self._policy(), body.list), self._now_ms()
        act, look = acts_of(call, "unblock", owner, now_ms)
        keys = self._partitions[partition]
        return await self._changed(
            blocked.unblock_command(keys, owner=owner, number=number, now_s=now_ms // 1000, act=act, look=look)
        )

    async def look_up(self, call: Call) -> Answer:
        """The lists on which a document stands, and the act of having looked."""
        asker = asker_of(call.caller, self._route)
        self._guessing.admit(asker, None)
        partition, owner = owner_of(self._route, call.body.document)
        keys, now_ms = self._partitions[partition], self._now_ms()
        (value,) = await self._wires.read(("HGET", keys.blocked, owner))
        lists = places(value, self._policy(), now_ms)
        self._guessing.tell(asker, None, owner, found=bool(lists))
        act = act_of(call, "look_up", owner, now_ms, reason="lists")
        await self._wires.write(("XADD", keys.acts, "*", "m", ENCODER.encode(act)))
        return Answer(body=BlockedAnswer(lists))

    async def _changed(self, command: Command) -> Answer:
        (reply,) = await self._wires.write(command)
        found = blocked.blocked_reply(reply)
        if found == "full":
            raise ProblemError(409, "No room", "the document stands on as many lists as it can")
        return Answer(body=_change(found, self._policy()))


def number_of(policy: Policy, name: str) -> int:
    """The store's number of a list; ProblemError 422 where the rules know none of that name."""
    number = policy.lists.get(name)
    if number is None:
        raise ProblemError(422, "No such list", f"the rules have {', '.join(sorted(policy.lists)) or 'no lists'}")
    return number


def acts_of(call: Call, deed: Deed, owner: bytes, now_ms: int, **place: int) -> tuple[bytes, bytes]:
    """What the audit gets of a change of a list where something changes, and where nothing does."""
    act = act_of(call, deed, owner, now_ms, reason=call.body.reason, name=call.body.list, **place)
    look = act_of(call, "look_up", owner, now_ms, reason=f"{deed}: changed nothing", name=call.body.list)
    return ENCODER.encode(act), ENCODER.encode(look)


def places(value: bytes | None, policy: Policy, now_ms: int) -> list[ListingShown]:
    """A document's places on lists as the store has them, but for those that are over."""
    standing = blocked.listings(value or b"")
    return [_shown(place, policy) for place in standing if not place.until_s or place.until_s * 1000 > now_ms]


def times(start: str | None, until: str | None, now_ms: int) -> tuple[int, int]:
    """From and until as written, in milliseconds; nothing begins before now, and an end of 0 is none.

    ProblemError 422 where they are no times, or not in order.
    """
    from_ms = now_ms if start is None else moment_ms(start)
    until_ms = 0 if until is None else moment_ms(until, ends=True)
    if from_ms is None or until_ms is None:
        raise ProblemError(422, "Not a time", "from and until are dates, or times with their zone")
    from_ms = max(from_ms, now_ms)
    if until is not None and until_ms <= from_ms:
        raise ProblemError(422, "Not an end", "until must lie ahead, and after from")
    if max(from_ms, until_ms) > LATEST_S * 1000:
        raise ProblemError(422, "Too late", "times end in 2106")
    return from_ms, until_ms


def _change(found: Listed, policy: Policy) -> BlockedChange:
    return BlockedChange(found.changed, None if found.listing is None else _shown(found.listing, policy))


def _shown(place: Listing, policy: Policy) -> ListingShown:
    name = next((name for name, number in policy.lists.items() if number == place.list), f"list {place.list}")
    return ListingShown(name, rfc3339(place.from_s * 1000), rfc3339(place.until_s * 1000) if place.until_s else None)
