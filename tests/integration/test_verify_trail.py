"""`icaze verify` against a store: a trail that `decide` itself wrote passes, and what is then spoilt is found."""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from lua import calls, changes
from lua.changes import Change
from lua.keys import DISPATCH_GROUP, LAYOUT, PartitionKeys, partition_keys, tags
from lua.store import Store
from permits import policy
from permits.calendar import DAY_MS, day_name, local_day
from permits.employees import AuditAct
from permits.messages import ENCODER, DeadLetter, InboundSms
from permits.partition import ROUTE_VERSION, Route
from processor.approvals import Wordings
from processor.batch import Preparer
from processor.held_replies import HeldReplies
from processor.verification import command
from processor.verification.report import Report, Totals
from runtime.connection import Client, Wire
from runtime.embedded import EmbeddedStore
from runtime.keyring import Keyring, SenderSeal
from runtime.layout import Layout
from runtime.leases import Lease
from tests.day_keys import every_day
from tests.uncounted import phones

POLICY = policy.load()
ROUTE = Route(key=b"a key for tests only", partitions=2)
SEAL = SenderSeal(Keyring({"k1": b"k" * 32}, "k1"))
NOW_MS = 3_801_556_800_000
"""In the year 2090, so that no expiry passes while a test runs."""
KEYS = [partition_keys(tag) for tag in tags(2)]
BUSY = KEYS[ROUTE.of_document("AZE1111111")[0]]
"""The keys of the partition that decides the first document."""
CODE = "23456789AB"
SENDER = "+994501234567"
LINES = [
    ("first", "2 AZE 1111111"),
    ("second", "2 AZE 1111111"),
    ("medical", "1 AZE 1111111"),
    ("salam", "salam"),
    ("first", "2 AZE 1111111"),
    *((f"other-{n}", f"2 AA {2000000 + n}") for n in range(20)),
]


class Run:
    """A small run: what a lane and a dispatcher would have done, with the files that stand beside."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.journal = folder / "journal.ndjson"
        self.sink = folder / "sink.ndjson"

    async def fill(self, rules: policy.Policy = POLICY, lines: Sequence[tuple[str, str]] = LINES) -> None:
        layout = Layout(partitions=2, tags=tags(2), route=ROUTE_VERSION, routing_key=ROUTE.fingerprint)
        await self.store.execute_command("SET", LAYOUT, msgspec.json.encode(layout))
        for at, (sms_id, text) in enumerate(lines):
            sms = InboundSms(id=sms_id, source="dev", sender=SENDER, to="8103", text=text, arrived_ms=NOW_MS)
            # All enter by one partition: those of the other are moved there.
            await self.store.execute_command("XADD", KEYS[0].inbound, f"{NOW_MS}-{at}", "m", ENCODER.encode(sms))
        await self.store.execute_command("XADD", KEYS[1].inbound, f"{NOW_MS}-0", "m", "no SMS at all")
        for index in range(2):
            await self.decide(index, rules)
        self.journal.write_bytes(ENCODER.encode_lines([{"id": sms_id, "acked_ms": NOW_MS} for sms_id, _ in lines]))
        await self.dispatch()

    async def decide(self, index: int, rules: policy.Policy) -> None:
        keys = KEYS[index]
        epoch = await calls.lease(
            self.store, lease_key=keys.lease("decide"), fence_key=keys.fence("decide"), owner="lane", ttl_ms=60_000
        )
        assert epoch is not None
        preparer = Preparer(
            index=index,
            keys=keys,
            route=ROUTE,
            policy=lambda: rules,
            wordings=Wordings("plain"),
            seal=SEAL,
            phones=phones(),
            day_keys=every_day(),
        )
        while page := await self.store.execute_command("XRANGE", keys.inbound, "-", "+", "COUNT", 7):
            entries = [(entry_id, fields[b"m"]) for entry_id, fields in page]
            prepared = preparer.prepare(entries, epoch=epoch, now_ms=NOW_MS + 1000)
            for to, payload in prepared.moves:
                await self.store.execute_command("XADD", KEYS[to].inbound, "*", "m", payload)
            call = calls.decide_command(keys, epoch=epoch, batch=prepared.batch, record_bytes=5000)
            assert isinstance(calls.decide_reply(await self.store.execute_command(*call)), calls.Decided)

    async def dispatch(self) -> None:
        sent: list[dict[str, str | int]] = []
        for keys in KEYS:
            await self.store.execute_command("XGROUP", "CREATE", keys.replies, DISPATCH_GROUP, "0", "MKSTREAM")
            await self.store.execute_command(
                "XREADGROUP", "GROUP", DISPATCH_GROUP, "d", "NOACK", "STREAMS", keys.replies, ">"
            )
            for _, fields in await self.store.execute_command("XRANGE", keys.replies, "-", "+"):
                reply = msgspec.json.decode(fields[b"m"])
                sent.append({name: reply[name] for name in ("id", "in_reply_to", "verdict")})
            await self.cancel(keys)
            sent.append({"id": f"{keys.tag}-n1-{CODE}", "verdict": "cancelled", "at_ms": NOW_MS})
        self.sink.write_bytes(ENCODER.encode_lines(sent))

    async def unsent(self, keys: PartitionKeys) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """What the dispatcher takes now."""
        command = ("XREADGROUP", "GROUP", DISPATCH_GROUP, "d", "NOACK", "STREAMS", keys.replies, ">")
        found = await self.store.execute_command(*command)
        return found[0][1] if found else []

    def log_sent(self, replies: Sequence[bytes]) -> None:
        """The operator takes them."""
        sent = [{name: msgspec.json.decode(raw)[name] for name in ("id", "verdict")} for raw in replies]
        self.sink.write_bytes(self.sink.read_bytes() + ENCODER.encode_lines(sent))

    async def cancel(self, keys: PartitionKeys) -> None:
        """An officer's act, and a check of the police beside it."""
        for deed in ("check", "cancel"):
            act = AuditAct(at_ms=NOW_MS, actor="officer", deed=deed, code=CODE)
            await changes.change(
                self.store,
                keys,
                Change(hash=keys.holder(b"same"), expected=changes.ANY_VERSION, act=ENCODER.encode(act)),
            )

    async def report(self, *, files: bool = True, now_ms: int = NOW_MS, rules: policy.Policy = POLICY) -> Report:
        return await command.verify(
            self.store,
            policy=rules,
            journal=self.journal if files else None,
            sink=self.sink if files else None,
            now_ms=now_ms,
        )

    async def violated(self) -> set[str]:
        return violated(await self.report())


def violated(report: Report) -> set[str]:
    assert report.ok == all(finding.status != "violated" for finding in report.checks)
    return {f"{f.invariant} {f.what}" for f in report.checks if f.status == "violated"}


@pytest.fixture
async def run(store: Store, tmp_path: Path) -> Run:
    filled = Run(store, tmp_path)
    await filled.fill()
    return filled


@pytest.fixture
async def real(redis: Client, tmp_path: Path) -> Run:
    filled = Run(redis, tmp_path)
    await filled.fill()
    return filled


async def test_held_approvals_pass_while_they_wait_and_when_they_are_told_and_no_longer(
    server: EmbeddedStore, redis: Client, tmp_path: Path
) -> None:
    rules = policy.parse(
        policy.DEFAULT_FILE.read_bytes().replace(b"late_minutes = 60", b"hold_minutes = { sms = 15 }"),
        policy.DEFAULT_FILE,
    )
    run, due_ms = Run(redis, tmp_path), NOW_MS + 1000 + 15 * 60_000
    await run.fill(rules)
    report = await run.report(rules=rules)
    assert [finding for finding in report.checks if finding.status != "ok"] == []
    assert violated(await run.report(rules=rules, now_ms=due_ms + 61_000)) == {"I5 holds"}
    lease, wire = Lease(0, KEYS[0], "1", time.monotonic() + 60), Wire(server.url)
    other = Lease(1, KEYS[1], "1", time.monotonic() + 60)
    told = HeldReplies(
        wire,
        leases=lambda: [lease, other],
        policy=lambda: rules,
        wordings=Wordings("plain"),
        seal=SEAL,
        wall_ms=lambda: due_ms + 10,
    )
    await told.tell()
    await wire.close()
    assert violated(await run.report(rules=rules, now_ms=due_ms)) == {"I5 replies", "I8 at rest"}  # told, and not sent
    run.log_sent([fields[b"m"] for keys in KEYS for _, fields in await run.unsent(keys)])
    report = await run.report(rules=rules, now_ms=due_ms + 3_600_000)
    assert [finding for finding in report.checks if finding.status != "ok"] == []
    assert {finding.what: finding.checked for finding in report.checks}["holds"] == 22


@pytest.mark.parametrize(("more", "letters"), [("", "accnq"), ("\nhold_minutes = { sms = 15 }", "ayyna")])
async def test_cancellations_by_sms_pass_every_check(store: Store, tmp_path: Path, more: str, letters: str) -> None:
    word = f'late_minutes = 60\ncancel_word = "LEGV"{more}'
    text = policy.DEFAULT_FILE.read_text().replace("late_minutes = 60", word)
    rules = policy.parse(text.replace("documents_per_sender = 10", "").encode(), policy.DEFAULT_FILE)
    lines = [
        *LINES,
        *((f"back-{n}", f"LEGV AZE 1111111 {'.' * n}") for n in range(3)),
        ("third", "2 AZE 1111111"),
        *((f"other-back-{n}", f"LEGV 2 AA {2000000 + n}") for n in range(0, 20, 3)),
        *((f"other-again-{n}", f"2 AA {2000000 + n}") for n in range(0, 20, 2)),
    ]
    run = Run(store, tmp_path)
    await run.fill(rules, lines)
    report = await run.report(rules=rules)
    assert [finding for finding in report.checks if finding.status != "ok"] == []
    assert report.totals.cancelled == 2 + 7
    assert report.refused["nothing_to_cancel"] == 1
    found = await store.execute_command("XRANGE", BUSY.audit, "-", "+")
    trail = [(msgspec.json.decode(fields[b"m"])["rows"], fields[b"v"].decode()) for _, fields in found]
    became = {row[1]: letter for rows, outcomes in trail for row, letter in zip(rows, outcomes, strict=True)}
    assert "".join(became[sms_id] for sms_id in ("medical", "back-0", "back-1", "back-2", "third")) == letters


async def test_a_trail_that_decide_wrote_passes_every_check(run: Run) -> None:
    report = await run.report()
    assert [finding for finding in report.checks if finding.status != "ok"] == []
    assert {finding.what for finding in report.checks if not finding.checked} == {"holds"}
    assert (report.acknowledged, report.approved) == (24, 22)
    assert report.refused == {"malformed": 1, "quota": 1}
    assert (report.sent, report.ambiguous, report.notices) == (26, 0, 2)
    assert report.totals == Totals(
        decided=24, approved=22, refused=2, cancelled=0, dead=1, duplicate=1, shed=0, moved=report.totals.moved
    )
    assert report.rows == 26 + report.totals.moved


async def test_a_notice_without_its_act_is_found(run: Run) -> None:
    [*_, cancel] = await run.store.execute_command("XRANGE", BUSY.acts, "-", "+")
    await run.store.execute_command("XDEL", BUSY.acts, cancel[0])
    assert await run.violated() == {"I5 notices"}


async def test_a_notice_on_the_reply_stream_and_among_the_dead_disturbs_no_other_check(real: Run) -> None:
    notice = ENCODER.encode({"id": f"{BUSY.tag}-n7-{CODE}", "in_reply_to": None, "verdict": "extended"})
    letter = DeadLetter("reply", "1-1", "lapsed", NOW_MS, "sealed", reply_id=f"{BUSY.tag}-n7-{CODE}")
    await real.store.execute_command("XADD", BUSY.dead, "*", "m", ENCODER.encode(letter))
    await real.store.execute_command("XADD", BUSY.replies, "*", "m", notice)
    assert await real.violated() == {"I8 at rest"}  # it waits, and nothing else is wrong
    first, *rest = real.sink.read_text().splitlines(keepends=True)
    real.sink.write_text("".join(rest))
    assert json.loads(first)["verdict"] != "cancelled"
    assert await real.violated() == {"I5 replies", "I8 at rest"}


async def test_every_page_of_the_trail_is_read(real: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.verification.trail.PAGE", 1)
    monkeypatch.setattr("processor.verification.store_at_rest.PAGE", 1)
    assert await real.violated() == set()


async def test_a_lost_id_is_found(run: Run) -> None:
    with run.journal.open("a") as file:
        file.write(f'{{"id":"lost-1","acked_ms":{NOW_MS}}}\n')
    report = await run.report()
    assert violated(report) == {"I1 loss"}
    assert "'lost-1'" in report.checks[0].examples[0]


async def test_a_lost_trail_entry_is_found_though_older_ones_may_go(real: Run) -> None:
    audit = BUSY.audit
    (entry_id, _), *_ = await real.store.execute_command("XRANGE", audit, "-", "+")
    await real.store.execute_command("XDEL", audit, entry_id)
    assert {"I1 loss", "I5 replies", "I7 permits", "I8 counters"} <= await real.violated()


async def test_an_entry_that_vanished_undecided_is_found(real: Run) -> None:
    await real.store.execute_command("XADD", KEYS[0].inbound, "*", "m", "x")
    await real.store.execute_command("XTRIM", KEYS[0].inbound, "MAXLEN", 0)
    assert await real.violated() == {"I8 rows"}


async def test_an_undecided_entry_is_found(run: Run) -> None:
    await run.store.execute_command("XADD", KEYS[1].inbound, "*", "m", "x")
    assert await run.violated() == {"I8 at rest"}


async def test_an_unread_reply_is_found(run: Run) -> None:
    await run.store.execute_command("XADD", KEYS[1].replies, "*", "m", "{}")
    assert await run.violated() == {"I8 at rest"}


async def test_a_reply_read_and_not_acknowledged_is_found(run: Run) -> None:
    await run.store.execute_command("XADD", KEYS[1].replies, "*", "m", "{}")
    await run.store.execute_command("XREADGROUP", "GROUP", DISPATCH_GROUP, "d", "STREAMS", KEYS[1].replies, ">")
    assert await run.violated() == {"I8 at rest"}


async def test_a_reply_that_was_never_sent_is_said_to_wait_where_it_stands(run: Run) -> None:
    unsent, *rest = run.sink.read_text().splitlines(keepends=True)
    run.sink.write_text("".join(rest))
    (finding,) = [f for f in (await run.report()).checks if f.status == "violated"]
    reply_id = json.loads(unsent)["id"]
    assert finding.examples == (f"reply {reply_id}: not at rest, still waits on the reply stream",)
    for keys in KEYS:
        await run.store.execute_command("XTRIM", keys.replies, "MAXLEN", 0)
    (finding,) = [f for f in (await run.report()).checks if f.status == "violated"]
    assert finding.examples == (f"reply {reply_id}: decided and never sent",)
    letter = DeadLetter("reply", "1-1", "refused", NOW_MS, "sealed", reply_id=reply_id)
    keys = next(keys for keys in KEYS if reply_id.startswith(f"{keys.tag}-"))
    await run.store.execute_command("XADD", keys.dead, "*", "m", ENCODER.encode(letter))
    assert await run.violated() == set()


async def test_a_changed_counter_is_found(run: Run) -> None:
    await run.store.execute_command("HINCRBY", BUSY.counts(day_name(local_day(NOW_MS))), "a2", 1)
    assert await run.violated() == {"I8 counters"}


async def test_a_permit_that_the_trail_does_not_know_is_found(run: Run) -> None:
    key = BUSY.day(day_name(local_day(NOW_MS)))
    field, value = next(iter((await run.store.execute_command("HGETALL", key)).items()))
    await run.store.execute_command("HSET", key, field, value + value[:4] + b"\0" + value[5:20])
    assert await run.violated() == {"I7 permits"}


async def test_a_lost_record_is_found_as_long_as_it_must_stand(run: Run) -> None:
    await run.store.execute_command("DEL", BUSY.day(day_name(local_day(NOW_MS))))
    assert await run.violated() == {"I7 permits"}
    assert violated(await run.report(now_ms=NOW_MS + 4 * DAY_MS)) == set()


async def test_a_trail_of_another_policy_is_not_judged_by_ours(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_bytes(policy.DEFAULT_FILE.read_bytes())
    report = await run.report(rules=policy.load(file))
    assert report.ok
    assert [f.what for f in report.checks if f.status == "not checked"] == ["quota", "letters"]


@pytest.fixture
def settings(server: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICAZE_REDIS_URL", server.url)


def icaze_verify(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


async def icaze_verify_beside(words: Sequence[str | Path]) -> int:
    """The command brings its own event loop, so it runs in another thread."""
    return await asyncio.to_thread(icaze_verify, *words)


@pytest.mark.usefixtures("settings")
async def test_the_command_says_for_people_what_was_not_checked(real: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert await icaze_verify_beside(()) == 0
    said = capsys.readouterr().out
    assert "I1 loss: not checked: no --journal" in said
    assert "I5 replies: not checked: no --sink" in said
    assert "I3 entries: ok (" in said
    assert SENDER not in said


@pytest.mark.usefixtures("settings")
async def test_the_command_prints_one_object_and_fails_on_a_violation(
    real: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    real.sink.write_text(real.sink.read_text() * 2)
    assert await icaze_verify_beside(("--journal", real.journal, "--sink", real.sink, "--json")) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["rows"], report["sent"]) == (False, 26 + moved(), 52)
    assert report["totals"]["decided"] == 24
    replies, notices = [f for f in report["checks"] if f["status"] == "violated"]
    assert (replies["invariant"], replies["violations"], len(replies["examples"])) == ("I5", 24, 10)
    assert (notices["invariant"], notices["violations"]) == ("I5", 2)


def moved() -> int:
    """How many SMS entered by the wrong partition."""
    owners = [ROUTE.owner(f"AA{2000000 + n}", SENDER) for n in range(20)]
    owners += [ROUTE.owner("AZE1111111", SENDER)] * 4 + [ROUTE.owner(None, SENDER)]
    return sum(1 for partition, _ in owners if partition == 1)


@pytest.mark.usefixtures("settings")
async def test_unusable_input_is_named_and_fails_apart(real: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with real.journal.open("a") as file:
        file.write("{}\n")
    assert await icaze_verify_beside(("--journal", real.journal)) == 2
    assert f"{real.journal}, line 26: " in capsys.readouterr().err
    assert await icaze_verify_beside(("--sink", real.sink.with_name("none"))) == 2
    assert "none: No such file" in capsys.readouterr().err
    await real.store.execute_command("XADD", KEYS[1].audit, "*", "m", "{}", "v", "a")
    assert await icaze_verify_beside(()) == 2
    assert f"{KEYS[1].audit}, entry " in capsys.readouterr().err
    await real.store.execute_command("DEL", LAYOUT)
    assert await icaze_verify_beside(()) == 2
    assert "no role has ever started" in capsys.readouterr().err
