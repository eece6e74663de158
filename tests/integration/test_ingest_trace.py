"""By which a request to ingest is followed: its id in every answer, its traceparent with every SMS that it brought."""

from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession

from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.ingest_door import SMS, ingesting, post, settings_of, stored

TRACE = f"00-{'0af7651916cd43dd8448eb211c80319c'}-{'b7ad6b7169203331'}-01"


def request_id(headers: dict[str, str]) -> str:
    """The client spells the header's name its own way."""
    return {name.lower(): value for name, value in headers.items()}["x-request-id"]


@pytest.fixture
async def http(
    redis: Client, server: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[ClientSession]:
    async with ingesting(monkeypatch, settings_of(tmp_path, server.url)) as session:
        yield session


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (TRACE, TRACE),
        ("cc" + TRACE[2:] + "-what-a-later-version-adds", TRACE),
        ("cc" + TRACE[2:], TRACE),
    ],
)
async def test_a_valid_traceparent_stands_with_every_sms_of_the_request(
    given: str, kept: str, http: ClientSession, redis: Client
) -> None:
    status, _, _ = await post(http, [SMS, {**SMS, "id": "agg-43"}], traceparent=given)
    assert status == 202
    assert [sms.trace for _, sms in await stored(redis)] == [kept, kept]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "salam",
        TRACE + "-more",
        TRACE + "0",
        "ff" + TRACE[2:],
        TRACE.upper(),
        TRACE.replace("b7ad6b7169203331", "0" * 16),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        TRACE[:-1],
        f'{TRACE[:-1]}"',
    ],
)
async def test_what_is_no_traceparent_is_left_out(given: str, http: ClientSession, redis: Client) -> None:
    assert (await post(http, SMS, traceparent=given))[0] == 202
    [(_, sms)] = await stored(redis)
    assert sms.trace is msgspec.UNSET


async def test_the_callers_request_id_is_echoed_on_every_answer(http: ClientSession) -> None:
    for body, status in ((SMS, 202), (b"{", 400)):
        answered, _, headers = await post(http, body, **{"X-Request-Id": "a.Request_1-2"})
        assert (answered, request_id(headers)) == (status, "a.Request_1-2")
    async with http.get("/nowhere", headers={"X-Request-Id": "lost"}) as answer:
        assert (answer.status, answer.headers["X-Request-Id"]) == (404, "lost")


@pytest.mark.parametrize("given", [None, "", "x" * 65, "with space", 'quo"te', "ə"])
async def test_an_answer_without_a_usable_id_of_the_callers_has_a_new_one(
    given: str | None, http: ClientSession
) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    ids = {request_id((await post(http, SMS, **headers))[2]) for _ in range(2)}
    assert len(ids) == 2
    assert all(len(one) == 32 and one.isalnum() for one in ids)
