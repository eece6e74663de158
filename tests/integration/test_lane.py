"""A lane on the real server: every SMS decided once, answered in full, and poison put aside."""

import asyncio
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from lua import library
from permits.messages import Reply
from processor import app
from runtime import keyring, settings
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.errors import StartupError
from tests.eventually import eventually
from tests.integration.ingest_door import KEYS, PARTITIONS, ROUTE, no_logging, settings_of
from tests.integration.lanes import AT_HOME, AWAY, HOME, ONE_PHONE, Floor, each_decided_once, payload, restarts

INBOUND = KEYS[HOME].inbound


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that waits for entries looks up often, so that it ends soon."""
    monkeypatch.setattr("processor.lane.BLOCK_MS", 50)


@pytest.fixture
async def floor(redis: Client, server: EmbeddedStore) -> Floor:
    return await Floor(redis, server.url).open()


# --- what a decision looks like


@pytest.mark.parametrize(
    ("text", "verdict", "reason"),
    [
        ("2 AZE 1111111", "approved", None),
        ("3 AZE 1111111", "approved", None),
        ("salam", "refused", "malformed"),
        ("9 AZE 1111111", "refused", "unknown_code"),
        ("2 AZE 111111", "refused", "bad_document"),
        ("1 2 AZE 1111111", "refused", "ambiguous"),
        ("2 AZE 1111111 спасибо, Жду", "approved", None),
        ("hello please 2 AZE 1111111", "approved", None),
    ],
)
async def test_every_outcome_is_answered_with_every_field_of_the_contract(
    text: str, verdict: str, reason: str | None, floor: Floor
) -> None:
    entry_id = await floor.put(payload(text, "agg-1"))
    async with floor.deciding():
        await floor.settled()
    [raw] = await floor.raw_replies()
    assert set(msgspec.json.decode(raw)) == set(Reply.__struct_fields__) - {"trace", "ambiguous"}
    [reply] = await floor.replies()
    assert (reply.verdict, reply.reason, reply.in_reply_to) == (verdict, reason, "agg-1")
    assert reply.id == f"{KEYS[HOME].tag}-{entry_id.decode()}"
    assert reply.text
    assert "{" not in reply.text
    if reply.verdict == "refused":
        assert (reply.permit, reply.valid_from, reply.valid_until) == (None, None, None)
        return
    assert reply.permit is not None
    assert reply.permit in reply.text
    assert reply.document_tail == "1111"
    assert reply.valid_from is not None
    if reply.purpose == 3:
        assert reply.valid_until is None
    else:
        assert reply.valid_until == reply.expires_at
        hours = datetime.fromisoformat(reply.expires_at) - datetime.fromisoformat(reply.valid_from)
        assert hours.total_seconds() == 3 * 3600


async def test_a_second_request_of_the_day_is_refused_for_its_quota(floor: Floor) -> None:
    await floor.push(["2 AZE 1111111", "2 AZE 1111111", "1 AZE 1111111"])
    async with floor.deciding():
        await floor.settled()
    assert [(reply.purpose, reply.reason) for reply in await floor.replies()] == [(2, None), (2, "quota"), (1, None)]


async def test_a_repeat_is_answered_once(floor: Floor) -> None:
    for _ in range(5):
        await floor.put(payload("2 AZE 1111111", "agg-1"))
    async with floor.deciding():
        await floor.settled()
    assert len(await floor.replies()) == 1
    assert await floor.outcomes() == {("agg-1", "approved"): 1, ("agg-1", "duplicate"): 4}


async def test_a_backlog_of_many_batches_is_decided_in_order(floor: Floor) -> None:
    ids = await floor.push([f"2 {document}" for document in AT_HOME[:300]])
    async with floor.deciding(batch=7):
        await floor.settled()
    await each_decided_once(floor, ids)
    assert [reply.in_reply_to for reply in await floor.replies()] == ids


async def test_what_comes_while_the_lane_waits_is_decided_at_once(floor: Floor) -> None:
    async with floor.deciding():
        await floor.settled()
        for at in range(3):
            ids = await floor.push([f"2 {AT_HOME[at]}"], prefix=f"late{at}")
            await floor.settled()
            assert [reply.in_reply_to for reply in await floor.replies()][-1:] == ids


# --- poison

POISON: dict[str, tuple[list[bytes], str]] = {
    "no field m": ([b"x", b"1"], "no field m"),
    "an empty value": ([b"m", b""], "truncated"),
    "no JSON": ([b"m", b"salam"], "malformed"),
    "no object": ([b"m", b"[]"], "Expected `object`"),
    "a missing field": ([b"m", b'{"id":"x"}'], "missing required field"),
    "a wrong type": ([b"m", payload("x", "y").replace(b'"x"', b"5")], "Expected `str`"),
    "a NUL outside of strings": ([b"m", b"\0" + payload("x", "y")], "malformed"),
    "64 kB of letters": ([b"m", b"x" * 65_536], "malformed"),
    "invalid UTF-8": ([b"m", payload("2 AZE 1", "y").replace(b"AZE", b"\xff\xfe\xfd")], "utf-8"),
    "a lone surrogate": ([b"m", payload("2 AZE 1111111", "y").replace(b"AZE", b"\\ud800")], "surrogate"),
    "a deep nest": ([b"m", b'{"x":' + b"[" * 65_000], "recursion"),
}


@pytest.mark.parametrize("name", POISON)
async def test_poison_becomes_a_dead_letter_and_its_neighbours_are_decided(name: str, floor: Floor) -> None:
    fields, said = POISON[name]
    [before] = await floor.push([f"2 {AT_HOME[0]}"], prefix="before")
    poison: bytes = await floor.client.execute_command("XADD", INBOUND, "*", *fields)
    [behind] = await floor.push([f"2 {AT_HOME[1]}"], prefix="behind")
    async with floor.deciding():
        await floor.settled()
    assert [reply.in_reply_to for reply in await floor.replies()] == [before, behind]
    [letter] = await floor.dead()
    assert (letter.kind, letter.entry_id) == ("inbound", poison.decode())
    assert said in letter.reason
    if fields[0] == b"m":
        assert letter.raw == fields[1].decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("text", ["2\0AZE\0 1111111", "\0", "9" * 65_536, "\U0001f600" * 100, '"\\', "{tail}"])
async def test_an_odd_text_is_decided_like_any_other(text: str, floor: Floor) -> None:
    await floor.put(payload(text, "odd"))
    async with floor.deciding():
        await floor.settled()
    assert len(await floor.replies()) == 1
    assert await floor.dead() == []


async def test_further_fields_of_an_entry_do_not_matter(floor: Floor) -> None:
    await floor.client.execute_command("XADD", INBOUND, "*", "x", "1", "m", payload("2 AZE 1111111", "agg-1"), "y", "2")
    async with floor.deciding():
        await floor.settled()
    await each_decided_once(floor, ["agg-1"])


# --- moved


async def test_an_sms_in_another_partition_is_moved_and_decided_there_once(floor: Floor) -> None:
    [near] = await floor.push([f"2 {AT_HOME[0]}"], prefix="near")
    await floor.put(payload(f"2 {AWAY}", "far"))
    async with floor.deciding(*range(PARTITIONS)):
        await floor.settled()
    assert await floor.outcomes() == {(near, "approved"): 1, ("far", "moved"): 1, ("far", "approved"): 1}
    elsewhere = KEYS[ROUTE.of_document(AWAY)[0]]
    far = next(reply for reply in await floor.replies() if reply.in_reply_to == "far")
    assert far.id.startswith(f"{elsewhere.tag}-")


async def test_an_sms_moved_twice_is_decided_once(floor: Floor) -> None:
    raw = payload(f"2 {AWAY}", "far", by_text=True)
    await floor.put(raw)
    await floor.put(raw, index=ROUTE.of_document(AWAY)[0])
    async with floor.deciding(*range(PARTITIONS)):
        await floor.settled()
    assert await floor.outcomes() == {("far", "moved"): 1, ("far", "duplicate"): 1, ("far", "approved"): 1}


async def test_a_move_waits_while_the_store_is_full(floor: Floor) -> None:
    await floor.put(payload(f"2 {AWAY}", "far"))
    before = restarts("OOM")

    async def refused() -> bool:
        return restarts("OOM") > before + 1

    await floor.client.execute_command("CONFIG SET", "maxmemory", 1)
    try:
        async with floor.deciding(*range(PARTITIONS)):
            await eventually(refused)
            await floor.client.execute_command("CONFIG SET", "maxmemory", "512mb")
            await floor.settled()
    finally:
        await floor.client.execute_command("CONFIG SET", "maxmemory", "512mb")
    assert await floor.dead() == []
    assert [reply.in_reply_to for reply in await floor.replies()] == ["far"]


# --- the role as a whole


async def test_a_worker_decides_what_is_stored_and_drains_at_its_stop(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_bytes(ONE_PHONE)
    current = settings_of(tmp_path, server.url, process_port=0, lease_ms=2000, policy_file=str(rules))
    monkeypatch.setattr(settings, "load", lambda: current)
    monkeypatch.setattr(app, "start_logging", no_logging)
    keyring.make(keyring.path(current))
    floor = Floor(redis, server.url)
    stop = asyncio.Event()
    worker = asyncio.create_task(app.serve(stop))
    ids = await floor.push([f"2 {document}" for document in [*AT_HOME[:100], AWAY]])
    await floor.settled()
    more = await floor.push([f"2 {document}" for document in AT_HOME[100:200]], prefix="more")
    stop.set()
    assert await asyncio.wait_for(worker, 20) == 0
    assert await floor.undecided() == 0
    await each_decided_once(floor, [*ids, *more])
    assert [await redis.execute_command("EXISTS", keys.lease("decide")) for keys in KEYS] == [0] * PARTITIONS


async def test_a_worker_does_not_start_beside_another_function_library(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis.execute_command("FUNCTION", "FLUSH")
    await redis.execute_command("FUNCTION", "LOAD", f"{library.source()}\n-- of another release\n")
    current = settings_of(tmp_path, server.url, process_port=0)
    keyring.make(keyring.path(current))
    monkeypatch.setattr(settings, "load", lambda: current)
    monkeypatch.setattr(app, "start_logging", no_logging)
    with pytest.raises(StartupError, match="bump the version"):
        await app.serve(asyncio.Event())
