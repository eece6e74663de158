"""A lane with a backlog: what it reads ahead and prepares while a call is on its way, and what it forgets of that."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError as StoreConnectionError

from processor.batch import Entry, Prepared, Preparer
from processor.turns import Turns
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.integration.lanes import AT_HOME, Floor, each_decided_once, payload, restarts

BATCH = 10


@pytest.fixture
async def floor(redis: Client, server: EmbeddedStore) -> Floor:
    return await Floor(redis, server.url).open()


class WatchedWire(Wire):
    """A wire that notes when a decision is asked and when it is answered, and how much was read with it."""

    def __init__(self, url: str, seen: list[str]) -> None:
        super().__init__(url)
        self._seen = seen

    async def call(self, *commands: Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        """As the wire's."""
        decides = commands[0][0] == "FCALL"
        if decides:
            asked = [command for command in commands if command[0] in ("XRANGE", "XREADGROUP")]
            count = asked[0][asked[0].index("COUNT") + 1] // BATCH if asked else 0
            self._seen.append(f"asked+{count}")
        replies = await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        if decides:
            self._seen.append("answered")
        return replies


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a lane does, in order: `prepared N`, `asked+batches read`, `answered`."""
    found: list[str] = []
    prepare = Preparer.prepare

    def watched(self: Preparer, entries: Sequence[Entry], **how: Any) -> Prepared:
        found.append(f"prepared {len(entries)}")
        return prepare(self, entries, **how)

    monkeypatch.setattr(Preparer, "prepare", watched)
    return found


async def test_behind_a_full_batch_the_next_is_prepared_while_one_is_decided(floor: Floor, seen: list[str]) -> None:
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:45]])
    async with floor.deciding(wire=WatchedWire(floor.url, seen), batch=BATCH):
        await floor.settled()
    full = f"prepared {BATCH}"
    assert seen == [
        *(full, "asked+2", "answered"),
        *(full, "asked+1", full, "answered"),
        *("asked+1", full, "answered"),
        *("asked+0", "prepared 5", "answered"),
        *("asked+1", "answered"),
    ]
    assert [reply.in_reply_to for reply in await floor.replies()] == ids


async def test_what_was_read_ahead_is_not_read_again_when_nothing_is_behind_it(floor: Floor, seen: list[str]) -> None:
    await floor.push([f"2 {document}" for document in AT_HOME[:40]])
    async with floor.deciding(wire=WatchedWire(floor.url, seen), batch=BATCH):
        await floor.settled()
    assert [word for word in seen if word.startswith("prepared")] == [f"prepared {BATCH}"] * 4


async def test_of_several_lanes_none_makes_the_others_wait_for_what_it_prepares(floor: Floor, seen: list[str]) -> None:
    turns = Turns(4)
    await floor.push([f"2 {document}" for document in AT_HOME[:45]])
    async with turns:  # another lane's batch is under way all the time
        lane = floor.lane(await floor.lease(), wire=WatchedWire(floor.url, seen), batch=BATCH, turns=turns)
        running = asyncio.create_task(lane.run())
        await floor.settled()
        lane.stop()
        await running
    assert seen[:12] == [f"prepared {BATCH}", "asked+1", "answered"] * 4


async def test_a_lane_that_is_cancelled_leaves_no_call_behind(floor: Floor) -> None:
    class Hanging(Wire):
        """A wire whose second decision is the lane's end, and never answered."""

        decisions = 0

        async def call(self, *commands: Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
            """As the wire's, once."""
            self.decisions += commands[0][0] == "FCALL"
            if self.decisions == 2:
                running.cancel()
                await asyncio.Event().wait()
            return await super().call(*commands, timeout_s=timeout_s, replicas=replicas)

    await floor.push([f"2 {document}" for document in AT_HOME[:45]])
    lane = floor.lane(await floor.lease(), wire=Hanging(floor.url), batch=BATCH)
    others = asyncio.all_tasks()
    running = asyncio.create_task(lane.run())
    await asyncio.wait([running])
    await asyncio.sleep(0)  # for what was cancelled to end
    assert asyncio.all_tasks() <= others


async def test_where_little_waits_nothing_is_read_ahead(floor: Floor, seen: list[str]) -> None:
    async with floor.deciding(wire=WatchedWire(floor.url, seen), batch=BATCH):
        for at in range(5):
            await floor.push([f"2 {AT_HOME[at]}"], prefix=f"late{at}")
            await floor.settled()
    assert seen == ["prepared 1", "asked+1", "answered"] * 5


@pytest.mark.parametrize("from_head", [True, False])
async def test_of_a_batch_that_was_taken_in_part_the_rest_comes_next(
    floor: Floor, monkeypatch: pytest.MonkeyPatch, *, from_head: bool
) -> None:
    prepare = Preparer.prepare

    def partly(self: Preparer, entries: Sequence[Entry], **how: Any) -> Prepared:
        return prepare(self, entries[:7], **how)

    monkeypatch.setattr(Preparer, "prepare", partly)
    gaps = restarts("gap")
    texts = [f"2 {document}" for document in AT_HOME[:60]]
    ids = await floor.push(texts) if from_head else []
    async with floor.deciding(batch=BATCH):
        await floor.settled()
        ids = ids or await floor.push(texts)
        await floor.settled()
    await each_decided_once(floor, ids)
    assert [reply.in_reply_to for reply in await floor.replies()] == ids
    assert restarts("gap") == gaps


async def test_what_is_the_matter_with_a_batch_ahead_shows_when_it_is_its_turn(
    floor: Floor, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Preparer.prepare

    def fragile(self: Preparer, entries: Sequence[Entry], *, unfit: str | None = None, **how: Any) -> Prepared:
        if unfit is None and any(raw is not None and b"fragile" in raw for _, raw in entries):
            raise ZeroDivisionError("unforeseen")
        return prepare(self, entries, unfit=unfit, **how)

    monkeypatch.setattr(Preparer, "prepare", fragile)
    before = await floor.push([f"2 {one}" for one in AT_HOME[:35]], prefix="before")
    await floor.put(payload(f"2 {AT_HOME[35]}", "fragile"))
    behind = await floor.push([f"2 {one}" for one in AT_HOME[36:70]], prefix="behind")
    async with floor.deciding(wire=WatchedWire(floor.url, seen), batch=BATCH):
        await floor.settled()
    [letter] = await floor.dead()
    assert "ZeroDivisionError" in letter.reason
    assert [reply.in_reply_to for reply in await floor.replies()] == [*before, *behind]
    asked = [word.partition("+")[0] for word in seen if not word.startswith("prepared")]
    assert asked == ["asked", "answered"] * (len(asked) // 2), "the call before was given up"


class DeafWire(Wire):
    """A wire on which the second decision never leaves; it fails when the call behind it was prepared."""

    decisions = 0

    def __init__(self, url: str, seen: list[str]) -> None:
        super().__init__(url)
        self._seen = seen

    async def call(self, *commands: Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        """As the wire's, but once."""
        if commands[0][0] == "FCALL":
            self.decisions += 1
            if self.decisions == 2:
                before = len(self._seen)
                await eventually(lambda: _is_longer(self._seen, before))
                await self.close()
                raise StoreConnectionError("not sent")
        return await super().call(*commands, timeout_s=timeout_s, replicas=replicas)


async def _is_longer(seen: list[str], length: int) -> bool:
    return len(seen) > length


async def test_a_call_that_was_prepared_behind_one_that_failed_is_forgotten(floor: Floor, seen: list[str]) -> None:
    gaps = restarts("gap")
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:45]])
    async with floor.deciding(wire=DeafWire(floor.url, seen), batch=BATCH):
        await floor.settled()
    await each_decided_once(floor, ids)
    assert restarts("gap") == gaps


class HookedWire(Wire):
    """A wire that waits for something before the second decision, and tells of the first."""

    def __init__(self, url: str, *, before: Callable[[], Awaitable[None]], after: Callable[[], None]) -> None:
        super().__init__(url)
        self._before = before
        self._after = after
        self._decisions = 0

    async def call(self, *commands: Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        """As the wire's."""
        if commands[0][0] != "FCALL":
            return await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        self._decisions += 1
        if self._decisions == 2:
            await self._before()
        replies = await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        if self._decisions == 1:
            self._after()
        return replies


async def nothing() -> None:
    """Do not wait."""


async def test_what_another_lane_has_decided_in_part_is_read_again(floor: Floor) -> None:
    gaps = restarts("gap")
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:45]])
    lease = await floor.lease()

    async def let_another_decide_three() -> None:
        wire = HookedWire(floor.url, before=nothing, after=lambda: other.stop())  # noqa: PLW0108  # made of it
        other = floor.lane(lease, batch=3, wire=wire)
        await other.run()

    lane = floor.lane(
        lease, batch=BATCH, wire=HookedWire(floor.url, before=let_another_decide_three, after=lambda: None)
    )
    running = asyncio.create_task(lane.run())
    await floor.settled()
    lane.stop()
    await running
    await each_decided_once(floor, ids)
    assert restarts("gap") == gaps + 1
