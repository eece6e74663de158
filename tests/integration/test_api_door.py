"""The api's door: who may ask, what a bad question gets, what happens without the store, and the role itself."""

import asyncio
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from joserfc.jwk import OKPKey
from prometheus_client import generate_latest

from api import dev_issuer
from api.auth import no_issuer
from permits.calendar import HOUR_MS
from runtime import keyring
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.settings import Settings
from runtime.telemetry import REGISTRY
from tests.integration.api_door import (
    DOCUMENT,
    KEY,
    NOON_MS,
    PARTITIONS,
    ROUTE,
    Clock,
    Http,
    asked,
    plant,
    serving,
    token,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http(server: EmbeddedStore, redis: Client, clock: Clock) -> AsyncIterator[Http]:
    assert redis
    async with serving(server.url, clock) as client:
        yield client


# Who may ask


async def refusal(http: Http, headers: dict[str, str]) -> tuple[int, str, dict[str, Any]]:
    response = await http.post("/v1/status", json={"document": DOCUMENT}, headers=headers)
    assert response.content_type == "application/problem+json"
    return response.status, response.headers.get("WWW-Authenticate", ""), await response.json()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer "}])
async def test_a_question_without_a_token_is_asked_for_one(http: Http, headers: dict[str, str]) -> None:
    status, challenge, problem = await refusal(http, headers)
    assert (status, challenge, problem["status"]) == (401, 'Bearer realm="icaze"', 401)


def other_tokens(clock: Clock) -> dict[str, str]:
    now_ms = clock.now_ms
    stranger = OKPKey.generate_key("Ed25519")
    return {
        "garbage": "garbage",
        "expired": dev_issuer.issue(KEY, subject="a", scope="status", minutes=1, now_ms=now_ms - HOUR_MS).token,
        "not yet valid": dev_issuer.issue(KEY, subject="a", scope="status", minutes=1, now_ms=now_ms + HOUR_MS).token,
        "of another key": dev_issuer.issue(stranger, subject="a", scope="status", minutes=1, now_ms=now_ms).token,
    }


async def test_all_tokens_that_do_not_count_get_the_same_words(http: Http, clock: Clock) -> None:
    answers = [await refusal(http, {"Authorization": f"Bearer {bad}"}) for bad in other_tokens(clock).values()]
    assert answers == [answers[0]] * len(answers)
    status, challenge, _ = answers[0]
    assert (status, challenge) == (401, 'Bearer realm="icaze", error="invalid_token"')


async def test_a_token_for_something_else_is_forbidden(http: Http, clock: Clock) -> None:
    for scope in ("checks", "statuses", ""):
        status, challenge, _ = await refusal(http, {"Authorization": f"Bearer {token(clock, scope)}"})
        assert (status, challenge) == (403, 'Bearer realm="icaze", error="insufficient_scope", scope="status"')


async def test_a_token_may_carry_more_scopes_and_the_scheme_any_case(http: Http, clock: Clock) -> None:
    headers = {"Authorization": f"bEaReR {token(clock, 'checks status')}"}
    assert (await http.post("/v1/status", json={"document": DOCUMENT}, headers=headers)).status == 200


async def test_two_tokens_in_one_question_are_none(http: Http, clock: Clock) -> None:
    headers = [("Authorization", f"Bearer {token(clock)}")] * 2
    assert (await http.post("/v1/status", json={"document": DOCUMENT}, headers=headers)).status == 401


@pytest.mark.usefixtures("redis")
async def test_with_no_issuer_a_good_development_token_is_refused(server: EmbeddedStore, clock: Clock) -> None:
    async with serving(server.url, clock, verify=no_issuer) as http:
        status, challenge, _ = await refusal(http, {"Authorization": f"Bearer {token(clock)}"})
        assert (status, challenge) == (401, 'Bearer realm="icaze", error="invalid_token"')


async def test_who_may_not_ask_learns_nothing_about_the_body(http: Http) -> None:
    assert (await http.post("/v1/status", data=b"not json")).status == 401


# Bad questions


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"AZE1111111", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 4000, 400),
        (b'{"document": "AZE1111111\xff"}', 400),
        (b'{"AZE1111111\xff": 1}', 400),
        (b'["AZE1111111"]', 400),
        (b'"AZE1111111"', 400),
        (b"null", 400),
        (b"{}", 422),
        (b'{"document": null}', 422),
        (b'{"document": 1111111}', 400),
        (b'{"document": ["AZE1111111"]}', 400),
        (b'{"document": "\\ud800"}', 400),
        (b'{"document": "AZE1111111", "zone": "Baku"}', 400),
        (b'{"AZE1111111": "document"}', 400),
        (b'{"pin": "AZE1111"}', 400),
        (b'{"document": ""}', 422),
        (b'{"document": "1111111"}', 422),
        (b'{"document": "AZE1111111 AZE2222222"}', 422),
        (b'{"document": "2 AZE1111111"}', 422),
        (b'{"document": "AZE1111111\\u0000x"}', 422),
        (b'{"document": "AZE1111111' + b"1" * 5000 + b'"}', 413),
    ],
)
async def test_a_bad_question_gets_one_clear_problem_that_repeats_none_of_it(
    http: Http, clock: Clock, body: bytes, status: int
) -> None:
    headers = {"Authorization": f"Bearer {token(clock)}", "Content-Type": "application/json"}
    response = await http.post("/v1/status", data=body, headers=headers)
    assert (response.status, response.content_type) == (status, "application/problem+json")
    said = await response.text()
    assert json.loads(said)["status"] == status
    assert "1111" not in said


async def test_another_method_or_path_is_a_problem(http: Http) -> None:
    response = await http.get("/v1/status")
    assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert (await http.get(f"/v1/status/{DOCUMENT}")).status == 404


# The store, and what is told about it


async def test_a_store_that_is_away_is_a_503(clock: Clock) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with serving(f"unix://{folder}/none.sock", clock) as http:
            response = await http.post(
                "/v1/status", json={"document": DOCUMENT}, headers={"Authorization": f"Bearer {token(clock)}"}
            )
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
            assert response.content_type == "application/problem+json"
            ready = await http.get("/readyz")
            assert (ready.status, (await ready.json())["ready"]) == (503, False)


async def test_a_store_that_hangs_is_a_503_for_every_waiting_question(clock: Clock) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/hangs.sock"
        async with await _silent_server(path), serving(f"unix://{path}", clock, patience_s=0.2) as http:
            headers = {"Authorization": f"Bearer {token(clock)}"}
            answers = await asyncio.wait_for(
                asyncio.gather(
                    *(http.post("/v1/status", json={"document": DOCUMENT}, headers=headers) for _ in range(40))
                ),
                5,
            )
            assert {answer.status for answer in answers} == {503}


async def _silent_server(path: str) -> asyncio.Server:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        writer.close()

    return await asyncio.start_unix_server(swallow, path)


async def test_connections_that_broke_unnoticed_cost_no_question(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS)
    for _ in range(3):
        assert len(await asked(http, clock)) == 1
        await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def test_a_record_that_is_no_record_is_a_500_and_logged_without_the_document(
    http: Http, redis: Client, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    partition, owner = ROUTE.of_document(DOCUMENT)
    await redis.execute_command("HSET", PARTITIONS[partition].day("20260101"), owner[:4], b"short")
    response = await http.post(
        "/v1/status", json={"document": DOCUMENT}, headers={"Authorization": f"Bearer {token(clock)}"}
    )
    assert response.status == 500
    assert "request failed" in caplog.text
    assert DOCUMENT not in caplog.text


async def test_a_key_of_another_type_is_a_fault_and_not_a_store_away(
    http: Http, redis: Client, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    partition, _ = ROUTE.of_document(DOCUMENT)
    await redis.execute_command("SET", PARTITIONS[partition].day("20260101"), "no hash")
    response = await http.post(
        "/v1/status", json={"document": DOCUMENT}, headers={"Authorization": f"Bearer {token(clock)}"}
    )
    assert response.status == 500
    assert "WRONGTYPE" in caplog.text


async def test_readiness_names_role_and_durability(http: Http) -> None:
    response = await http.get("/readyz")
    assert response.status == 200
    assert await response.json() == {
        "ready": True,
        "role": "api",
        "durability": "fsync",
        "replicas": 0,
        "pid": os.getpid(),
    }


def requests_counted(route: str, status: int) -> float:
    return REGISTRY.get_sample_value("icaze_api_requests_total", {"route": route, "status": str(status)}) or 0.0


async def test_answers_are_counted_by_route_and_status(http: Http, clock: Clock) -> None:
    before = [requests_counted("/v1/status", 200), requests_counted("/v1/status", 401), requests_counted("none", 404)]
    await asked(http, clock)
    await refusal(http, {})
    await http.get(f"/v1/status/{DOCUMENT}")
    after = [requests_counted("/v1/status", 200), requests_counted("/v1/status", 401), requests_counted("none", 404)]
    assert after == [count + 1 for count in before]


async def test_documents_appear_in_no_log_and_no_metric(
    http: Http, redis: Client, clock: Clock, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    await plant(redis, decided_ms=NOON_MS)
    headers = {"Authorization": f"Bearer {token(clock)}", "Content-Type": "application/json"}
    await asked(http, clock)
    for body in (f'{{"document": "{DOCUMENT} {DOCUMENT}9"}}', f'{{"{DOCUMENT}": 1}}', DOCUMENT):
        assert (await http.post("/v1/status", data=body, headers=headers)).status in (400, 422)
    await http.post(f"/v1/status/{DOCUMENT}?document={DOCUMENT}", headers=headers)
    metrics = await (await http.get("/metrics")).text()
    said = capfd.readouterr()
    for text in (caplog.text, said.out, said.err, metrics, generate_latest(REGISTRY).decode()):
        assert "1111111" not in text


# The role


def role_environment(data: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ICAZE_")}
    return kept | {"ICAZE_DATA_DIR": str(data)} | {f"ICAZE_{name.upper()}": value for name, value in settings.items()}


async def started(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import argparse, api.app; raise SystemExit(api.app.run(argparse.Namespace()))",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a routing key and a keyring."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "routing.key").write_bytes(b"k" * 32)
    keyring.make(tmp_path / "keys" / "personal.toml")
    return tmp_path


@pytest.mark.parametrize(("dev_issuer_on", "status"), [("true", 200), ("false", 401)])
async def test_the_role_serves_until_it_is_stopped(
    server: EmbeddedStore, redis: Client, data: Path, dev_issuer_on: str, status: int
) -> None:
    now_ms = time.time_ns() // 1_000_000
    await plant(redis, decided_ms=now_ms)
    issuer = dev_issuer.key_pair(Settings(data_dir=str(data)))
    issued = dev_issuer.issue(issuer, subject="a", scope="status", minutes=5, now_ms=now_ms)
    role = await started(
        role_environment(
            data,
            redis_url=server.url,
            durability="memory",
            partitions="4",
            api_port="0",
            dev_issuer=dev_issuer_on,
        )
    )
    assert role.stdout is not None
    line = (await role.stdout.readline()).decode()
    assert re.fullmatch(r"api  http://127\.0\.0\.1:[0-9]+\n", line)
    async with ClientSession() as session:
        headers = {"Authorization": f"Bearer {issued.token}"}
        answer = await session.post(f"{line.split()[1]}/v1/status", json={"document": DOCUMENT}, headers=headers)
        assert answer.status == status
        if status == 200:
            assert [shown["status"] for shown in (await answer.json())["permits"]] == ["active"]
    role.terminate()
    out, err = await role.communicate()
    assert (role.returncode, out) == (0, b"")
    assert (b"no issuer is configured" in err) is (status == 401)


async def test_the_role_says_in_one_line_why_it_cannot_start(data: Path) -> None:
    (data / "bad.toml").write_text("[documents]\nseries = []\nregimes = 5\n")
    for settings, why in (
        ({"redis_url": f"unix://{data}/none.sock"}, "store unix:"),
        ({"policy_file": str(data / "bad.toml")}, "policy: "),
        ({"routing_key_file": str(data / "none.key")}, "routing key "),
        ({"keyring_file": str(data / "none.toml")}, "keyring "),
    ):
        role = await started(role_environment(data, dev_issuer="true", **settings))
        out, err = await role.communicate()
        assert (role.returncode, out) == (1, b"")
        assert err.decode().startswith(f"icaze: {why}"), err
        assert err.count(b"\n") == 1
