"""A sheet that comes in: stored whole and sealed or not at all, once, and its report for those who may see it."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest

from api import imports
from api.sheets import CSV, NDJSON, XLSX
from permits.imports import CHUNK_ROWS, KEPT_S
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.import_floor import HOME, ImportFloor, row, serving
from tests.integration.organisation_door import OTHER_TIN, ROUTE, TIN, House
from tests.unit.bombs import SPARSE

PATH: Final = f"/v1/organisations/{TIN}/permits"
SECRETS: Final = (b"1AA0001", b"AZE1000001", b"Employee 1")


@pytest.fixture
async def house(redis: Client, server: EmbeddedStore) -> AsyncIterator[House]:
    async with serving(server.url, redis) as house:
        await house.register()
        yield house


@pytest.fixture
def floor(redis: Client, server: EmbeddedStore) -> ImportFloor:
    return ImportFloor(redis, server.url)


def ndjson(*numbers: int, **fields: Any) -> bytes:
    return b"\n".join(msgspec.json.encode(row(number, **fields)) for number in numbers)


async def upload(house: House, data: bytes, *, media: str = NDJSON, key: str = "upload", by: str = "seal") -> Any:
    return await house.ask("POST", PATH, by=by, key=key, data=data, headers={"Content-Type": media})


async def uploaded(house: House, data: bytes, **more: Any) -> dict[str, Any]:
    answer = await upload(house, data, **more)
    assert answer.status == 202, await answer.text()
    body = await answer.json()
    assert answer.headers["Location"] == f"/v1/organisations/{TIN}/imports/{body['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    return body


async def everything(redis: Client) -> dict[bytes, bytes]:
    """Each key with its content as a dump; dumps may be packed, so hashes and streams are read as well."""
    found: dict[bytes, bytes] = {}
    for key in await redis.execute_command("KEYS", "*"):
        kind = await redis.execute_command("TYPE", key)
        reads = {b"hash": ("HGETALL", key), b"stream": ("XRANGE", key, "-", "+"), b"zset": ("ZRANGE", key, 0, -1)}
        found[key] = repr(await redis.execute_command(*reads.get(kind, ("GET", key)))).encode()
    return found


async def test_a_sheet_is_taken_in_and_goes_its_way(house: House, floor: ImportFloor) -> None:
    body = await uploaded(house, ndjson(1, 2, 3))
    nothing = {"done": 0, "created": 0, "unchanged": 0, "reactivated": 0, "conflict": 0, "refused": 0, "failed": 0}
    assert body == {**nothing, "id": body["id"], "state": "queued", "rows": 3, "started_at": None, "finished_at": None}
    await floor.work(floor.loop())
    answer = await house.ask("GET", f"/v1/organisations/{TIN}/imports/{body['id']}")
    shown = await answer.json()
    assert (shown["state"], shown["done"], shown["created"]) == ("done", 3, 3)
    assert shown["started_at"] == shown["finished_at"] == "2026-01-01T08:00:01.000Z"
    (permit, *_) = await floor.permits()
    assert (permit.permit.tin, permit.permit.employer) == (TIN, "Günəş MMC")
    assert (permit.permit.acts[0].actor, permit.permit.acts[0].method) == ("seal", "asan_imza")


@pytest.mark.parametrize("media", [NDJSON, CSV, "application/json"])
async def test_every_form_of_sheet_comes_through_the_door(house: House, floor: ImportFloor, media: str) -> None:
    fields = msgspec.to_builtins(row(1))
    table = ",".join(fields) + "\n" + ",".join(str(value or "") for value in fields.values())
    data = {NDJSON: ndjson(1), CSV: table.encode(), "application/json": b"[" + ndjson(1) + b"]"}[media]
    body = await uploaded(house, data, media=media)
    await floor.work(floor.loop())
    assert await floor.results(body["id"]) == ["created"]


async def test_rows_rest_sealed_and_not_for_ever(house: House, redis: Client) -> None:
    body = await uploaded(house, ndjson(*range(CHUNK_ROWS + 1)))
    stored = await everything(redis)
    assert not any(secret in content for content in stored.values() for secret in SECRETS)
    assert 0 < await redis.execute_command("TTL", HOME.bulk(body["id"])) <= KEPT_S
    assert await redis.execute_command("XLEN", HOME.imports) == 1


async def test_an_upload_sent_again_is_the_same_import(house: House, floor: ImportFloor) -> None:
    data = ndjson(1, 2)
    answers = await asyncio.gather(*(upload(house, data) for _ in range(4)))
    assert [answer.status for answer in answers] == [202] * 4
    first = await answers[0].json()
    await floor.work(floor.loop())
    again = await uploaded(house, data)
    assert (again["id"], again["state"], again["created"]) == (first["id"], "done", 2)
    assert await floor.waiting() == 0
    assert set((await floor.creations()).values()) == {1}


async def test_another_sheet_under_the_same_key_is_refused(house: House) -> None:
    first = await uploaded(house, ndjson(1))
    answer = await upload(house, ndjson(2))
    assert answer.status == 422
    assert (await answer.json())["title"] == "Idempotency key reused"
    assert (await uploaded(house, ndjson(2), key="another"))["id"] != first["id"]


async def test_of_two_sheets_at_once_under_one_key_one_is_taken_and_the_other_refused(
    house: House, floor: ImportFloor
) -> None:
    answers = await asyncio.gather(upload(house, ndjson(1)), upload(house, ndjson(2)))
    assert sorted(answer.status for answer in answers) == [202, 422]
    await floor.work(floor.loop())
    assert len(await floor.creations()) == 1


async def test_a_sheet_that_cannot_be_used_leaves_nothing_behind(house: House, redis: Client) -> None:
    before = await everything(redis)
    for media, data, status, word in (
        (CSV, b"fin,salary\nx,y", 422, "column B"),
        (XLSX, SPARSE, 422, "memory"),
        (XLSX, b"1AA0001", 422, "not an XLSX"),
        ("application/json", b"[]", 422, "no row"),
    ):
        answer = await upload(house, data, media=media)
        assert answer.status == status, await answer.text()
        assert word in (await answer.json())["detail"]
    assert await everything(redis) == before
    assert (await upload(house, ndjson(1))).status == 202  # the key is still free


async def test_a_broken_store_leaves_an_upload_that_can_be_repeated(
    house: House, floor: ImportFloor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after any of the writes, and the caller cannot know how far it came."""
    data, writes = ndjson(*range(3 * CHUNK_ROWS)), 0
    real = house.wires.write
    for limit in range(10):
        left = limit

        async def write(*commands: Any) -> list[Any]:
            nonlocal left
            left -= 1
            replies = await real(*commands)
            if left < 0:
                raise ConnectionError
            return replies

        monkeypatch.setattr(house.wires, "write", write)
        answer = await upload(house, data)
        if answer.status == 202:
            break
        assert answer.status == 503
        writes += 1
    assert writes == 1 + 2 + 1  # the claim, two writes of chunks, the head
    monkeypatch.undo()
    await floor.work(floor.loop())
    assert await floor.results((await uploaded(house, data))["id"]) == ["created"] * (3 * CHUNK_ROWS)
    assert len(await floor.creations()) == 3 * CHUNK_ROWS


async def test_a_full_store_takes_no_import(house: House, redis: Client) -> None:
    await redis.execute_command("CONFIG", "SET", "maxmemory", "1")
    try:
        answer = await upload(house, ndjson(1))
    finally:
        await redis.execute_command("CONFIG", "SET", "maxmemory", "512mb")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "60")


async def test_only_so_many_imports_wait(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MOST_WAITING", 2)
    for number in range(2):
        await uploaded(house, ndjson(number), key=f"k{number}")
    assert (await upload(house, ndjson(3), key="k3")).status == 503
    await uploaded(house, ndjson(1), key="k1")


async def test_a_report_comes_in_pages_and_as_a_file(house: House, floor: ImportFloor) -> None:
    rows = CHUNK_ROWS + 30
    body = await uploaded(house, ndjson(*range(rows)) + b'\n{"fin":"\\"x"}')
    path = f"/v1/organisations/{TIN}/imports/{body['id']}/report"
    assert await (await house.ask("GET", path)).json() == {"lines": [], "next": "0"}
    await floor.work(floor.loop())
    found: list[dict[str, Any]] = []
    cursor: str | None = "0"
    while cursor is not None:
        page = await (await house.ask("GET", f"{path}?cursor={cursor}&limit=300")).json()
        found += page["lines"]
        cursor = page["next"]
    assert [line["line"] for line in found] == list(range(1, rows + 2))
    assert found[-1]["result"] == "refused"
    assert {error["field"] for error in found[-1]["errors"]} >= {"document", "name"}
    answer = await house.ask("GET", path, headers={"Accept": "text/csv"})
    assert answer.content_type == "text/csv"
    assert answer.headers["Cache-Control"] == "no-store"
    lines = list(csv.DictReader(io.StringIO(await answer.text())))
    assert [(line["line"], line["result"]) for line in lines] == [(str(one["line"]), one["result"]) for one in found]
    assert lines[0]["permit"] == found[0]["permit"]
    assert "document: is missing" in lines[-1]["errors"]


async def test_a_file_that_breaks_off_does_not_look_complete(
    house: House, floor: ImportFloor, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = await uploaded(house, ndjson(*range(CHUNK_ROWS + 1)))
    await floor.work(floor.loop())
    real = house.wires.read

    async def read(*commands: Any) -> list[Any]:
        if commands[0][-1] == "report:1":
            raise ConnectionError
        return await real(*commands)

    monkeypatch.setattr(house.wires, "read", read)
    reader, writer = await asyncio.open_connection(house.http.host, house.http.port)
    path = f"/v1/organisations/{TIN}/imports/{body['id']}/report"
    writer.write(f"GET {path} HTTP/1.0\r\nAccept: {CSV}\r\nAuthorization: Bearer seal\r\n\r\n".encode())
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_an_import_names_the_epochs_that_were_known(house: House, floor: ImportFloor) -> None:
    house.proclaim("deactivate")
    floor.epochs += house.epochs
    body = await uploaded(house, ndjson(1))
    house.proclaim("deactivate")
    floor.epochs.append(house.epochs[-1])
    await floor.work(floor.loop())
    assert await floor.results(body["id"]) == ["created"]
    assert [found.permit.epoch for found in await floor.permits()] == [1]


async def test_what_is_not_theirs_looks_like_what_is_not_there(house: House) -> None:
    body = await uploaded(house, ndjson(1))
    await house.register(by="foreign", tin=OTHER_TIN)
    asked = [
        ("foreign", f"/v1/organisations/{TIN}/imports/{body['id']}"),
        ("foreign", f"/v1/organisations/{OTHER_TIN}/imports/{body['id']}"),
        ("seal", f"/v1/organisations/{TIN}/imports/{'0' * 32}"),
        ("nobody", f"/v1/organisations/{TIN}/imports/{body['id']}"),
    ]
    answers = [await house.ask("GET", path + tail, by=by) for by, path in asked for tail in ("", "/report")]
    assert {answer.status for answer in answers} == {404}
    assert len({await answer.text() for answer in answers}) == 1


async def test_an_import_of_another_organisation_in_the_same_partition_is_not_shown(
    house: House, floor: ImportFloor
) -> None:
    tins = (f"{number:010d}" for number in range(1000))
    tin = next(tin for tin in tins if ROUTE.of_organisation(tin) == ROUTE.of_organisation(TIN))
    await floor.enlist([row(1)], tin=tin)
    assert (await house.ask("GET", f"/v1/organisations/{TIN}/imports/{'0123456789abcdef' * 2}")).status == 404


@pytest.mark.parametrize(("power", "shown", "taken"), [("apply", 200, 202), ("read", 200, 403), ("edit", 403, 403)])
async def test_a_delegate_needs_the_power(house: House, power: Any, shown: int, taken: int) -> None:
    body = await uploaded(house, ndjson(1))
    await house.grant(power)
    answer = await house.ask("GET", f"/v1/organisations/{TIN}/imports/{body['id']}", by="delegate")
    assert answer.status == shown
    assert (await upload(house, ndjson(2), by="delegate")).status == taken


async def test_what_a_delegate_uploads_is_done_in_their_name(house: House, floor: ImportFloor) -> None:
    delegation = await house.grant("apply")
    await uploaded(house, ndjson(1), by="delegate")
    await floor.work(floor.loop())
    (permit,) = await floor.permits()
    assert (permit.permit.acts[0].actor, permit.permit.acts[0].under) == ("delegate", delegation)
