"""The versions of the rules through the api: one officer proposes, another confirms, what has begun stays as it was."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import pytest
from aiohttp import ClientResponse
from redis.exceptions import ConnectionError as StoreConnectionError

from api import dev_issuer
from api.wires import Wires
from lua.calls import Command
from permits.calendar import DAY_MS, rfc3339
from permits.employees import AuditAct
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.policies import NOTICE_MS, load_all
from tests.integration.api_door import KEY, PARTITIONS, Clock, Http, asked, plant, serving
from tests.policy_texts import DEFAULT, followed

PATH: Final = "/v1/policies"
KEYS: Final = PARTITIONS[0]
TOML: Final = "application/toml"


@pytest.fixture
def clock() -> Clock:
    """The store lives by its own clock, so the api lives by the same."""
    clock = Clock()
    clock.now_ms = time.time_ns() // 1_000_000
    return clock


@pytest.fixture
async def http(server: EmbeddedStore, redis: Client, clock: Clock) -> AsyncIterator[Http]:
    async with serving(server.url, clock) as served:
        yield served


class Officers:
    """Anna proposes, Boris confirms."""

    def __init__(self, http: Http, clock: Clock) -> None:
        self.http = http
        self.clock = clock

    async def ask(
        self, method: str, path: str = "", *, by: str = "anna", key: str = "1", **more: Any
    ) -> ClientResponse:
        """The answer to an officer."""
        issued = dev_issuer.issue(KEY, subject=by, scope="policy", minutes=60, now_ms=self.clock.now_ms)
        headers = {"Authorization": f"Bearer {issued.token}", "Idempotency-Key": key} | more.pop("headers", {})
        answer = await self.http.request(method, PATH + path, headers=headers, **more)
        assert answer.headers["Cache-Control"] == "no-store"
        return answer

    async def told(self, status: int, method: str, path: str = "", **more: Any) -> Any:
        """What it says, with this status."""
        answer = await self.ask(method, path, **more)
        assert answer.status == status, await answer.text()
        return await answer.json()

    async def propose(self, text: str, *, status: int = 201, key: str = "1", by: str = "anna") -> Any:
        return await self.told(status, "POST", key=key, by=by, json={"text": text})

    async def confirm(self, version: str, *, status: int = 200, by: str = "boris") -> Any:
        return await self.told(status, "POST", f"/{version}/confirm", by=by)

    async def withdraw(self, version: str, *, status: int = 200, by: str = "anna") -> Any:
        return await self.told(status, "DELETE", f"/{version}", by=by)

    async def put_in_force(self, text: str, *, key: str = "1") -> str:
        version = (await self.propose(text, key=key))["version"]
        return (await self.confirm(version))["version"]


@pytest.fixture
def officers(http: Http, clock: Clock) -> Officers:
    return Officers(http, clock)


async def acts(redis: Client) -> list[AuditAct]:
    entries = await redis.execute_command("XRANGE", KEYS.acts, "-", "+")
    return [msgspec.json.decode(fields[b"m"], type=AuditAct) for _, fields in entries]


async def test_one_officer_proposes_and_another_confirms(officers: Officers, clock: Clock, redis: Client) -> None:
    text = followed(DEFAULT, clock.now_ms + DAY_MS, name="later")
    proposed = await officers.propose(text)
    version = proposed["version"]
    starts = rfc3339(clock.now_ms + DAY_MS)
    assert (proposed["state"], proposed["starts"], proposed["proposed_by"]) == ("proposed", starts, "anna")
    assert (proposed["settled_by"], proposed["settled_at"]) == (None, None)
    listed = await officers.told(200, "GET")
    assert (listed["current"].split("-")[0], listed["policies"]) == ("policy", [proposed])

    confirmed = await officers.confirm(version)
    assert (confirmed["state"], confirmed["starts"], confirmed["settled_by"]) == ("confirmed", starts, "boris")
    assert await officers.told(200, "GET") == {"current": version, "policies": [confirmed]}
    answer = await officers.ask("GET", f"/{version}")
    assert (answer.content_type, await answer.text()) == (TOML, text)

    known = await load_all(redis, KEYS.policies)
    assert list(known) == ["file-0123abcd", version]
    assert [regime.name for regime in known[version].regimes] == ["founding", "later"]
    assert [(act.deed, act.actor, act.policy) for act in await acts(redis)] == [
        ("propose", "anna", version),
        ("confirm", "boris", version),
    ]
    for act, at in zip(await acts(redis), (confirmed["proposed_at"], confirmed["settled_at"]), strict=True):
        assert rfc3339(act.at_ms) == at


async def test_nobody_confirms_what_they_have_proposed(officers: Officers, clock: Clock, redis: Client) -> None:
    version = (await officers.propose(followed(DEFAULT, clock.now_ms + DAY_MS, name="later")))["version"]
    assert (await officers.confirm(version, by="anna", status=403))["title"] == "Forbidden"
    assert (await officers.told(200, "GET"))["policies"][0]["state"] == "proposed"
    assert len(await acts(redis)) == 1


async def test_a_policy_may_come_as_toml(officers: Officers) -> None:
    proposed = await officers.told(201, "POST", data=DEFAULT.encode(), headers={"Content-Type": TOML})
    answer = await officers.ask("GET", f"/{proposed['version']}")
    assert await answer.text() == DEFAULT
    assert proposed["starts"] is None
    for data, media, status in ((b"\xff", TOML, 400), (b"[1]", "application/json", 400), (b"x", "text/plain", 415)):
        await officers.told(status, "POST", key="2", data=data, headers={"Content-Type": media})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x =", "not TOML"),
        (DEFAULT.replace("minutes = 180", "minuets = 180", 1), "minuets"),
        (DEFAULT.replace("minutes = 180", "minutes = 0", 1), "p1.toml: regimes"),
    ],
)
async def test_what_is_no_policy_is_refused_with_its_key(officers: Officers, text: str, said: str) -> None:
    assert said in (await officers.propose(text, status=422))["detail"]
    assert (await officers.told(200, "GET"))["policies"] == []


async def test_the_past_cannot_be_rewritten(officers: Officers, clock: Clock) -> None:
    now_ms = clock.now_ms
    running = followed(DEFAULT, now_ms + NOTICE_MS + 5_000, name="running")
    for text in (
        DEFAULT.replace("minutes = 180", "minutes = 120"),
        followed(DEFAULT, now_ms - 1000, name="yesterday"),
        followed(DEFAULT, now_ms + NOTICE_MS - 2_000, name="soon"),
        DEFAULT.replace('prefix = "MOM"', 'prefix = "MON"'),
        DEFAULT.replace("infected = 1", "infected = 9"),
    ):
        assert text != DEFAULT
        assert (await officers.propose(text, status=422))["detail"]
    await officers.put_in_force(running)
    assert (await officers.propose(running, status=422, key="2"))["title"] == "Not a next version"


async def test_the_notice_is_counted_from_the_confirmation(
    officers: Officers, clock: Clock, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = (await officers.propose(followed(DEFAULT, clock.now_ms + NOTICE_MS + 8_000, name="soon")))["version"]
    # As if the officers had let the notice pass: it is longer now.
    monkeypatch.setattr("api.policies.NOTICE_MS", NOTICE_MS + 20_000)
    assert (await officers.confirm(version, status=409))["title"] == "Too late"
    assert await load_all(redis, KEYS.policies) == {}
    monkeypatch.undo()
    await officers.confirm(version)


async def test_a_proposal_is_held_against_what_was_confirmed_since(officers: Officers, clock: Clock) -> None:
    first = (await officers.propose(followed(DEFAULT, clock.now_ms + DAY_MS, name="first"), key="1"))["version"]
    again = (await officers.propose(followed(DEFAULT, clock.now_ms + DAY_MS, name="first"), key="2"))["version"]
    await officers.confirm(first)
    assert "nothing differs" in (await officers.confirm(again, status=409))["detail"]


async def test_a_version_may_change_nothing_but_how_long_things_stay(officers: Officers) -> None:
    await officers.put_in_force(DEFAULT)
    longer = DEFAULT.replace("dead_days = 30", "dead_days = 60")
    version = await officers.put_in_force(longer, key="2")
    newest, _ = (await officers.told(200, "GET"))["policies"]
    assert (newest["version"], newest["starts"]) == (version, None)


async def test_rules_that_keep_records_longer_begin_on_another_day(officers: Officers, clock: Clock) -> None:
    soon = followed(DEFAULT, clock.now_ms + NOTICE_MS + 30_000, name="soon", honoured_days=7)
    later = followed(DEFAULT, clock.now_ms + 2 * DAY_MS, name="later", honoured_days=7)
    assert (await officers.propose(later))["state"] == "proposed"
    if (clock.now_ms + 4 * 3_600_000) % DAY_MS < DAY_MS - 2 * NOTICE_MS:  # a minute before midnight it is in time
        assert (await officers.propose(soon, status=422, key="2"))["title"] == "Too late"


async def test_what_was_withdrawn_cannot_be_confirmed(officers: Officers, redis: Client) -> None:
    version = (await officers.propose(DEFAULT))["version"]
    withdrawn = await officers.withdraw(version, by="boris")
    assert (withdrawn["state"], withdrawn["settled_by"]) == ("withdrawn", "boris")
    assert await officers.withdraw(version) == withdrawn
    assert (await officers.confirm(version, status=409))["title"] == "Already withdrawn"
    assert [act.deed for act in await acts(redis)] == ["propose", "withdraw"]


async def test_what_was_confirmed_cannot_be_withdrawn_and_is_confirmed_once(officers: Officers, redis: Client) -> None:
    version = await officers.put_in_force(DEFAULT)
    assert (await officers.withdraw(version, status=409))["title"] == "Already confirmed"
    assert (await officers.confirm(version))["settled_by"] == "boris"
    assert (await officers.confirm(version, by="clara", status=409))["title"] == "Already confirmed"
    assert len(await acts(redis)) == 2


async def test_a_repeat_of_the_request_is_the_same_proposal(officers: Officers, clock: Clock) -> None:
    first = await officers.propose(DEFAULT)
    assert await officers.propose(DEFAULT) == first
    other = followed(DEFAULT, clock.now_ms + DAY_MS, name="later")
    assert (await officers.propose(other, status=422))["title"] == "Idempotency key reused"
    assert (await officers.propose(other, by="boris"))["version"] != first["version"]


async def test_proposals_made_at_once_stand_side_by_side(officers: Officers, clock: Clock) -> None:
    texts = [followed(DEFAULT, clock.now_ms + DAY_MS, name=f"plan{n}") for n in range(6)]
    made = await asyncio.gather(*(officers.propose(text, key=str(n)) for n, text in enumerate(texts)))
    assert len({version["version"] for version in made}) == 6
    assert len((await officers.told(200, "GET"))["policies"]) == 6


async def test_only_so_many_proposals_wait(officers: Officers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.policies.MOST_PROPOSED", 2)
    first = await officers.propose(DEFAULT, key="1")
    await officers.propose(DEFAULT, key="2")
    assert (await officers.propose(DEFAULT, key="3", status=409))["title"] == "Too many proposals"
    await officers.withdraw(first["version"])
    await officers.propose(DEFAULT, key="3")


async def test_after_a_lost_answer_a_repeat_finds_what_was_done(
    officers: Officers, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Wires.write

    async def lossy(self: Wires, *commands: Command | Sequence[Any]) -> list[Any]:
        await write(self, *commands)
        raise StoreConnectionError("the connection broke")

    async def lost(ask: Callable[..., Awaitable[Any]]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Wires, "write", lossy)
            await ask(status=503)

    await lost(partial(officers.propose, DEFAULT))
    version = (await officers.propose(DEFAULT))["version"]
    await lost(partial(officers.confirm, version))
    assert (await officers.confirm(version))["state"] == "confirmed"
    assert len((await officers.told(200, "GET"))["policies"]) == 1


async def test_what_is_unknown_is_not_found(officers: Officers) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/confirm")):
        for version in ("p1-0123abcd", "policy", "p0-0123abcd"):
            assert (await officers.ask(method, f"/{version}{path}")).status == 404


async def test_it_takes_the_scope_and_a_key(officers: Officers, http: Http, clock: Clock) -> None:
    assert (await officers.ask("POST", key="", json={"text": DEFAULT})).status == 400
    issued = dev_issuer.issue(KEY, subject="anna", scope="regime checks", minutes=60, now_ms=clock.now_ms)
    assert (await http.get(PATH, headers={"Authorization": f"Bearer {issued.token}"})).status == 403


async def test_the_api_shows_permits_by_the_rules_as_they_are_now(
    officers: Officers, http: Http, clock: Clock, redis: Client
) -> None:
    starts_ms = clock.now_ms + DAY_MS
    await plant(redis, purpose=9, minutes=0, decided_ms=starts_ms + 1000)
    await officers.put_in_force(followed(DEFAULT, starts_ms, name="long", code=9, honoured_days=7))
    clock.now_ms = starts_ms + 4 * DAY_MS
    [permit] = await asked(http, clock)
    assert (permit["purpose"], permit["status"]) == (9, "active")
