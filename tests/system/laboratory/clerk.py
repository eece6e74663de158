"""A clerk at the api: registers an organisation, lends its powers, and has employees' permits made, changed and ended.

A wish is repeated under its idempotency key, or held against what stands, until its outcome is known: so the acts that
this writes to the history (`acted`: `deed`, `permit`, `under`) are all that came of them, each once.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout

from api import dev_issuer
from runtime.settings import Settings
from tests.system.house import House
from tests.system.laboratory.history import History

WHO: Final = "clerk-1"
TIN: Final = "1234567890"
HERE: Final = f"/v1/organisations/{TIN}"
PERMITS: Final = f"{HERE}/permits"
DAY_S: Final = 86_400
PATIENCE_S: Final = 8.0
EVERY_S: Final = 0.03
PAUSE_S: Final = 0.2
"""Before a repeat."""
NEW_SHARE: Final = 0.5
EDIT_SHARE: Final = 0.6
"""Of what is no new permit; the rest ends one."""
LOAN_EVERY: Final = 25
"""Wishes between two delegations that are granted, used, and revoked."""
MOST_LOANS: Final = 100
"""An organisation keeps 200 delegations, and the checker wants to see all."""
MOST_PERMITS: Final = 3
"""Of one employee, one after another; after eight the oldest would make room."""
LIVE: Final = frozenset(("submitted", "confirmed", "transmitted", "active"))


class Person(msgspec.Struct, frozen=True):
    """Who acts, and under which delegation; none: by the seal."""

    token: str
    under: str = ""


class Clerk:
    """One organisation at work."""

    def __init__(self, history: History, house: House, url: str, draw: Random) -> None:
        self._history = history
        self._url = url
        self._draw = draw
        self._key = dev_issuer.key_pair(Settings(data_dir=str(house.data)))
        self._seal = self._person("7ABCDE1", {"tin": TIN, "acr": "urn:asan:imza"})
        self._wishes = 0
        self._loans = 0
        self._employees = 0
        self._permits: dict[str, int] = {}
        """Employees by the codes of the permits that may be in force."""
        self._again: list[int] = []
        """Employees without a permit who may have another."""
        self._had: dict[int, int] = {}
        """How many permits each employee has had."""
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Wish nothing new."""
        self._stopping.set()

    async def run(self) -> None:
        """One wish after another until told to stop; an api that is away is asked again."""
        async with ClientSession(timeout=ClientTimeout(total=PATIENCE_S)) as self._http:
            await self._told("POST", "/v1/organisations", self._seal, json={"tin": TIN, "name": "Günəş MMC"})
            self._acted("register", "", self._seal)
            delegate = await self._lend("6DEF45G", "read", "apply", "edit", "cancel")
            while not self._stopping.is_set():
                await self._wish(self._draw.choice((self._seal, delegate)))
                if self._wishes % LOAN_EVERY == 1 and self._loans < MOST_LOANS:
                    await self._overstep()
                await asyncio.sleep(EVERY_S)

    async def _wish(self, by: Person) -> None:
        """A new permit, or an old one changed or ended."""
        self._wishes += 1
        if not self._permits or self._draw.random() < NEW_SHARE:
            await self._create(by)
            return
        code = self._draw.choice(list(self._permits))
        if self._draw.random() < EDIT_SHARE:
            await self._edit(code, by)
        else:
            await self._delete(code, by)

    async def _overstep(self) -> None:
        """What a delegate may do, then what they may not, then what they may no more."""
        self._loans += 1
        delegate = await self._lend(f"6B{self._loans:05}", "read", "apply")
        await self._create(delegate)
        if self._permits:
            await self._delete(next(reversed(self._permits)), delegate)
        await self._told("DELETE", f"{HERE}/delegates/{delegate.under}", self._seal)
        self._acted("revoke", "", self._seal)
        await self._create(delegate)

    async def _lend(self, fin: str, *powers: str) -> Person:
        """A delegation that stands."""
        until = datetime.fromtimestamp(time.time() + DAY_S, UTC).isoformat()
        asked = {"fin": fin, "name": "Rəşad Məmmədov", "powers": powers, "until": until}
        said = await self._told("POST", f"{HERE}/delegates", self._seal, json=asked, key=f"grant-{fin}")
        self._acted("grant", "", self._seal)
        return self._person(fin, {}, under=said["id"])

    async def _create(self, by: Person) -> None:
        """A permit for somebody, old or new; none where an officer's word or a missing power is in the way."""
        if self._again and self._draw.random() < NEW_SHARE:
            employee = self._again.pop()
        else:
            employee, self._employees = self._employees, self._employees + 1
        self._had[employee] = self._had.get(employee, 0) + 1
        now_s = time.time()
        asked = {
            "fin": f"1A{employee:05}",
            "document": f"AZE{1_000_000 + employee}",  # of somebody who pushes SMS too, so that police find it
            "name": "Aysel Quliyeva",
            "valid_from": datetime.fromtimestamp(now_s, UTC).isoformat(),
            "valid_until": datetime.fromtimestamp(now_s + DAY_S, UTC).isoformat(),
        }
        key = f"permit-{employee}-{self._had[employee]}"
        status, said, _ = await self._asked("POST", PERMITS, by, json=asked, key=key)
        assert status in (201, 404, 409), (status, key)
        if status == 201:
            self._permits[said["code"]] = employee
            self._acted("create", said["code"], by)

    async def _edit(self, code: str, by: Person) -> None:
        """Another zone, such as no other wish names."""
        zone = f"zone {self._wishes}"
        await self._change("PATCH", code, by, lambda seen: seen["zone"] == zone, "edit", json={"zone": zone})

    async def _delete(self, code: str, by: Person) -> None:
        """The permit's end, by its organisation's wish."""

        def is_done(seen: dict[str, Any]) -> bool:
            return seen["status"] == "cancelled" and seen["reason"] == "deleted by its organisation"

        employee = self._permits[code]
        if await self._change("DELETE", code, by, is_done, "delete"):
            del self._permits[code]
            if self._had[employee] < MOST_PERMITS:
                self._again.append(employee)

    async def _change(
        self, method: str, code: str, by: Person, is_done: Callable[[dict[str, Any]], bool], deed: str, **more: Any
    ) -> bool:
        """A change of what was seen; after a lost answer, or where somebody was quicker, as what stands then tells."""
        path, done = f"{PERMITS}/{code}", False
        while not done:
            status, seen, tag = await self._asked("GET", path, by)
            if status != 200:
                return False
            done = is_done(seen)
            if not done and seen["status"] not in LIVE:
                self._permits.pop(code, None)  # an officer was quicker
                return False
            if not done:
                status, _, _ = await self._asked(method, path, by, once=True, headers={"If-Match": tag}, **more)
                assert status in (0, 200, 403, 409, 412), (method, status)
                if status == 403:
                    return False
                done = status == 200
        self._acted(deed, code, by)
        return True

    async def _told(self, method: str, path: str, by: Person, **more: Any) -> Any:
        """The JSON of what must succeed."""
        status, said, _ = await self._asked(method, path, by, **more)
        assert status < 300, (method, path, status)
        return said

    async def _asked(
        self, method: str, path: str, by: Person, *, key: str = "", once: bool = False, **more: Any
    ) -> tuple[int, Any, str]:
        """Status, JSON and tag of the answer; where it is lost, or the api cannot now, the same again, or status 0."""
        headers = {"Authorization": f"Bearer {by.token}", **more.pop("headers", {})}
        if key:
            headers["Idempotency-Key"] = key
        while True:
            try:
                async with self._http.request(method, self._url + path, headers=headers, **more) as answer:
                    if answer.status < 500 and answer.status != 429:
                        return answer.status, await answer.json(content_type=None), answer.headers.get("ETag", "")
            except (ClientError, TimeoutError, OSError, ValueError):  # a body that was cut is no JSON
                pass
            if once:
                return 0, None, ""
            await asyncio.sleep(PAUSE_S)

    def _acted(self, deed: str, code: str, by: Person) -> None:
        self._history.add("acted", who=WHO, deed=deed, permit=code, under=by.under)

    def _person(self, fin: str, claims: dict[str, str | list[str]], under: str = "") -> Person:
        """Somebody with a token of their own, for as long as a long run takes."""
        issued = dev_issuer.issue(
            self._key,
            subject=f"person-{fin}",
            scope="organisation",
            minutes=1440,
            now_ms=time.time_ns() // 1_000_000,
            claims={"fin": fin, **claims},
        )
        return Person(issued.token, under)
