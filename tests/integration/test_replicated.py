"""Level `replicated`: with the link to the replica cut nothing leaves; mended, everything goes on, once."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from redis.exceptions import ResponseError

from api.seals import Seals
from api.wires import Wires
from lua.calls import mark_command
from lua.library import ensure_loaded
from permits.employees import Epoch
from processor.archive.archiver import Archiver
from runtime import durability
from runtime.connection import STORE_ERRORS, Client, NotReplicatedError, Wire, connect
from runtime.errors import StartupError
from runtime.settings import Settings
from tests.eventually import eventually
from tests.integration import holders_door, outboxes
from tests.integration.api_door import DOCUMENT, Clock, plant
from tests.integration.archives import Archive
from tests.integration.dispatching import PARTITIONS, Recorder, dispatching, queue, until_empty
from tests.integration.holders_door import ask, told
from tests.integration.ingest_door import SMS, ingesting, post, settings_of, stored
from tests.integration.ministry_simulator import ministry
from tests.integration.replicated_pair import Pair, replicating

REPLICATED = Settings(durability="replicated", drain_s=5.0)
CUT_S = 1.5
"""How long the link stays cut where a test must see that nothing happens: a wait and its repeat."""


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with replicating(tmp_path / "stores") as found:
        yield found


@pytest.fixture
async def primary(pair: Pair) -> AsyncIterator[Client]:
    client = connect(pair.primary.url)
    yield client
    await client.aclose()


@pytest.fixture
async def wire(pair: Pair) -> AsyncIterator[Wire]:
    found = Wire(pair.primary.url)
    yield found
    await found.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits shorter than usual."""
    monkeypatch.setattr("runtime.connection.WAIT_S", 0.6)


pytestmark = pytest.mark.usefixtures("hasty")

# The connection


async def test_a_write_is_told_of_once_the_replica_has_it(pair: Pair, wire: Wire) -> None:
    assert await wire.call(["SET", "a", 1], ["GET", "a"], replicas=1) == [b"OK", b"1"]
    pair.cut()
    with pytest.raises(NotReplicatedError, match="0 of 1") as caught:
        await wire.call(["SET", "a", 2], replicas=1)
    assert isinstance(caught.value, STORE_ERRORS)
    assert await wire.call(["SET", "a", 3]) == [b"OK"]
    pair.mend()
    assert await wire.call(["GET", "nothing"], ["SET", "a", 4], replicas=1) == [None, b"OK"]


async def test_more_replicas_than_there_are_is_never_enough(wire: Wire) -> None:
    with pytest.raises(NotReplicatedError, match="1 of 2"):
        await wire.call(["SET", "a", 1], replicas=2)


async def test_an_error_reply_stands_in_its_place(wire: Wire) -> None:
    good, bad = await wire.call(["SET", "a", 1], ["LPUSH", "a", 1], replicas=1)
    assert good == b"OK"
    assert isinstance(bad, ResponseError)


async def test_a_wait_behind_a_mark_covers_what_others_wrote(pair: Pair, wire: Wire, primary: Client) -> None:
    mark = mark_command(PARTITIONS[0].mark)
    await wire.call(mark, replicas=1)
    pair.cut()
    await primary.execute_command("SET", "others", "1")
    with pytest.raises(NotReplicatedError):
        await wire.call(["GET", "others"], mark, replicas=1)
    pair.mend()
    assert await wire.call(["GET", "others"], mark, replicas=1) == [b"1", 1]


async def test_a_mark_goes_into_no_append_only_file(pair: Pair, wire: Wire, tmp_path: Path) -> None:
    def size() -> int:
        return sum(file.stat().st_size for file in (tmp_path / "stores" / "primary").rglob("*.aof"))

    await wire.call(["SET", "a", 1], replicas=1)
    before = size()
    await wire.call(*[mark_command(PARTITIONS[0].mark)] * 50, replicas=1)
    assert size() == before
    assert await pair.tell(pair.replica, "EXISTS", PARTITIONS[0].mark) == 1


# Ingest


async def test_no_202_is_said_of_what_the_replica_lacks(
    pair: Pair, primary: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    current = settings_of(tmp_path, pair.primary.url, durability="replicated", spool_mb=0)
    async with ingesting(monkeypatch, current) as http:
        async with http.get("/readyz") as answer:
            facts = await answer.json()
            assert (facts["durability"], facts["replicas"]) == ("replicated", 1)
        async with http.get("/metrics") as answer:
            assert 'icaze_durability_info{durability="replicated",replicas="1"} 1.0' in await answer.text()
        assert (await post(http, SMS))[0] == 202
        pair.cut()
        status, problem, headers = await post(http, SMS | {"id": "agg-43"})
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "0 of 1 replicas" in problem["detail"]
        pair.mend()
        assert (await post(http, SMS | {"id": "agg-43"}))[0] == 202
    assert {sms.id for _, sms in await stored(primary)} == {"agg-42", "agg-43"}


async def test_the_spool_keeps_what_the_replica_lacks_until_it_is_back(
    pair: Pair, primary: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    current = settings_of(tmp_path, pair.primary.url, durability="replicated")
    async with ingesting(monkeypatch, current) as http:

        async def spooled() -> int:
            async with http.get("/readyz") as answer:
                return (await answer.json())["spooled"]

        async def is_empty() -> bool:
            return await spooled() == 0

        pair.cut()
        assert (await post(http, SMS))[0] == 202
        assert await spooled() == 1
        await asyncio.sleep(CUT_S)
        assert await spooled() == 1
        pair.mend()
        await eventually(is_empty, within_s=30)
    assert {sms.id for _, sms in await stored(primary)} == {"agg-42"}


async def test_after_a_failover_each_acknowledged_sms_is_there(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    acknowledged: list[str] = []
    numbers = itertools.count()
    current = settings_of(tmp_path, pair.primary.url, durability="replicated", spool_mb=0)
    async with ingesting(monkeypatch, current) as http:

        async def push() -> None:
            while True:
                name = f"agg-{next(numbers)}"
                status, _, _ = await post(http, SMS | {"id": name})
                if status != 202:
                    return
                acknowledged.append(name)

        pushing = [asyncio.create_task(push()) for _ in range(16)]
        await eventually(_at_least(acknowledged, 300))
        pair.cut()
        await asyncio.wait(pushing, timeout=10)
        await pair.promote()
        assert all(task.done() for task in pushing)
    survivor = connect(pair.replica.url)
    there = {sms.id for _, sms in await stored(survivor)}
    await survivor.aclose()
    assert len(acknowledged) >= 300
    assert set(acknowledged) <= there
    assert next(numbers) > len(there)  # some were on the primary alone, and nobody was told 202


def _at_least(found: Sequence[Any], count: int) -> Any:
    async def is_enough() -> bool:
        return len(found) >= count

    return is_enough


# Dispatch


async def test_no_reply_leaves_that_the_replica_lacks(pair: Pair, primary: Client) -> None:
    operator = Recorder()
    async with dispatching(pair.primary.url, operator, settings=REPLICATED):
        first = await queue(primary, 20)
        await until_empty(primary)
        pair.cut()
        second = await queue(primary, 20, first=100)
        await asyncio.sleep(CUT_S)
        assert not set(second) & set(operator.names)
        pair.mend()
        await until_empty(primary)
    assert sorted(operator.names) == sorted(first + second)


async def test_what_was_pending_waits_for_the_replica_too(pair: Pair, primary: Client) -> None:
    """A read of a group's own history moves no offset on Valkey: without a mark its WAIT would answer at once."""
    operator = Recorder()
    async with dispatching(pair.primary.url, operator):
        pass  # makes the groups
    pair.cut()
    names = await queue(primary, 8)
    for keys in PARTITIONS:
        await primary.execute_command("XREADGROUP", "GROUP", "dispatch", "lane", "STREAMS", keys.replies, ">")
    async with dispatching(pair.primary.url, operator, settings=REPLICATED):
        await asyncio.sleep(CUT_S)
        assert operator.names == []
        pair.mend()
        await until_empty(primary)
    assert sorted(operator.seen) == sorted((name, True) for name in names)


async def test_no_event_is_posted_that_the_replica_lacks(pair: Pair, primary: Client) -> None:
    async with outboxes.office(pair.primary.url) as office, ministry() as simulator:
        running = outboxes.tending(pair.primary.url, simulator.client(), epochs=office.epochs, replicas=1)
        pair.cut()
        await office.grants(3)
        await office.proclaims(Epoch(1, "deactivate", outboxes.now_ms(), "decree", "x", "r1"))
        await asyncio.sleep(CUT_S)
        assert (simulator.events, simulator.epochs) == ([], [])
        pair.mend()
        await outboxes.until_settled(primary)
        await eventually(_at_least(simulator.epochs, 1))
        await running.stop()
        assert (len(simulator.events), len(simulator.epochs), simulator.wrong) == (3, 1, [])


async def test_no_segment_tells_what_the_replica_lacks(pair: Pair, primary: Client, tmp_path: Path) -> None:
    archive = Archive(primary, pair.primary.url, tmp_path)
    await archive.add(1, 2)
    lease, wire = await archive.lease(), Wire(pair.primary.url)
    archiver = Archiver(wire, folder=archive.folder("a"), leases=lambda: [lease], replicas=1)
    pair.cut()
    await archiver.round()
    assert archive.files() == []
    pair.mend()
    await archiver.round()
    await wire.close()
    assert archive.archived() == [1, 2]


# The api


async def test_no_permit_is_shown_that_the_replica_lacks(pair: Pair, primary: Client) -> None:
    clock = Clock()
    seals = Seals(1)
    async with holders_door.serving(pair.primary.url, clock, seals=seals) as http:
        assert (await told(http, clock, "/v1/status", {"document": DOCUMENT}))["permits"] == []
        pair.cut()
        await plant(primary, decided_ms=clock.now_ms)
        for path in ("/v1/status", "/v1/checks"):
            answer = await ask(http, clock, path, {"document": DOCUMENT})
            assert answer.status == 503
        pair.mend()
        assert len((await told(http, clock, "/v1/status", {"document": DOCUMENT}))["permits"]) == 1
        assert (await told(http, clock, "/v1/checks", {"document": DOCUMENT}))["valid"]


async def test_answers_under_one_seal_go_to_their_askers(pair: Pair) -> None:
    wires = Wires(pair.primary.url, seals=Seals(1))
    asked = [wires.read(("ECHO", number)) for number in range(100)]
    bad = wires.read(("NOSUCH",))
    assert await asyncio.gather(*asked) == [[b"%d" % number] for number in range(100)]
    with pytest.raises(ResponseError, match="NOSUCH"):
        await bad
    gone = wires.read(("ECHO", 1))
    gone.cancel()
    assert await wires.write(("SET", "a", 1), ("GET", "a")) == [b"OK", b"1"]
    await wires.close()


async def test_a_seal_that_cannot_be_set_fails_what_it_holds_and_no_more(pair: Pair, primary: Client) -> None:
    wires = Wires(pair.primary.url, patience_s=1.0, seals=Seals(1))
    await primary.execute_command("FUNCTION", "FLUSH")
    with pytest.raises(NotReplicatedError, match="not found"):
        await wires.read(("ECHO", 1))
    await ensure_loaded(primary)
    assert await wires.read(("ECHO", 1)) == [b"1"]
    await primary.execute_command("CLIENT", "PAUSE", 1500, "WRITE")  # the mark hangs: the patience ends
    with pytest.raises(STORE_ERRORS):
        await wires.read(("ECHO", 1))
    waiting = wires.read(("ECHO", 2))
    await asyncio.sleep(0.1)
    await wires.close()
    with pytest.raises(STORE_ERRORS):
        await waiting


# The start


async def test_a_store_is_refused_that_cannot_give_the_level(pair: Pair, primary: Client) -> None:
    await durability.check(primary, REPLICATED)
    with pytest.raises(StartupError, match="ICAZE_REPLICAS=2: 1 online"):
        await durability.check(primary, structs.replace(REPLICATED, replicas=2))
    await primary.execute_command("CONFIG", "SET", "min-replicas-max-lag", 0)
    with pytest.raises(StartupError, match="CONFIG SET min-replicas-to-write 1"):
        await durability.check(primary, REPLICATED)
    await primary.execute_command("CONFIG", "SET", "min-replicas-max-lag", 10, "min-replicas-to-write", 0)
    with pytest.raises(StartupError, match="CONFIG SET min-replicas-to-write 1"):
        await durability.check(primary, REPLICATED)
    await primary.execute_command("CONFIG", "SET", "appendfsync", "everysec")
    with pytest.raises(StartupError, match="ICAZE_DURABILITY=replicated needs a store with appendonly yes"):
        await durability.check(primary, REPLICATED)
    replica = connect(pair.replica.url)
    with pytest.raises(StartupError, match=r"a replica of 127\.0\.0\.1"):
        await durability.check(replica, REPLICATED)
    await replica.aclose()
