"""Ingest as an aggregator sees it: `POST /v1/sms` on the real server, and what then stands in the streams."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from permits.identified import read_sms
from permits.messages import InboundSms
from permits.sms import read
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.ingest_door import KEYS, PARTITIONS, ROUTE, SMS, ingesting, post, settings_of, stored

SECRETS = {"new": b"n" * 24, "old": b"o" * 24}


@pytest.fixture
async def http(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ClientSession]:
    async with ingesting(monkeypatch, settings_of(tmp_path, server.url)) as session:
        yield session


async def refused(http: ClientSession, body: Any, status: int, **headers: str) -> str:
    """The detail of a problem, after a look at its form."""
    got, problem, answered = await post(http, body, **headers)
    assert got == status, problem
    assert answered["Content-Type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["title"]
    return problem.get("detail", "")


async def test_one_sms_is_stored_with_all_its_fields_and_answered_exactly(http: ClientSession, redis: Client) -> None:
    before_ms = time.time_ns() // 1_000_000
    status, body, headers = await post(http, {**SMS, "received_at": "2026-01-01T12:00:00+04:00"})
    assert (status, headers["Content-Type"]) == (202, "application/json")
    assert body == {"accepted": 1, "ids": ["agg-42"], "rejected": []}
    [(partition, sms)] = await stored(redis)
    assert partition == ROUTE.of_document("AZE1111111")[0]
    assert before_ms <= sms.arrived_ms <= time.time_ns() // 1_000_000
    assert sms == InboundSms(
        id="agg-42",
        source="dev",
        sender="+994501234567",
        to="8103",
        text="2 AZE 1111111",
        arrived_ms=sms.arrived_ms,
        received_ms=1_767_254_400_000,
    )


async def test_every_sms_lands_in_its_owner_s_partition(http: ClientSession, redis: Client) -> None:
    texts = [f"2 AZE {n}" for n in range(1000000, 1000040)] + ["salam"] * 40
    items = [{"from": f"+9945012345{n:02d}", "text": text} for n, text in enumerate(texts)]
    assert (await post(http, items))[0] == 202
    found = await stored(redis)
    assert len(found) == 80
    assert {partition for partition, _ in found} == set(range(PARTITIONS))
    for partition, sms in found:
        assert partition == ROUTE.owner(read(sms.text).document, sms.sender)[0]


async def test_rejected_items_stand_between_the_accepted_ones(http: ClientSession, redis: Client) -> None:
    items: list[Any] = [{**SMS, "id": f"a{n}"} for n in range(6)]
    items[1] = {**SMS, "from": "8103"}
    items[3] = "salam"
    items[4] = {**SMS, "from": "BANK"}
    status, body, _ = await post(http, items)
    assert status == 202
    assert (body["accepted"], body["ids"]) == (3, ["a0", "a2", "a5"])
    assert [one["index"] for one in body["rejected"]] == [1, 3, 4]
    assert all(one["error"] for one in body["rejected"])
    assert [sms.id for _, sms in await stored(redis)] == ["a0", "a2", "a5"]  # one document: one partition, in order


@pytest.mark.parametrize(
    "media_type", ["application/x-ndjson", "application/jsonl", "application/x-ndjson; charset=utf-8"]
)
async def test_lines_are_taken_as_ndjson(media_type: str, http: ClientSession, redis: Client) -> None:
    lines = (
        b'{"id":"1","from":"994501234567","text":"salam"}\n\nnot JSON\r\n{"id":"2","from":"994501234567","text":"x"}\n'
    )
    status, body, _ = await post(http, lines, Content_Type=media_type)
    assert (status, body["ids"], [one["index"] for one in body["rejected"]]) == (202, ["1", "2"], [1])
    assert [sms.sender for _, sms in await stored(redis)] == ["+994501234567"] * 2


async def test_sms_without_an_id_get_one_each(http: ClientSession, redis: Client) -> None:
    item = {"from": "+994501234567", "text": "salam"}
    first, again = (await post(http, [item, item]))[1]["ids"], (await post(http, item))[1]["ids"]
    assert len({*first, *again}) == 3
    assert all(sms.by_text for _, sms in await stored(redis))


async def test_a_thousand_sms_are_stored_in_one_request_in_order(http: ClientSession, redis: Client) -> None:
    ids = [f"a{n}" for n in range(1000)]
    status, body, _ = await post(http, [{**SMS, "id": one} for one in ids])
    assert (status, body["accepted"]) == (202, 1000)
    assert [sms.id for _, sms in await stored(redis)] == ids


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "no SMS"),
        ([SMS] * 1001, "1001 SMS in one request; at most 1000"),
        (b"", "truncated"),
        (b"not JSON", "malformed"),
        (b"[1,]", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "malformed"),
        ({**SMS, "from": "8103"}, "from: not a phone number"),
        ({**SMS, "from": "BANK"}, "from: not a phone number"),
        ({**SMS, "received_at": "2026-01-01T08:00:00"}, "with a timezone component"),
        ({**SMS, "extra": 1}, "unknown field `extra`"),
        ({**SMS, "text": 5}, "Expected `str`"),
        ({**SMS, "text": "x" * 65_536}, "length <= 4000"),
        (b'{"from":"+994501234567","text":"\\ud800"}', "truncated"),
        (b'{"from":"+994501234567","text":"\\ud800 and more"}', "surrogate"),
        (b'{"from":"+994501234567","text":"\xff"}', "not UTF-8"),
        (b'{"from":"+994501234567","text":"x","id":"\\udfff"}', "surrogate"),
    ],
)
async def test_a_body_without_one_usable_sms_is_refused_and_nothing_stored(
    body: Any, said: str, http: ClientSession, redis: Client
) -> None:
    assert said in await refused(http, body, 400)
    assert await stored(redis) == []


async def test_a_nul_in_a_text_is_stored_as_it_is(http: ClientSession, redis: Client) -> None:
    assert (await post(http, {**SMS, "text": "2 AZE\0 1111111"}))[0] == 202
    assert [sms.text for _, sms in await stored(redis)] == ["2 AZE\0 1111111"]


async def test_a_huge_body_is_refused_as_too_large(http: ClientSession, redis: Client) -> None:
    await refused(http, b" " * ((1 << 20) + 1), 413)
    bomb = gzip.compress(b" " * (1 << 24))
    await refused(http, bomb, 413, Content_Encoding="gzip")
    assert await stored(redis) == []


@pytest.mark.parametrize(("size", "status"), [(1024, b"400"), (1025, b"413")])
async def test_a_body_that_comes_with_its_headers_has_the_same_limit(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, status: bytes
) -> None:
    async with ingesting(monkeypatch, settings_of(tmp_path, server.url, max_body_bytes=1024)) as http:
        async with http.get("/healthz") as answer:
            port = answer.url.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        writer.write(head.encode() + b" " * size)
        assert (await reader.readline()).split()[1] == status
        writer.close()
    assert await stored(redis) == []


async def test_a_compressed_body_is_read(http: ClientSession, redis: Client) -> None:
    item = b'{"from":"+994501234567","text":"salam"}'
    assert (await post(http, gzip.compress(item), Content_Encoding="gzip"))[0] == 202
    assert len(await stored(redis)) == 1


async def test_a_body_that_is_not_compressed_as_it_says_is_refused(http: ClientSession) -> None:
    await refused(http, b"not gzip", 400, Content_Encoding="gzip")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/xml"])
async def test_another_media_type_is_refused(media_type: str, http: ClientSession) -> None:
    assert "application/json" in await refused(http, SMS, 415, Content_Type=media_type)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_another_method_is_refused_with_what_is_allowed(method: str, http: ClientSession) -> None:
    async with http.request(method, "/v1/sms") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert answer.content_type == "application/problem+json"


async def test_another_path_is_a_problem_too(http: ClientSession) -> None:
    async with http.post("/v2/sms") as answer:
        assert (answer.status, answer.content_type) == (404, "application/problem+json")


async def items_rejected(http: ClientSession) -> float:
    async with http.get("/metrics") as answer:
        found = re.search(r'icaze_sms_rejected_total\{reason="item"\} (\S+)', await answer.text())
    return float(found[1]) if found else 0.0


async def test_health_readiness_and_metrics_are_served(http: ClientSession) -> None:
    await post(http, SMS)
    await post(http, b"")
    before = await items_rejected(http)
    await post(http, [SMS, {"from": "BANK"}, 7])
    assert await items_rejected(http) == before + 2
    async with http.get("/healthz") as answer:
        assert answer.status == 200
    async with http.get("/readyz") as answer:
        facts = await answer.json()
        assert (answer.status, facts["ready"], facts["role"], facts["durability"]) == (200, True, "ingest", "memory")
    async with http.get("/metrics") as answer:
        text = await answer.text()
    assert 'icaze_sms_accepted_total{source="dev"}' in text
    assert 'icaze_sms_rejected_total{reason="item"}' in text
    assert "1111111" not in text
    assert "994501234567" not in text


async def test_header_bytes_that_are_no_ascii_are_no_fault_of_ours(http: ClientSession, redis: Client) -> None:
    url = str(http._base_url)  # pyright: ignore[reportPrivateUsage]
    host, port = url.rstrip("/").removeprefix("http://").split(":")
    body = b'{"from":"+994501234567","text":"salam"}'
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nwebhook-id: \xff\xfe\r\n"
        b"X-Odd: \xc3\x28\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert len(await stored(redis)) == 1


# --- signed


@pytest.fixture
async def signed(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ClientSession]:
    file = tmp_path / "aggregators.toml"
    texts = ", ".join(f'"whsec_{base64.b64encode(secret).decode()}"' for secret in SECRETS.values())
    file.write_text(f'[[aggregator]]\nname = "azercell"\nsecrets = [{texts}]\n')
    async with ingesting(monkeypatch, settings_of(tmp_path, server.url, aggregators_file=str(file))) as session:
        yield session


def signature(body: bytes, *, signer: str = "new", webhook_id: str = "msg-1", age_s: int = 0) -> dict[str, str]:
    timestamp = str(int(time.time()) - age_s)
    digest = hmac.digest(SECRETS[signer], f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook_id": webhook_id,
        "webhook_timestamp": timestamp,
        "webhook_signature": "v1," + base64.b64encode(digest).decode(),
    }


BODY = (
    b'[{"from":"+994501234567","text":"2 AZE 1111111"},{"from":"x","text":""},{"from":"+994501234567","text":"salam"}]'
)


@pytest.mark.parametrize("secret", ["new", "old"])
async def test_a_signed_request_is_its_aggregator_s(secret: str, signed: ClientSession, redis: Client) -> None:
    status, body, _ = await post(signed, BODY, **signature(BODY, signer=secret))
    assert (status, body["ids"]) == (202, ["msg-1:0", "msg-1:2"])
    assert {(sms.source, sms.by_text) for _, sms in await stored(redis)} == {("azercell", False)}


async def test_a_repeated_request_gives_the_same_identities(signed: ClientSession, redis: Client) -> None:
    first = await post(signed, BODY, **signature(BODY))
    again = await post(signed, BODY, **signature(BODY, age_s=-2))
    assert first[1]["ids"] == again[1]["ids"]
    found = [sms for _, sms in await stored(redis)]
    identities = {read_sms(sms, ROUTE).digest for sms in found}
    assert (len(found), len(identities)) == (4, 2)


async def test_an_own_id_goes_before_the_request_s(signed: ClientSession) -> None:
    body = b'{"id":"agg-1","from":"+994501234567","text":"salam"}'
    assert (await post(signed, body, **signature(body)))[1]["ids"] == ["agg-1"]


async def test_several_signatures_in_the_header_are_tried(signed: ClientSession) -> None:
    headers = signature(BODY)
    headers["webhook_signature"] = f"v1,AAAA v1a,xyz {headers['webhook_signature']}"
    assert (await post(signed, BODY, **headers))[0] == 202


async def test_what_is_not_signed_or_not_rightly_is_refused(signed: ClientSession, redis: Client) -> None:
    await refused(signed, BODY, 401)
    await refused(signed, BODY, 401, **signature(BODY.replace(b"2 AZE", b"3 AZE")))
    await refused(signed, BODY, 401, **(signature(BODY) | {"webhook_id": "msg-2"}))
    await refused(signed, BODY, 401, **signature(BODY, age_s=301))
    await refused(signed, BODY, 401, **signature(BODY, age_s=-310))
    for timestamp in ("NaN", "-1", "1e9", "9" * 400):
        await refused(signed, BODY, 401, **(signature(BODY) | {"webhook_timestamp": timestamp}))
    for wrong in ("v1,", "v1,é", "v2,AAAA", "\u0259"):
        await refused(signed, BODY, 401, **(signature(BODY) | {"webhook_signature": wrong}))
    await refused(signed, BODY, 401, **(signature(BODY) | {"webhook_id": "ə" * 8}))
    assert await stored(redis) == []


async def test_nothing_of_an_unsigned_body_is_read(signed: ClientSession) -> None:
    await refused(signed, b"[" * 1000, 401)


async def test_a_key_that_is_no_stream_refuses_its_own_requests_only(http: ClientSession, redis: Client) -> None:
    home = ROUTE.of_document("AZE1111111")[0]
    await redis.execute_command("SET", KEYS[home].inbound, "no stream")
    other = next(n for n in range(1000000, 1000100) if ROUTE.of_document(f"AZE{n}")[0] != home)
    answers = await asyncio.gather(*(post(http, {**SMS, "text": f"2 AZE {n}"}) for n in (1111111, other)))
    assert [status for status, _, _ in answers] == [503, 202]
    assert answers[0][2]["Retry-After"] == "5"
