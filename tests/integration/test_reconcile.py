"""`icaze reconcile`: agrees where all agrees, and finds what was planted."""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import icaze
from dispatch.ministry.off import NoMinistry
from dispatch.reconcile import Reconciliation, reconcile
from lua.keys import EPOCHS_FED, LAYOUT
from permits.employees import Epoch
from runtime import keyring
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.layout import make_secret, settle
from tests.eventually import eventually
from tests.integration.ministry_simulator import SECRET, Simulator, ministry
from tests.integration.outboxes import (
    PARTITIONS,
    ROUTE,
    TIN,
    Office,
    hurried,
    listed,
    now_ms,
    office,
    outboxing,
    until_settled,
)

__all__ = ["hurried"]
pytestmark = pytest.mark.usefixtures("hurried")


async def asked(zavod: Office, simulator: Simulator | None) -> Reconciliation:
    client = None if simulator is None else simulator.client()
    try:
        return await reconcile(zavod.wire, PARTITIONS, client)
    finally:
        if client is not None:
            await client.close()


def told(found: Reconciliation) -> list[str]:
    return found.disagreements + [line for one in found.partitions for line in one.disagreements]


async def test_a_feed_at_rest_agrees_refusals_included(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        granted = await zavod.grants(50)
        simulator.refuse = {granted[7].permit.code}
        async with outboxing(server.url, simulator.client()):
            await until_settled(redis)
        found = await asked(zavod, simulator)
        assert told(found) == []
        assert (found.ok, found.ministry) == (True, "asked")
        assert sum(one.taken for one in found.partitions) == 49
        assert sum(one.refused for one in found.partitions) == 1


async def test_what_waits_is_counted_with_the_age_of_the_oldest(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        async with outboxing(server.url, simulator.client()):
            await zavod.grants(10, partition=1)
            await until_settled(redis)
        await zavod.grants(5, partition=1)
        found = await asked(zavod, simulator)
        assert told(found) == []
        assert [one.waiting for one in found.partitions] == [0, 5, 0, 0]
        assert found.partitions[1].oldest_s == 0
        assert found.partitions[0].oldest_s is None


async def test_a_running_feed_never_seems_to_disagree(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        async with outboxing(server.url, simulator.client()):
            for _ in range(15):
                granting = asyncio.create_task(zavod.grants(20))
                assert told(await asked(zavod, simulator)) == []
                await granting
            await until_settled(redis)
        assert told(await asked(zavod, simulator)) == []


async def planted(redis: Client, simulator: Simulator, fault: str) -> str:
    if fault == "lost":
        simulator.forget(2, 3)
        return "the Ministry misses 1 that we settled: 3"
    if fault == "lost with us":
        await redis.execute_command("HINCRBY", PARTITIONS[2].feed, "taken", -1)
        return "10 numbered, but 0 waiting and 9 settled"
    if fault == "invented":
        simulator.events.append(simulator.events[-1] | {"partition": 2, "number": 99})
        return "the Ministry has 1 that we never numbered: 99"
    if fault == "strange partition":
        simulator.events.append(simulator.events[-1] | {"partition": 77, "number": 1})
        return "the Ministry has partitions that there are not: [77]"
    await redis.execute_command("SET", EPOCHS_FED, 1)
    return "the Ministry's last epoch is 0, we transmitted 1 of 0"


@pytest.mark.parametrize("fault", ["lost", "lost with us", "invented", "strange partition", "epoch"])
async def test_planted_faults_are_found(fault: str, server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        async with outboxing(server.url, simulator.client()):
            await zavod.grants(10, partition=2)
            await until_settled(redis)
        said = await planted(redis, simulator, fault)
        found = await asked(zavod, simulator)
        assert told(found) == [said]
        assert not found.ok


async def test_an_event_that_left_the_outbox_untold_is_found(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod:
        await zavod.grants(3, partition=0)
        entries = await redis.execute_command("XRANGE", PARTITIONS[0].outbox, "-", "+")
        (second,) = [entry_id for entry_id, fields in entries if b'"number":2,' in fields[b"m"]]
        await redis.execute_command("XDEL", PARTITIONS[0].outbox, second)
        assert told(await asked(zavod, None)) == ["3 numbered, but 2 waiting and 0 settled"]


async def test_what_was_settled_before_there_was_a_ministry_is_not_missed(server: EmbeddedStore, redis: Client) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        async with outboxing(server.url, NoMinistry()):
            await zavod.grants(5)
            await until_settled(redis)
        async with outboxing(server.url, simulator.client()):
            await zavod.grants(5)
            await until_settled(redis)
        found = await asked(zavod, simulator)
        assert told(found) == []
        assert sum(one.off for one in found.partitions) == 5


async def test_a_ministry_that_comes_later_hears_of_every_act_on_all_permits(
    server: EmbeddedStore, redis: Client
) -> None:
    async with office(server.url) as zavod, ministry() as simulator:
        async with outboxing(server.url, NoMinistry(), epochs=zavod.epochs):
            await zavod.proclaims(Epoch(1, "deactivate", now_ms(), "decree", "staff", "0" * 32))
            await zavod.grants(5)
            await until_settled(redis)
        assert told(await asked(zavod, simulator)) == []
        async with outboxing(server.url, simulator.client(), epochs=zavod.epochs):

            async def has_heard() -> bool:
                return [epoch["id"] for epoch in simulator.epochs] == ["epoch-1"]

            await eventually(has_heard)
        found = await asked(zavod, simulator)
        assert (told(found), found.epochs_transmitted) == ([], 1)


Run = Callable[..., Any]


@pytest.fixture
def run(
    server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """The command, off the loop: its exit code and its output."""
    make_secret(tmp_path / "keys" / "routing.key")
    (tmp_path / "keys" / "routing.key").write_bytes(b"r" * 32)
    keyring.make(tmp_path / "keys" / "personal.toml")
    (tmp_path / "secret").write_text(f"whsec_{base64.b64encode(SECRET).decode()}\n")
    for name, value in {
        "DATA_DIR": tmp_path,
        "REDIS_URL": server.url,
        "PARTITIONS": 4,
        "MINISTRY_SECRET_FILE": tmp_path / "secret",
    }.items():
        monkeypatch.setenv(f"ICAZE_{name}", str(value))

    async def called(*words: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(icaze.main, ["reconcile", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return called


async def test_the_command_asks_the_ministry_and_says_what_it_found(
    server: EmbeddedStore, redis: Client, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle(redis, ROUTE)
    async with office(server.url) as zavod, ministry() as simulator:
        async with outboxing(server.url, simulator.client()):
            await zavod.grants(10, partition=2)
            await until_settled(redis)
        code, out, _ = await run()
        assert (code, out.splitlines()[0]) == (0, "10 numbered, 10 taken, 0 refused, 0 with no Ministry, 0 waiting")
        assert out.splitlines()[-1] == "our own books agree"
        monkeypatch.setenv("ICAZE_MINISTRY", "http")
        monkeypatch.setenv("ICAZE_MINISTRY_URL", simulator.url)
        code, out, _ = await run()
        assert (code, out.splitlines()[-1]) == (0, "all agrees")
        simulator.forget(2, 5)
        code, out, _ = await run("--json")
        found = json.loads(out)
        assert (code, found["ok"]) == (1, False)
        assert found["partitions"][2]["disagreements"] == ["the Ministry misses 1 that we settled: 5"]
        code, out, _ = await run()
        assert (code, out.splitlines()[-1]) == (1, "DISAGREES  partition 2: the Ministry misses 1 that we settled: 5")
    code, out, _ = await run()
    assert code == 2
    assert "Ministry: no answer: ClientConnectorError" in out


async def test_the_command_makes_the_index_anew(server: EmbeddedStore, redis: Client, run: Run) -> None:
    await settle(redis, ROUTE)
    async with office(server.url) as zavod:
        async with outboxing(server.url, NoMinistry()):
            await zavod.grants(10)
            await until_settled(redis)
        await redis.execute_command("DEL", PARTITIONS[ROUTE.of_organisation(TIN)].org(TIN))
        code, _, err = await run("--rebuild-index")
        assert (code, err) == (0, "reconcile: 10 permits in the index\n")
        assert len(await listed(redis)) == 10


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MINISTRY_URL", "http://ministry.example/feed", "an https:// address"),
        ("MINISTRY_URL", "", "an https:// address"),
        ("MINISTRY_SECRET_FILE", "", "needs ICAZE_MINISTRY_SECRET_FILE"),
        ("MINISTRY_SECRET_FILE", "/nowhere", "No such file"),
    ],
)
async def test_settings_that_are_not_fit_for_personal_data_are_refused(
    name: str, value: str, said: str, run: Run, redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICAZE_MINISTRY", "http")
    monkeypatch.setenv("ICAZE_MINISTRY_URL", "https://ministry.example/feed")
    monkeypatch.setenv(f"ICAZE_{name}", value)
    code, _, err = await run()
    assert code == 2
    assert said in err


async def test_a_store_without_our_data_is_told(run: Run, redis: Client) -> None:
    assert await redis.execute_command("EXISTS", LAYOUT) == 0
    code, _, err = await run()
    assert (code, "no icaze data" in err) == (2, True)


async def test_the_command_says_what_waits(server: EmbeddedStore, redis: Client, run: Run) -> None:
    await settle(redis, ROUTE)
    async with office(server.url) as zavod:
        await zavod.grants(3)
    code, out, _ = await run()
    assert code == 0
    assert "3 waiting, the oldest for" in out
