"""A real Cluster of three primaries: where commands go, and what becomes of those that find their slot gone."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from redis.exceptions import ResponseError

from api.cluster_wires import ClusterWires
from api.seals import Seals
from bench.cluster import Cluster, Server, cluster
from ingest.high_water import HighWater
from lua.keys import SLOTS, PartitionKeys, partition_keys, slot, tags
from lua.library import LIBRARY, ensure_loaded
from lua.store import primaries, servers
from processor.erasure import REWRITE, Eraser
from runtime.address import store_address
from runtime.cluster import ClusterClient, ClusterWire
from runtime.connection import STORE_ERRORS, NotReplicatedError, StoreConnectionError
from runtime.settings import Settings
from runtime.slots import SlotMap, key_of, shared_out, slot_of
from tests.system.house import until

KEYS: Final = [partition_keys(tag) for tag in tags(12)]
HERE: Final = KEYS[0]
"""Of the first primary, until its slot is moved."""
SLOT: Final = slot(HERE.tag)


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    """One Cluster for all tests here."""
    with tempfile.TemporaryDirectory(prefix="icaze-") as folder, cluster(Path(folder) / "c", fsync=False) as formed:
        yield formed


@pytest.fixture
def formed(three: Cluster) -> Cluster:
    """Empty, without functions, each slot where it was."""
    for server in three.primaries:
        for command in ("FLUSHALL", "FUNCTION FLUSH"):
            server.client.execute_command(*command.split())
    if (owner := three.owner(SLOT)) is not three.primaries[0]:
        give(three, owner, three.primaries[0])
    return three


@pytest.fixture
async def wire(formed: Cluster) -> AsyncIterator[ClusterWire]:
    """A wire that knows the map as it stands."""
    made = ClusterWire(store_address(formed.url))
    await made.call(["XLEN", HERE.inbound])
    yield made
    await made.close()


def give(formed: Cluster, source: Server, aim: Server) -> None:
    """Move our slot, with the keys in it."""
    name = aim.client.execute_command("CLUSTER", "MYID")
    source.client.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", SLOT, SLOT, "NODE", name)
    until(lambda: formed.owner(SLOT) is aim, "the slot has moved")
    # Each node learns of it by itself.
    until(lambda: all(knows(server, aim) for server in formed.primaries), "all know it")


def knows(server: Server, owner: Server) -> bool:
    """Whether a node takes another for our slot's owner."""
    shards = server.client.execute_command("CLUSTER", "SLOTS")
    return any(first <= SLOT <= last and node[1] == owner.port for first, last, node, *_ in shards)


async def test_a_call_goes_to_all_owners_and_its_replies_come_in_order(wire: ClusterWire, formed: Cluster) -> None:
    appends = [["XADD", keys.inbound, f"{number + 1}-1", "m", "x"] for number in range(50) for keys in KEYS]
    assert await wire.call(*appends) == [command[2].encode() for command in appends]
    assert await wire.call(*(["XLEN", keys.inbound] for keys in KEYS)) == [50] * len(KEYS)
    held = [sum(server.client.exists(keys.inbound) for keys in here(formed, server)) for server in formed.primaries]
    assert held == [4, 4, 4]


def here(formed: Cluster, server: Server) -> list[PartitionKeys]:
    """The partitions of one node."""
    return [keys for keys in KEYS if formed.owner(slot(keys.tag)) is server]


async def test_commands_of_a_slot_that_is_gone_follow_it_once_and_in_order(wire: ClusterWire, formed: Cluster) -> None:
    give(formed, *formed.primaries[:2])
    appends = [["XADD", keys.inbound, f"{number + 1}-1", "m", "x"] for number in range(20) for keys in KEYS]
    assert await wire.call(*appends) == [command[2].encode() for command in appends]
    entries = formed.primaries[1].client.xrange(HERE.inbound)
    assert [entry_id for entry_id, _ in entries] == [b"%d-1" % (number + 1) for number in range(20)]


async def test_keys_of_a_slot_on_its_way_are_found_on_either_side(wire: ClusterWire, formed: Cluster) -> None:
    source, aim, _ = formed.primaries
    await wire.call(["XADD", HERE.inbound, "1-1", "m", "stays"])
    with half_way(source, aim):
        replies = await wire.call(
            ["XADD", HERE.replies, "1-1", "m", "new"],  # ASK: it does not stand here
            ["XADD", HERE.inbound, "2-1", "m", "old"],
            ["XADD", HERE.replies, "2-1", "m", "new"],
            ["XADD", KEYS[11].inbound, "3-1", "m", "elsewhere"],
        )
        assert replies == [b"1-1", b"2-1", b"2-1", b"3-1"]
        client = ClusterClient(store_address(formed.url))
        assert await client.execute_command("XLEN", HERE.replies) == 2
        await client.aclose()
        wires = ClusterWires(store_address(formed.url))
        assert await wires.read(["XLEN", HERE.inbound]) == [2]
        assert await wires.write(["XADD", HERE.replies, "3-1", "m", "new"]) == [b"3-1"]
        await wires.close()
        (mixed,) = await wire.call(["DEL", HERE.inbound, HERE.replies])
        assert isinstance(mixed, ResponseError)  # TRYAGAIN: a lane waits it out
        assert mixed.status_code == "TRYAGAIN"


class half_way:  # noqa: N801  # reads as one
    """Our slot while it is moved key by key, the old way."""

    def __init__(self, source: Server, aim: Server) -> None:
        self._ends = source, aim

    def __enter__(self) -> None:
        source, aim = self._ends
        names = [server.client.execute_command("CLUSTER", "MYID") for server in self._ends]
        aim.client.execute_command("CLUSTER", "SETSLOT", SLOT, "IMPORTING", names[0])
        source.client.execute_command("CLUSTER", "SETSLOT", SLOT, "MIGRATING", names[1])

    def __exit__(self, *_: object) -> None:
        for server in self._ends:
            server.client.execute_command("CLUSTER", "SETSLOT", SLOT, "STABLE")
            server.client.execute_command("FLUSHALL")


async def test_a_read_that_waits_on_a_slot_that_goes_ends_and_the_next_finds_it(
    wire: ClusterWire, formed: Cluster
) -> None:
    await wire.call(["XGROUP", "CREATE", HERE.inbound, "decide", "0", "MKSTREAM"])
    read: list[Any] = ["XREADGROUP", "GROUP", "decide", "lane", "BLOCK", 10_000, "STREAMS", HERE.inbound, ">"]
    waiting = asyncio.create_task(wire.call(read, timeout_s=15))
    await asyncio.to_thread(
        until, lambda: formed.primaries[0].client.info("clients")["blocked_clients"] == 1, "it waits"
    )
    await asyncio.to_thread(give, formed, *formed.primaries[:2])
    formed.primaries[1].client.xadd(HERE.inbound, {"m": "x"})
    (reply,) = await waiting
    if isinstance(reply, ResponseError):
        (reply,) = await wire.call(read)
    assert reply[0][0] == HERE.inbound.encode()


async def test_a_write_by_the_api_follows_its_slot_and_a_pair_of_them_says_that_it_may_be_made(
    formed: Cluster,
) -> None:
    wires = ClusterWires(store_address(formed.url))
    assert await wires.read(*(["XLEN", keys.acts] for keys in KEYS)) == [0] * len(KEYS)
    give(formed, *formed.primaries[:2])
    with pytest.raises(STORE_ERRORS):
        await wires.write(["XADD", HERE.acts, "*", "m", "x"], ["XADD", HERE.acts, "*", "m", "y"])
    assert len(await wires.write(["XADD", HERE.acts, "*", "m", "z"])) == 1
    assert await wires.read(["XLEN", HERE.acts], ["XLEN", KEYS[5].acts]) == [1, 0]
    await wires.close()


async def test_functions_are_loaded_on_each_primary_and_again_where_they_are_missing(formed: Cluster) -> None:
    client = ClusterClient(store_address(formed.url))
    await ensure_loaded(client)
    formed.primaries[1].client.execute_command("FUNCTION", "FLUSH")
    await ensure_loaded(client)
    found = [server.client.execute_command("FUNCTION", "LIST") for server in formed.primaries]
    assert [LIBRARY in str(libraries) for libraries in found] == [True] * 3
    await client.aclose()


async def test_the_fullest_primary_counts(wire: ClusterWire, formed: Cluster) -> None:
    fullest = formed.primaries[2].client
    mark = HighWater(wire, KEYS, Settings(memory_limit=0.5))
    await mark.look()
    assert mark.full_because is None
    fullest.config_set("maxmemory", 2 * fullest.info("memory")["used_memory"] - (1 << 20))
    try:
        await mark.look()
        assert "memory" in str(mark.full_because)
    finally:
        fullest.config_set("maxmemory", 4096 << 20)


async def test_append_only_files_of_all_are_written_anew_before_an_erasure_is_done(formed: Cluster) -> None:
    client = ClusterClient(store_address(formed.url))
    await client.execute_command("HSET", HERE.day_keys, "20200101", "old", "20990101", "new")
    eraser = Eraser(client, HERE.day_keys)
    rewrites = [server.client.info("stats")["total_forks"] for server in formed.primaries]
    for _ in range(100):
        await eraser.round(now_ms=1_700_000_000_000, texts_days=3)
        if not await client.execute_command("HEXISTS", HERE.day_keys, REWRITE):
            break
        await asyncio.sleep(0.05)
    assert await client.execute_command("HKEYS", HERE.day_keys) == [b"20990101"]
    assert [server.client.info("stats")["total_forks"] for server in formed.primaries] == [one + 1 for one in rewrites]
    assert (len(await primaries(client)), len(await servers(client))) == (3, 3)
    await client.aclose()


async def test_whom_we_have_not_heard_for_long_is_trusted_as_long_as_the_others_call_it_a_primary(
    formed: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = SlotMap(store_address(formed.url))
    await slots.read()
    monkeypatch.setattr("runtime.slots.LIVELY_S", -1.0)
    await slots.trust(formed.primaries[0].host)
    with pytest.raises(STORE_ERRORS, match="may be no primary any more"):
        await slots.trust("127.0.0.1:1")
    slots.forget()  # as another call does that failed
    with pytest.raises(STORE_ERRORS):
        await slots.trust("127.0.0.1:1")


async def test_each_owner_waits_for_its_own_replica_also_with_what_was_redirected_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.connection.WAIT_S", 0.3)
    with cluster(tmp_path / "c", replicas=3, fsync=False) as formed:
        wire, client = ClusterWire(store_address(formed.url)), ClusterClient(store_address(formed.url))
        sealed = ClusterWires(store_address(formed.url), seals=Seals(1))
        await ensure_loaded(client)
        appends = [["XADD", keys.inbound, "1-1", "m", "x"] for keys in KEYS]
        assert await wire.call(*appends, replicas=1) == [b"1-1"] * len(KEYS)
        assert await sealed.read(*(["XLEN", keys.inbound] for keys in KEYS)) == [1] * len(KEYS)
        formed.replicas[1].signal(signal.SIGSTOP)
        by_owner = [here(formed, server)[1:] for server in formed.primaries]  # without the slot that moves below
        for keys, is_whole in zip(by_owner, (True, False, True), strict=True):
            if is_whole:
                assert await wire.call(["XADD", keys[0].inbound, "2-1", "m", "x"], replicas=1) == [b"2-1"]
                assert await sealed.read(["XLEN", keys[0].inbound]) == [2]
                continue
            with pytest.raises(NotReplicatedError, match="0 of 1"):
                await wire.call(["XADD", keys[0].inbound, "2-1", "m", "x"], replicas=1)
            with pytest.raises(NotReplicatedError, match="0 of 1"):
                await sealed.read(["XLEN", keys[0].inbound])
        with pytest.raises(NotReplicatedError, match="0 of 1"):
            await wire.call(*(["XADD", keys[1].inbound, "3-1", "m", "x"] for keys in by_owner), replicas=1)
        formed.replicas[1].signal(signal.SIGCONT)
        await wire.call(["XLEN", HERE.inbound])  # who owned what is known once more
        give(formed, *formed.primaries[:2])
        formed.replicas[1].signal(signal.SIGSTOP)
        with pytest.raises(NotReplicatedError, match="0 of 1"):
            await wire.call(["XADD", HERE.inbound, "4-1", "m", "x"], replicas=1)
        assert formed.primaries[1].client.xlen(HERE.inbound) == 2  # it was the new owner that had no replica
        await asyncio.gather(wire.close(), client.aclose(), sealed.close())


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("XADD", "a", "*", "m", "x"), "a"),
        (["FCALL", "f", 2, "a", "b", "c"], "a"),
        (["FCALL", "f", 0], None),
        (["XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", "a", ">"], "a"),
        (("XINFO", "GROUPS", "a"), "a"),
        (("XINFO GROUPS", "a"), "a"),
        (("CONFIG GET", "maxmemory"), None),
        (("PING",), None),
    ],
)
def test_the_key_of_a_command(command: list[Any], key: str | None) -> None:
    assert key_of(command) == key


async def test_who_fails_is_told_of_when_all_others_have_answered() -> None:
    answered: list[str] = []

    async def ask(owner: str, places: Sequence[int]) -> list[str]:
        if owner == "b":
            raise StoreConnectionError("away")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        answered.append(owner)
        return [f"{owner}{place}" for place in places]

    assert await shared_out(["a", "c", "a"], ask) == ["a0", "c1", "a2"]
    with pytest.raises(StoreConnectionError):
        await shared_out(["a", "b", "c"], ask)
    assert answered == ["a", "c", "a", "c"]


def test_the_slot_of_a_key_is_its_tags() -> None:
    assert slot_of("inbound:{07k}") == slot_of(b"{07k}:x") == slot("07k")
    assert slot_of("layout") == slot("layout") < SLOTS
    assert slot_of("{}x") == slot("{}x")


async def test_a_node_that_has_failed_is_still_among_the_servers(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", replicas=1, fsync=False) as formed:
        client, replica = ClusterClient(store_address(formed.url)), formed.replicas[0]
        replica.kill()
        asked = formed.primaries[0].client
        await asyncio.to_thread(until, lambda: b" slave,fail " in nodes(asked), "the verdict")
        listed = {node[1] for _, _, *places in asked.execute_command("CLUSTER", "SLOTS") for node in places}
        assert replica.port not in listed, "or what follows would show nothing"
        found = await servers(client)
        assert len(found) == 4
        with pytest.raises(STORE_ERRORS):
            await found[3].execute_command("PING")
        await client.aclose()


def nodes(asked: Any) -> bytes:
    """CLUSTER NODES as it came."""
    raw = asked.execute_command("CLUSTER", "NODES")
    return raw if isinstance(raw, bytes) else repr(raw).encode()


class Told(SlotMap):
    """The map of a Cluster whose nodes say so; those that are away do not."""

    def __init__(self, *away: str) -> None:
        super().__init__(store_address("redis+cluster://10.0.0.2:7000"))
        self._away = away

    async def _asked(self, host: str, what: str) -> Any:
        if what == "SLOTS":
            return [[0, 99, [b"10.0.0.1", 7000, b"a"]], [100, SLOTS - 1, [b"10.0.0.2", 7000, b"b"]]]
        if host in self._away:
            raise StoreConnectionError(f"{host} is away")
        return (
            b"a 10.0.0.1:7000@17000 master - 0 0 1 connected 0-99\n"
            b"b 10.0.0.2:7000@17000 myself,master - 0 0 1 connected 100-16383\n"
            b"c :0@0 slave,fail,noaddr a 0 0 1 disconnected\n"
            b"d 10.0.0.4:7000@17000,name slave,fail a 0 0 1 disconnected\n"
        )


@pytest.mark.parametrize("away", [(), ("10.0.0.1:7000",)])
async def test_any_primary_names_the_nodes_without_slots_that_have_an_address(away: tuple[str, ...]) -> None:
    slots = Told(*away)
    await slots.read()
    assert await slots.others() == ["10.0.0.4:7000"]


async def test_where_no_primary_answers_nobody_says_who_the_nodes_are() -> None:
    slots = Told("10.0.0.1:7000", "10.0.0.2:7000")
    await slots.read()
    with pytest.raises(StoreConnectionError, match="7000 is away"):
        await slots.others()
