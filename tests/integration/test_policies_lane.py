"""No SMS is decided by the wrong version: lanes that cannot know the rules wait, and lose nothing.

Here half a second of trust stands for thirty, and the notice is as much longer.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest

from lua.policies import Enacted, enact_command, enact_reply
from permits import versions
from permits.calendar import DAY_MS
from permits.messages import AUDIT_DECODER, ENCODER
from permits.outcomes import NAME_OF
from permits.versions import Confirmed, Proposed
from runtime import policies as module
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from runtime.policies import Policies
from tests.eventually import eventually
from tests.integration.ingest_door import KEYS
from tests.integration.lanes import AT_HOME, POLICY, Floor, restarts
from tests.link import Link, impatient, linked
from tests.policy_texts import DEFAULT, followed

STALE_S: Final = 0.5
NOTICE_MS: Final = 1_500
STALE: Final = "UnreadPoliciesError"


@pytest.fixture
async def floor(redis: Client, server: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> Floor:
    monkeypatch.setattr("processor.lane.BLOCK_MS", 50)
    monkeypatch.setattr(module, "POLL_S", 0.01)
    return await Floor(redis, server.url).open()


@asynccontextmanager
async def followed_over(link: Link) -> AsyncGenerator[Policies]:
    """The rules as a worker knows them over a link."""
    wire = Wire(link.url)
    policies = Policies(impatient(wire), key=KEYS[0].policies, file=POLICY, stale_s=STALE_S)
    await policies.begin()
    task = asyncio.create_task(policies.follow())
    try:
        yield policies
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await wire.close()


async def put_in_force(redis: Client, text: str) -> str:
    """A version that two officers agree on."""
    stood = await redis.execute_command("LLEN", KEYS[0].policies)
    version = versions.proposal(stood + 1, text).version
    for item in (Proposed(0, version, "anna", text, 0, version), Confirmed(0, version, "boris", 0)):
        command = enact_command(KEYS[0], stood=stood, item=ENCODER.encode(item), act=b'{"at_ms":0}')
        assert isinstance(enact_reply(await redis.execute_command(*command)), Enacted)
        stood += 1
    return version


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def decisions(floor: Floor) -> dict[str, tuple[str, str]]:
    """Outcome and version by SMS; each must have one decision."""
    found: dict[str, tuple[str, str]] = {}
    for keys in KEYS:
        for _, fields in await floor.client.execute_command("XRANGE", keys.audit, "-", "+"):
            batch = AUDIT_DECODER.decode(fields[b"m"])
            for row, letter in zip(batch.rows, fields[b"v"].decode(), strict=True):
                assert row.sms_id not in found
                found[row.sms_id] = (NAME_OF[letter], batch.policy)
    return found


async def test_a_worker_cut_off_from_the_rules_decides_nothing_by_old_ones(floor: Floor, server: EmbeddedStore) -> None:
    async with (
        linked(server.url) as link,
        followed_over(link) as policies,
        floor.deciding(policy=policies.current) as lanes,
    ):
        early = await floor.push([f"1 {document}" for document in AT_HOME[:5]], prefix="early")
        await floor.settled()
        link.hang()
        starts_ms = now_ms() + NOTICE_MS
        version = await put_in_force(floor.client, followed(DEFAULT, starts_ms, name="decree", code=2))

        async def begun() -> bool:
            return now_ms() > starts_ms

        await eventually(begun)
        before = restarts(STALE)
        late = await floor.push([f"1 {document}" for document in AT_HOME[5:10]], prefix="late")

        async def waited() -> bool:
            return restarts(STALE) > before + 1

        await eventually(waited)
        assert await floor.undecided() == len(late)
        assert not lanes.done()

        link.hung = False
        await floor.settled()
    assert await decisions(floor) == {
        **dict.fromkeys(early, ("approved", POLICY.version)),
        **dict.fromkeys(late, ("unknown_code", version)),
    }
    assert len(await floor.replies()) == len(early) + len(late)


async def test_each_sms_is_judged_by_its_own_receipt_whichever_version_a_lane_knows(
    floor: Floor, server: EmbeddedStore
) -> None:
    async with (
        linked(server.url) as link,
        followed_over(link) as policies,
        floor.deciding(policy=policies.current),
    ):
        old = await floor.push([f"1 {document}" for document in AT_HOME[:5]], prefix="old")
        await floor.settled()
        starts_ms = now_ms() + NOTICE_MS
        version = await put_in_force(floor.client, followed(DEFAULT, starts_ms, name="decree", code=2))

        async def known() -> bool:
            return policies.current().version == version

        async def begun() -> bool:
            return now_ms() > starts_ms

        await eventually(known)
        known_early = await floor.push([f"1 {document}" for document in AT_HOME[5:10]], prefix="known")
        assert now_ms() < starts_ms
        await eventually(begun)
        new = await floor.push([f"1 {document}" for document in AT_HOME[10:15]], prefix="new")
        await floor.settled()
    assert await decisions(floor) == {
        **dict.fromkeys(old, ("approved", POLICY.version)),
        **dict.fromkeys(known_early, ("approved", version)),
        **dict.fromkeys(new, ("unknown_code", version)),
    }


async def test_the_texts_are_those_of_the_version(floor: Floor, server: EmbeddedStore) -> None:
    """Regimes of one name in two versions differ in more than their name."""
    first = followed(DEFAULT, now_ms() - DAY_MS, name="decree", code=2)
    async with (
        linked(server.url) as link,
        followed_over(link) as policies,
        floor.deciding(policy=policies.current),
    ):
        for at, text in enumerate(
            (first, first.replace('code = 2\nnames = { az = "decree"', 'code = 7\nnames = { az = "decree"'))
        ):
            version = await put_in_force(floor.client, text)

            async def known(version: str = version) -> bool:
                return policies.current().version == version

            await eventually(known)
            await floor.push([f"9 {AT_HOME[at]}"], prefix=f"at{at}")
            await floor.settled()
    replies = {reply.in_reply_to: reply.text for reply in await floor.replies()}
    assert "2" in replies["at0-0"]
    assert "7" in replies["at1-0"]
    assert "2" not in replies["at1-0"]
