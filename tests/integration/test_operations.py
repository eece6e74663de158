"""What every operation gets from its door: query, path, preconditions, answers, ids and traces."""

import json
import re

import pytest
from yarl import URL

from tests.integration.api_door import Http
from tests.integration.operations import SECRET, TOKEN, TRACE, Choice, Query, Seen, http, problem, seen

__all__ = ["http", "seen"]


# Query and path


async def test_query_parameters_become_their_types(http: Http, seen: Seen) -> None:
    assert (await http.get("/v1/notes?limit=7&state=new", headers=TOKEN)).status == 200
    assert seen.calls[0].query == Query(limit=7, state="new")
    await http.get("/v1/notes", headers=TOKEN)
    assert seen.calls[1].query == Query()


@pytest.mark.parametrize("query", ["limit=x", "limit=1&limit=2", "AZE1111111=1", "limit=1&state=a&state=a", "limit="])
async def test_a_bad_query_is_refused_without_its_words(http: Http, query: str) -> None:
    response = await http.get(f"/v1/notes?{query}", headers=TOKEN)
    assert (await problem(response))[0] == 400
    assert "1111" not in await response.text()


async def test_an_operation_without_parameters_takes_none(http: Http) -> None:
    response = await http.post(f"/v1/notes?document={SECRET}", json={"items": []}, headers=TOKEN)
    assert (await problem(response))[0] == 400


@pytest.mark.parametrize(
    "path", ["/v1/123456789/notes/23456789AB", "/v1/12345678901/notes/23456789AB", "/v1/1234567890/notes/0"]
)
async def test_a_path_that_names_nothing_possible_is_not_found(http: Http, path: str) -> None:
    assert (await problem(await http.put(path, headers={"If-Match": '"1"'})))[0] == 404


async def test_a_path_variable_reaches_the_handler(http: Http, seen: Seen) -> None:
    assert (await http.put("/v1/1234567890/notes/23456789AB", headers={"If-Match": '"1"'})).status == 200
    assert (seen.calls[0].path("tin"), seen.calls[0].path("code")) == ("1234567890", "23456789AB")
    assert seen.calls[0].caller.subject == ""


async def test_another_method_is_told_which_ones_there_are(http: Http) -> None:
    response = await http.patch("/v1/notes")
    assert (await problem(response))[0] == 405
    assert response.headers["Allow"] == "GET, POST"
    assert (await problem(await http.get("/nowhere")))[0] == 404


# Preconditions


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 428),
        ("", 428),
        ('"3.1"', 200),
        ('W/"3.1"', 412),
        ("*", 400),
        ("3.1", 400),
        ('"3.1", "3.2"', 400),
        ('"3"1"', 400),
    ],
)
async def test_an_edit_names_one_version(http: Http, seen: Seen, given: str | None, status: int) -> None:
    headers = {} if given is None else {"If-Match": given}
    assert (await http.put("/v1/1234567890/notes/23456789AB", headers=headers)).status == status
    assert [call.if_match for call in seen.calls] == (["3.1"] if status == 200 else [])


@pytest.mark.parametrize(
    ("given", "status"),
    [('"7.1"', 304), ('W/"7.1"', 304), ("*", 304), ('"1", W/"7.1"', 304), ('"7"', 200), ("7.1", 200), ("", 200)],
)
async def test_a_version_that_the_caller_has_is_not_sent_again(http: Http, given: str, status: int) -> None:
    response = await http.get("/v1/notes", headers={**TOKEN, "If-None-Match": given})
    assert (response.status, response.headers["ETag"]) == (status, '"7.1"')
    assert response.headers["Cache-Control"] == "no-store"
    assert await response.read() == (b"" if status == 304 else b'{"ok":true}')


@pytest.mark.parametrize(
    ("method", "given", "status"),
    [
        ("POST", None, 400),
        ("PUT", None, 200),
        ("POST", "k" * 64, 200),
        ("PUT", "k" * 65, 400),
        ("POST", "a b", 400),
        ("POST", "ключ", 400),
    ],
)
async def test_idempotency_keys_are_short_and_visible(
    http: Http, seen: Seen, method: str, given: str | None, status: int
) -> None:
    headers = TOKEN if given is None else {**TOKEN, "Idempotency-Key": given}
    assert (await http.request(method, "/v1/keys", headers=headers)).status == status
    assert [call.idempotency_key for call in seen.calls] == ([given] if status == 200 else [])


# Answers, faults, ids


async def test_an_answer_carries_what_its_handler_says(http: Http) -> None:
    response = await http.post("/v1/notes", json={"items": []}, headers=TOKEN)
    assert response.headers["Content-Type"] == "application/json"
    said = {name: response.headers[name] for name in ("ETag", "Location", "X-More", "Cache-Control")}
    assert said == {"ETag": '"7.1"', "Location": "/v1/here", "X-More": "1", "Cache-Control": "no-store"}
    gone = await http.delete("/v1/keys", headers=TOKEN)
    assert (gone.status, await gone.read(), "Content-Type" in gone.headers) == (204, b"", False)


@pytest.mark.parametrize(("kind", "status"), [("timeout", 503), ("broken", 503), ("bug", 500)])
async def test_a_store_that_is_away_is_a_503_and_a_bug_a_500(
    http: Http, kind: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    response = await http.post("/v1/fails", json={"items": [{"kind": kind}]}, headers=TOKEN)
    assert (await problem(response))[0] == status
    assert response.headers.get("Retry-After") == ("1" if status == 503 else None)
    assert ("request failed" in caplog.text) is (status == 500)


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/v1/notes", {}), ("/v1/%6Eotes", {}), ("/v1/notes", {"Expect": "100-continue"})],
)
async def test_past_the_router_and_through_it_an_answer_is_the_same(
    http: Http, seen: Seen, path: str, headers: dict[str, str]
) -> None:
    url = http.make_url("/").join(URL(path, encoded=True))
    response = await http.session.post(url, json={"items": []}, headers={**TOKEN, **headers})
    said = {name: response.headers[name] for name in ("ETag", "Location", "Content-Type", "Cache-Control")}
    assert (response.status, await response.json(), said["ETag"]) == (200, {"ok": True}, '"7.1"')
    assert [type(call.body) for call in seen.calls] == [Choice]
    assert (await problem(await http.session.patch(url)))[0] == 405


async def test_a_handlers_own_problem_is_the_answer(http: Http) -> None:
    assert (await problem(await http.delete("/v1/fails", headers=TOKEN)))[0] == 409


async def test_a_stream_is_left_to_its_handler(http: Http) -> None:
    response = await http.get("/v1/stream", headers={"X-Request-Id": "mine"})
    assert (response.status, await response.read(), response.headers["X-Request-Id"]) == (200, b"data", "mine")


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/fails", "/v1/nowhere"])
async def test_a_callers_request_id_is_echoed_on_every_answer(http: Http, path: str) -> None:
    response = await http.post(path, headers={"X-Request-Id": "a-B_1.2"})
    assert response.headers["X-Request-Id"] == "a-B_1.2"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\tb", "ß"])
async def test_an_unfit_request_id_is_replaced(http: Http, given: str) -> None:
    ids = {
        (await http.get("/v1/notes", headers={**TOKEN, "X-Request-Id": given})).headers["X-Request-Id"]
        for _ in range(3)
    }
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", made) for made in ids)


@pytest.mark.parametrize(
    ("given", "carried"),
    [
        (TRACE, TRACE),
        (f"cc{TRACE[2:]}-more", TRACE),
        (f"cc{TRACE[2:]}", TRACE),
        (f"{TRACE}-more", None),
        (f"cc{TRACE[2:]}more", None),
        (f"ff{TRACE[2:]}", None),
        (TRACE.upper(), None),
        (f"00-{'0' * 32}{TRACE[35:]}", None),
        (f"{TRACE[:36]}{'0' * 16}-01", None),
        ("", None),
        ("garbage", None),
        (None, None),
    ],
)
async def test_a_trace_is_carried_on_or_made(http: Http, seen: Seen, given: str | None, carried: str | None) -> None:
    for _ in range(2):
        await http.get("/v1/notes", headers=TOKEN if given is None else {**TOKEN, "traceparent": given})
    traces = {call.trace for call in seen.calls}
    if carried is None:
        assert len(traces) == 2
        assert all(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", made) for made in traces)
    else:
        assert traces == {carried}


async def test_the_description_and_its_page_are_open_and_strict(http: Http) -> None:
    described = await http.get("/openapi.json")
    assert described.content_type == "application/json"
    assert "/v1/{tin}/notes/{code}" in json.loads(await described.read())["paths"]
    page = await http.get("/docs")
    assert page.content_type == "text/html"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.findall(r"https?://", await page.text())
