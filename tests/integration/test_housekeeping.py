"""A worker's housekeeping: no step that fails keeps another from its turn."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from lua.keys import PartitionKeys
from permits.messages import ENCODER, DeadLetter
from permits.regimes import Retention
from processor import housekeeping as at_work
from processor.housekeeping import Housekeeping
from runtime.connection import Client
from runtime.telemetry import REGISTRY
from tests.integration.ingest_door import KEYS

NOW_MS = time.time_ns() // 1_000_000
DAY_MS = 86_400_000


class Failing:
    """The store, but for one command."""

    def __init__(self, store: Client, command: str, error: Exception) -> None:
        self.store = store
        self.command = command
        self.error = error

    async def execute_command(self, *command: Any) -> Any:
        if command[0] == self.command:
            raise self.error
        return await self.store.execute_command(*command)


def housekeeping(store: Any, held: Sequence[int] = range(len(KEYS))) -> Housekeeping:
    """Of a worker that holds these partitions, usually all."""
    return Housekeeping(store, KEYS, held=lambda: held, retention=Retention, wall_ms=lambda: NOW_MS)


def told(reason: str) -> float | None:
    return REGISTRY.get_sample_value("icaze_dead_letters", {"kind": "import", "reason": reason})


async def bury(redis: Client, days_ago: int, reason: str) -> None:
    letter = ENCODER.encode(DeadLetter("import", "1-1", reason, NOW_MS, "x"))
    await redis.execute_command("XADD", KEYS[1].dead, f"{NOW_MS - days_ago * DAY_MS}-1", "m", letter)


@pytest.mark.parametrize("command", ["HKEYS", "XTRIM", "XINFO"])
async def test_a_step_that_fails_keeps_no_other_from_its_turn(command: str, redis: Client) -> None:
    await redis.execute_command("HSET", KEYS[0].day_keys, "20200101", "sealed")
    await bury(redis, 31, command)
    await bury(redis, 29, command)
    await housekeeping(Failing(redis, command, NoPermissionError("no"))).round()
    erased = not await redis.execute_command("HEXISTS", KEYS[0].day_keys, "20200101")
    trimmed = await redis.execute_command("XLEN", KEYS[1].dead) == 1
    assert (erased, trimmed) == (command != "HKEYS", command != "XTRIM")
    assert told(command) == {"HKEYS": 1, "XTRIM": 2, "XINFO": None}[command]


async def test_a_fault_of_ours_does_not_end_the_round(redis: Client, caplog: pytest.LogCaptureFixture) -> None:
    await bury(redis, 31, "unforeseen")
    await housekeeping(Failing(redis, "HKEYS", RuntimeError("unforeseen"))).round()
    assert await redis.execute_command("XLEN", KEYS[1].dead) == 0
    assert "housekeeping failed" in [record.message for record in caplog.records if record.levelname == "ERROR"]


async def test_dead_letters_that_nobody_handled_are_counted_as_they_go(
    redis: Client, caplog: pytest.LogCaptureFixture
) -> None:
    before = REGISTRY.get_sample_value("icaze_dead_letters_lapsed_total") or 0
    for days_ago in (32, 31, 29):
        await bury(redis, days_ago, "lapses")
    for _ in range(2):
        await housekeeping(redis).round()
    assert REGISTRY.get_sample_value("icaze_dead_letters_lapsed_total") == before + 2
    (line,) = [record for record in caplog.records if "dead letters" in record.message]
    assert (line.levelname, vars(line)["fields"]) == ("WARNING", {"partition": 1, "count": 2})


async def test_only_who_holds_the_first_partition_erases_and_trails_are_kept_as_long_as_the_policy_says(
    redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed: list[tuple[str, int]] = []

    async def trim(_store: Any, keys: PartitionKeys, *, before_ms: int) -> None:
        trimmed.append((keys.tag, before_ms))

    monkeypatch.setattr(at_work, "trim", trim)
    await redis.execute_command("HSET", KEYS[0].day_keys, "20200101", "sealed")
    await housekeeping(redis, [1]).round()
    assert await redis.execute_command("HEXISTS", KEYS[0].day_keys, "20200101")
    assert trimmed == [(KEYS[1].tag, NOW_MS - Retention().audit_days * DAY_MS)]
    await housekeeping(redis, [0]).round()
    assert not await redis.execute_command("HEXISTS", KEYS[0].day_keys, "20200101")
