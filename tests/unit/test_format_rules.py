"""The registry where there is none: form alone decides."""

import pytest

from permits import policy
from permits.applications import Row, read_row
from permits.employees import Employee, Request
from processor.registry.format_rules import FormatRules
from processor.registry.port import CONFIRMED, Verdict

ACCEPTS = policy.load().documents.accepts
SOUND = Employee(fin="5ABC12D", document="AZE1111111", name="Əliyeva Nərgiz")


async def verdict_on(**fields: str) -> Verdict:
    asked = {"fin": SOUND.fin, "document": SOUND.document, "name": SOUND.name} | fields
    [verdict] = await FormatRules(ACCEPTS).confirm([Employee(**asked)])
    return verdict


async def test_who_is_well_formed_is_confirmed() -> None:
    assert await verdict_on() == CONFIRMED


@pytest.mark.parametrize("fin", ["", "5abc12d", "5ABC12", "5ABC12DD", "5ABCO2D", "5ABCI2D", " 5ABC12D", "５ABC12D"])
async def test_a_fin_must_be_canonical(fin: str) -> None:
    assert await verdict_on(fin=fin) == Verdict("refused", "unknown_person")


@pytest.mark.parametrize("document", ["", "aze1111111", "AZE 1111111", "AZE11", "AZE1111111 AZE1111112", "1234567"])
async def test_a_document_must_be_canonical_and_count(document: str) -> None:
    assert await verdict_on(document=document) == Verdict("refused", "document_mismatch")


@pytest.mark.parametrize("name", ["", "12", "-- .", "№ 7"])
async def test_a_name_must_have_a_letter(name: str) -> None:
    assert await verdict_on(name=name) == Verdict("refused", "name_mismatch")


async def test_verdicts_stand_in_the_order_of_the_question() -> None:
    odd = Employee(fin="?", document=SOUND.document, name=SOUND.name)
    verdicts = await FormatRules(ACCEPTS).confirm([SOUND, odd, SOUND])
    assert [verdict.status for verdict in verdicts] == ["confirmed", "refused", "confirmed"]
    assert await FormatRules(ACCEPTS).confirm([]) == []


async def test_whatever_a_row_may_ask_for_is_confirmed() -> None:
    row = Row(fin=" 5abc12d ", document="aze 1111111", name="Ли", valid_from="2026-01-01", valid_until="2026-01-02")
    request = read_row(row, accepts=ACCEPTS, now_ms=1_767_200_000_000)
    assert isinstance(request, Request)
    assert await FormatRules(ACCEPTS).confirm([request.employee]) == [CONFIRMED]
