"""Lists of an organisation's permits, newest first, page by page.

Reads `org:{q}:<tin>`, which the dispatcher fills within a second of a permit's creation, and the permits it names. A
request looks at a bounded number of permits, so with filters a page may be short, even empty, before the last one.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.authority import Organisations
from api.contract import Answer, Call, Operation
from api.organisations import SCOPE
from api.shown import PermitPage, PermitShown, employee_shown, permit_shown
from api.wires import Wires
from permits.applications import PLACE_LETTERS
from permits.employees import EmployeePermit, Epoch, Status, effective
from runtime.employment import Employment

MOST_SHOWN: Final = 100
MOST_SCANNED: Final = 500
"""Permits that a filtered request looks at: some 5 ms of work."""
_Place = Annotated[str, Meta(min_length=1, max_length=PLACE_LETTERS)] | UnsetType


class PermitFilter(msgspec.Struct, frozen=True):
    """Which permits, from where on, and how many."""

    status: Status | UnsetType = UNSET
    zone: _Place = UNSET
    activity: _Place = UNSET
    cursor: Annotated[str, Meta(pattern=r"^[0-9]{1,15}-[2-9A-HJ-NP-Z]{10}$")] | UnsetType = UNSET
    """`next` of the page before."""
    limit: Annotated[int, Meta(ge=1, le=MOST_SHOWN)] = 50

    @property
    def narrows(self) -> bool:
        """Whether it leaves permits out."""
        return any(value is not UNSET for value in (self.status, self.zone, self.activity))


class PermitListDoor:
    """The operation and what it needs."""

    def __init__(
        self,
        organisations: Organisations,
        employment: Employment,
        *,
        wires: Wires,
        epochs: Sequence[Epoch],
        now_ms: Callable[[], int],
    ) -> None:
        self._organisations = organisations
        self._employment = employment
        self._wires = wires
        self._epochs = epochs
        self._now_ms = now_ms

    def operations(self) -> list[Operation]:
        """What this module adds to the api."""
        return [
            Operation(
                method="GET",
                path="/v1/organisations/{tin}/permits",
                name="list_permits",
                summary="An organisation's permits, newest first",
                tag="permits",
                handler=self.page,
                scope=SCOPE,
                query=PermitFilter,
                answers={200: PermitPage},
                problems=(404,),
            )
        ]

    async def page(self, call: Call) -> Answer:
        """One page. A permit created or forgotten between two pages is neither skipped over nor a cause to skip."""
        acting = await self._organisations.acting(call, "read")
        tin, asked = acting.organisation.tin, call.query
        window = MOST_SCANNED if asked.narrows else asked.limit
        found, more = await self._codes(tin, asked.cursor, window)
        permits = await self._employment.load([code for code, _ in found])
        shown: list[PermitShown] = []
        last: tuple[str, int] | None = None
        for at, ((code, created_ms), standing) in enumerate(zip(found, permits, strict=True), 1):
            last = code, created_ms
            permit = standing and standing.permit
            if permit is not None and permit.tin == tin and (fits := self._fitting(permit, asked)) is not None:
                shown.append(fits)
                if len(shown) == asked.limit:
                    more = more or at < len(found)
                    break
        return Answer(body=PermitPage(permits=shown, next=f"{last[1]}-{last[0]}" if last and more else None))

    async def _codes(self, tin: str, cursor: str | UnsetType, most: int) -> tuple[list[tuple[str, int]], bool]:
        """Codes after the cursor with their moments of creation, newest first, and whether there are more."""
        key = self._organisations.keys(tin).org(tin)
        start, seen = 0, ""
        if cursor is not UNSET:
            created, _, seen = cursor.partition("-")
            rank, newer = await self._wires.read(("ZREVRANK", key, seen), ("ZCOUNT", key, f"({created}", "+inf"))
            start = newer if rank is None else rank  # a permit that is gone leaves its moment: nothing is skipped
        # One more on either side: the permit of the cursor, which may have moved meanwhile, and proof of a next page.
        (flat,) = await self._wires.read(("ZREVRANGE", key, start, start + most + 1, "WITHSCORES"))
        codes = [(code.decode(), int(score)) for code, score in zip(flat[::2], flat[1::2], strict=True)]
        after = next((at for at, (code, _) in enumerate(codes, 1) if code == seen), 0)
        codes = codes[after:]
        return codes[:most], len(codes) > most

    def _fitting(self, permit: EmployeePermit, asked: PermitFilter) -> PermitShown | None:
        now = effective(permit, self._epochs, self._now_ms())
        if asked.status not in (UNSET, now.status):
            return None
        if asked.zone not in (UNSET, permit.zone) or asked.activity not in (UNSET, permit.activity):
            return None
        return permit_shown(permit, now, employee_shown(self._employment, permit))
