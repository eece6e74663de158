"""Imports are carried out once, whatever dies meanwhile, and their reports say what became of each row."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from redis.exceptions import ConnectionError as StoreConnectionError

from lua import changes
from lua.keys import PartitionKeys
from lua.library import ensure_loaded
from permits.employees import Epoch, Flaw, effective
from permits.imports import CHUNK_ROWS, KEPT_S, ImportHead, WrittenRow
from permits.messages import ENCODER
from permits.organisations import Delegation, Organisation
from processor import import_loop, sms_first
from processor.import_rows import NOT_DONE, ImportRows
from runtime.connection import Client, Wire, connect
from runtime.embedded import EmbeddedStore
from runtime.keyring import Keyring
from tests.eventually import eventually
from tests.integration.api_door import NOON_MS
from tests.integration.import_floor import ACTOR, HOME, NAME, ImportFloor, row
from tests.integration.organisation_door import PARTITIONS, ROUTE, TIN

OTHER = "f" * 32


@pytest.fixture
def floor(redis: Client, server: EmbeddedStore) -> ImportFloor:
    return ImportFloor(redis, server.url)


async def test_every_row_becomes_a_permit_and_a_line(floor: ImportFloor) -> None:
    await floor.enlist([row(n) for n in range(CHUNK_ROWS + 20)])
    await floor.work(floor.loop())
    report = await floor.report()
    assert [line.line for line in report] == list(range(2, CHUNK_ROWS + 22))
    assert {line.result for line in report} == {"created"}
    assert await floor.creations() == Counter([line.permit for line in report])
    permits = await floor.permits()
    assert {permit.permit.status for permit in permits} == {"submitted"}
    assert {permit.permit.acts[0].actor for permit in permits} == {ACTOR.subject}
    assert await floor.traces() == {ACTOR.trace}


async def test_a_done_import_leaves_its_report_alone_and_not_for_ever(floor: ImportFloor, redis: Client) -> None:
    await floor.enlist([row(1)])
    await floor.work(floor.loop())
    assert await floor.waiting() == 0
    fields = await redis.execute_command("HKEYS", HOME.bulk(NAME))
    assert set(fields) == {b"head", b"started", b"finished", b"report:0", b"tally:0"}
    assert 0 < await redis.execute_command("TTL", HOME.bulk(NAME)) <= KEPT_S


async def test_each_line_says_what_became_of_its_row(floor: ImportFloor) -> None:
    await floor.enlist([row(1), row(2)], name=OTHER)
    await floor.work(floor.loop())
    floor.epochs.append(
        Epoch(number=1, action="deactivate", at_ms=NOON_MS + 2000, reason="decree 7", actor="regime", request="r")
    )
    await floor.enlist([row(3)], name="e" * 32)
    await floor.work(floor.loop())
    flawed = WrittenRow(flaws=(Flaw("fin", "is missing"),))
    rows = [row(1), row(3), row(3, zone="Bakı"), row(4), row(4), flawed, row(5, document="12"), row(6, draft=True)]
    await floor.enlist(rows)
    await floor.work(floor.loop())
    assert await floor.results() == [
        "reactivated", "unchanged", "conflict", "created", "unchanged", "refused", "refused", "created"
    ]  # fmt: skip
    report = await floor.report()
    assert [[flaw.field for flaw in line.errors] for line in report[5:7]] == [["fin"], ["document"]]
    assert report[1].permit == report[2].permit
    assert all((line.permit is None) == (line.result == "refused") for line in report)


class Cut(Wire):
    """A wire that breaks at its n-th call: before it, or after the store has carried it out."""

    def __init__(self, url: str, *, at: int, after: bool) -> None:
        super().__init__(url)
        self.left = at
        self._after = after

    async def call(self, *commands: Any, timeout_s: float = 5.0, replicas: int = 0) -> list[Any]:
        self.left -= 1
        if self.left < 0 and not self._after:
            raise StoreConnectionError("cut")
        replies = await super().call(*commands, timeout_s=timeout_s, replicas=replicas)
        if self.left < 0:
            raise StoreConnectionError("cut")
        return replies


@pytest.mark.parametrize("after", [False, True])
async def test_a_worker_that_dies_at_any_step_leaves_an_import_that_another_ends(
    floor: ImportFloor, redis: Client, after: bool
) -> None:
    rows = [row(n) for n in range(60)] + [row(3), row(4, zone="Bakı"), row(7, document="12")]
    expected = ["created"] * 60 + ["unchanged", "conflict", "refused"]
    calls = 0
    while True:
        await redis.execute_command("FLUSHDB")
        await floor.enlist(rows)
        wire = Cut(floor.url, at=calls, after=after)
        dying = floor.loop(wire)
        try:
            await floor.work(dying)
        except StoreConnectionError:
            await dying.close()
        else:
            break  # it came to its end before the cut
        await floor.work(floor.loop())
        assert await floor.results() == expected, calls
        assert set((await floor.creations()).values()) == {1}
        assert len(await floor.creations()) == 60
        assert await floor.waiting() == 0
        calls += 1
    assert calls >= 10


async def test_two_workers_at_once_do_no_harm(floor: ImportFloor) -> None:
    """One of them has lost the partition and does not know it yet."""
    await floor.enlist([row(n) for n in range(CHUNK_ROWS + 100)])
    await asyncio.gather(*(floor.work(floor.loop()) for _ in range(2)))
    assert set(await floor.results()) == {"created"}
    assert set((await floor.creations()).values()) == {1}
    assert len(await floor.creations()) == CHUNK_ROWS + 100


async def test_a_chunk_whose_key_is_missing_has_failed_and_is_a_dead_letter(floor: ImportFloor) -> None:
    await floor.enlist([row(1), row(2)])
    await floor.work(floor.loop(keyring=Keyring({"k2": b"o" * 32}, "k2")))
    report = await floor.report()
    assert [(line.line, line.result) for line in report] == [(2, "failed"), (3, "failed")]
    (letter,) = await floor.dead()
    assert letter.kind == "import"
    assert NAME in letter.entry_id
    assert await floor.waiting() == 0


async def test_what_is_no_import_is_a_dead_letter_and_holds_up_nothing(floor: ImportFloor, redis: Client) -> None:
    await redis.execute_command("XADD", HOME.imports, "*", "m", b"\xffnothing")
    await redis.execute_command("XADD", HOME.imports, "*", "m", b'{"id":"lapsed"}')
    await redis.execute_command("HSET", HOME.bulk(OTHER), "head", b"{")
    await redis.execute_command("XADD", HOME.imports, "*", "m", b'{"id":"%b"}' % OTHER.encode())
    await floor.enlist([row(1)])
    await floor.work(floor.loop())
    assert await floor.results() == ["created"]
    assert [letter.kind for letter in await floor.dead()] == ["import", "import"]
    assert await floor.waiting() == 0


async def test_a_chunk_that_is_damaged_holds_up_nothing(floor: ImportFloor, redis: Client) -> None:
    await floor.enlist([row(1)])
    await redis.execute_command("HSET", HOME.bulk(NAME), "chunk:0", b"{")
    await floor.work(floor.loop())
    assert await floor.waiting() == 0
    assert len(await floor.dead()) == 1


def held(number: int) -> str:
    """Where the permits of an employee stand."""
    partition, owner = ROUTE.of_document(row(number).document)
    keys: PartitionKeys = PARTITIONS[partition]
    return keys.holder(owner[:4])


async def test_a_row_that_cannot_be_stored_costs_itself_alone(floor: ImportFloor, redis: Client) -> None:
    await redis.execute_command("SET", held(2), "no hash")
    await floor.enlist([row(n) for n in range(5)])
    await floor.work(floor.loop())
    assert await floor.results() == ["created", "created", "failed", "created", "created"]
    assert (await floor.report())[2].errors == (Flaw("row", NOT_DONE),)


async def test_a_small_import_does_not_wait_for_a_large_one(floor: ImportFloor) -> None:
    await floor.enlist([row(n) for n in range(2 * CHUNK_ROWS)])
    await floor.enlist([row(5000)], name=OTHER)
    loop = floor.loop()
    assert await loop.work()
    assert await floor.results(OTHER) == ["created"]
    assert len(await floor.results()) == CHUNK_ROWS
    await floor.work(loop)


async def test_an_import_gives_way_to_sms(floor: ImportFloor, redis: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sms_first, "MOST_GIVEN_S", 60.0)
    for number in range(sms_first.SMS_WAITING + 1):
        await redis.execute_command("XADD", PARTITIONS[number % 4].inbound, "*", "m", "sms")
    await floor.enlist([row(1)])
    working = asyncio.create_task(floor.work(floor.loop()))

    async def looks() -> bool:
        stats: dict[str, dict[str, int]] = await redis.execute_command("INFO", "commandstats")
        return stats.get("cmdstat_xlen", {"calls": 0})["calls"] >= 3 * len(PARTITIONS)

    await redis.execute_command("CONFIG", "RESETSTAT")
    await eventually(looks)
    assert await floor.creations() == Counter()
    await redis.execute_command("DEL", PARTITIONS[0].inbound)
    await working
    assert await floor.results() == ["created"]


async def test_an_import_ends_while_sms_are_never_done(
    floor: ImportFloor, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sms_first, "MOST_GIVEN_S", 0.01)
    monkeypatch.setattr(sms_first, "SMS_WAITING", 0)
    await redis.execute_command("XADD", HOME.inbound, "*", "m", "sms")
    await floor.enlist([row(n) for n in range(60)])
    await floor.work(floor.loop())
    assert set(await floor.results()) == {"created"}


async def test_a_loop_waits_for_a_store_that_is_away(own_store: EmbeddedStore) -> None:
    client = connect(own_store.url)
    await ensure_loaded(client)
    floor = ImportFloor(client, own_store.url)
    await floor.enlist([row(1)])
    await own_store.stop()
    running = asyncio.create_task(floor.loop().run())
    await asyncio.sleep(0)
    await own_store.start()
    assert await eventually(floor.results) == ["created"]
    running.cancel()
    await asyncio.wait({running})
    await client.aclose()


async def test_an_import_that_was_queued_before_a_mass_act_does_not_undo_it(floor: ImportFloor) -> None:
    await floor.enlist([row(1)], name=OTHER)
    await floor.work(floor.loop())
    await floor.enlist([row(1), row(2)])
    floor.epochs.append(
        Epoch(number=1, action="deactivate", at_ms=NOON_MS + 500, reason="decree 7", actor="regime", request="r")
    )
    await floor.work(floor.loop())
    assert await floor.results() == ["unchanged", "created"]
    permits = [found.permit for found in await floor.permits()]
    assert [effective(permit, floor.epochs, NOON_MS + 1000).status for permit in permits] == ["cancelled"] * 2


async def test_an_import_from_before_a_mass_extension_meets_the_permits_that_it_extended(floor: ImportFloor) -> None:
    await floor.enlist([row(1, valid_from="2025-12-01", valid_until="2026-01-01T12:00:01+04:00")], name=OTHER)
    await floor.enlist([row(1)])
    floor.epochs.append(
        Epoch(
            number=1, action="extend", at_ms=NOON_MS + 500, reason="d", actor="r", request="r", until_ms=NOON_MS + 9999
        )
    )
    await floor.work(floor.loop())
    assert await floor.results() == ["conflict"]


def delegation(name: str, *, until_ms: int = NOON_MS + 5000, revoked_ms: int | None = None) -> Delegation:
    return Delegation(
        id=name, person="", sealed="", powers=("apply",), from_ms=0, until_ms=until_ms, granted_by="seal",
        revoked_ms=revoked_ms,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "result"),
    [
        (delegation("ours"), "created"),
        (delegation("ours", until_ms=NOON_MS + 500), "refused"),
        (delegation("ours", revoked_ms=NOON_MS + 500), "refused"),
        (delegation("another"), "refused"),
    ],
)
async def test_an_import_goes_on_as_long_as_the_delegation_that_it_stands_under(
    floor: ImportFloor, redis: Client, kept: Delegation, result: str
) -> None:
    organisation = Organisation(tin=TIN, name="Günəş MMC", registered_ms=0, seal="", delegations=(kept,))
    record = changes.written(1, ENCODER.encode(organisation))
    await redis.execute_command("HSET", HOME.organisations, TIN, record)
    await floor.enlist([row(1)], actor=replace(ACTOR, under="ours"))
    await floor.work(floor.loop())
    assert await floor.results() == [result]
    assert len(await floor.permits()) == (result == "created")
    assert await floor.waiting() == 0


async def test_an_import_waits_for_room_in_the_store(floor: ImportFloor, redis: Client) -> None:
    await floor.enlist([row(1)])
    loop = floor.loop()
    await redis.execute_command("CONFIG", "SET", "maxmemory", 1)
    try:
        assert not await loop.work()
    finally:
        await redis.execute_command("CONFIG", "SET", "maxmemory", "512mb")
    assert await floor.permits() == []
    await floor.work(loop)
    assert await floor.results() == ["created"]


@pytest.fixture
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_loop, "FAULT_PAUSE_S", (0.001, 0.002))


async def ended(floor: ImportFloor, loop: import_loop.ImportLoop) -> None:
    """Works until no import waits."""

    async def done() -> bool:
        await loop.work()
        return await floor.waiting() == 0

    await eventually(done)
    await loop.close()


@pytest.mark.usefixtures("_short_pauses")
async def test_an_import_that_fails_by_a_fault_of_ours_ends_and_says_so(floor: ImportFloor, redis: Client) -> None:
    await redis.execute_command("HSET", HOME.organisations, TIN, "no record")
    await floor.enlist([row(n) for n in range(CHUNK_ROWS + 1)], actor=replace(ACTOR, under="ours"))
    await floor.enlist([row(5000)], name=OTHER)
    await ended(floor, floor.loop())
    assert await floor.results(OTHER) == ["created"]
    report = await floor.report()
    assert [line.line for line in report] == list(range(2, CHUNK_ROWS + 3))
    assert {(line.result, line.permit, line.errors) for line in report} == {("failed", None, (Flaw("row", NOT_DONE),))}
    assert await redis.execute_command("HEXISTS", HOME.bulk(NAME), "finished")
    (letter,) = await floor.dead()
    assert (letter.kind, letter.reason) == ("import", f"failed {import_loop.FAULTS_BORNE} times: ValueError")
    assert NAME in letter.raw


@pytest.mark.usefixtures("_short_pauses")
async def test_a_fault_of_one_chunk_costs_that_chunk_alone(floor: ImportFloor, monkeypatch: pytest.MonkeyPatch) -> None:
    done, tries = ImportRows.done, 0

    async def faulty(self: ImportRows, name: str, head: ImportHead, numbers: Sequence[int], rows: Any) -> Any:
        nonlocal tries
        if numbers[0] == 2:
            tries += 1
            raise ValueError
        return await done(self, name, head, numbers, rows)

    monkeypatch.setattr(ImportRows, "done", faulty)
    await floor.enlist([row(n) for n in range(CHUNK_ROWS + 2)])
    await ended(floor, floor.loop())
    assert tries == import_loop.FAULTS_BORNE
    assert Counter(await floor.results()) == {"failed": CHUNK_ROWS, "created": 2}
    assert len(await floor.dead()) == 1


async def test_a_fault_that_passes_costs_a_pause_and_nothing_else(floor: ImportFloor, redis: Client) -> None:
    await redis.execute_command("HSET", HOME.organisations, TIN, "no record")
    await floor.enlist([row(1)], actor=replace(ACTOR, under="ours"))
    loop = floor.loop()
    assert not await loop.work()
    organisation = Organisation(tin=TIN, name="G", registered_ms=0, seal="", delegations=(delegation("ours"),))
    await redis.execute_command("HSET", HOME.organisations, TIN, changes.written(1, ENCODER.encode(organisation)))
    assert not await loop.work()  # its pause is not over
    await floor.work(floor.loop())  # another worker knows of none
    assert (await floor.results(), await floor.dead()) == (["created"], [])
    await loop.close()


@pytest.mark.usefixtures("_short_pauses")
async def test_an_import_whose_report_cannot_be_written_ends_all_the_same(floor: ImportFloor, redis: Client) -> None:
    await floor.enlist([row(1)])
    await redis.execute_command("DEL", HOME.bulk(NAME))
    await redis.execute_command("SET", HOME.bulk(NAME), "no hash")
    await ended(floor, floor.loop())
    (letter,) = await floor.dead()
    assert NAME in letter.raw


@pytest.mark.usefixtures("_short_pauses")
async def test_a_full_store_is_no_fault_however_long_it_lasts(floor: ImportFloor, redis: Client) -> None:
    await floor.enlist([row(1)])
    loop = floor.loop()
    await redis.execute_command("CONFIG", "SET", "maxmemory", 1)
    try:
        for _ in range(2 * import_loop.FAULTS_BORNE):
            assert not await loop.work()
    finally:
        await redis.execute_command("CONFIG", "SET", "maxmemory", "512mb")
    await floor.work(loop)
    assert await floor.results() == ["created"]
