"""The operator's gateway for tests: it logs before it answers, and misbehaves as told, the same each time."""

import asyncio
import itertools
import json
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ServerDisconnectedError
from aiohttp.test_utils import TestClient, TestServer

from bench.sink import GATEWAY, Behaviour, build_app
from processor.verification.sink_log import read_sink_log

ROOT = Path(__file__).parents[2]
Line = dict[str, Any]


def replies(first: int, count: int) -> list[Line]:
    return [
        {
            "id": f"r-{index}",
            "to": "+994501234567",
            "text": "İcazə verildi",
            "verdict": "approved",
            "in_reply_to": f"agg-{index}",
        }
        for index in range(first, first + count)
    ]


def logged(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def is_written(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


async def until_written(path: Path) -> None:
    async with asyncio.timeout(10):
        for _ in itertools.count():
            if is_written(path):
                return
            await asyncio.sleep(0.001)


async def statuses(behaviour: Behaviour, requests: int, log: Path | None = None) -> Counter[str]:
    counted = Counter[str]()
    async with TestClient(TestServer(build_app(log=log, behaviour=behaviour))) as client:
        for number in range(requests):
            async with client.post("/", json=replies(number * 100, 100)) as response:
                counted[str(response.status)] += 1
                if response.status == 200:
                    results = (await response.json())["results"]
                    counted.update(result["status"] for result in results)
    return counted


async def test_every_reply_is_accepted_and_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with TestClient(TestServer(build_app(log=log))) as client:
        posted = replies(0, 2)
        posted[1]["ambiguous"] = True
        async with client.post("/", json=posted) as response:
            assert response.status == 200
            assert (await response.json()) == {
                "results": [{"id": "r-0", "status": "accepted"}, {"id": "r-1", "status": "accepted"}]
            }
        first, second = logged(log)  # before the gateway closes
    assert first.pop("at_ms") <= second.pop("at_ms")
    assert first == {"id": "r-0", "in_reply_to": "agg-0", "verdict": "approved"}
    assert second == {"id": "r-1", "in_reply_to": "agg-1", "verdict": "approved", "ambiguous": True}


async def test_an_officers_notice_is_taken_and_logged_like_any_reply(tmp_path: Path) -> None:
    notice = {
        "id": "00th-n2-23456789AB",
        "to": "+994501234567",
        "in_reply_to": None,
        "verdict": "cancelled",
        "text": "x",
    }
    async with TestClient(TestServer(build_app(log=tmp_path / "log"))) as client:
        async with client.post("/", json=[notice]) as response:
            assert (await response.json())["results"] == [{"id": notice["id"], "status": "accepted"}]
    [send] = read_sink_log(tmp_path / "log")
    assert (send.id, send.verdict, send.at_ms > 0) == (notice["id"], "cancelled", True)


async def test_the_log_is_appended_to(tmp_path: Path) -> None:
    for _ in range(2):
        await statuses(Behaviour(), 1, tmp_path / "log")
    assert len(logged(tmp_path / "log")) == 200


async def test_the_log_stands_while_the_answer_is_still_held_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    app = build_app(log=log, behaviour=Behaviour(latency_ms=60_000))
    async with TestClient(TestServer(app)) as client:
        waiting = asyncio.create_task(client.post("/", json=replies(0, 3)))
        await until_written(log)
        assert not waiting.done()
        assert len(logged(log)) == 3
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_shares_of_replies_are_met_and_what_is_put_off_is_not_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    counted = await statuses(Behaviour(retry_share=0.1, refuse_share=0.05), 100, log)
    assert counted["retry"] / 10_000 == pytest.approx(0.1, abs=0.01)
    assert counted["refused"] / 10_000 == pytest.approx(0.05, abs=0.01)
    lines = logged(log)
    assert len(lines) == 10_000 - counted["retry"]
    assert Counter(line.get("status") for line in lines)["refused"] == counted["refused"]


async def test_a_failed_request_is_503_with_retry_after_and_takes_nothing(tmp_path: Path) -> None:
    app = build_app(log=tmp_path / "log", behaviour=Behaviour(fail_share=1.0))
    async with TestClient(TestServer(app)) as client, client.post("/", json=replies(0, 1)) as response:
        assert response.status == 503
        assert response.headers["retry-after"] == "1"
    assert logged(tmp_path / "log") == []


async def test_the_share_of_failed_requests_is_met() -> None:
    counted = await statuses(Behaviour(fail_share=0.2), 300)
    assert counted["503"] / 300 == pytest.approx(0.2, abs=0.07)
    assert counted["503"] + counted["200"] == 300


async def test_the_same_seed_misbehaves_alike_and_another_one_otherwise(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    for run, seed in enumerate((3, 3, 4)):
        log = tmp_path / f"log-{run}"
        await statuses(Behaviour(retry_share=0.3, fail_share=0.1, seed=seed), 20, log)
        seen.append([line["id"] for line in logged(log)])
    assert seen[0] == seen[1] != seen[2]


async def test_a_dropped_connection_has_taken_the_replies_over(tmp_path: Path) -> None:
    app = build_app(log=tmp_path / "log", behaviour=Behaviour(drop_after_accept_share=1.0))
    async with TestClient(TestServer(app)) as client:
        with pytest.raises((ServerDisconnectedError, ConnectionResetError)):
            await client.post("/", json=replies(0, 5))
        assert len(logged(tmp_path / "log")) == 5
        assert app[GATEWAY].counts.dropped_requests == 1


async def test_a_slowed_request_is_429_with_retry_after_and_takes_nothing(tmp_path: Path) -> None:
    app = build_app(log=tmp_path / "log", behaviour=Behaviour(slow_down_share=1.0))
    async with TestClient(TestServer(app)) as client, client.post("/", json=replies(0, 1)) as response:
        assert (response.status, response.headers["retry-after"]) == (429, "1")
    assert logged(tmp_path / "log") == []
    assert app[GATEWAY].counts.slowed_requests == 1


@pytest.mark.parametrize(
    ("behaviour", "status", "kind"),
    [
        (Behaviour(error_after_accept_share=1.0), 500, "application/problem+json"),
        (Behaviour(garble_share=1.0), 200, "text/html"),
    ],
)
async def test_an_error_or_an_answer_that_nobody_can_read_has_taken_the_replies_over(
    tmp_path: Path, behaviour: Behaviour, status: int, kind: str
) -> None:
    app = build_app(log=tmp_path / "log", behaviour=behaviour)
    async with TestClient(TestServer(app)) as client, client.post("/", json=replies(0, 5)) as response:
        assert (response.status, response.content_type) == (status, kind)
    assert len(logged(tmp_path / "log")) == 5
    counts = app[GATEWAY].counts
    assert (counts.requests_in_error, counts.garbled_requests) == (int(status == 500), int(status == 200))


async def test_omitted_replies_are_taken_over_and_not_told_of(tmp_path: Path) -> None:
    app = build_app(log=tmp_path / "log", behaviour=Behaviour(omit_share=0.3))
    async with TestClient(TestServer(app)) as client, client.post("/", json=replies(0, 100)) as response:
        told = {result["id"] for result in (await response.json())["results"]}
    lines = logged(tmp_path / "log")
    assert len(lines) == 100
    assert 0 < app[GATEWAY].counts.omitted == 100 - len(told) < 100


@pytest.mark.parametrize("body", [b"", b"{}", b"[{}]", b'[{"id": 1}]', b"\xff"])
async def test_what_is_no_array_of_replies_is_refused(body: bytes, tmp_path: Path) -> None:
    async with TestClient(TestServer(build_app(log=tmp_path / "log"))) as client:
        async with client.post("/", data=body) as response:
            assert response.status == 400
            assert response.content_type == "application/problem+json"
    assert logged(tmp_path / "log") == []


async def test_more_than_a_hundred_replies_are_refused() -> None:
    async with TestClient(TestServer(build_app())) as client:
        async with client.post("/", json=replies(0, 101)) as response:
            assert response.status == 413


async def test_the_process_prints_its_port_and_leaves_on_sigterm(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.sink",
        "--port",
        "0",
        "--log",
        str(log),
        "--latency-ms",
        "100",
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    async with ClientSession() as session:
        posting = asyncio.create_task(session.post(f"http://127.0.0.1:{port}/", json=replies(0, 10)))
        await until_written(log)
        process.send_signal(signal.SIGTERM)
        response = await posting
        assert response.status == 200  # what was in flight is still answered
        response.release()
    _, err = await process.communicate()
    assert process.returncode == 0
    assert b'"accepted":10' in err
    assert len(logged(log)) == 10
