"""`icaze dead requeue|drop`: what was mended is decided, sent and told once; what cannot be says why."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from icaze import main
from lua import calls
from lua.held import SEAL_BYTES
from lua.keys import DISPATCH_GROUP
from permits.calendar import rfc3339
from permits.employees import AuditAct
from permits.messages import ENCODER, SEALED_DECODER, Application, DeadLetter, HeldApproval, InboundSms
from processor.dead.census import Census, class_of
from processor.verification.command import verify
from runtime import layout, lifecycle
from runtime.connection import Client
from runtime.day_keys import DayKeys
from runtime.embedded import EmbeddedStore
from runtime.sealing import opened_sms, sealed_letter
from runtime.telemetry import REGISTRY
from tests.day_keys import sealed
from tests.integration.dispatching import Recorder, dispatching, reply, until_empty
from tests.integration.ingest_door import KEYS, ROUTE, day_keys, settings_of
from tests.integration.lanes import AT_HOME, HOME, PHONE, POLICY, Floor, payload

WHY = ("--reason", "cause mended", "--by", "anna")
Dead = Callable[..., Awaitable[tuple[int, list[dict[str, Any]]]]]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(autouse=True)
async def keys(redis: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: EmbeddedStore) -> DayKeys:
    """Settings of the command, and today's key in the store."""

    def run(work: Callable[[asyncio.Event], Awaitable[int]]) -> int:
        async def done() -> int:
            return await work(asyncio.Event())

        return asyncio.run(done())

    current = settings_of(tmp_path, "")
    monkeypatch.delenv("ICAZE_CONFIG", raising=False)
    for name, value in {
        "REDIS_URL": server.url,
        "DATA_DIR": str(tmp_path),
        "ROUTING_KEY_FILE": current.routing_key_file,
        "PARTITIONS": str(current.partitions),
        "DURABILITY": "memory",
    }.items():
        monkeypatch.setenv(f"ICAZE_{name}", value)
    monkeypatch.setattr(lifecycle, "run", run)
    await layout.settle(redis, ROUTE)
    keys = await day_keys(redis)
    await keys.refresh()
    return keys


@pytest.fixture
async def floor(server: EmbeddedStore, redis: Client) -> Floor:
    return await Floor(redis, server.url).open()


@pytest.fixture
def dead(capsys: pytest.CaptureFixture[str]) -> Dead:
    """The command: its exit code, and what it says as objects."""

    async def run(*words: str) -> tuple[int, list[dict[str, Any]]]:
        code = await asyncio.to_thread(main, ["dead", *words, "--json"])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


async def names(dead: Dead, *words: str) -> list[str]:
    return [said["name"] for said in (await dead("list", *words))[1]]


async def bury(redis: Client, letter: DeadLetter, index: int = HOME) -> str:
    entry: bytes = await redis.execute_command("XADD", KEYS[index].dead, "*", "m", ENCODER.encode(letter))
    return f"{KEYS[index].tag}/{entry.decode()}"


async def acts(redis: Client, index: int = HOME) -> list[AuditAct]:
    found = await redis.execute_command("XRANGE", KEYS[index].acts, "-", "+")
    return [msgspec.json.decode(fields[b"m"], type=AuditAct) for _, fields in found]


async def violated(redis: Client) -> set[str]:
    report = await verify(redis, policy=POLICY, journal=None, sink=None, now_ms=now_ms())
    return {f"{finding.invariant} {finding.what}" for finding in report.checks if finding.status == "violated"}


def sms_of(sms_id: str, text: str, **other: Any) -> InboundSms:
    fields: dict[str, Any] = {"arrived_ms": now_ms() - 1000} | other
    return InboundSms(id=sms_id, source="dev", sender=PHONE, to="8103", text=text, **fields)


async def read_replies(redis: Client) -> None:
    """As a dispatcher does: at rest no reply is unread."""
    for keys in KEYS:
        await redis.execute_command("XGROUP", "CREATE", keys.replies, "dispatch", "0", "MKSTREAM")
        await redis.execute_command("XREADGROUP", "GROUP", "dispatch", "d", "NOACK", "STREAMS", keys.replies, ">")


# SMS


async def test_an_sms_that_was_mended_is_decided_once_and_the_accounts_hold(
    redis: Client, floor: Floor, keys: DayKeys, dead: Dead, tmp_path: Path
) -> None:
    good = sms_of("agg-1", f"2 {AT_HOME[0]}")
    async with floor.deciding(day_keys=keys):
        await floor.put(b'{"id": "agg-1", "source": "dev", "text": broken')
        await floor.put(b"nonsense")
        await floor.settled()
    first, second = await names(dead)
    code, said = await dead("requeue", first, *WHY)
    assert (code, said[0]["did"]) == (1, "refused")
    assert "--with FILE" in said[0]["why"]
    (tmp_path / "mended.json").write_bytes(ENCODER.encode(good))
    code, said = await dead("requeue", first, "--with", str(tmp_path / "mended.json"), *WHY)
    assert (code, said[0]["did"], said[0]["to"]) == (0, "requeued", KEYS[HOME].inbound)
    raw = (await redis.execute_command("XRANGE", KEYS[HOME].inbound, "-", "+"))[0][1][b"m"]
    assert PHONE.encode() not in raw
    async with floor.deciding(day_keys=keys):
        await floor.settled()
    assert (await floor.outcomes())["agg-1", "approved"] == 1
    assert (await dead("requeue", first, *WHY))[0] == 1
    code, said = await dead("drop", second, *WHY)
    assert (code, said[0]["did"]) == (0, "dropped")
    assert [(act.actor, act.deed, act.reason, act.letter) for act in await acts(redis)] == [
        ("anna", "requeue", "cause mended", f"inbound {first}"),
        ("anna", "drop", "cause mended", f"inbound {second}"),
    ]
    await read_replies(redis)
    assert await violated(redis) == set()


async def test_a_letter_that_vanished_without_an_act_is_noticed(
    redis: Client, floor: Floor, keys: DayKeys, dead: Dead
) -> None:
    async with floor.deciding(day_keys=keys):
        await floor.put(b"nonsense")
        await floor.settled()
    assert await violated(redis) == set()
    tag, _, entry = (await names(dead))[0].partition("/")
    assert tag == KEYS[HOME].tag
    await redis.execute_command("XDEL", KEYS[HOME].dead, entry)
    assert await violated(redis) == set()  # as if age had taken it
    await redis.execute_command("DEL", KEYS[HOME].dead)
    assert await violated(redis) == {"I8 dead letters"}


async def test_an_sms_keeps_its_identity_and_arrival_and_is_not_decided_twice(
    redis: Client, floor: Floor, keys: DayKeys, dead: Dead
) -> None:
    sms = sms_of("agg-7", f"2 {AT_HOME[1]}")
    stood = ENCODER.encode(sealed(keys.at(sms.arrived_ms), sms, ROUTE)).decode()
    letter = DeadLetter("inbound", "1-1", "its decision failed: KeyError", now_ms(), stood)
    name = await bury(redis, letter)
    async with floor.deciding(day_keys=keys):
        await floor.put(payload(sms.text, sms.id, arrived_ms=sms.arrived_ms))
        await floor.settled()
        assert (await dead("requeue", name, *WHY))[0] == 0
        await floor.settled()
    assert await floor.outcomes() == Counter({("agg-7", "approved"): 1, ("agg-7", "duplicate"): 1})
    assert len(await floor.replies()) == 1


async def test_an_sms_in_clear_is_sealed_on_its_way_back(redis: Client, keys: DayKeys, dead: Dead) -> None:
    sms = sms_of("agg-8", f"2 {AT_HOME[1]}", received_ms=5)
    letter = DeadLetter("inbound", "1-1", "its decision failed", now_ms(), ENCODER.encode(sms).decode())
    name = await bury(redis, sealed_letter(keys.at(now_ms()), letter))
    assert (await dead("requeue", name, *WHY))[0] == 0
    raw = (await redis.execute_command("XRANGE", KEYS[HOME].inbound, "-", "+"))[0][1][b"m"]
    assert PHONE.encode() not in raw
    assert opened_sms(keys, SEALED_DECODER.decode(raw)) == sms


async def test_what_is_erased_or_another_sms_does_not_go_back(
    redis: Client, keys: DayKeys, dead: Dead, tmp_path: Path
) -> None:
    sms = sms_of("agg-9", "2 AZE1111111")
    entry = sealed(keys.at(sms.arrived_ms), sms, ROUTE)
    old = structs.replace(entry, day="20200101")
    gone = await bury(redis, DeadLetter("inbound", "1-1", "gone", now_ms(), ENCODER.encode(old).decode()))
    code, said = await dead("requeue", gone, *WHY)
    assert (code, said[0]["did"]) == (1, "refused")
    assert "erased" in said[0]["why"]
    there = await bury(redis, DeadLetter("inbound", "1-1", "x", now_ms(), ENCODER.encode(entry).decode()))
    file = tmp_path / "other.json"
    for other, word in ((structs.replace(sms, id="agg-10"), "id"), (structs.replace(sms, arrived_ms=1), "arrived_ms")):
        file.write_bytes(ENCODER.encode(other))
        code, said = await dead("requeue", there, "--with", str(file), *WHY)
        assert (code, said[0]["did"]) == (1, "refused")
        assert f"the file's {word} is" in said[0]["why"]
    file.write_text("{")
    assert "no inbound SMS" in (await dead("requeue", there, "--with", str(file), *WHY))[1][0]["why"]
    assert await redis.execute_command("XLEN", KEYS[HOME].inbound) == 0
    assert await acts(redis) == []


# Replies, and what else there is


async def test_a_refused_reply_goes_out_once_more_marked(
    redis: Client, server: EmbeddedStore, keys: DayKeys, dead: Dead
) -> None:
    def letter(name: str, reason: str, **fields: Any) -> DeadLetter:
        raw = reply(name, **fields).decode()
        return sealed_letter(keys.at(now_ms()), DeadLetter("reply", "1-1", reason, now_ms(), raw, reply_id=name))

    refused = await bury(redis, letter("r-1", "refused: unknown network"))
    never = await bury(redis, letter("r-2", "unanswerable: not a phone number"))
    lapsed = await bury(redis, letter("r-3", "lapsed: not sent in time", expires_at=rfc3339(now_ms())))
    code, said = await dead("requeue", refused, never, lapsed, *WHY)
    assert (code, [one["did"] for one in said]) == (1, ["requeued", "requeued", "refused"])
    assert "not worth sending since" in said[2]["why"]
    operator = Recorder()
    async with dispatching(server.url, operator, partitions=KEYS):
        await until_empty(redis, KEYS)
    assert sorted(operator.seen) == [("r-1", True), ("r-2", False)]
    assert [act.reply_id for act in await acts(redis)] == ["r-1", "r-2"]


async def test_a_reply_that_is_put_back_has_its_mark_once(
    redis: Client, server: EmbeddedStore, keys: DayKeys, dead: Dead
) -> None:
    raw = reply("r-1").decode()
    letter = DeadLetter("reply", "1-1", "refused: x", now_ms(), raw, reply_id="r-1")
    assert (await dead("requeue", await bury(redis, letter), *WHY))[0] == 0
    bodies: list[bytes] = []

    class Keeping(Recorder):
        async def send(self, parcels: Sequence[Any]) -> Any:
            bodies.extend(parcel.wire() for parcel in parcels)
            return await super().send(parcels)

    async with dispatching(server.url, Keeping(), partitions=KEYS):
        await until_empty(redis, KEYS)
    assert len(bodies) == 1
    assert bodies[0].count(b'"ambiguous":true') == 1
    assert json.loads(bodies[0]) == json.loads(raw) | {"ambiguous": True}


async def test_a_reply_that_was_dropped_is_accounted_for_by_its_act(
    redis: Client, floor: Floor, keys: DayKeys, dead: Dead, tmp_path: Path
) -> None:
    async with floor.deciding(day_keys=keys):
        await floor.push([f"2 {AT_HOME[0]}"])
        await floor.settled()
    names_of = KEYS[HOME]
    await calls.register(redis, names_of, group=DISPATCH_GROUP, now_ms=1)
    read = ("XREADGROUP", "GROUP", DISPATCH_GROUP, "d", "STREAMS", names_of.replies, ">")
    ((_, [(entry_id, fields)]),) = await redis.execute_command(*read)
    (tmp_path / "sink.ndjson").touch()

    async def violations() -> set[str]:
        report = await verify(redis, policy=POLICY, journal=None, sink=tmp_path / "sink.ndjson", now_ms=now_ms())
        return {f"{finding.invariant} {finding.what}" for finding in report.checks if finding.status == "violated"}

    assert await violations() == {"I5 replies", "I8 at rest"}
    raw = fields[b"m"].decode()
    letter = DeadLetter("reply", entry_id.decode(), "refused: x", now_ms(), raw, reply_id=json.loads(raw)["id"])
    await redis.execute_command(
        *calls.bury_command(names_of, group=DISPATCH_GROUP, entry_id=entry_id, letter=ENCODER.encode(letter))
    )
    await calls.trim(redis, names_of, now_ms=now_ms(), silence_ms=86_400_000)
    assert await violations() == set()
    assert (await dead("drop", *await names(dead), *WHY))[0] == 0
    assert await violations() == set()


async def test_a_held_approval_waits_again_and_is_due(redis: Client, dead: Dead) -> None:
    waiting = ENCODER.encode(HeldApproval("1-1", "agg-1", 2, "1111", "00" * 8, "00" * 6, 1, 1))
    seal = bytes(range(SEAL_BYTES))
    letter = DeadLetter("held", "1", "no words for it", now_ms(), f"{waiting.decode()} {seal.hex()}", reply_id="x-1")
    assert (await dead("requeue", await bury(redis, letter), *WHY))[0] == 0
    score = await redis.execute_command("ZSCORE", KEYS[HOME].held, waiting + seal)
    assert abs(float(score) - now_ms()) < 10_000


async def test_an_application_goes_back_and_what_is_settled_does_not(redis: Client, dead: Dead) -> None:
    application = ENCODER.encode(Application("23456789AB", 1, "t")).decode()
    there = await bury(redis, DeadLetter("application", "1-1", "cannot be read", 1, application))
    broken = await bury(redis, DeadLetter("application", "1-1", "cannot be read", 1, "x"))
    feed = await bury(redis, DeadLetter("feed", "1-1", "refused: zone_closed", 1, "{}"))
    bulk = await bury(redis, DeadLetter("import", "1-1", "failed 10 times: KeyError", 1, "m {}"))
    code, said = await dead("requeue", there, broken, feed, bulk, *WHY)
    assert (code, [one["did"] for one in said]) == (1, ["requeued", "refused", "refused", "refused"])
    assert ["employer" in said[2]["why"], "report" in said[3]["why"]] == [True, True]
    assert await redis.execute_command("XLEN", KEYS[HOME].applications) == 1
    assert await names(dead) == [broken, feed, bulk]


# Many at once


async def test_letters_are_chosen_by_filters(redis: Client, dead: Dead) -> None:
    first = await bury(redis, DeadLetter("import", "1-1", "Failed 3 times", 1_000, "x"))
    second = await bury(redis, DeadLetter("feed", "1-1", "refused: zone_closed", 2_000, "x"))
    third = await bury(redis, DeadLetter("feed", "1-1", "refused: unknown", 3_000, "x"))
    assert await names(dead, "--kind", "feed") == [second, third]
    assert await names(dead, "--reason", "fAILED") == [first]
    assert await names(dead, "--since", "1970-01-01T00:00:02Z") == [second, third]
    assert await names(dead, "--until", "1970-01-01T00:00:02Z") == [first]
    assert await names(dead, "--limit", "2") == [first, second]
    code, said = await dead("drop", "--all", "--kind", "feed", "--where-reason", "zone", "--dry-run", *WHY)
    assert (code, [one["did"] for one in said]) == (0, ["dropped"])
    assert len(await names(dead)) == 3
    code, _ = await dead("drop", "--all", "--kind", "feed", "--where-reason", "zone", "--yes", *WHY)
    assert (code, await names(dead)) == (0, [first, third])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("drop", "x/1-1", "--all", *WHY), "name letters, or choose them"),
        (("drop", *WHY), "name letters, or choose them"),
        (("drop", "x/1-1", "--reason", " "), "--reason must have"),
        (("drop", "x/1-1", "--kind", "feed", *WHY), "filters choose letters with --all"),
        (("drop", "--all", *WHY), "say --yes"),
        (("requeue", "--all", "--with", "f", *WHY), "name it"),
        (("requeue", "x/1-1", "--with", "/nowhere", *WHY), "--with /nowhere"),
        (("requeue", "x/1-1", *WHY), "no letter 'x/1-1'"),
    ],
)
async def test_words_that_do_not_fit_together_change_nothing(
    words: tuple[str, ...],
    said: str,
    redis: Client,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    await bury(redis, DeadLetter("feed", "1-1", "refused", 1, "x"))
    assert await asyncio.to_thread(main, ["dead", *words]) == 1
    assert said in capsys.readouterr().err
    assert await redis.execute_command("XLEN", KEYS[HOME].dead) == 1


async def test_another_routing_key_puts_nothing_back(
    redis: Client, dead: Dead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = await bury(redis, DeadLetter("feed", "1-1", "refused", 1, "x"))
    (tmp_path / "routing.key").write_bytes(b"z" * 32)
    assert await asyncio.to_thread(main, ["dead", "requeue", name, *WHY]) == 1
    assert "routing key" in capsys.readouterr().err


# The metric


def told(kind: str, reason: str) -> float | None:
    return REGISTRY.get_sample_value("icaze_dead_letters", {"kind": kind, "reason": reason})


async def test_what_stands_is_told_by_kind_and_class_of_reason(redis: Client, dead: Dead) -> None:
    census = Census(redis, lambda: KEYS)
    first = await bury(redis, DeadLetter("import", "1-1", "failed 10 times: KeyError", 1, "x"))
    await bury(redis, DeadLetter("import", "1-1", "failed 3 times: ValueError", 1, "x"))
    await bury(redis, DeadLetter("feed", "1-1", "refused: zone_closed", 1, "x"), index=(HOME + 1) % len(KEYS))
    await census.round()
    assert (told("import", "failed … times"), told("feed", "refused")) == (2, 1)
    await dead("drop", first, *WHY)
    await dead("drop", "--all", "--kind", "feed", "--yes", *WHY)
    await census.round()
    assert (told("import", "failed … times"), told("feed", "refused")) == (1, None)


async def test_labels_do_not_grow_with_the_data(redis: Client) -> None:
    census = Census(redis, lambda: KEYS)
    for n in range(26):
        await bury(redis, DeadLetter("inbound", "1-1", f"reason {chr(97 + n)}", 1, "x"))
    await census.round()
    assert told("inbound", "other") == 6
    assert class_of("not an inbound SMS: Expected `str`") == "not an inbound SMS"
    assert class_of("no key of 'agg-42' 1767254400000 " + "x" * 100).startswith("no key of … … x")
