"""The library loads once, is compared at every start, and is never replaced."""

import asyncio
import re

import pytest

from lua import library
from lua.store import Store
from runtime.connection import Client
from tests.lua.batches import Ask, Partition

OTHER = f"""#!lua name={library.LIBRARY}
redis.register_function('permits_v2_decide', function() return 'another' end)
"""


async def test_loading_twice_is_fine(store: Store) -> None:
    await library.ensure_loaded(store)
    await library.ensure_loaded(store)


async def test_many_processes_may_start_at_once(redis: Client) -> None:
    await redis.execute_command("FUNCTION", "FLUSH")
    await asyncio.gather(*(library.ensure_loaded(redis) for _ in range(20)))


async def test_another_source_under_the_name_refuses_to_start_and_stays(store: Store) -> None:
    await store.execute_command("FUNCTION", "FLUSH")
    await store.execute_command("FUNCTION", "LOAD", OTHER)
    with pytest.raises(library.LibraryDiffersError, match="bump the version"):
        await library.ensure_loaded(store)
    assert await store.execute_command("FCALL", library.DECIDE, 0) == b"another"


async def test_functions_that_were_flushed_are_loaded_again(store: Store) -> None:
    await store.execute_command("FUNCTION", "FLUSH")
    await library.ensure_loaded(store)
    partition = Partition(store)
    await partition.lease()
    assert await partition.decide(Ask(id="1")) == "a"


async def test_functions_survive_an_emptied_store(store: Store) -> None:
    await store.execute_command("FLUSHALL")
    assert await Partition(store).lease() == "1"


def test_every_function_that_python_names_is_in_the_source() -> None:
    named = {library.DECIDE, library.LEASE, library.RELEASE, library.JOIN, library.REGISTER, library.TRIM}
    named |= {library.BURY, library.CHANGE, library.CREATE, library.FORGET, library.PROCLAIM, library.ENLIST}
    named |= {library.ARCHIVED, library.ENACT, library.BLOCK, library.UNBLOCK}
    named |= {library.RELEASE_HELD, library.WITHDRAW, library.BURY_HELD, library.MARK}
    named |= {library.REQUEUE, library.DROP}
    registered = set(re.findall(r"register_function(?:\{function_name = |\()'(\w+)'", library.source()))
    assert registered == named
