"""A primary that dies at level `replicated` while SMS come, are decided and answered: the promoted replica goes on."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ingest.group_commit import GroupCommit, NotStoredError
from runtime.connection import Wire, connect
from runtime.settings import Settings
from tests.eventually import eventually
from tests.integration.dispatching import Recorder, dispatching, twice_unmarked, until_empty
from tests.integration.ingest_door import KEYS
from tests.integration.lanes import AT_HOME, HOME, Floor, payload
from tests.integration.replicated_pair import replicating

REPLICATED = Settings(durability="replicated", drain_s=0.1)


@pytest.mark.parametrize("before_cut", [50, 400])
async def test_each_acknowledged_sms_is_decided_once_and_none_answered_twice_unmarked(
    before_cut: int, tmp_path: Path
) -> None:
    operator, acknowledged, numbers = Recorder(), list[str](), itertools.count()
    async with replicating(tmp_path) as pair:
        client, survivor = connect(pair.primary.url), connect(pair.replica.url)
        async with AsyncExitStack() as dying:
            floor = await Floor(client, pair.primary.url).open()
            commit = GroupCommit(Wire(pair.primary.url), replicas=1)

            async def push() -> None:
                while True:
                    number = next(numbers)
                    name = f"agg-{number}"
                    try:
                        await commit.append([(KEYS[HOME].inbound, payload(f"2 {AT_HOME[number]}", name))])
                    except NotStoredError:
                        return
                    acknowledged.append(name)

            async def is_under_way() -> bool:
                return len(acknowledged) >= before_cut and len(operator.seen) >= before_cut // 2

            await dying.enter_async_context(
                dispatching(pair.primary.url, operator, partitions=KEYS, settings=REPLICATED)
            )
            await dying.enter_async_context(floor.deciding())
            pushing = [asyncio.create_task(push()) for _ in range(4)]
            await eventually(is_under_way, within_s=30)
            pair.cut()
            await asyncio.wait(pushing, timeout=10)
            told = len(operator.seen)
            await pair.promote()
            await commit.close()
        assert len(operator.seen) == told, "what left after the cut?"
        floor = await Floor(survivor, pair.replica.url).open()
        async with floor.deciding():
            await floor.settled()
        async with dispatching(pair.replica.url, operator, partitions=KEYS):
            await until_empty(survivor, KEYS)
        outcomes = await floor.outcomes()
        await client.aclose()
        await survivor.aclose()
    assert {outcomes[name, "approved"] for name in acknowledged} == {1}
    assert outcomes.total() == len(outcomes)
    assert twice_unmarked(operator.seen) == []
    assert len(set(operator.names)) == len(outcomes)
