"""The checker is believed because it is deceived on purpose: one violation planted in a true house, and found."""

import asyncio
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import pytest

from runtime.embedded import EmbeddedStore
from tests.system.checker.__main__ import main
from tests.system.house import House
from tests.system.planting import EVERY_LETTER, Planting, code
from tests.system.true_house import TrueHouse

HOUR_MS: Final = 3_600_000


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planting]:
    """A house that was lived in for a day, now in a store that is ours alone."""
    house = House(tmp_path_factory.mktemp("house"))
    try:
        true = TrueHouse(house)
        true.live()
        with tempfile.TemporaryDirectory(prefix="icaze-") as folder:
            store = EmbeddedStore(Path(folder), fsync=False, memory_mb=256)
            asyncio.run(store.start())
            yield Planting(store.url, true, Path(folder))
            asyncio.run(store.stop())
    finally:
        house.close()


@pytest.fixture
def at(planted: Planting) -> Planting:
    """The true house, with nothing planted."""
    planted.afresh()
    return planted


Plant = Callable[[Planting], str]
"""Plants one violation; returns what a counter-example must name."""
PLANTS: dict[str, tuple[set[str], Plant]] = {}


def breaks(*invariants: str) -> Callable[[Plant], Plant]:
    """The invariants that a plant breaks, these and no others."""

    def keep(plant: Plant) -> Plant:
        PLANTS[plant.__name__] = set(invariants), plant
        return plant

    return keep


@breaks("I1")
def an_acknowledged_sms_without_a_trace(at: Planting) -> str:
    facts: dict[str, Any] = {"id": "lost-1", "source": "gateway", "from": "+994501112233", "received_at_ms": None}
    at.say("pushed", text="2 AZE 7654321", **facts)
    at.say("acknowledged", id="lost-1")
    return "lost-1: acknowledged, and no trace"


@breaks("I1", "I2", "I5", "I7", "I8")
def a_repeat_that_was_decided_again(at: Planting) -> str:
    row = at.row("D")
    at.edit_row(row, letter="m")
    return row.sms_id


@breaks("I2", "I7")
def one_sms_under_two_identities(at: Planting) -> str:
    row = at.row("D")
    at.edit_row(row, lambda said: said.__setitem__(5, "0123456789ab"))
    return f"{row.sms_id} ({row.entry_id}): told to be a repeat of nothing"


@breaks("I3")
def a_worker_that_decided_after_it_had_lost_its_lease(at: Planting) -> str:
    row = at.row()
    last = [other for other in at.rows(EVERY_LETTER) if other.partition == row.partition][-1].entry_id

    def edit(fields: dict[bytes, bytes]) -> "dict[bytes, bytes] | None":
        batch = json.loads(fields[b"m"])
        if batch["rows"][-1][0] != last:
            return None
        return {**fields, b"m": json.dumps({**batch, "epoch": batch["epoch"] - 1}).encode()}

    assert at.edit_stream(f"audit:{at.tag(row)}", edit) == 1
    return f"partition {row.partition}: "


@breaks("I3")
def an_epoch_that_was_never_leased(at: Planting) -> str:
    row = at.row()
    at.redis.set(f"fence:decide:{at.tag(row)}", 0)
    return f"partition {row.partition}: epoch"


@breaks("I1", "I2", "I3", "I7", "I8")
def an_entry_that_was_decided_twice(at: Planting) -> str:
    row = at.row("m")
    name = f"audit:{at.tag(row)}"
    batch = next(b for _, f in at.redis.xrange(name) for b in [json.loads(f[b"m"])] if row.entry_id in str(b["rows"]))
    batch["rows"] = [one for one in batch["rows"] if one[0] == row.entry_id]
    at.redis.xadd(name, {"m": json.dumps(batch), "v": "m"})
    return f"entry {row.entry_id} decided 2 times"


@breaks("I4", "I7")
def a_second_permit_of_the_day(at: Planting) -> str:
    row = at.row("q")
    at.edit_row(row, letter="a")
    at.edit_record(row, lambda entry: entry[:21] + b"a")
    counts = next(name for name in at.redis.scan_iter(f"counts:{at.tag(row)}:*"))
    at.redis.hincrby(counts, "q2", -1)
    at.redis.hincrby(counts, "a2", 1)
    at.sent(row)["verdict"] = "approved"
    return f"{row.sms_id}: permit 2 of purpose 2"


@breaks("I4", "I7")
def a_permit_that_runs_for_an_hour_longer(at: Planting) -> str:
    row = at.row("a")
    at.edit_record(row, lambda entry: entry[:16] + (int.from_bytes(entry[16:18]) + (60 << 2)).to_bytes(2) + entry[18:])
    return f"SMS {row.digest}: runs 240 min, by the rules 180"


@breaks("I4")
def a_permit_counted_for_another_moment_of_receipt(at: Planting) -> str:
    row = at.row("a")
    at.said("pushed", row.sms_id)["received_at_ms"] = row.arrived_ms - HOUR_MS
    return f"{row.sms_id}: counted for"


@breaks("I5")
def a_reply_that_was_never_sent(at: Planting) -> str:
    row = at.row()
    at.sink.remove(at.sent(row))
    return f"{row.sms_id}: decided {row.letter}, and no reply"


@breaks("I5")
def a_reply_sent_twice_without_a_mark(at: Planting) -> str:
    sent = at.sent(at.row())
    at.sink.append(sent)
    return f"{sent['id']}: sent 2 times"


@breaks("I5")
def a_reply_to_nothing(at: Planting) -> str:
    at.sink.append({**at.sent(at.row()), "id": "000-1-0"})
    return "000-1-0: told"


@breaks("I5")
def a_refusal_told_as_an_approval(at: Planting) -> str:
    row = at.row("m")
    at.sent(row)["verdict"] = "approved"
    return f"decided m of {row.sms_id}, told approved"


@breaks("I5")
def a_reply_before_its_decision(at: Planting) -> str:
    row = at.row()
    at.sent(row)["at_ms"] = row.decided_ms - 5000
    return f"{row.sms_id}: told 49"


@breaks("I5")
def a_reply_after_the_hour(at: Planting) -> str:
    row = at.row()
    at.sent(row)["at_ms"] += HOUR_MS + 1000
    return f"{row.sms_id}: told after 3601"


@breaks("I5")
def a_held_approval_that_waits_nowhere(at: Planting) -> str:
    for name in at.redis.scan_iter("held:*"):
        at.redis.delete(name)
    return "held-3: held, never told, and waits no more"


@breaks("I5")
def a_held_approval_that_is_to_be_told_too_soon(at: Planting) -> str:
    for name in at.redis.scan_iter("held:*"):
        at.redis.zincrby(name, -1000, at.redis.zrange(name, 0, 0)[0])
    return "held-3: to be told"


@breaks("I6")
def a_reply_sent_after_it_was_refused_for_good(at: Planting) -> str:
    sent = at.sent(at.row())
    at.sink.append(dict(sent))
    sent["status"] = "refused"
    return f"{sent['id']}: accepted after it was refused"


@breaks("I7")
def a_record_that_tells_another_outcome(at: Planting) -> str:
    row = at.row("m")
    at.edit_record(row, lambda entry: entry[:21] + b"b")
    return f"{row.digest}:{row.purpose:02x}b"


@breaks("I7")
def a_record_of_another_phone(at: Planting) -> str:
    row = at.row("a")
    at.edit_record(row, lambda entry: entry[:18] + bytes(byte ^ 1 for byte in entry[18:20]) + entry[20:])
    return row.digest


@breaks("I7")
def a_record_that_is_lost(at: Planting) -> str:
    row = at.row("a")
    name = next(at.redis.scan_iter(f"day:{at.tag(row)}:*"))
    at.redis.hdel(name, bytes.fromhex(row.owner[:8]))
    return f"{row.owner[:8]}: nothing, by the model"


@breaks("I7")
def a_record_that_nobody_decided(at: Planting) -> str:
    name = next(at.redis.scan_iter("day:*"))
    at.redis.hset(name, b"\0\1\2\3", bytes(21) + b"m")
    return "00010203: 000000000000:00m, by the model nothing"


@breaks("I7")
def a_text_that_was_read_for_another_purpose(at: Planting) -> str:
    row = next(row for row in at.told("a") if at.said("pushed", row.sms_id)["text"].startswith("2 AZE"))
    for line in at.history:
        if line.get("id") == row.sms_id and line["event"] == "pushed":
            line["text"] = "1" + line["text"][1:]
    return f"{row.sms_id}: read as code 2"


@breaks("I7")
def a_document_that_was_taken_off_its_list_before(at: Planting) -> str:
    def unblock(fields: dict[bytes, bytes]) -> "dict[bytes, bytes] | None":
        act = json.loads(fields[b"m"])
        if act["deed"] != "block":
            return None
        return {b"m": json.dumps({**act, "deed": "unblock", "at_ms": act["at_ms"] - HOUR_MS}).encode()}

    for name in at.redis.scan_iter("acts:*"):
        at.edit_stream(name, unblock)
    return "listed-1: decided k, not listed"


@breaks("I7")
def a_cancel_of_an_older_permit(at: Planting) -> str:
    row = at.row("c")

    def edit(fields: dict[bytes, bytes]) -> "dict[bytes, bytes] | None":
        if row.entry_id.encode() not in fields[b"m"]:
            return None
        return {
            **fields,
            b"c": fields[b"c"].replace(f'"{row.cancels[0] if row.cancels else ""}"'.encode(), b'"000000000000"'),
        }

    assert at.edit_stream(f"audit:{at.tag(row)}", edit) == 1
    return f"{row.sms_id}: cancelled ('000000000000'"


@breaks("I8")
def a_counter_that_lies(at: Planting) -> str:
    name = next(at.redis.scan_iter("counts:*")).decode()
    at.redis.hincrby(name, "m0", 1)
    return f"{name} m0: says"


@breaks("I8")
def an_entry_that_left_undecided(at: Planting) -> str:
    name = f"inbound:{at.tag(at.row())}"
    at.redis.xdel(name, at.redis.xadd(name, {"m": "{}"}))
    return f"{name}: "


@breaks("I8")
def an_entry_that_waits_for_ever(at: Planting) -> str:
    name = next(at.redis.scan_iter("applications:*")).decode()
    at.redis.xadd(name, {"m": "{}"})
    return f"{name}: 1 entries at rest"


@breaks("I8")
def a_dead_letter_that_is_lost(at: Planting) -> str:
    row = at.row("X")
    at.redis.delete(f"dead:{at.tag(row)}")
    return f"dead:{at.tag(row)}: "


@breaks("I9")
def a_permit_that_was_never_given(at: Planting) -> str:
    at.say("shown", permit="2222222222", valid=True)
    return "2222222222: shown as valid, and no such permit"


@breaks("I9")
def a_permit_shown_before_it_is_stored(at: Planting) -> str:
    row = max(at.told("a"), key=lambda row: row.decided_ms)
    at.say("shown", row.decided_ms - 200, permit=code(row), valid=True)
    return f"{code(row)}: shown as valid at"


@breaks("I9")
def a_permit_that_outlives_its_cancel(at: Planting) -> str:
    cancelled = next(line["permit"] for line in at.history if line["event"] == "cancelled")
    at.say("shown", permit=cancelled, valid=True)
    return f"{cancelled}: shown as valid at"


@breaks("I9")
def a_cancel_that_is_lost(at: Planting) -> str:
    cancelled = {line["permit"] for line in at.history if line["event"] == "cancelled"}
    name = next(code(row) for row in at.told("a") if code(row) not in cancelled)
    at.say("cancelled", permit=name)
    return f"{name}: cancelled at"


@breaks("I10")
def a_change_by_nobody(at: Planting) -> str:
    at.edit_act("create", lambda act: act.__setitem__("actor", ""))
    return "nobody's"


@breaks("I10")
def a_change_under_a_revoked_delegation(at: Planting) -> str:
    def revoke(said: dict[str, object]) -> bool:
        delegations = said["delegations"]
        assert isinstance(delegations, list)
        delegations[0]["revoked_ms"] = delegations[0]["from_ms"]
        return True

    at.edit_json("organisations", revoke)
    return "which did not stand then"


@breaks("I10")
def a_number_of_the_feed_that_nobody_got(at: Planting) -> str:
    name = next(at.redis.scan_iter("feed:*")).decode()
    at.redis.hincrby(name, "numbered", 1)
    return f"{name}: "


@breaks("I10")
def a_permit_that_changed_without_an_act(at: Planting) -> str:
    changed: list[str] = []

    def refuse(said: dict[str, object]) -> bool:
        if said["kind"] != "organisation":
            return False
        changed.append(str(said["code"]))
        said["status"] = "refused"
        return True

    at.edit_json("holder", refuse)
    return f"{changed[0]}: is refused"


@breaks("I11")
def a_record_that_stays_for_ever(at: Planting) -> str:
    name = next(at.redis.scan_iter("day:*")).decode()
    at.redis.persist(name)
    return f"{name}: no time to live"


@breaks("I11")
def a_key_that_nobody_knows(at: Planting) -> str:
    at.redis.set("leak:1", "")
    return "leak:1"


@breaks("I11")
def a_consumer_that_was_left_behind(at: Planting) -> str:
    name = next(at.redis.scan_iter("replies:*"))
    at.redis.xgroup_createconsumer(name, at.redis.xinfo_groups(name)[0]["name"], "left-1")
    return "consumers: "


@breaks("I11")
def memory_that_does_not_come_back(at: Planting) -> str:
    at.redis.hset(next(at.redis.scan_iter("feed:*")), "more", bytes(16 << 20))
    return "memory beside"


@breaks("I12")
def a_phone_in_a_log(at: Planting) -> str:
    phone = at.history[0]["from"]
    at.log = f"could not tell {phone} of it\n"
    return f"role.log, line 2: the phone ***{phone[-2:]}"


@breaks("I12")
def a_document_in_the_metrics(at: Planting) -> str:
    text = next(line["text"] for line in at.history if line.get("text", "").startswith("2 AZE "))
    document = text[2:].replace(" ", "")
    at.metrics += f'icaze_permits{{document="{document}"}} 1\n'
    return f"the document ***{document[-2:]}"


@breaks("I12")
def a_phone_in_a_name(at: Planting) -> str:
    phone = at.history[0]["from"]
    at.redis.set(f"import:{{x}}:{phone}", "", ex=1000)
    return f"a key of kind import: the phone ***{phone[-2:]}"


def test_a_true_house_holds_everything(at: Planting) -> None:
    found = at.findings()
    assert [name for name, finding in found.items() if finding.status != "ok"] == []
    assert list(found) == [f"I{number}" for number in range(1, 13)]


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_is_found_and_named(at: Planting, name: str) -> None:
    invariants, plant = PLANTS[name]
    named = plant(at)
    broken = {one: finding.broken for one, finding in at.findings().items() if finding.broken}
    assert broken.keys() == invariants, broken
    assert any(named in example for examples in broken.values() for example in examples), (named, broken)


def test_every_invariant_is_planted_against() -> None:
    assert {one for invariants, _ in PLANTS.values() for one in invariants} == {f"I{n}" for n in range(1, 13)}


def test_nothing_that_was_not_looked_at_is_called_ok(at: Planting, tmp_path: Path) -> None:
    history = tmp_path / "history"
    history.write_text("")
    words = at.command()
    bare = [*words[:2], *words[words.index("--policy") :], "--history", str(history), "--json"]
    found = said(bare)
    unchecked = {name for name, one in found.items() if one["status"] == "not checked"}
    assert unchecked == {"I1", "I5", "I6", "I8", "I9", "I11", "I12"}
    assert all(found[name]["why"] for name in unchecked)


def test_a_trail_without_its_beginning_is_not_taken_for_all_of_it(at: Planting) -> None:
    row = next(
        row for row in at.rows() if row.place == max(one.place for one in at.rows() if one.partition == row.partition)
    )
    at.redis.xtrim(f"audit:{at.tag(row)}", minid=row.place)
    found = at.findings()
    assert {name for name, finding in found.items() if finding.status != "ok"} == {
        "I1", "I2", "I4", "I5", "I7", "I8", "I9"
    }  # fmt: skip
    assert not any(finding.broken for finding in found.values())


def test_a_send_that_says_it_may_be_the_second_is_none_too_many(at: Planting) -> None:
    at.sink.append({**at.sent(at.row()), "ambiguous": True})
    assert not any(finding.broken for finding in at.findings().values())


def test_other_rules_than_those_of_the_trail_are_held_against_nothing(at: Planting, tmp_path: Path) -> None:
    rules = tmp_path / "other.toml"
    rules.write_text(Path("permits/policy.toml").read_text())
    found = said([*at.command(), "--policy", str(rules), "--json"])
    assert {name: one["why"][:28] for name, one in found.items() if one["status"] != "ok"} == {
        "I4": "decided by other rules than ",
        "I7": "decided by other rules than ",
    }


def test_the_command_says_by_its_exit_code_what_it_found(at: Planting, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(at.command()) == 0
    phone, document = at.history[0]["from"], "AZE7654321"
    at.sink.append({**at.sent(at.row()), "id": f"{phone} {document}"})
    capsys.readouterr()
    assert main(at.command()) == 1
    told = capsys.readouterr().out
    assert f"***{phone[-2:]} ***21: told" in told
    assert phone not in told
    assert document not in told
    assert main([*at.command(), "--history", "/nowhere"]) == 2
    assert "/nowhere: No such file" in capsys.readouterr().err


def said(words: list[str]) -> dict[str, dict[str, Any]]:
    """The command's JSON by invariant."""
    told = io.StringIO()
    with redirect_stdout(told):
        main(words)
    return {one["invariant"]: one for one in json.loads(told.getvalue())["findings"]}
