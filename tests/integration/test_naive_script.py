"""The reference does the job that it stands for: a rate without the job would be no reference."""

import json

import pytest

from bench import naive
from runtime.connection import Client

SENDER = "+994501234567"


class Naive:
    """The script in a real server."""

    def __init__(self, client: Client, sha: str) -> None:
        self.client = client
        self.sha = sha

    async def ask(self, sms_id: str, purpose: int = 2, document: str = "AZE1111111") -> str:
        """One message: the verdict."""
        told: bytes = await self.client.execute_command(*naive.call(self.sha, sms_id, SENDER, purpose, document))
        return told.decode()

    async def replies(self) -> list[tuple[str, str]]:
        """(SMS, verdict) of all replies."""
        entries = await self.client.execute_command("XRANGE", "replies", "-", "+")
        found = [json.loads(fields[b"m"]) for _, fields in entries]
        return [(reply["id"], reply["verdict"]) for reply in found]


@pytest.fixture
async def script(redis: Client) -> Naive:
    return Naive(redis, await redis.execute_command("SCRIPT LOAD", naive.SCRIPT.read_text()))


async def test_a_repeated_sms_is_decided_once(script: Naive) -> None:
    assert [await script.ask("1"), await script.ask("1")] == ["approved", "duplicate"]
    assert await script.replies() == [("1", "approved")]
    assert int(await script.client.execute_command("TTL", "seen:1")) > 47 * 3600


async def test_a_second_permit_of_the_day_is_refused(script: Naive) -> None:
    assert [await script.ask("1"), await script.ask("2")] == ["approved", "quota"]
    assert [await script.ask("3", document="AZE2222222"), await script.ask("4", purpose=1)] == ["approved", "approved"]
    assert [verdict for _, verdict in await script.replies()] == ["approved", "quota", "approved", "approved"]


async def test_what_could_not_be_read_is_refused_and_leaves_no_permit(script: Naive) -> None:
    assert await script.ask("1", purpose=0, document="") == "malformed"
    assert await script.client.execute_command("EXISTS", "permit:", "quota:") == 0


async def test_permit_and_quota_end_by_themselves(script: Naive) -> None:
    await script.ask("1")
    assert await script.client.execute_command("GET", "permit:AZE1111111") == b"1"
    ends = [int(await script.client.execute_command("TTL", f"{key}:AZE1111111")) for key in ("permit", "quota")]
    assert 10_000 < ends[0] <= 10_800
    assert 86_000 < ends[1] <= 86_400
