"""Guessing documents and codes: a hundred thousand guesses over HTTP, some of them right, give nothing away.

Until a limit is reached what is known is told; from then on every answer is the same bytes, and takes the same time,
whether the guess was right or not.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from statistics import median
from time import perf_counter
from typing import Final

import pytest
from prometheus_client import generate_latest

from api.limits import Bounds
from permits import codes
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.telemetry import REGISTRY
from tests.integration.api_door import DIGEST, NOON_MS, PARTITIONS, ROUTE, Clock, Http, plant
from tests.integration.holders_door import serving, token_of

CONNECTIONS: Final = 32
EVERY: Final = 500
"""Every so many-th guess is right."""
BOUNDS: Final = Bounds(client_rate=1e9, client_burst=1e9, subject_questions=10**9)
"""The limits of guessing alone, as they stand: budgets of mere questions would end the test before them."""
Told = tuple[int, str, bytes]
"""Status, Retry-After and body: all of an answer but its own id and date."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http(server: EmbeddedStore, redis: Client, clock: Clock) -> AsyncIterator[Http]:
    assert redis
    async with serving(server.url, clock, bounds=BOUNDS) as client:
        yield client


def document(number: int) -> str:
    return f"AZE{number:08d}"


def is_planted(number: int) -> bool:
    return number % EVERY == 3


async def plant_all(redis: Client, count: int) -> None:
    await asyncio.gather(
        *(plant(redis, decided_ms=NOON_MS, document=document(number)) for number in range(count) if is_planted(number))
    )


class Asker:
    """Prepared questions over kept-alive connections."""

    def __init__(self, http: Http, clock: Clock, path: str, *, client: str) -> None:
        self._host, self._port = str(http.host), int(http.port or 0)
        self._path = path
        self._token = token_of(clock, "status checks", subject=f"{client}:1", azp=client)["Authorization"]

    def _request(self, question: dict[str, str]) -> bytes:
        body = json.dumps(question).encode()
        return (
            f"POST {self._path} HTTP/1.1\r\nHost: test\r\nAuthorization: {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def ask(self, questions: Iterable[dict[str, str]]) -> list[tuple[Told, float]]:
        """Answers in order over one connection, each with the seconds that it took."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        found: list[tuple[Told, float]] = []
        for question in questions:
            began_s = perf_counter()
            writer.write(self._request(question))
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["Content-Length"]))
            found.append(((int(head[0].split()[1]), headers.get("Retry-After", ""), body), perf_counter() - began_s))
        writer.close()
        await writer.wait_closed()
        return found

    async def told(self, questions: Iterable[dict[str, str]]) -> list[Told]:
        """As `ask`, without the times."""
        return [told for told, _ in await self.ask(questions)]

    async def told_at_once(self, questions: Sequence[dict[str, str]]) -> list[Told]:
        """As `told`, over many connections."""
        shares = [self.told(questions[at::CONNECTIONS]) for at in range(CONNECTIONS)]
        return [told for share in await asyncio.gather(*shares) for told in share]


def permits(told: Told) -> int:
    """How many an answer shows."""
    assert told[0] == 200, told
    return len(json.loads(told[2])["permits"])


def alarms(client: str) -> float:
    """Of a client whose name begins so: an officer's has a pseudonym behind it."""
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "icaze_guessing_alarms_total" and sample.labels["client"].startswith(client)
    )


async def test_guesses_for_one_citizen_give_nothing_away(
    http: Http, redis: Client, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await plant_all(redis, 20_000)
    asker = Asker(http, clock, "/v1/status", client="mygov-one")
    questions = [{"document": document(number), "subject": "anna"} for number in range(20_000)]
    assert [permits(told) for told in await asker.told(questions[:10])] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    closed = set(await asker.told_at_once(questions[10:]))
    assert [(status, wait) for status, wait, _ in closed] == [(429, "3600")]
    assert alarms("mygov-one") == 1
    nothing_leaks(caplog, 20_000)


async def test_guesses_for_many_citizens_of_one_service_give_away_ten_each(
    http: Http, redis: Client, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await plant_all(redis, 30_000)
    asker = Asker(http, clock, "/v1/status", client="mygov-many")

    async def guess(subject: int) -> set[Told]:
        numbers = range(subject * 100, (subject + 1) * 100)
        answers = await asker.told(
            {"document": document(number), "subject": f"citizen-{subject}"} for number in numbers
        )
        assert [permits(told) for told in answers[:10]] == [is_planted(number) for number in numbers[:10]]
        return set(answers[10:])

    closed: set[Told] = set()
    subjects = iter(range(300))
    while batch := list(islice(subjects, CONNECTIONS)):
        closed = closed.union(*await asyncio.gather(*map(guess, batch)))
    assert [(status, wait) for status, wait, _ in closed] == [(429, "3600")]
    assert alarms("mygov-many") == 300
    nothing_leaks(caplog, 30_000)


async def test_guesses_of_a_service_for_nobody_in_particular_give_away_a_thousand_misses(
    http: Http, redis: Client, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await plant_all(redis, 25_000)
    asker = Asker(http, clock, "/v1/status", client="guesser-for-nobody")
    questions = [{"document": document(number)} for number in range(25_000)]
    answers = await asker.told_at_once(questions[:1_000])
    assert sum(map(permits, answers)) == 2
    answers = await asker.told_at_once([{"document": document(number)} for number in range(50_000, 50_002)])
    assert list(map(permits, answers)) == [0, 0]
    closed = set(await asker.told_at_once(questions[1_000:]))
    assert [(status, wait) for status, wait, _ in closed] == [(429, "3600")]
    assert alarms("guesser-for-nobody") == 1
    nothing_leaks(caplog, 25_000)


async def test_guesses_of_codes_and_documents_by_an_officer_give_away_a_thousand_misses(
    http: Http, redis: Client, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await plant_all(redis, 25_000)
    asker = Asker(http, clock, "/v1/checks", client="patrol")

    def question(number: int) -> dict[str, str]:
        if number % 2:
            partition, owner = ROUTE.of_document(document(number))
            return {"permit": codes.encode(partition, owner, DIGEST)}
        return {"document": document(number + 1)} if number % 4 else {"document": document(number)}

    questions = [question(number) for number in range(25_000)]
    answers = await asker.told_at_once(questions[:1_000])
    assert sum(map(permits, answers)) == 4  # each by its code and by its document
    answers = await asker.told_at_once([{"document": document(number)} for number in range(50_000, 50_004)])
    assert list(map(permits, answers)) == [0] * 4
    closed = set(await asker.told_at_once(questions[1_000:]))
    assert [(status, wait) for status, wait, _ in closed] == [(429, "3600")]
    assert alarms("patrol/") == 1
    nothing_leaks(caplog, 25_000)
    recorded: list[int] = [await redis.execute_command("XLEN", keys.acts) for keys in PARTITIONS]
    assert sum(recorded) == 1_004


async def test_the_time_of_an_answer_tells_nothing(http: Http, redis: Client, clock: Clock) -> None:
    """What is known is shown, and showing it takes a while; else nothing may be slower for being right."""
    await plant_all(redis, 4)
    await plant(redis, decided_ms=NOON_MS, document=document(7), owner_tag=b"else")
    asker = Asker(http, clock, "/v1/status", client="clockwork")

    async def slower(right: int, wrong: int, subject: str) -> float:
        """Median time of the one as a multiple of the other's, asked in turn."""
        questions = [{"document": document(number), "subject": subject} for number in (right, wrong)] * 25
        seconds = [took_s for _, took_s in await asker.ask(questions)]
        return median(seconds[::2]) / median(seconds[1::2])

    async def steadily(right: int, wrong: int, subject: str) -> float:
        return median([await slower(right, wrong, f"{subject}-{turn}") for turn in range(9)])

    assert 0.6 < await steadily(7, 8, "foreign") < 1.7
    assert await steadily(3, 8, "known") < 3
    await asker.ask({"document": document(number), "subject": "closed"} for number in range(10, 20))
    assert 0.6 < median([await slower(3, 8, "closed") for _ in range(9)]) < 1.7


def nothing_leaks(caplog: pytest.LogCaptureFixture, count: int) -> None:
    """No document that was asked about stands in the log or the metrics."""
    said = caplog.text + "".join(str(record.__dict__) for record in caplog.records) + generate_latest(REGISTRY).decode()
    assert "AZE" not in said
    assert not any(document(number)[3:] in said for number in range(count) if is_planted(number))
