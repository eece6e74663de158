"""Plants of what is neither in a text nor in a document's past: holds, status lists, cancels by SMS, dead letters."""

import itertools
import json
from functools import partial
from typing import Final

from tests.system.planting.world import World, plant

HOUR_MS: Final = 3_600_000
ANOTHER: Final = "00" * 6


@plant("I5")
def a_held_approval_that_waits_nowhere(world: World) -> str:
    for name in world.named("held"):
        world.store.delete(name)
    return "held-3: held, never told, and waits no more"


@plant("I5")
def a_held_approval_to_be_told_too_soon(world: World) -> str:
    for name in world.named("held"):
        world.store.zincrby(name, -1000, world.store.zrange(name, 0, 0)[0])
    return "held-3: to be told"


@plant("I4", "I7")
def a_hold_of_other_length(world: World) -> str:
    name, row = next(found for found in map(partial(world.row, "a"), itertools.count()) if found[1][1] == "held-3")
    world.edit_row(name, row[0], lambda row, letter: ([*row[:13], 3], letter))
    return f"{row[1]}: held 3 min"


@plant("I7")
def a_document_that_was_taken_off_its_list_before(world: World) -> str:
    def earlier(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
        act = json.loads(fields[b"m"])
        if act["deed"] == "block":
            act |= {"deed": "unblock", "at_ms": act["at_ms"] - HOUR_MS}
        return {b"m": json.dumps(act).encode()}

    for name in world.named("acts"):
        world.rewrite(name, earlier)
    return "listed-1: decided k, not listed"


@plant("I7")
def a_cancel_of_another_permit(world: World) -> str:
    name, row = world.row("c")

    def another(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
        rows, cancels = json.loads(fields[b"m"])["rows"], json.loads(fields.get(b"c", b"[]"))
        for cancel in cancels:
            if rows[cancel[0]] == row:
                cancel[1][0] = ANOTHER
        return {**fields, b"c": json.dumps(cancels).encode()} if cancels else fields

    world.rewrite(name, another)
    return f"{row[1]}: cancelled"


@plant("I8")
def a_dead_letter_that_is_lost(world: World) -> str:
    name, _, _, _ = next(batch for batch in world.batches() if "X" in batch[3])
    world.store.delete(name.replace("audit", "dead"))
    return f"{name.replace('audit', 'dead')}: 0 letters"
