"""Mass acts on organisations' permits: one item whatever their number, seen by every reader, told to nobody by SMS."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from redis.exceptions import ConnectionError as StoreConnectionError

from lua.calls import Command
from permits.employees import DAY_MS, Actor, Employee, Request
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.epochs import Epochs
from tests.eventually import eventually
from tests.integration.api_door import PARTITIONS
from tests.integration.officer_door import NOON_MS, Desk, serving
from tests.integration.organisation_door import TIN

EPOCHS = "/v1/regime/epochs"
MANY = 20_000
OFF = {"action": "deactivate", "reason": "Decree 218"}
LONGER = {"action": "extend", "until": "2090-03-01T08:00:00Z", "reason": "Decree 219"}
SHOWN_OFF = {
    "number": 1,
    "action": "deactivate",
    "at": "2090-01-01T08:00:00.000Z",
    "until": None,
    "reason": "Decree 218",
    "actor": "regime",
}


@pytest.fixture
async def desk(server: EmbeddedStore, redis: Client) -> AsyncIterator[Desk]:
    async with serving(server.url, redis) as found:
        yield found


@asynccontextmanager
async def following(epochs: Epochs) -> AsyncGenerator[None]:
    """A process polls the epochs, as each role does."""
    task = asyncio.create_task(epochs.follow())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def proclaim(desk: Desk, body: Any = OFF, *, by: str = "regime", key: str = "key") -> tuple[int, Any]:
    return await desk.post(EPOCHS, body, by=by, key=key)


async def listed(desk: Desk) -> list[Any]:
    answer = await desk.http.get(EPOCHS, headers={"Authorization": "Bearer regime"})
    assert answer.status == 200
    return (await answer.json())["epochs"]


async def register(desk: Desk) -> None:
    assert (await desk.post("/v1/organisations", {"tin": TIN, "name": "Günəş MMC"}, by="seal"))[0] == 201


async def shown(desk: Desk, code: str) -> tuple[str, str]:
    """Status and end of a permit, as its organisation sees it."""
    path = f"/v1/organisations/{TIN}/permits/{code}"
    answer = await desk.http.get(path, headers={"Authorization": "Bearer seal"})
    assert answer.status == 200
    permit = await answer.json()
    return permit["status"], permit["valid_until"]


async def employ(desk: Desk, numbers: range) -> list[str]:
    """The codes of many permits."""
    requests = [
        Request(
            employee=Employee(fin=f"1{n:06d}", document=f"AZE{2_000_000 + n}", name="One", phone="+994501234567"),
            from_ms=NOON_MS,
            until_ms=NOON_MS + DAY_MS,
        )
        for n in numbers
    ]
    actor = Actor(subject="seal")
    created = await desk.parts.employment.create(TIN, "Günəş MMC", requests, actor=actor, now_ms=NOON_MS)
    return [answer.standing.permit.code for answer in created if answer.standing is not None]


async def used(redis: Client, *sections: str) -> dict[str, int]:
    """Keys, and entries of each kind of stream."""
    found = {"keys": await redis.execute_command("DBSIZE")}
    for name in sections:
        found[name] = sum([await redis.execute_command("XLEN", getattr(keys, name)) for keys in PARTITIONS])
    return found


async def test_an_epoch_is_proclaimed_and_listed(desk: Desk, redis: Client) -> None:
    assert await listed(desk) == []
    assert await proclaim(desk) == (201, SHOWN_OFF)
    desk.clock.now_ms += DAY_MS
    longer = {
        "number": 2,
        "action": "extend",
        "at": "2090-01-02T08:00:00.000Z",
        "until": "2090-03-01T08:00:00.000Z",
        "reason": "Decree 219",
        "actor": "regime",
    }
    assert await proclaim(desk, LONGER, key="other") == (201, longer)
    assert await listed(desk) == [longer, SHOWN_OFF]
    (first, _) = await redis.execute_command("LRANGE", "epochs", 0, -1)
    assert b'"trace":"00-' + b"a" * 32 in first


async def test_permits_follow_the_epochs_at_the_next_read(desk: Desk) -> None:
    await register(desk)
    code = (await desk.employ()).permit.code
    assert await shown(desk, code) == ("active", "2090-01-01T10:00:00.000Z")
    await proclaim(desk, LONGER, key="longer")
    assert await shown(desk, code) == ("active", "2090-03-01T08:00:00.000Z")
    await proclaim(desk)
    assert (await shown(desk, code))[0] == "cancelled"
    later = (await desk.employ(from_ms=NOON_MS, until_ms=NOON_MS + DAY_MS)).permit.code
    assert (await shown(desk, later))[0] == "active"


async def test_at_20_000_permits_it_costs_one_item_and_no_sms_and_shows_within_a_second_elsewhere(
    server: EmbeddedStore, redis: Client, desk: Desk
) -> None:
    await register(desk)
    codes = [code for start in range(0, MANY, 250) for code in await employ(desk, range(start, start + 250))]
    assert len(codes) == MANY
    streams = ("replies", "outbox", "applications", "acts", "dead")
    async with serving(server.url, redis, clock=desk.clock) as elsewhere, following(elsewhere.parts.epochs):
        assert (await shown(elsewhere, codes[-1]))[0] == "submitted"
        before = await used(redis, *streams)
        assert (await proclaim(desk))[0] == 201
        assert [(await shown(desk, code))[0] for code in codes[::2_000]] == ["cancelled"] * 10

        async def seen() -> bool:
            return (await shown(elsewhere, codes[-1]))[0] == "cancelled"

        await eventually(seen, within_s=1)
        assert await used(redis, *streams) == before | {"keys": before["keys"] + 1}
        assert await redis.execute_command("LLEN", "epochs") == 1


async def test_a_repeat_of_the_request_is_the_same_epoch(desk: Desk) -> None:
    first = await proclaim(desk)
    await proclaim(desk, LONGER, key="between")
    desk.clock.now_ms += DAY_MS
    assert await proclaim(desk) == first
    assert len(await listed(desk)) == 2


async def test_a_key_belongs_to_one_request_of_one_caller(desk: Desk) -> None:
    await proclaim(desk)
    assert (await proclaim(desk, LONGER))[0] == 422
    assert (await proclaim(desk, OFF | {"reason": "another"}))[0] == 422
    status, body = await proclaim(desk, by="colleague")
    assert (status, body["number"], body["actor"]) == (201, 2, "colleague")


async def test_the_reason_cannot_pass_for_the_key_of_another_request(desk: Desk, redis: Client) -> None:
    await proclaim(desk, key="one")
    (raw,) = await redis.execute_command("LRANGE", "epochs", 0, -1)
    quoted = raw.decode().partition('"request":')[2].partition(",")[0]
    await redis.execute_command("DEL", "epochs")
    desk.parts.epochs.known.clear()
    await proclaim(desk, OFF | {"reason": f'"request":{quoted}'}, key="two")
    assert (await proclaim(desk, key="one"))[1]["number"] == 2


async def test_epochs_proclaimed_at_once_get_numbers_of_their_own(
    server: EmbeddedStore, redis: Client, desk: Desk
) -> None:
    async with serving(server.url, redis) as elsewhere, following(desk.parts.epochs):
        answers = await asyncio.gather(
            *(
                proclaim(desk if n % 2 else elsewhere, OFF | {"reason": f"act {n % 4}"}, key=f"k{n % 4}")
                for n in range(8)
            )
        )
    assert {status for status, _ in answers} == {201}
    assert sorted(body["number"] for _, body in answers) == [1, 1, 2, 2, 3, 3, 4, 4]
    for door in (desk, elsewhere):
        assert [epoch.number for epoch in door.parts.epochs.known] == [1, 2, 3, 4][: len(door.parts.epochs.known)]
    assert [epoch["number"] for epoch in await listed(desk)] == [4, 3, 2, 1]


async def test_after_a_lost_answer_a_repeat_finds_the_epoch(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    write = desk.parts.wires.write

    async def lossy(*commands: Command | Sequence[Any]) -> list[Any]:
        await write(*commands)
        raise StoreConnectionError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(desk.parts.wires, "write", lossy)
        assert (await proclaim(desk))[0] == 503
    assert await proclaim(desk) == (201, SHOWN_OFF)
    assert len(await listed(desk)) == 1


async def test_two_refreshes_at_once_miss_nothing_and_add_nothing_twice(desk: Desk, redis: Client) -> None:
    for n in range(3):
        await proclaim(desk, key=f"k{n}")
    items = await redis.execute_command("LRANGE", "epochs", 0, -1)
    answers: list[asyncio.Future[list[bytes]]] = [asyncio.Future(), asyncio.Future()]
    asked: list[int] = []

    async def ask(*command: Any) -> list[bytes]:
        asked.append(command[2])
        return await answers[len(asked) - 1]

    async def both_asked() -> bool:
        return asked == [0, 0]

    epochs = Epochs(ask)
    refreshes = asyncio.gather(epochs.refresh(), epochs.refresh())
    await eventually(both_asked)
    answers[0].set_result(items[:2])  # it was read before the third stood
    answers[1].set_result(items)
    await refreshes
    assert [epoch.number for epoch in epochs.known] == [1, 2, 3]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (LONGER | {"until": "2089-12-31T08:00:00Z"}, 422),
        (LONGER | {"until": "2090-01-01T08:00:00Z"}, 422),
        (LONGER | {"until": "2091-01-02T08:00:00Z"}, 201),
        (LONGER | {"until": "2091-01-02T08:00:01Z"}, 422),
        (LONGER | {"until": "2090-02-01"}, 201),
        (LONGER | {"until": "2090-02-01T08:00:00"}, 422),
        ({"action": "extend", "reason": "Decree"}, 422),
        (OFF | {"until": "2090-03-01T08:00:00Z"}, 422),
        ({"action": "deactivate"}, 400),
        (OFF | {"reason": " "}, 400),
        (OFF | {"action": "forgive"}, 400),
        (OFF | {"document": "AZE1111111"}, 400),
    ],
)
async def test_an_epoch_says_what_it_does_and_until_when(desk: Desk, body: Any, status: int) -> None:
    assert (await proclaim(desk, body))[0] == status
    assert len(await listed(desk)) == (status == 201)


async def test_it_takes_a_key_and_the_scope(desk: Desk) -> None:
    assert (await proclaim(desk, key=""))[0] == 400
    assert (await proclaim(desk, by="officer"))[0] == 403
    assert (await desk.http.get(EPOCHS, headers={"Authorization": "Bearer officer"})).status == 403
    assert await listed(desk) == []
