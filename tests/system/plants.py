"""Violations to plant in what is left of a true day: each changes one fact, and the accounts that follow from it.

A plant takes the world and returns words that the counter-example must hold.
"""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from redis import Redis

from tests.system.true_house import TrueHouse

MINUTE_MS: Final = 60_000
OTHER_CODE: Final = "2222222222"
ENTRY: Final = 22


class World:
    """A store, a history, an operator's log, logs and metrics that a plant may change."""

    def __init__(self, true: TrueHouse, store: Any, folder: Path) -> None:
        self.store = store
        self.code = true.code
        self.history = deepcopy(true.history)
        self.sent: list[dict[str, Any]] = [json.loads(line) for line in true.house.sink_log.read_text().splitlines()]
        self.logs = folder / "logs"
        self.logs.mkdir()
        for log in true.folder.glob("*.log"):
            (self.logs / log.name).write_bytes(log.read_bytes())
        self.metrics = folder / "metrics"
        self.metrics.write_bytes(true.metrics.read_bytes())

    def named(self, kind: str) -> list[str]:
        """Keys of a kind, sorted."""
        return sorted(name.decode() for name in self.store.scan_iter(f"{kind}:*", count=1000))

    def batches(self) -> Iterator[tuple[str, str, dict[str, Any], str]]:
        """(key, entry id, batch, letters) of the trail."""
        for name in self.named("audit"):
            for entry_id, fields in self.store.xrange(name):
                yield name, entry_id.decode(), json.loads(fields[b"m"]), fields[b"v"].decode()

    def row(self, letter: str, at: int = 0) -> tuple[str, list[Any]]:
        """(audit key, row) with a letter: the first, or a later one."""
        found = (
            (name, row)
            for name, _, batch, letters in self.batches()
            for row, became in zip(batch["rows"], letters, strict=True)
            if became == letter and self.pushed(row[1]) == 1
        )
        for _ in range(at):
            next(found)
        return next(found)

    def pushed(self, sms_id: str) -> int:
        """How often an SMS was pushed."""
        return sum(line["event"] == "pushed" and line["id"] == sms_id for line in self.history)

    def rewrite(self, name: str, edit: Callable[[dict[bytes, bytes]], dict[bytes, bytes] | None]) -> None:
        """A stream with each entry edited, or left out; as if it had been written so."""
        entries = self.store.xrange(name)
        self.store.delete(name)
        for entry_id, fields in entries:
            edited = edit(fields)
            if edited is not None:
                self.store.xadd(name, edited, id=entry_id)

    def edit_row(self, name: str, entry_id: str, change: Callable[[list[Any], str], tuple[list[Any], str] | None]) -> None:
        """One row of the trail and its letter, changed; None leaves it out."""

        def edit(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
            batch, letters = json.loads(fields[b"m"]), fields[b"v"].decode()
            silent = fields.get(b"w", b"0" * len(letters)).decode()
            rows: list[Any] = []
            became = mute = ""
            for row, letter, one in zip(batch["rows"], letters, silent, strict=True):
                changed = change(row, letter) if row[0] == entry_id else (row, letter)
                if changed is not None:
                    rows.append(changed[0])
                    became, mute = became + changed[1], mute + one
            batch["rows"] = rows
            return {**fields, b"m": json.dumps(batch).encode(), b"v": became.encode(), **({b"w": mute.encode()} if b"w" in fields else {})}

        self.rewrite(name, edit)

    def count(self, audit: str, field: str, by: int) -> None:
        """Change a counter of the same partition as a trail's."""
        (name,) = self.store.keys(audit.replace("audit", "counts") + ":*")
        self.store.hincrby(name, field, by)
        if self.store.hget(name, field) == b"0":
            self.store.hdel(name, field)

    def record(self, audit: str, row: list[Any]) -> tuple[str, bytes, bytes, int]:
        """(key, field, value, place) of a row's entry in its day record."""
        (name,) = self.store.keys(audit.replace("audit", "day") + ":*")
        field = bytes.fromhex(row[4][:8])
        value = self.store.hget(name, field)
        for at in range(0, len(value), ENTRY):
            if value[at + 4 : at + 10] == bytes.fromhex(row[5]):
                return name, field, value, at
        raise AssertionError(f"no entry of {row[1]}")

    def put(self, audit: str, row: list[Any], place: int, new: bytes) -> None:
        """Other bytes at a place of a row's entry in its day record."""
        name, field, value, at = self.record(audit, row)
        self.store.hset(name, field, value[: at + place] + new + value[at + place + len(new) :])

    def reply(self, audit: str, row: list[Any]) -> int:
        """Where in the operator's log a row's reply stands."""
        name = f"{audit.removeprefix('audit:{').removesuffix('}')}-{row[0]}"
        return next(at for at, line in enumerate(self.sent) if line["id"] == name)

    def act(self, deed: str, change: Callable[[dict[str, Any]], None], *, under: bool | None = None) -> str:
        """The first act of a deed, changed; its permit's code."""
        done: list[str] = []

        def edit(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
            act = json.loads(fields[b"m"])
            if act["deed"] == deed and act.get("tin") and not done and under in (None, "under" in act):
                done.append(act.get("code", ""))
                change(act)
            return {b"m": json.dumps(act).encode()}

        for name in self.named("acts"):
            self.rewrite(name, edit)
        return done[0]

    def organisation(self, change: Callable[[dict[str, Any]], None]) -> None:
        """The organisation's record, changed."""
        (name,) = self.named("organisations")
        ((tin, value),) = self.store.hgetall(name).items()
        version, _, body = value.partition(b" ")
        said = json.loads(body)
        change(said)
        self.store.hset(name, tin, version + b" " + json.dumps(said).encode())

    def holder(self, kind: str, change: Callable[[dict[str, Any]], None]) -> str:
        """A holder's first record of a kind, changed; its code."""
        for name in self.named("holder"):
            for field, value in self.store.hgetall(name).items():
                version, _, body = value.partition(b" ")
                said = json.loads(body)
                if said["kind"] == kind:
                    change(said)
                    self.store.hset(name, field, version + b" " + json.dumps(said).encode())
                    return said["code"]
        raise AssertionError("no such record")


Plant = Callable[[World], str]
PLANTS: Final[list[tuple[str, set[str], Plant]]] = []
"""(name, invariants that must break: no others, what does it)."""


def plant(*breaks: str) -> Callable[[Plant], Plant]:
    """Put a plant among the others."""

    def named(what: Plant) -> Plant:
        PLANTS.append((what.__name__, set(breaks), what))
        return what

    return named


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
        if letter == "D" and row[3] == 0
    )
    world.edit_row(name, row[0], lambda row, letter: (row, "m"))
    world.count(name, "D0", -1)
    world.count(name, "m0", 1)
    tag = name[len("audit:") :]
    said = {"id": "-", "to": "-", "in_reply_to": row[1], "verdict": "refused"}
    world.store.xdel(f"replies:{tag}", world.store.xadd(f"replies:{tag}", {"m": json.dumps(said)}))
    for group in world.store.xinfo_groups(f"replies:{tag}"):
        world.store.xreadgroup(group["name"], "-", {f"replies:{tag}": ">"})
        world.store.xgroup_setid(f"replies:{tag}", group["name"], "$", entries_read=world.store.xinfo_stream(f"replies:{tag}")["entries-added"])
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
    for group in world.store.xinfo_groups(inbound):
        added = world.store.xinfo_stream(inbound)["entries-added"]
        world.store.xgroup_setid(inbound, group["name"], "$", entries_read=added)
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
    return f"{name}: 1 letters, 0 in the trail"


@plant("I9")
def valid_after_its_cancel(world: World) -> str:
    shown = next(line for line in world.history if line["event"] == "shown" and line["valid"])
    world.history.append({**shown, "at_ms": world.history[-1]["at_ms"]})
    return f"{world.code}: shown as valid"


@plant("I9")
def a_permit_that_never_was(world: World) -> str:
    at_ms = world.history[-1]["at_ms"]
    world.history.append({"at_ms": at_ms, "who": "api-2", "event": "shown", "permit": OTHER_CODE, "valid": True})
    return f"{OTHER_CODE}: shown as valid, and no such permit"


@plant("I9")
def shown_before_it_was_stored(world: World) -> str:
    at_ms = world.history[0]["at_ms"] - MINUTE_MS
    world.history.insert(0, {"at_ms": at_ms, "who": "api-2", "event": "shown", "permit": world.code, "valid": True})
    return f"{world.code}: shown as valid at"


@plant("I9")
def a_cancel_that_was_undone(world: World) -> str:
    return world.holder("sms", lambda one: one.update(status="active")) + ": cancelled at"


@plant("I10")
def under_a_delegation_that_there_is_not(world: World) -> str:
    return world.act("create", lambda act: act.update(under="feedfeed"), under=True) + " at"


@plant("I10")
def beyond_the_powers_of_a_delegate(world: World) -> str:
    world.organisation(lambda one: one["delegations"][0].update(powers=["read"]))
    return "beyond the powers"


@plant("I10")
def after_the_delegation_was_revoked(world: World) -> str:
    world.organisation(lambda one: one["delegations"][0].update(revoked_ms=one["delegations"][0]["from_ms"]))
    return "did not stand then"


@plant("I10")
def without_the_seal(world: World) -> str:
    return world.act("create", lambda act: act.pop("method"), under=False) + " at"


@plant("I10")
def a_gap_in_the_feed(world: World) -> str:
    name = world.named("feed")[0]
    world.store.hincrby(name, "numbered", 1)
    return f"{name}: "


@plant("I10")
def a_status_that_no_act_made(world: World) -> str:
    return world.holder("organisation", lambda one: one.update(status="cancelled")) + ": is cancelled"


@plant("I11")
def a_record_that_never_expires(world: World) -> str:
    name = world.named("day")[0]
    world.store.persist(name)
    return f"{name}: no time to live"


@plant("I11")
def a_key_of_no_kind(world: World) -> str:
    world.store.set("scratch:1", "x")
    return "scratch:1"


@plant("I11")
def a_consumer_left_behind(world: World) -> str:
    name = world.named("replies")[0]
    world.store.xgroup_createconsumer(name, world.store.xinfo_groups(name)[0]["name"], "left-1")
    return "consumers: "


@plant("I11")
def memory_that_did_not_come_back(world: World) -> str:
    world.store.hset(world.named("audit")[0].replace("audit", "blocked"), "x", bytes(6 << 20))
    return "memory beside"


@plant("I12")
def a_phone_in_a_log(world: World) -> str:
    phone = next(line["from"] for line in world.history if line["event"] == "pushed")
    (world.logs / "9.log").write_text(f"sent to {phone}\n")
    return f"9.log, line 1: the phone ***{phone[-2:]}"


@plant("I12")
def a_document_in_a_metric(world: World) -> str:
    text = next(line["text"] for line in world.history if line["event"] == "pushed" and line["text"].startswith("2 AZE"))
    world.metrics.write_text(world.metrics.read_text() + f'x{{document="{text[2:]}"}} 1\n')
    return f"the document ***{text[-2:]}"


@plant("I12")
def a_phone_in_the_name_of_a_key(world: World) -> str:
    phone = next(line["from"] for line in world.history if line["event"] == "pushed")
    world.store.set(f"phone:{{0a}}:{phone}:20261127", "x", ex=100)
    return "a key of kind phone: the phone"
