"""A lane whose neighbours, store or records break: nothing is lost, and nothing is decided twice."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as StoreConnectionError

from lua.calls import Command
from lua.keys import INBOUND_GROUP, LANE
from lua.library import ensure_loaded
from permits.calendar import day_name, local_day
from permits.messages import Reply
from permits.partition import FIELD_BYTES
from processor.reading import Reader
from runtime.connection import Client, Wire, connect
from runtime.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.identities import identity
from tests.integration.ingest_door import KEYS, PARTITIONS, ROUTE
from tests.integration.lanes import AT_HOME, AWAY, HOME, Floor, each_decided_once, payload, restarts

INBOUND = KEYS[HOME].inbound


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that waits for entries looks up often, so that it ends soon."""
    monkeypatch.setattr("processor.lane.BLOCK_MS", 50)


@pytest.fixture
async def floor(redis: Client, server: EmbeddedStore) -> Floor:
    return await Floor(redis, server.url).open()


# --- lanes that end in between


async def read_as_a_lane(client: Client) -> None:
    """Somebody is handed the entries and never decides them."""
    await client.execute_command(
        "XREADGROUP", "GROUP", INBOUND_GROUP, LANE, "COUNT", 512, "NOACK", "STREAMS", INBOUND, ">"
    )


async def test_what_a_former_lane_read_and_did_not_decide_is_decided(floor: Floor) -> None:
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:20]])
    await read_as_a_lane(floor.client)
    async with floor.deciding():
        await floor.settled()
    await each_decided_once(floor, ids)


async def test_what_another_reader_takes_from_a_waiting_lane_is_decided_soon(floor: Floor) -> None:
    async with floor.deciding():
        await floor.settled()
        wire = Wire(floor.url)
        raw = payload(f"2 {AT_HOME[0]}", "stolen")
        read: Command = ["XREADGROUP", "GROUP", INBOUND_GROUP, LANE, "COUNT", 512, "NOACK", "STREAMS", INBOUND, ">"]
        # In one transaction the other reader has them before the waiting lane is served.
        *_, done = await wire.call(["MULTI"], ["XADD", INBOUND, "*", "m", raw], read, ["EXEC"])
        await wire.close()
        assert done[1]
        await floor.settled(within_s=5)
    await each_decided_once(floor, ["stolen"])


class HoldingWire(Wire):
    """A wire that never lets a decision out."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.holds = asyncio.Event()

    async def call(self, *commands: Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        """As the wire's, up to the decision."""
        if commands[0][0] == "FCALL":
            self.holds.set()
            await asyncio.Event().wait()
        return await super().call(*commands, timeout_s=timeout_s, replicas=replicas)


async def test_a_lane_that_dies_between_read_and_decision_leaves_all_to_the_next(floor: Floor) -> None:
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:20]])
    wire = HoldingWire(floor.url)
    dying = asyncio.create_task(floor.lane(await floor.lease(), wire=wire).run())
    await wire.holds.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert await floor.undecided() == 20
    async with floor.deciding():
        await floor.settled()
    await each_decided_once(floor, ids)


async def test_a_lane_with_an_old_epoch_decides_nothing_and_ends(floor: Floor) -> None:
    old = await floor.lease(owner="former")
    new = await floor.lease(owner="present")
    assert int(new.epoch) > int(old.epoch)
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:20]])
    await asyncio.wait_for(floor.lane(old).run(), 5)
    assert await floor.undecided() == 20
    assert await floor.outcomes() == {}
    lane = floor.lane(new)
    working = asyncio.create_task(lane.run())
    await floor.settled()
    lane.stop()
    await working
    await each_decided_once(floor, ids)


async def test_two_lanes_at_once_decide_everything_once(floor: Floor) -> None:
    old = floor.lane(await floor.lease(owner="former"), batch=5)
    former = asyncio.create_task(old.run())
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:200]])
    async with floor.deciding(batch=5):
        await floor.settled()
        more = await floor.push([f"2 {document}" for document in AT_HOME[200:400]], prefix="more")
        await floor.settled()
    await asyncio.wait_for(former, 10)
    await each_decided_once(floor, [*ids, *more])


async def test_a_stop_ends_a_waiting_lane_soon(floor: Floor) -> None:
    lane = floor.lane(await floor.lease())
    working = asyncio.create_task(lane.run())
    await floor.settled()
    lane.stop()
    await asyncio.wait_for(working, 3)


# --- a store that breaks


class ForgetfulWire(Wire):
    """A wire that loses the answer to every other decision, after the store has made it."""

    lost = 0
    decisions = 0

    async def call(self, *commands: Sequence[Any], timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        """As the wire's, but for some answers."""
        replies = await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        if commands[0][0] == "FCALL":
            self.decisions += 1
            if self.decisions % 2:
                self.lost += 1
                await self.close()
                raise StoreConnectionError("answer lost")
        return replies


async def test_a_lost_answer_decides_nothing_twice(floor: Floor) -> None:
    wire = ForgetfulWire(floor.url)
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:60]])
    async with floor.deciding(wire=wire, batch=10):
        await floor.settled()
    assert wire.lost >= 3
    await each_decided_once(floor, ids)


async def test_killed_connections_cost_no_decision_and_double_none(floor: Floor) -> None:
    documents = AT_HOME[:5000]
    wire = Wire(floor.url)
    commands = [["XADD", INBOUND, "*", "m", payload(f"2 {one}", one)] for one in documents]
    await wire.call(*commands)
    await wire.close()
    killer = connect(floor.url)
    kills = 0

    async def killed_until_done() -> bool:
        nonlocal kills
        kills += await killer.execute_command("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
        return await killer.execute_command("XLEN", INBOUND) == 0

    async with floor.deciding(batch=100):
        await eventually(killed_until_done, within_s=60)
    await killer.aclose()
    assert kills > 2
    await each_decided_once(floor, documents)


async def test_flushed_functions_are_loaded_again(floor: Floor) -> None:
    async with floor.deciding():
        first = await floor.push([f"2 {AT_HOME[0]}"], prefix="first")
        await floor.settled()
        await floor.client.execute_command("FUNCTION", "FLUSH")
        second = await floor.push([f"2 {AT_HOME[1]}"], prefix="second")
        await floor.settled()
    await ensure_loaded(floor.client)
    await each_decided_once(floor, [*first, *second])


@pytest.mark.parametrize("loss", [("XGROUP", "DESTROY", INBOUND, INBOUND_GROUP), ("DEL", INBOUND)])
async def test_a_lost_consumer_group_is_made_again(loss: tuple[str, ...], floor: Floor) -> None:
    async with floor.deciding():
        first = await floor.push([f"2 {AT_HOME[0]}"], prefix="first")
        await floor.settled()
        await floor.client.execute_command(*loss)
        second = await floor.push([f"2 {AT_HOME[1]}"], prefix="second")
        await floor.settled()
        third = await floor.push([f"2 {AT_HOME[2]}"], prefix="third")
        await floor.settled()
    await each_decided_once(floor, [*first, *second, *third])


async def test_a_killed_server_comes_back_with_every_decision_made_once(own_store: EmbeddedStore) -> None:
    client = connect(own_store.url)
    await ensure_loaded(client)
    floor = await Floor(client, own_store.url).open()
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:400]])
    async with floor.deciding(batch=10):

        async def under_way() -> bool:
            return await floor.undecided() < 300

        await eventually(under_way)
        own_store.kill()
        await own_store.start()
        await floor.settled()
    await each_decided_once(floor, ids)
    await client.aclose()


# --- a state that was tampered with


def day_key() -> str:
    return KEYS[HOME].day(day_name(local_day(time.time_ns() // 1_000_000)))


async def test_a_record_that_breaks_the_function_costs_one_dead_letter(floor: Floor) -> None:
    document = AT_HOME[10]
    _, owner = ROUTE.of_document(document)
    raw = payload(f"2 {document}", "poisoned", by_text=True)
    poisoned = identity(ROUTE, msgspec.json.decode(raw)["from"], "poisoned", f"2 {document}", by_text=True)
    # A piece of an entry: the owner's tag and the SMS's own digest, and then nothing.
    await floor.client.execute_command("HSET", day_key(), owner[:FIELD_BYTES], owner[FIELD_BYTES:] + poisoned)
    before = await floor.push([f"2 {one}" for one in AT_HOME[:10]], prefix="before")
    broken = await floor.put(raw)
    behind = await floor.push([f"2 {one}" for one in AT_HOME[11:21]], prefix="behind")
    async with floor.deciding():
        await floor.settled()
    [letter] = await floor.dead()
    assert letter.entry_id == broken.decode()
    assert letter.reason.startswith("its decision failed: ResponseError: ")
    assert letter.raw == raw.decode()
    assert [reply.in_reply_to for reply in await floor.replies()] == [*before, *behind]


async def test_a_day_of_the_wrong_type_stops_decisions_until_it_is_mended(floor: Floor) -> None:
    await floor.client.execute_command("SET", day_key(), "no hash")
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:5]])
    before = restarts("error_reply")

    async def tried() -> bool:
        return restarts("error_reply") > before + 1

    async with floor.deciding():
        await eventually(tried)
        assert await floor.undecided() == 5
        await floor.client.execute_command("DEL", day_key())
        await floor.settled()
    await each_decided_once(floor, ids)


async def test_one_partition_s_fault_does_not_hold_up_the_others(floor: Floor) -> None:
    await floor.client.execute_command("SET", day_key(), "no hash")
    await floor.push([f"2 {AT_HOME[0]}", f"2 {AWAY}"])
    async with floor.deciding(*range(PARTITIONS)):

        async def answered() -> list[Reply]:
            return await floor.replies()

        [reply] = await eventually(answered)
    assert reply.in_reply_to == "sms-1"
    assert await floor.undecided() == 1


async def test_an_entry_that_cannot_be_prepared_costs_one_dead_letter(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Reader.read

    def fragile(reader: Reader, payload: bytes | None) -> Any:
        if payload is not None and b"fragile" in payload:
            raise ZeroDivisionError("unforeseen")
        return read(reader, payload)

    monkeypatch.setattr(Reader, "read", fragile)
    before = await floor.push([f"2 {one}" for one in AT_HOME[:10]], prefix="before")
    await floor.put(payload(f"2 {AT_HOME[10]}", "fragile"))
    behind = await floor.push([f"2 {one}" for one in AT_HOME[11:21]], prefix="behind")
    async with floor.deciding():
        await floor.settled()
    [letter] = await floor.dead()
    assert "ZeroDivisionError" in letter.reason
    assert [reply.in_reply_to for reply in await floor.replies()] == [*before, *behind]


async def test_a_lost_answer_to_a_dead_letter_does_not_bury_the_next_entry(floor: Floor) -> None:
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:3]])
    lane = floor.lane(await floor.lease())
    # As after a dead letter whose answer was lost: the entry it was meant for is gone.
    lane._unfit = (b"1-0", "another entry's reason")  # pyright: ignore[reportPrivateUsage]
    running = asyncio.create_task(lane.run())
    await floor.settled()
    lane.stop()
    await running
    assert await floor.dead() == []
    assert [reply.in_reply_to for reply in await floor.replies()] == ids
