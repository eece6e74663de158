"""The story from the outside, over real processes: an organisation registers, delegates and uploads its employees, the
registry and the Ministry take them, a citizen sees and the police check, a mass act ends it all, and it begins anew.
"""

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from aiohttp import ClientSession

from api import dev_issuer
from bench.employees import EmployeeRow, employees, sheet
from permits.calendar import BAKU, rfc3339
from runtime.settings import Settings
from tests.integration.ministry_simulator import SECRET, Simulator, ministry
from tests.system.house import House

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

TIN: Final = "1234567890"
SEAL: Final = {"tin": TIN, "fin": "7ABCDE1", "acr": "urn:asan:imza"}
DELEGATE: Final = "6DEF45G"
EMPLOYEES: Final = 10_000
AGAIN: Final = 200
"""Employees whose permits their employer wants back."""
SEEN_WITHIN_S: Final = 1.0
"""A mass act shows at the next check."""
MOST_S: Final = 120.0


class Outside:
    """Everybody who calls the api, each with a token of their own."""

    def __init__(self, house: House, session: ClientSession, api: str) -> None:
        self._key = dev_issuer.key_pair(Settings(data_dir=str(house.data)))
        self._session = session
        self._api = api

    async def ask(
        self, method: str, path: str, scope: str, *, by: dict[str, Any] | None = None, key: str = "", **more: Any
    ) -> tuple[int, Any]:
        """Status and JSON of one request; `by` are the claims of who asks, `key` is of idempotency."""
        now_ms = time.time_ns() // 1_000_000
        subject = (by or {}).get("fin", scope)
        issued = dev_issuer.issue(self._key, subject=subject, scope=scope, minutes=5, now_ms=now_ms, claims=by or {})
        headers = {
            "Authorization": f"Bearer {issued.token}",
            "Idempotency-Key": key or "none",
            **more.pop("headers", {}),
        }
        async with self._session.request(method, self._api + path, headers=headers, **more) as answer:
            return answer.status, await answer.json(content_type=None)

    async def told(self, method: str, path: str, scope: str, **more: Any) -> Any:
        """The JSON of a request that succeeds."""
        status, body = await self.ask(method, path, scope, **more)
        assert status < 300, (method, path, status, body)
        return body

    async def check(self, document: str) -> dict[str, Any]:
        """What the police see."""
        return await self.told("POST", "/v1/checks", "checks", json={"document": document})

    async def upload(self, rows: list[EmployeeRow], key: str) -> dict[str, Any]:
        """An import by the delegate, once it is done."""
        body, headers = sheet(rows, "csv"), {"Content-Type": "text/csv"}
        who = {"fin": DELEGATE}
        path = f"/v1/organisations/{TIN}/permits"
        begun = await self.told("POST", path, "organisation", by=who, key=key, data=body, headers=headers)

        async def look() -> dict[str, Any] | None:
            path = f"/v1/organisations/{TIN}/imports/{begun['id']}"
            now: dict[str, Any] = await self.told("GET", path, "organisation", by=who)
            return now if now["state"] == "done" else None

        return await eventually(look)


async def eventually(look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` gives, once it gives something."""
    deadline = time.monotonic() + MOST_S
    while not (found := await look()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return found


@pytest.fixture
async def authorities() -> AsyncIterator[Simulator]:
    """The Ministry of the Interior."""
    async with ministry() as simulator:
        yield simulator


@pytest.mark.timeout(400)
async def test_from_registration_to_epoch_and_back(house: House, authorities: Simulator) -> None:
    secret = house.folder / "ministry.secret"
    secret.write_text("whsec_" + base64.b64encode(SECRET).decode())
    house.environ |= {"ICAZE_MINISTRY_URL": authorities.url, "ICAZE_MINISTRY_SECRET_FILE": str(secret)}
    house.environ |= {"ICAZE_MINISTRY": "http", "ICAZE_DEV_ISSUER": "true"}
    up = await asyncio.to_thread(house.start, "up")
    rows = list(employees(EMPLOYEES, seed=8103, start=datetime.now(BAKU).date()))
    somebody, other = rows[17], rows[EMPLOYEES - 1]
    async with ClientSession() as session:
        outside = Outside(house, session, up.door("api"))

        # The seal-authorised person registers the organisation, and lets somebody else do the work.
        organisation = {"tin": TIN, "name": "Günəş MMC"}
        await outside.told("POST", "/v1/organisations", "organisation", by=SEAL, json=organisation)
        grant = {"fin": DELEGATE, "name": "Rəşad Məmmədov", "powers": ["read", "apply"], "until": "2099-01-01"}
        grant["until"] = datetime.fromtimestamp(time.time() + 86_400, UTC).isoformat()
        path = f"/v1/organisations/{TIN}/delegates"
        delegation = await outside.told("POST", path, "organisation", by=SEAL, key="grant", json=grant)

        # The delegate uploads; the registry confirms; the Ministry takes each, in its partition's order, without gaps.
        done = await outside.upload(rows, "first")
        assert (done["rows"], done["created"], done["refused"]) == (EMPLOYEES, EMPLOYEES, 0)
        await eventually(lambda: taken(authorities, EMPLOYEES))
        assert all(len(tally["ranges"]) == 1 and tally["ranges"][0][0] == 1 for tally in authorities.tallies().values())

        # Statuses are live, and each act stands in its actor's name.
        async def active() -> dict[str, Any] | None:
            path = f"/v1/organisations/{TIN}/permits?limit=50"
            page = await outside.told("GET", path, "organisation", by={"fin": DELEGATE})
            return page if {permit["status"] for permit in page["permits"]} == {"active"} else None

        page = await eventually(active)
        assert len(page["permits"]) == 50
        history = await outside.told(
            "GET",
            f"/v1/organisations/{TIN}/permits/{page['permits'][0]['code']}/history",
            "organisation",
            by={"fin": DELEGATE},
        )
        assert [act["deed"] for act in history["acts"]] == ["create", "confirm", "transmit"]
        assert (history["acts"][0]["actor"], history["acts"][0]["under"]) == (DELEGATE, delegation["id"])

        # The citizen sees the employer's permit, and their own by SMS; the police check the document presented.
        words = ["send", f"2 {somebody.document}", "--from", "+994501234567", "--json"]
        door = up.door("ingest")
        sent = await asyncio.to_thread(house.call, *words, ICAZE_INGEST_PORT=door.rpartition(":")[2])
        reply = json.loads(sent.stdout)
        citizen = {"fin": somebody.fin, "documents": [somebody.document]}
        mine = await outside.told("GET", "/v1/me/permits", "me", by=citizen)
        assert {(permit["kind"], permit["status"]) for permit in mine["permits"]} == {
            ("sms", "active"),
            ("organisation", "active"),
        }
        checked = await outside.check(other.document)
        assert (checked["valid"], checked["reason"]) == (True, None)
        assert checked["since"] is not None

        # One act ends all organisations' permits; the next check shows it, and nobody gets an SMS for it.
        told = len(up.lines)
        decree = {"action": "deactivate", "reason": "decree 7"}
        began = time.monotonic()
        await outside.told("POST", "/v1/regime/epochs", "regime", key="decree", json=decree)
        checked = await outside.check(other.document)
        assert time.monotonic() - began < SEEN_WITHIN_S
        assert (checked["valid"], checked["reason"]) == (False, "cancelled")
        mine = await outside.told("GET", "/v1/me/permits", "me", by=citizen)
        assert {(permit["kind"], permit["status"]) for permit in mine["permits"]} == {
            ("sms", "active"),
            ("organisation", "cancelled"),
        }
        await eventually(lambda: told_of(authorities, 1))
        assert authorities.in_force(rfc3339(time.time_ns() // 1_000_000)) == set()
        assert not [line for line in up.lines[told:] if "***" in line], "an SMS"

        # The employer wants some back: the same list again, and the registry and the Ministry are asked anew.
        back = await outside.upload(rows[-AGAIN:], "again")
        assert (back["rows"], back["reactivated"]) == (AGAIN, AGAIN)

        async def valid() -> bool:
            return (await outside.check(other.document))["valid"]

        await eventually(valid)
        await eventually(lambda: in_force(authorities, AGAIN))

        # An officer ends the SMS permit: the next check fails, and the citizen is told.
        cancel = f"/v1/permits/{reply['permit']}/cancel"
        cancelled = await outside.told("POST", cancel, "permits.cancel", json={"reason": "false purpose"})
        assert cancelled["permits"][0]["notified"]
        checked = await outside.check(somebody.document)
        assert (checked["valid"], checked["reason"]) == (False, "cancelled")

        async def notified() -> bool:
            return any("cancelled" in line and reply["permit"] in line for line in list(up.lines))

        await eventually(notified)

        # The accounts agree.
        reconciled = await asyncio.to_thread(house.call, "reconcile", "--json")
        assert reconciled.returncode == 0, reconciled.stdout + reconciled.stderr
    verified = await asyncio.to_thread(house.call, "verify")
    assert verified.returncode == 0, verified.stdout
    await asyncio.to_thread(up.stop)


async def taken(simulator: Simulator, count: int) -> bool:
    """Whether the Ministry has taken so many events."""
    return len(simulator.events) >= count


async def told_of(simulator: Simulator, epochs: int) -> bool:
    """Whether the Ministry has been told of so many mass acts."""
    return len(simulator.epochs) >= epochs


async def in_force(simulator: Simulator, count: int) -> bool:
    """Whether so many permits are in force by the Ministry's own reading."""
    return len(simulator.in_force(rfc3339(time.time_ns() // 1_000_000))) == count
