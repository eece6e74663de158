"""Plants of I1 to I8: what was decided, replied and counted."""

import json
from typing import Final

from tests.system.planting.world import ENTRY, World, plant

MINUTE_MS: Final = 60_000


@plant("I1")
def an_acknowledged_sms_vanished(world: World) -> str:
    first = next(line for line in world.history if line["event"] == "pushed")
    world.history.insert(1, {**first, "id": "ghost-1"})
    world.history.insert(2, {"at_ms": first["at_ms"], "who": "pusher-1", "event": "acknowledged", "id": "ghost-1"})
    return "ghost-1: acknowledged, and no trace"


@plant("I1", "I5", "I7", "I8")
def a_decision_fell_out_of_the_trail(world: World) -> str:
    name, row = world.row("m")
    world.edit_row(name, row[0], lambda row, letter: None)
    return f"{row[1]}: acknowledged, and no trace"


@plant("I1", "I2", "I5", "I7")
def a_repeat_was_decided_again(world: World) -> str:
    name, _, row = next(
        (name, at, row)
        for name, at, batch, letters in world.batches()
        for row, letter in zip(batch["rows"], letters, strict=True)
        if letter == "D" and row[3] == 0 and row[1] in world.pushed
    )
    world.edit_row(name, row[0], lambda row, letter: (row, "m"))
    world.count(name, "D0", -1)
    world.count(name, "m0", 1)
    tag = name[len("audit:") :]
    said = {"id": "-", "to": "-", "in_reply_to": row[1], "verdict": "refused"}
    world.store.xdel(f"replies:{tag}", world.store.xadd(f"replies:{tag}", {"m": json.dumps(said)}))
    for group in world.store.xinfo_groups(f"replies:{tag}"):
        world.store.xreadgroup(group["name"], "-", {f"replies:{tag}": ">"})
        world.store.xgroup_setid(
            f"replies:{tag}",
            group["name"],
            "$",
            entries_read=world.store.xinfo_stream(f"replies:{tag}")["entries-added"],
        )
        world.store.xgroup_delconsumer(f"replies:{tag}", group["name"], "-")
    return row[1]


@plant("I2", "I7")
def a_repeat_of_nothing(world: World) -> str:
    name, row = next(
        (name, row)
        for name, _, batch, letters in world.batches()
        for row, letter in zip(batch["rows"], letters, strict=True)
        if letter == "D"
    )
    world.edit_row(name, row[0], lambda row, letter: ([*row[:5], "00" * 6, *row[6:]], letter))
    return f"{row[1]} ({row[0]}): told to be a repeat of nothing"


@plant("I3")
def an_entry_decided_twice(world: World) -> str:
    name, row = next(
        (name, row)
        for name, _, batch, letters in world.batches()
        for row, letter in zip(batch["rows"], letters, strict=True)
        if letter == "D"
    )

    def twice(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
        batch, letters = json.loads(fields[b"m"]), fields[b"v"].decode()
        if row not in batch["rows"]:
            return fields
        at = batch["rows"].index(row)
        batch["rows"].insert(at, row)
        letters = letters[:at] + "D" + letters[at:]
        more = {b"w": fields[b"w"][:at] + b"0" + fields[b"w"][at:]} if b"w" in fields else {}
        return {**fields, b"m": json.dumps(batch).encode(), b"v": letters.encode(), **more}

    world.rewrite(name, twice)
    world.count(name, f"D{row[3]}", 1)
    inbound = name.replace("audit", "inbound")
    world.store.xdel(inbound, world.store.xadd(inbound, {"m": "{}"}))
    return f"entry {row[0]} decided 2 times"


@plant("I3")
def a_lease_that_went_back(world: World) -> str:
    name = max(world.named("audit"), key=world.store.xlen)
    first = [world.store.xrange(name, count=1)[0][1]]

    def older(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
        if fields != first[0]:
            return fields
        return {**fields, b"m": json.dumps({**json.loads(fields[b"m"]), "epoch": 7}).encode()}

    world.rewrite(name, older)
    return "under epoch 1, after 7"


@plant("I3")
def a_lease_that_was_never_given(world: World) -> str:
    world.store.set(world.named("fence:decide")[0], 0)
    return "which was never leased"


@plant("I4")
def counted_for_another_hour(world: World) -> str:
    _, row = world.row("a")
    for line in world.history:
        if line["event"] == "pushed" and line["id"] == row[1]:
            line["received_at_ms"] = line["at_ms"] - 60 * MINUTE_MS
    return f"{row[1]}: counted for"


@plant("I4", "I7")
def a_second_permit_of_the_day(world: World) -> str:
    name, row = world.row("q")
    world.edit_row(name, row[0], lambda row, letter: (row, "a"))
    world.count(name, "q2", -1)
    world.count(name, "a2", 1)
    world.put(name, row, 21, b"a")
    world.sent[world.reply(name, row)]["verdict"] = "approved"
    return f"{row[1]}: permit 2 of purpose 2"


@plant("I4", "I7")
def a_permit_that_runs_too_long(world: World) -> str:
    name, row = next(world.row("a", at) for at in range(20) if world.row("a", at)[1][3] == 2)
    _, _, value, at = world.record(name, row)
    times = int.from_bytes(value[at + 14 : at + 18])
    world.put(name, row, 14, ((times & ~(4095 << 2)) | 240 << 2).to_bytes(4))
    return f"SMS {row[5]}: runs 240 min"


@plant("I4", "I7")
def a_permit_that_nobody_decided(world: World) -> str:
    name, row = next(world.row("a", at) for at in range(20) if world.row("a", at)[1][3] == 2)
    key, field, value, at = world.record(name, row)
    entry = value[at : at + ENTRY]
    world.store.hset(key, field, value + entry[:4] + bytes(6) + entry[10:])
    return "SMS 000000000000: permit 2"


@plant("I5")
def a_reply_was_never_sent(world: World) -> str:
    name, row = world.row("a")
    del world.sent[world.reply(name, row)]
    return f"{row[1]}: decided a, and no reply"


@plant("I5")
def a_reply_sent_twice_without_a_mark(world: World) -> str:
    world.sent.append(dict(world.sent[3]))
    return f"{world.sent[3]['id']}: sent 2 times"


@plant("I5")
def a_reply_to_nothing(world: World) -> str:
    world.sent.append({**world.sent[3], "id": "0aa-1-0", "in_reply_to": "nobody-1"})
    return "0aa-1-0: told"


@plant("I5")
def an_approval_told_of_a_refusal(world: World) -> str:
    name, row = world.row("b")
    world.sent[world.reply(name, row)]["verdict"] = "approved"
    return f"decided b of {row[1]}, told approved"


@plant("I5")
def a_reply_before_its_decision(world: World) -> str:
    name, row = world.row("a", 2)
    world.sent[world.reply(name, row)]["at_ms"] -= MINUTE_MS
    return " ms before it was to be told"


@plant("I5")
def a_reply_that_came_late(world: World) -> str:
    name, row = world.row("a", 2)
    world.sent[world.reply(name, row)]["at_ms"] += 10 * MINUTE_MS
    return f"{row[1]}: told after 60"


@plant("I6")
def accepted_after_it_was_refused(world: World) -> str:
    world.sent.append(dict(world.sent[3]))
    world.sent[3]["status"] = "refused"
    return f"{world.sent[3]['id']}: accepted after"


@plant("I7")
def another_letter_in_the_record(world: World) -> str:
    name, row = world.row("m")
    world.put(name, row, 21, b"u")
    return f"{row[5]}:{row[3]:02x}u"


@plant("I7")
def a_record_that_vanished(world: World) -> str:
    name, row = world.row("b")
    key, field, _, _ = world.record(name, row)
    world.store.hdel(key, field)
    return f"{field.hex()}: nothing, by the model"


@plant("I7")
def a_refusal_for_another_reason(world: World) -> str:
    name, row = world.row("b")
    world.edit_row(name, row[0], lambda row, letter: (row, "u"))
    world.count(name, f"b{row[3]}", -1)
    world.count(name, f"u{row[3]}", 1)
    world.put(name, row, 21, b"u")
    return f"{row[1]} ({row[0]}): decided u, by the model b"


@plant("I7")
def a_text_that_was_read_wrongly(world: World) -> str:
    _, row = world.row("a")
    for line in world.history:
        if line["event"] == "pushed" and line["id"] == row[1]:
            line["text"] = "1 AZE 7654321"
    return f"{row[1]}: read as code"


@plant("I8")
def an_entry_left_behind(world: World) -> str:
    name = world.named("inbound")[0]
    world.store.xadd(name, {"m": "{}"})
    return f"{name}: 1 entries at rest"


@plant("I8")
def an_entry_that_left_no_row(world: World) -> str:
    name = world.named("inbound")[0]
    world.store.xdel(name, world.store.xadd(name, {"m": "{}"}))
    return f"{name}: "


@plant("I8")
def a_counter_of_one_too_many(world: World) -> str:
    name, _ = world.row("a")
    world.count(name, "a2", 1)
    return f"{name.replace('audit', 'counts')}:"


@plant("I8")
def a_dead_letter_of_no_row(world: World) -> str:
    name = world.named("audit")[0].replace("audit", "dead")
    world.store.xadd(name, {"m": json.dumps({"kind": "inbound", "entry_id": "1-0", "reason": "-", "raw": ""})})
    return f"{name}: "
