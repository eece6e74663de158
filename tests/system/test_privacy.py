"""A whole day, looked at from the outside all the while: no document and no full phone number in any log, metric or
name of a key, no document in the store's files; and after their retention no phone either, in no file at all.

Replies go to an operator over http: the console operator is made to print them.
"""

import asyncio
import gzip
import json
import random
import re
import time
import urllib.request
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from bench.day import Sms, generate, write
from bench.employees import employees, sheet
from lua import calls
from lua.keys import partition_keys, tags
from permits.calendar import BAKU, DAY_MS
from processor.archive.archiver import Archiver
from processor.erasure import REWRITE, Eraser
from runtime.connection import Client, Wire, connect
from runtime.embedded import EmbeddedStore
from runtime.leases import Lease
from tests.system.house import PARTITIONS, House, Running, holds, until

MESSAGES: Final = 3000
RATE: Final = 500
RETENTION_DAYS: Final = 3
"""By the default policy."""
KEYS: Final = [partition_keys(tag) for tag in tags(PARTITIONS)]
EMPLOYEES: Final = 50
POISON: Final = '{{"id":"poison-{n}","from":"{phone}","text":"salam"'
"""No JSON, and by another program: it came in clear."""


class Personal:
    """The phones and documents of a day, and where they stand in what is looked at."""

    def __init__(self, phones: Iterable[str], documents: Iterable[str], texts: Iterable[str]) -> None:
        self.phones = {phone.removeprefix("+").encode() for phone in phones}
        self.documents = {document.encode() for document in documents}
        self.numbers = {bare for document in self.documents if (bare := document.lstrip(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"))}
        self.texts = {text.encode() for text in texts if len(text) >= len("2 P1234567")}

    def phones_in(self, data: bytes) -> set[bytes]:
        """Phones that stand in it, with or without a `+`, in whatever longer number."""
        windows = (run[at : at + 12] for run in re.findall(rb"\d{12,}", data) for at in range(len(run) - 11))
        return self.phones.intersection(windows)

    def documents_in(self, data: bytes) -> set[bytes]:
        """Documents that stand in it: letters and digits, or the digits by themselves."""
        found: set[bytes] = set()
        for letters, digits in re.findall(rb"([A-Za-z]{0,3})[ \-.,]{0,2}(\d{7,9})", data):
            found |= {letters.upper()[at:] + digits[:end] for at in range(len(letters)) for end in (7, 8, 9)}
        alone = re.findall(rb"(?<![A-Za-z0-9])\d{7,8}(?![A-Za-z0-9])", data)
        return self.documents & found | self.numbers.intersection(alone)

    def texts_in(self, data: bytes) -> set[bytes]:
        """Whole texts, as they were written or as JSON writes them: of a few of them, for the time it takes."""
        some = random.sample(sorted(self.texts), 300)
        return {text for text in some if text in data or json.dumps(text.decode())[1:-1].encode() in data}


def contents(folder: Path) -> bytes:
    """All bytes of all files, segments unpacked besides."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return b"\n".join(
        path.read_bytes() + (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else b"") for path in files
    )


class Watched:
    """The house of one day, and what it shows to whoever looks."""

    def __init__(self, house: House, personal: Personal) -> None:
        house.furnish()
        self.house = house
        self.personal = personal
        self.store = EmbeddedStore(house.data, memory_mb=256)
        self.files = house.data / "store"
        asyncio.run(self._open())
        house.at_end(lambda: asyncio.run(self.store.stop()))
        self.sink = house.sink("--refuse-share", "0.02")
        house.environ |= {"ICAZE_LOG_LEVEL": "debug", "ICAZE_DEV_ISSUER": "1"}
        self.roles = {role: house.start(role) for role in ("ingest", "process", "dispatch", "api")}
        self.names: set[bytes] = set()
        self.metrics = b""

    async def _open(self) -> None:
        await self.store.start()
        async with _client(self.store.url) as client:
            # So that the file written anew shows what it holds: its other form is compressed.
            await client.execute_command("CONFIG", "SET", "aof-use-rdb-preamble", "no")

    def look(self) -> None:
        """Metrics, names of keys and the store's files as they are now."""
        for role, running in self.roles.items():
            with urllib.request.urlopen(f"{running.door(role)}/metrics", timeout=5) as answer:  # noqa: S310
                self.metrics = answer.read()
            self.shows_nothing(self.metrics, f"metrics of {role}")
        self.names |= asyncio.run(_names(self.store.url))
        self.shows_nothing(b"\n".join(self.names), "names of keys")
        assert self.personal.documents_in(contents(self.files)) == set(), "documents in the store's files"

    def shows_nothing(self, data: bytes, where: str) -> None:
        """Neither a document nor a phone stands in it."""
        assert self.personal.phones_in(data) == set(), where
        assert self.personal.documents_in(data) == set(), where

    def logs(self) -> bytes:
        """All that the roles have printed and logged."""
        said = ["\n".join(running.lines) for running in self.roles.values()]
        return "\n".join(said).encode() + b"".join(running.log.read_bytes() for running in self.roles.values())

    def ask(self, path: str, body: bytes | dict[str, Any], *role: str) -> Any:
        """The answer of the api to a role."""
        token = self.house.call("token", "--role", *role).stdout.strip()
        request = urllib.request.Request(  # noqa: S310
            f"{self.roles['api'].door('api')}{path}",
            data=body if isinstance(body, bytes) else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Idempotency-Key": path},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.loads(answer.read())


class _client:  # noqa: N801
    """A client, closed at the end."""

    def __init__(self, url: str) -> None:
        self._client = connect(url)

    async def __aenter__(self) -> Client:
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()


async def _names(url: str) -> set[bytes]:
    async with _client(url) as client:
        found: set[bytes] = set()
        cursor: Any = 0
        while True:
            cursor, page = await client.execute_command("SCAN", cursor, "COUNT", 1000)
            found.update(page)
            if not int(cursor):
                return found


async def poison(url: str, phone: str, count: int) -> None:
    """Entries of another program that are no SMS."""
    async with _client(url) as client:
        for n in range(count):
            raw = POISON.format(n=n, phone=phone)
            await client.execute_command("XADD", KEYS[n % PARTITIONS].inbound, "*", "m", raw)


async def archived(url: str, folder: Path) -> None:
    """What a worker's archiver does once a minute."""
    async with _client(url) as client:
        for index, keys in enumerate(KEYS):
            await client.execute_command("DEL", keys.lease("decide"))
            epoch = await calls.lease(
                client, lease_key=keys.lease("decide"), fence_key=keys.fence("decide"), owner="test", ttl_ms=60_000
            )
            assert epoch is not None
            lease = Lease(index, keys, epoch, time.monotonic() + 60)
            wire = Wire(url)
            await Archiver(wire, folder=folder, leases=lambda lease=lease: [lease]).round()
            await wire.close()


async def past_retention(url: str) -> None:
    """Rounds of a worker's housekeeping when the day's retention has passed."""
    async with _client(url) as client:
        eraser = Eraser(client, KEYS[0].day_keys)
        later_ms = time.time_ns() // 1_000_000 + (RETENTION_DAYS + 2) * DAY_MS
        while True:
            await eraser.round(now_ms=later_ms, texts_days=RETENTION_DAYS)
            if not await client.execute_command("HEXISTS", KEYS[0].day_keys, REWRITE):
                return
            await asyncio.sleep(0.05)


@pytest.fixture
def drawn() -> list[tuple[Sms, str]]:
    """A day's SMS, each with its document or nothing."""
    day = generate(MESSAGES, 16, "launch", date(2026, 1, 1))
    return [(sms, intent.document or "") for sms, intent in day]


def test_what_the_look_finds(drawn: list[tuple[Sms, str]], tmp_path: Path) -> None:
    personal = Personal([sms.sender for sms, _ in drawn], [document for _, document in drawn if document], [])
    phone, document = drawn[0][0].sender, next(document for _, document in drawn if document.startswith("AZE"))
    planted = tmp_path / "planted"
    for text in (
        document,
        document.lower(),
        document.replace("AZE", "AZE "),
        document.replace("AZE", ""),
        f"2{document}",
    ):
        planted.write_text(f'{{"event":"failed","why":"{text}"}}')
        assert personal.documents_in(contents(tmp_path)), text
    for text in (phone, phone[1:], f"1{phone[1:]}7"):
        planted.write_text(f"to={text};")
        assert personal.phones_in(contents(tmp_path)) == {phone[1:].encode()}, text
    (tmp_path / "segment.gz").write_bytes(gzip.compress(document.encode()))
    assert personal.documents_in(contents(tmp_path)) == {document.encode()}


@pytest.mark.timeout(300)
def test_nobody_is_shown_during_a_day_nor_found_after_it(house: House, drawn: list[tuple[Sms, str]]) -> None:
    rows: list[dict[str, Any]] = json.loads(sheet(employees(EMPLOYEES, seed=16, start=_today()), "json"))
    rows = [row | {"phone": f"+99450{1000000 + n}"} for n, row in enumerate(rows)]
    personal = Personal(
        [sms.sender for sms, _ in drawn] + [row["phone"] for row in rows],
        [document for _, document in drawn if document] + [row["document"] for row in rows],
        [sms.text for sms, _ in drawn],
    )
    trace = house.folder / "day.ndjson"
    with trace.open("wb") as file:
        write(generate(MESSAGES, 16, "launch", date(2026, 1, 1)), file)
    assert len(personal.phones_in(trace.read_bytes())) > 500
    assert len(personal.documents_in(trace.read_bytes())) > 500

    at = Watched(house, personal)
    replay = house.replay(trace, at.roles["ingest"].door("ingest"), rate=RATE)
    at.look()
    asyncio.run(poison(at.store.url, drawn[0][0].sender, 2 * PARTITIONS))
    seal = ("organisation", "--tin", "1234567890", "--fin", "7ABCDE1", "--acr", "imza")
    at.ask("/v1/organisations", {"tin": "1234567890", "name": "Günəş MMC"}, *seal)
    at.ask("/v1/organisations/1234567890/permits", json.dumps(rows).encode(), *seal)
    looks = _until_over(at, replay)
    assert looks > 3
    _officers(at, drawn)
    until(lambda: holds(at.roles["process"].door("process"), PARTITIONS), "the worker has all partitions")
    at.look()
    for role in (*at.roles.values(), at.sink):
        role.stop()
    at.shows_nothing(at.logs(), "logs")
    assert b'"level":"warning"' in at.logs() or b'"level":"info"' in at.logs(), "there are logs to look at"
    assert json.loads(at.sink.errors().removeprefix("sink: "))["refused"] > 0
    assert at.house.verify()["totals"]["dead"] == 2 * PARTITIONS

    # Before: the files hold phones, the numbers replies went to; and whoever may can read what has died.
    held = contents(at.files)
    assert len(personal.phones_in(held)) > 500
    assert personal.texts_in(held) == set()
    letters = [json.loads(line) for line in house.call("dead", "list", "--json").stdout.splitlines()]
    kinds = {letter["kind"]: letter["name"] for letter in letters}
    assert kinds.keys() == {"inbound", "reply"}
    assert all(personal.phones_in(house.call("dead", "show", name).stdout.encode()) for name in kinds.values())

    # After: nothing is left of them, in the store's files, in the segments, or anywhere in the data folder.
    asyncio.run(archived(at.store.url, house.data / "archive"))
    assert len(list((house.data / "archive").rglob("*.gz"))) > PARTITIONS
    asyncio.run(past_retention(at.store.url))
    left = contents(house.data)
    at.shows_nothing(left, "the data folder after the retention")
    assert personal.texts_in(left) == set()
    assert b"poison-" not in left
    for name in kinds.values():
        shown = house.call("dead", "show", name)
        assert personal.phones_in(shown.stdout.encode()) == set()
        assert "the key of their day was erased" in shown.stderr
    assert at.house.verify()["ok"]


def _today() -> date:
    return datetime.now(BAKU).date()


def _until_over(at: Watched, replay: Running) -> int:
    """Look until all is pushed and every reply is out: how often."""
    looks = 0

    def is_over() -> bool:
        nonlocal looks
        looks += 1
        at.look()
        return not replay.alive

    until(is_over, "the replay is over", within_s=120)
    assert replay.ended() == 0, replay.errors()
    return looks


def _officers(at: Watched, drawn: list[tuple[Sms, str]]) -> None:
    """The police check somebody, an officer cancels their permit, staff look at a history."""
    for document in (document for _, document in drawn if document.startswith("AZE")):
        shown = at.ask("/v1/status", {"document": document}, "mygov")
        codes = [permit["code"] for permit in shown["permits"] if permit["status"] == "active"]
        if codes:
            break
    else:
        raise AssertionError("nobody has a permit")
    assert at.ask("/v1/checks", {"document": document}, "police")["valid"]
    at.ask(f"/v1/permits/{codes[0]}/cancel", {"reason": "false purpose"}, "officer")
    at.ask("/v1/histories", {"document": document}, "staff")
    at.ask("/v1/blocked", {"document": document, "list": "abuse", "reason": "misuse"}, "staff")
