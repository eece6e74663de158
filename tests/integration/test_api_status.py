"""`POST /v1/status` on the real server: what each record shows, who may ask, and what a bad question gets."""

import asyncio
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from joserfc.jwk import OKPKey
from prometheus_client import generate_latest

from api import dev_issuer
from api.app import build_app
from api.auth import Verify, no_issuer
from api.wires import Wires
from lua.keys import partition_keys, tags
from lua.records import static_struct, timing
from permits import codes
from permits import policy as policies
from permits.calendar import DAY_MS, HOUR_MS, day_name, day_start_ms, local_day, rfc3339
from permits.partition import Route
from permits.policy import Policy
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.settings import Settings
from runtime.telemetry import REGISTRY

Http = TestClient[Request, Application]

ROUTE: Final = Route(key=b"k" * 32, partitions=4)
PARTITIONS: Final = [partition_keys(tag) for tag in tags(4)]
KEY: Final = OKPKey.generate_key("Ed25519")
DOCUMENT: Final = "AZE1111111"
NOON_MS: Final = 1_767_254_400_000
"""2026-01-01 12:00 in Baku (08:00 UTC)."""
MINUTE_MS: Final = 60_000
DIGEST: Final = bytes.fromhex("a1b2c3d4e5f6")
ZONE: Final = "within the district and city"

TWO_REGIMES: Final = """
[documents]
series = [{ name = "ID card", prefix = "AZE", digits = [7, 8] }]

[[regimes]]
name = "first"
from = 2020-01-01T00:00:00
purposes = [{ code = 3, names = { az = "a", ru = "b", en = "c" }, honoured_days = 7 }]

[[regimes]]
name = "second"
from = 2026-01-01T00:00:00
purposes = [{ code = 3, names = { az = "a", ru = "b", en = "c" }, honoured_days = 1 }]
"""


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_ms = NOON_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


def token(clock: Clock, scope: str = "status") -> str:
    return dev_issuer.issue(KEY, subject="test", scope=scope, minutes=60, now_ms=clock.now_ms).token


@asynccontextmanager
async def serving(
    url: str, clock: Clock, *, verify: Verify | None = None, policy: Policy | None = None, patience_s: float = 2.0
) -> AsyncGenerator[Http]:
    wires = Wires(url, patience_s=patience_s)
    app = build_app(
        wires=wires,
        partitions=PARTITIONS,
        route=ROUTE,
        policy=policy or policies.load(),
        verify=verify or dev_issuer.verifier(KEY, clock),
        durability_level="fsync",
        now_ms=clock,
    )
    door = TestServer(app)
    await door.start_server(access_log=None)  # as the role's own door
    async with TestClient(door) as http:
        yield http
    await wires.close()


@pytest.fixture
async def http(server: EmbeddedStore, redis: Client, clock: Clock) -> AsyncIterator[Http]:
    assert redis
    async with serving(server.url, clock) as client:
        yield client


async def plant(
    redis: Client,
    *,
    letter: str = "a",
    purpose: int = 2,
    minutes: int = 180,
    decided_ms: int,
    arrived_ms: int | None = None,
    days_to_arrival: int = 0,
    document: str = DOCUMENT,
    digest: bytes = DIGEST,
    owner_tag: bytes | None = None,
) -> None:
    """Append one decision to its owner's record, as the deciding function writes it."""
    partition, owner = ROUTE.of_document(document)
    arrived_s = (decided_ms if arrived_ms is None else arrived_ms) // 1000
    word = timing(arrived_s=arrived_s, decided_s=decided_ms // 1000, minutes=minutes, days_to_arrival=days_to_arrival)
    entry = static_struct(owner_tag or owner[4:], digest, arrived_s, word, purpose) + letter.encode()
    key = PARTITIONS[partition].day(day_name(local_day(arrived_s * 1000)))
    stored: bytes | None = await redis.execute_command("HGET", key, owner[:4])
    await redis.execute_command("HSET", key, owner[:4], (stored or b"") + entry)


async def asked(http: Http, clock: Clock, document: str = DOCUMENT) -> list[dict[str, Any]]:
    response = await http.post(
        "/v1/status", json={"document": document}, headers={"Authorization": f"Bearer {token(clock)}"}
    )
    assert response.status == 200, await response.text()
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    body = await response.json()
    assert list(body) == ["permits"]
    return body["permits"]


async def test_an_active_permit_is_shown_whole(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, purpose=1, decided_ms=NOON_MS - HOUR_MS)
    partition, owner = ROUTE.of_document(DOCUMENT)
    assert await asked(http, clock) == [
        {
            "code": codes.encode(partition, owner, DIGEST),
            "kind": "sms",
            "purpose": 1,
            "status": "active",
            "valid_from": "2026-01-01T07:00:00.000Z",
            "valid_until": "2026-01-01T10:00:00.000Z",
            "zone": ZONE,
            "reason": None,
        }
    ]


async def test_a_refusal_is_shown_with_its_reason(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, letter="q", decided_ms=NOON_MS - HOUR_MS)
    assert await asked(http, clock) == [
        {
            "code": None,
            "kind": "sms",
            "purpose": 2,
            "status": "refused",
            "valid_from": None,
            "valid_until": None,
            "zone": None,
            "reason": "quota",
        }
    ]


async def test_a_refusal_without_a_readable_code_has_no_purpose(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, letter="m", purpose=0, minutes=0, decided_ms=NOON_MS)
    (shown,) = await asked(http, clock)
    assert (shown["purpose"], shown["reason"]) == (None, "malformed")


@pytest.mark.parametrize(("past_ms", "status"), [(-1, "active"), (0, "expired"), (DAY_MS, "expired")])
async def test_a_permit_ends_at_its_last_moment(
    http: Http, redis: Client, clock: Clock, past_ms: int, status: str
) -> None:
    await plant(redis, decided_ms=NOON_MS - 3 * HOUR_MS)
    clock.now_ms = NOON_MS + past_ms
    assert [shown["status"] for shown in await asked(http, clock)] == [status]


async def test_validity_runs_from_the_decision_and_not_from_arrival(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS, arrived_ms=NOON_MS - 5 * HOUR_MS)
    (shown,) = await asked(http, clock)
    assert (shown["status"], shown["valid_from"]) == ("active", rfc3339(NOON_MS))
    assert shown["valid_until"] == rfc3339(NOON_MS + 3 * HOUR_MS)


async def test_a_permit_of_half_past_eleven_is_valid_after_midnight(http: Http, redis: Client, clock: Clock) -> None:
    midnight_ms = day_start_ms(local_day(NOON_MS))
    await plant(redis, purpose=1, decided_ms=midnight_ms - HOUR_MS // 2)
    clock.now_ms = midnight_ms + HOUR_MS // 2
    (shown,) = await asked(http, clock)
    assert (shown["status"], shown["purpose"]) == ("active", 1)
    assert shown["valid_until"] == rfc3339(midnight_ms + HOUR_MS * 5 // 2)


@pytest.mark.parametrize(("midnights", "status"), [(1, "active"), (2, "active"), (3, "expired")])
async def test_a_permit_without_end_is_honoured_for_the_days_that_policy_sets(
    http: Http, redis: Client, clock: Clock, midnights: int, status: str
) -> None:
    await plant(redis, purpose=3, minutes=0, decided_ms=NOON_MS)
    clock.now_ms = day_start_ms(local_day(NOON_MS) + midnights)
    (shown,) = await asked(http, clock)
    assert (shown["status"], shown["valid_from"], shown["valid_until"]) == (status, rfc3339(NOON_MS), None)
    clock.now_ms -= 1
    assert (await asked(http, clock))[0]["status"] == "active"


async def test_days_of_a_permit_without_end_count_from_a_late_decision(http: Http, redis: Client, clock: Clock) -> None:
    midnight_ms = day_start_ms(local_day(NOON_MS))
    await plant(redis, purpose=3, minutes=0, arrived_ms=midnight_ms - 1000, decided_ms=midnight_ms + 1000)
    clock.now_ms = midnight_ms + 3 * DAY_MS - 1
    assert (await asked(http, clock))[0]["status"] == "active"


@pytest.mark.parametrize(("midnights", "status"), [(1, "active"), (2, "expired")])
async def test_a_permit_of_a_purpose_that_policy_forgot_is_honoured_for_two_days(
    http: Http, redis: Client, clock: Clock, midnights: int, status: str
) -> None:
    await plant(redis, purpose=9, minutes=0, decided_ms=NOON_MS)
    clock.now_ms = day_start_ms(local_day(NOON_MS) + midnights)
    (shown,) = await asked(http, clock)
    assert (shown["status"], shown["zone"]) == (status, None)


async def test_the_regime_of_the_day_asked_counts_and_not_of_arrival(
    server: EmbeddedStore, redis: Client, clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(TWO_REGIMES)
    midnight_ms = day_start_ms(local_day(NOON_MS))
    await plant(redis, purpose=3, minutes=0, decided_ms=midnight_ms + 1000, days_to_arrival=1)
    await plant(redis, purpose=3, minutes=0, decided_ms=midnight_ms + 2000, days_to_arrival=0)
    await plant(redis, purpose=3, minutes=0, decided_ms=midnight_ms - 1000, days_to_arrival=-1)
    clock.now_ms = midnight_ms + DAY_MS
    async with serving(server.url, clock, policy=policies.load(file)) as http:
        assert [shown["status"] for shown in await asked(http, clock)] == ["expired", "active", "expired"]


async def test_decisions_come_newest_first(http: Http, redis: Client, clock: Clock) -> None:
    minutes_ago = [3000, 100, 90, 90, 5]
    for number, minutes in enumerate(minutes_ago):
        await plant(redis, decided_ms=NOON_MS - minutes * MINUTE_MS, digest=bytes([number]) * 6)
    # Arrived yesterday, decided last of all.
    await plant(redis, decided_ms=NOON_MS, arrived_ms=NOON_MS - DAY_MS, digest=b"\x05" * 6)
    partition, owner = ROUTE.of_document(DOCUMENT)
    expected = [codes.encode(partition, owner, bytes([number]) * 6) for number in (5, 4, 3, 2, 1, 0)]
    assert [shown["code"] for shown in await asked(http, clock)] == expected


async def test_records_show_as_far_back_as_they_are_kept(http: Http, redis: Client, clock: Clock) -> None:
    keep_days = policies.load().keep_days
    for days in range(keep_days + 2):
        await plant(redis, decided_ms=NOON_MS - days * DAY_MS, digest=bytes([days]) * 6)
    assert len(await asked(http, clock)) == keep_days + 1


async def test_another_document_in_the_same_field_is_not_shown(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS, purpose=1)
    await plant(redis, decided_ms=NOON_MS, purpose=2, owner_tag=b"else")
    assert [shown["purpose"] for shown in await asked(http, clock)] == [1]


async def test_a_document_is_found_however_it_is_written(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS)
    for text in ("aze 111-11-11", "AZE №1111111", "АЗЕ 1111111"):
        assert len(await asked(http, clock, text)) == 1


async def test_an_unknown_document_has_an_empty_list(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS)
    assert await asked(http, clock, "AZE7654321") == []


async def test_an_unknown_document_costs_the_store_the_same_work(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS)
    work: list[int] = []
    for document in (DOCUMENT, "AZE7654321"):
        await redis.execute_command("CONFIG", "RESETSTAT")
        await asked(http, clock, document)
        stats: dict[str, Any] = await redis.execute_command("INFO", "commandstats")
        work.append(stats["cmdstat_hget"]["calls"])
    assert work == [policies.load().keep_days + 1] * 2


async def test_many_questions_at_once_are_all_answered(http: Http, redis: Client, clock: Clock) -> None:
    documents = [f"AZE{number:07d}" for number in range(100)]
    for number, document in enumerate(documents):
        await plant(redis, decided_ms=NOON_MS, purpose=number % 3 + 1, document=document)
    answers = await asyncio.gather(*(asked(http, clock, document) for document in documents))
    assert [[shown["purpose"] for shown in answer] for answer in answers] == [[n % 3 + 1] for n in range(100)]


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
        (b'["AZE1111111"]', 400),
        (b'"AZE1111111"', 400),
        (b"null", 400),
        (b"{}", 400),
        (b'{"document": null}', 400),
        (b'{"document": 1111111}', 400),
        (b'{"document": ["AZE1111111"]}', 400),
        (b'{"document": "\\ud800"}', 400),
        (b'{"document": "AZE1111111", "zone": "Baku"}', 400),
        (b'{"AZE1111111": "document"}', 400),
        (b'{"fin": "AZE1111"}', 400),
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
    response = await http.post("/v1/status", data=body, headers={"Authorization": f"Bearer {token(clock)}"})
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


async def test_a_key_of_another_type_is_a_fault_and_not_a_store_away(http: Http, redis: Client, clock: Clock) -> None:
    partition, _ = ROUTE.of_document(DOCUMENT)
    await redis.execute_command("SET", PARTITIONS[partition].day("20260101"), "no hash")
    response = await http.post(
        "/v1/status", json={"document": DOCUMENT}, headers={"Authorization": f"Bearer {token(clock)}"}
    )
    assert response.status == 500


async def test_readiness_names_role_and_durability(http: Http) -> None:
    response = await http.get("/readyz")
    assert response.status == 200
    assert await response.json() == {"ready": True, "role": "api", "durability": "fsync"}


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
    headers = {"Authorization": f"Bearer {token(clock)}"}
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
    """A data folder with a routing key."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "routing.key").write_bytes(b"k" * 32)
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
        ({"redis_url": f"unix://{data}/none.sock"}, "api: the store does not serve"),
        ({"policy_file": str(data / "bad.toml")}, "policy: "),
        ({"routing_key_file": str(data / "none.key")}, "routing key "),
    ):
        role = await started(role_environment(data, dev_issuer="true", **settings))
        out, err = await role.communicate()
        assert (role.returncode, out) == (1, b"")
        assert err.decode().startswith(f"icaze: {why}"), err
        assert err.count(b"\n") == 1
