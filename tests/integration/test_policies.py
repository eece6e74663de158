"""The rules as a role follows them: read when they are new, and trusted only as long as they were read lately."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from lua.keys import partition_keys
from lua.policies import Enacted, enact_command, enact_reply
from permits import policy as policy_files
from permits import versions
from permits.messages import ENCODER
from permits.versions import Confirmed, Item, Proposed
from runtime import policies as module
from runtime.connection import STORE_ERRORS, Client, Wire
from runtime.embedded import EmbeddedStore
from runtime.errors import StartupError
from runtime.policies import STALE_S, Policies, UnreadPoliciesError, file_of, load_all
from runtime.settings import Settings
from tests.eventually import eventually
from tests.link import impatient, linked
from tests.policy_texts import DEFAULT, followed

KEYS = partition_keys("t")
FILE = policy_files.load()
LATER = followed(DEFAULT, 4_000_000_000_000, name="later")


async def put(redis: Client, *items: Item) -> None:
    for item in items:
        stood = await redis.execute_command("LLEN", KEYS.policies)
        command = enact_command(KEYS, stood=stood, item=ENCODER.encode(item), act=b'{"at_ms":0}')
        assert isinstance(enact_reply(await redis.execute_command(*command)), Enacted)


async def put_in_force(redis: Client, text: str = LATER) -> str:
    """A version proposed and confirmed."""
    version = versions.proposal(await redis.execute_command("LLEN", KEYS.policies) + 1, text).version
    await put(redis, Proposed(0, version, "anna", text, 0, version), Confirmed(0, version, "boris", 0))
    return version


class Mono:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def mono() -> Mono:
    return Mono()


@pytest.fixture
async def wire(server: EmbeddedStore) -> AsyncIterator[Wire]:
    wire = Wire(server.url)
    yield wire
    await wire.close()


@asynccontextmanager
async def following(policies: Policies) -> AsyncGenerator[None]:
    task = asyncio.create_task(policies.follow())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def policies_on(wire: Wire, **more: Any) -> Policies:
    return Policies(wire.execute_command, key=KEYS.policies, file=FILE, **more)


async def test_the_file_holds_until_a_version_is_confirmed(redis: Client, wire: Wire) -> None:
    policies = policies_on(wire)
    await policies.begin()
    assert policies.current() is FILE
    version = versions.proposal(1, LATER).version
    await put(redis, Proposed(0, version, "anna", LATER, 0, "digest"))
    await policies.refresh()
    assert policies.current() is FILE
    await put(redis, Confirmed(0, version, "boris", 0))
    await policies.refresh()
    assert policies.current() is policies.latest()
    assert policies.current().version == version


async def test_a_version_is_known_wherever_it_is_followed(
    redis: Client, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    policies = policies_on(wire)
    async with following(policies):
        version = await put_in_force(redis)

        async def known() -> bool:
            return policies.latest().version == version

        await eventually(known)


async def test_a_poll_carries_only_what_is_new(redis: Client) -> None:
    await put_in_force(redis)
    asked: list[Any] = []

    async def ask(*command: Any) -> Any:
        asked.append(command)
        return await redis.execute_command(*command)

    policies = Policies(ask, key=KEYS.policies, file=FILE)
    for _ in range(3):
        await policies.refresh()
    assert [command[2] for command in asked if command[0] == "LRANGE"] == [0, 2, 2]


async def test_a_store_restored_from_before_is_read_anew(redis: Client, wire: Wire) -> None:
    first = await put_in_force(redis)
    policies = policies_on(wire)
    await policies.begin()
    kept = policies.book
    await redis.execute_command("DEL", KEYS.policies)
    await policies.refresh()
    assert (policies.current(), policies.book.items) == (FILE, 0)
    assert kept.items == 2
    await put_in_force(redis)
    await policies.refresh()
    assert policies.current().version == first


async def test_rules_that_were_never_read_decide_nothing(wire: Wire) -> None:
    with pytest.raises(UnreadPoliciesError):
        policies_on(wire).current()


async def test_rules_are_trusted_for_so_long_after_they_were_asked_for(redis: Client, mono: Mono) -> None:
    async def slow(*command: Any) -> Any:
        mono.now_s += 4  # the answer is as old as the question
        return await redis.execute_command(*command)

    policies = Policies(slow, key=KEYS.policies, file=FILE, mono_s=mono)
    await policies.refresh()
    mono.now_s += STALE_S - 4.001
    assert policies.current() is FILE
    mono.now_s += 0.002
    with pytest.raises(UnreadPoliciesError):
        policies.current()
    assert policies.latest() is FILE
    await policies.refresh()
    assert policies.current() is FILE


async def test_an_error_of_the_rules_is_one_of_the_store_s() -> None:
    assert issubclass(UnreadPoliciesError, STORE_ERRORS)


@pytest.mark.parametrize(
    "raw", ["{", '{"did":"confirmed","at_ms":1,"version":"p9-00000000","actor":"a","starts_ms":0}']
)
async def test_what_cannot_be_read_ends_the_trust(redis: Client, wire: Wire, mono: Mono, raw: str) -> None:
    policies = policies_on(wire, mono_s=mono)
    version = await put_in_force(redis)
    await policies.refresh()
    await redis.execute_command("RPUSH", KEYS.policies, raw)
    mono.now_s += STALE_S - 1
    with pytest.raises(ValueError, match=r"."):
        await policies.refresh()
    assert policies.current().version == version
    mono.now_s += 1
    with pytest.raises(UnreadPoliciesError):
        policies.current()
    with pytest.raises(StartupError, match="policies:"):
        await policies_on(wire).begin()


async def test_a_store_that_swallows_the_question_ends_the_trust_and_is_asked_again(
    redis: Client, server: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)

    async with linked(server.url) as link:
        wire = Wire(link.url)
        policies = Policies(impatient(wire), key=KEYS.policies, file=FILE, stale_s=0.3)

        async def stale() -> bool:
            try:
                policies.current()
            except UnreadPoliciesError:
                return True
            return False

        async def trusted() -> bool:
            return not await stale()

        async with following(policies):
            await eventually(trusted)
            link.hang()
            version = await put_in_force(redis)
            await eventually(stale)
            assert link.struck["hung"] > 0
            link.hung = False
            await eventually(trusted)
            assert policies.current().version == version
        await wire.close()


async def test_two_refreshes_at_once_miss_nothing_and_add_nothing_twice(redis: Client) -> None:
    version = await put_in_force(redis)
    items = await redis.execute_command("LRANGE", KEYS.policies, 0, -1)
    answers: list[asyncio.Future[list[bytes]]] = [asyncio.Future(), asyncio.Future()]
    asked: list[int] = []

    async def ask(*command: Any) -> list[bytes]:
        asked.append(command[2])
        return await answers[len(asked) - 1]

    async def both_asked() -> bool:
        return asked == [0, 0]

    policies = Policies(ask, key=KEYS.policies, file=FILE)
    refreshes = asyncio.gather(policies.refresh(), policies.refresh())
    await eventually(both_asked)
    answers[0].set_result(items[:1])
    answers[1].set_result(items)
    await refreshes
    assert (policies.book.items, policies.current().version) == (2, version)


async def test_a_store_without_versions_has_none_to_load(redis: Client) -> None:
    assert await load_all(redis, KEYS.policies) == {}


def test_a_file_that_is_none_stops_the_start(tmp_path: Any) -> None:
    file = tmp_path / "rules.toml"
    with pytest.raises(StartupError, match=r"rules\.toml"):
        file_of(Settings(policy_file=str(file)))
    file.write_text(DEFAULT)
    policy, founding = file_of(Settings(policy_file=str(file)))
    assert (policy.version, founding.text) == (founding.version, DEFAULT)
    assert file_of(Settings())[0].version == FILE.version
