"""`POST /v1/checks` on the real server: valid now or why not, by document and by code; recorded before answered."""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest

from api.limits import Bounds
from permits import codes
from permits import policy as policies
from permits.calendar import HOUR_MS
from permits.employees import AuditAct, Epoch, Stored
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from tests.integration.api_door import DIGEST, DOCUMENT, NOON_MS, PARTITIONS, ROUTE, Clock, Http, plant
from tests.integration.holders_door import amend, ask, employ, serving, told

PATH: Final = "/v1/checks"
PARTITION, OWNER = ROUTE.of_document(DOCUMENT)
CODE: Final = codes.encode(PARTITION, OWNER, DIGEST)
DISTRICT: Final = "rayon və şəhər daxilində"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http(server: EmbeddedStore, redis: Client, clock: Clock) -> AsyncIterator[Http]:
    assert redis
    async with serving(server.url, clock) as client:
        yield client


async def acts(redis: Client, partition: int = PARTITION) -> list[AuditAct]:
    entries: Any = await redis.execute_command("XRANGE", PARTITIONS[partition].acts, "-", "+")
    return [msgspec.json.decode(fields[b"m"], type=AuditAct) for _, fields in entries]


async def checked(http: Http, clock: Clock, question: dict[str, str]) -> dict[str, Any]:
    return await told(http, clock, PATH, question)


@pytest.mark.parametrize("question", [{"document": DOCUMENT}, {"permit": CODE}])
async def test_a_permit_is_valid_and_tells_since_when(
    http: Http, redis: Client, clock: Clock, question: dict[str, str]
) -> None:
    await plant(redis, purpose=1, decided_ms=NOON_MS - 90_000)
    answer = await checked(http, clock, question)
    assert [permit["code"] for permit in answer.pop("permits")] == [CODE]
    assert answer == {
        "valid": True,
        "reason": None,
        "since": "2026-01-01T07:58:30.000Z",
        "checked_at": "2026-01-01T08:00:00.000Z",
    }


@pytest.mark.parametrize("code", [CODE.lower(), f" {CODE[:5]} {CODE[5:]} ", f"{CODE[:3]}-{CODE[3:]}"])
async def test_case_and_spaces_of_a_code_are_forgiven(http: Http, redis: Client, clock: Clock, code: str) -> None:
    await plant(redis, decided_ms=NOON_MS)
    assert (await checked(http, clock, {"permit": code}))["valid"]


async def test_a_code_shows_the_permits_that_it_names_alone(
    server: EmbeddedStore, http: Http, redis: Client, clock: Clock
) -> None:
    await plant(redis, decided_ms=NOON_MS)
    await plant(redis, decided_ms=NOON_MS - 1000, digest=b"\x01" * 6)
    employee = (await employ(server.url, redis)).permit
    assert len((await checked(http, clock, {"document": DOCUMENT}))["permits"]) == 3
    for code in (CODE, employee.code):
        assert [permit["code"] for permit in (await checked(http, clock, {"permit": code}))["permits"]] == [code]


async def test_a_cancelled_permit_fails_the_next_check(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, purpose=1, decided_ms=NOON_MS - HOUR_MS)
    assert (await checked(http, clock, {"permit": CODE}))["valid"]
    await amend(redis, CODE, status="cancelled", reason="false purpose")
    for question in ({"permit": CODE}, {"document": DOCUMENT}):
        answer = await checked(http, clock, question)
        assert (answer["valid"], answer["reason"], answer["since"]) == (False, "cancelled", None)


async def test_an_epoch_fails_the_next_check(server: EmbeddedStore, redis: Client, clock: Clock) -> None:
    code = (await employ(server.url, redis)).permit.code
    epochs: list[Epoch] = []
    async with serving(server.url, clock, epochs=epochs) as http:
        assert (await checked(http, clock, {"permit": code}))["valid"]
        epochs.append(Epoch(number=1, action="deactivate", at_ms=NOON_MS, reason="x", actor="a", request="r"))
        assert (await checked(http, clock, {"permit": code}))["reason"] == "cancelled"


@pytest.mark.parametrize(
    ("status", "from_ms", "reason"),
    [
        ("transmitted", NOON_MS, None),
        ("transmitted", NOON_MS + 1, "not_yet"),
        ("submitted", NOON_MS - 1, "not_transmitted"),
        ("confirmed", NOON_MS - 1, "not_transmitted"),
        ("refused", NOON_MS - 1, "refused"),
        ("cancelled", NOON_MS - 1, "cancelled"),
        ("draft", NOON_MS - 1, "no_permit"),
    ],
)
async def test_an_employees_permit_is_valid_once_transmitted_and_begun(
    server: EmbeddedStore, http: Http, redis: Client, clock: Clock, status: Stored, from_ms: int, reason: str | None
) -> None:
    await employ(server.url, redis, status=status, from_ms=from_ms)
    answer = await checked(http, clock, {"document": DOCUMENT})
    assert (answer["valid"], answer["reason"]) == (reason is None, reason)


async def test_a_permit_ends(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS - 3 * HOUR_MS)
    assert (await checked(http, clock, {"document": DOCUMENT}))["reason"] == "expired"


@pytest.mark.parametrize(
    ("zone", "reason"),
    [
        (DISTRICT, None),
        (DISTRICT.upper().replace("I", "İ"), None),
        ("Within the District and City ", None),
        ("Bakı", "zone"),
    ],
)
async def test_a_zone_counts_in_every_language(
    http: Http, redis: Client, clock: Clock, zone: str, reason: str | None
) -> None:
    await plant(redis, purpose=1, decided_ms=NOON_MS)
    assert (await checked(http, clock, {"document": DOCUMENT, "zone": zone}))["reason"] == reason


async def test_a_permit_without_a_zone_is_valid_everywhere(
    server: EmbeddedStore, http: Http, redis: Client, clock: Clock
) -> None:
    code = (await employ(server.url, redis, zone="Şəki")).permit.code
    assert (await checked(http, clock, {"permit": code, "zone": "Bakı"}))["reason"] == "zone"
    await plant(redis, purpose=2, decided_ms=NOON_MS)
    assert (await checked(http, clock, {"document": DOCUMENT, "zone": "Bakı"}))["valid"]


async def test_unknown_codes_and_documents_look_alike(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS)
    guess = codes.encode(PARTITION, OWNER, b"\x00")
    nowhere = codes.encode(1000, OWNER, DIGEST)
    answers = [
        await checked(http, clock, question)
        for question in ({"document": "AZE7654321"}, {"permit": guess}, {"permit": nowhere}, {"permit": "ZZZZZZZZZZ"})
    ]
    assert answers[0] == {
        "valid": False,
        "reason": "no_permit",
        "since": None,
        "permits": [],
        "checked_at": "2026-01-01T08:00:00.000Z",
    }
    assert answers == [answers[0]] * 4


async def test_every_check_is_recorded_with_who_asked_and_what_was_said(
    http: Http, redis: Client, clock: Clock
) -> None:
    await plant(redis, purpose=1, decided_ms=NOON_MS)
    await ask(http, clock, PATH, {"document": DOCUMENT, "zone": "Bakı"}, subject="police:17", client="police")
    await ask(http, clock, PATH, {"permit": CODE.lower()}, subject="police:17", client="police")
    by_document, by_code = await acts(redis)
    assert by_document.trace
    assert by_document == AuditAct(
        at_ms=NOON_MS,
        actor="police:17",
        deed="check",
        reason="zone",
        trace=by_document.trace,
        owner=OWNER.hex(),
        client="police",
        zone="Bakı",
        valid=False,
    )
    assert (by_code.code, by_code.owner, by_code.valid, by_code.reason) == (CODE, OWNER.hex(), True, "")


async def test_a_check_of_what_is_unknown_is_recorded_too(http: Http, redis: Client, clock: Clock) -> None:
    partition, owner = ROUTE.of_document("AZE7654321")
    await checked(http, clock, {"document": "AZE7654321"})
    (act,) = await acts(redis, partition)
    assert (act.owner, act.code, act.valid, act.reason) == (owner.hex(), "", False, "no_permit")
    address = codes.decode("ZZZZZZZZZZ")
    assert address is not None
    await checked(http, clock, {"permit": "ZZZZZZZZZZ"})
    assert (await acts(redis, address[0] % len(PARTITIONS)))[-1].code == "ZZZZZZZZZZ"


async def test_a_check_that_cannot_be_recorded_is_not_answered(http: Http, redis: Client, clock: Clock) -> None:
    await plant(redis, decided_ms=NOON_MS)
    await redis.execute_command("SET", PARTITIONS[PARTITION].acts, "no stream")
    response = await ask(http, clock, PATH, {"document": DOCUMENT})
    assert response.status == 500
    assert CODE not in await response.text()


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ({}, 422),
        ({"document": DOCUMENT, "permit": CODE}, 422),
        ({"document": DOCUMENT, "zone": ""}, 400),
        ({"document": "rubbish"}, 422),
        ({"permit": "22222"}, 422),
        ({"permit": "0O1I0O1I0O"}, 422),
    ],
)
async def test_what_is_not_one_question_is_refused_and_leaves_no_record(
    http: Http, redis: Client, clock: Clock, question: dict[str, str], status: int
) -> None:
    assert (await ask(http, clock, PATH, question)).status == status
    assert [await acts(redis, partition) for partition in range(len(PARTITIONS))] == [[]] * len(PARTITIONS)


ZONED = """[zones]
baku = { az = "Bakı", ru = "Баку", en = "Baku" }
""".encode()


def rules_with(line: bytes) -> policies.Policy:
    """The default rules with one more line in their regime."""
    text = policies.DEFAULT_FILE.read_bytes().replace(b'name = "founding"\n', b'name = "founding"\n' + line + b"\n")
    return policies.parse(text + ZONED, policies.DEFAULT_FILE)


@pytest.mark.parametrize(
    ("line", "zone", "reason"),
    [
        (b'zones = ["baku"]', "Gəncə", "regime_off"),
        (b'zones = ["baku"]', "BAKI", None),
        (b'zones = ["baku"]', "", None),
        (b"curfew = { from = 21:00:00, until = 06:00:00 }", "", "regime_off"),
        (b"curfew = { from = 10:00:00, until = 14:00:00 }", "", None),
        (b"until = 2025-12-31T00:00:00", "Bakı", "regime_off"),
        (b"", "Gəncə", None),
    ],
)
async def test_where_and_when_nobody_needs_a_permit_everybody_passes(
    server: EmbeddedStore, redis: Client, clock: Clock, line: bytes, zone: str, reason: str | None
) -> None:
    question = {"document": DOCUMENT} | ({"zone": zone} if zone else {})
    async with serving(server.url, clock, rules=rules_with(line)) as http:
        without = await checked(http, clock, question)
        await plant(redis, purpose=2, decided_ms=NOON_MS - 90_000)
        having = await checked(http, clock, question)
    assert (without["valid"], without["reason"]) == (reason is not None, reason or "no_permit")
    assert (having["valid"], having["reason"]) == (True, None)
    assert [(act.valid, act.reason) for act in await acts(redis)] == [
        (without["valid"], without["reason"]),
        (True, ""),
    ]


async def test_each_officer_has_misses_of_their_own(server: EmbeddedStore, redis: Client, clock: Clock) -> None:
    bounds = Bounds(client_misses=3)
    async with serving(server.url, clock, bounds=bounds) as http:
        for subject in ("police:1", "police:2"):
            statuses = [
                (await ask(http, clock, PATH, {"document": f"AZE{n:07d}"}, subject=subject, client="police")).status
                for n in range(5)
            ]
            assert statuses == [200] * 3 + [429] * 2
