"""Our own dialect: what a body splits into, and what becomes of each item."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import native
from permits.messages import ENCODER, INBOUND_DECODER, InboundSms

ARRIVED_MS = 1_767_254_400_000
GOOD: dict[str, Any] = {"id": "agg-42", "from": "+994501234567", "to": "8103", "text": "2 AZE 1111111"}


def accept(item: Any, *, webhook_id: str | None = None, **more: Any) -> InboundSms:
    taken, rejected = taking(item, webhook_id=webhook_id, **more)
    assert rejected == []
    return taken[0]


def rejection(item: Any) -> str:
    taken, rejected = taking(item)
    assert (taken, rejected[0].index) == ([], 0)
    return rejected[0].error


def taking(item: Any, *, webhook_id: str | None = None, **more: Any) -> tuple[list[InboundSms], list[native.Rejection]]:
    raw = item if isinstance(item, bytes) else msgspec.json.encode(item)
    return request(webhook_id, **more).taken([native.item_of(raw, 0)])


def request(webhook_id: str | None = None, **more: Any) -> native.Request:
    return native.Request(source="dev", arrived_ms=ARRIVED_MS, webhook_id=webhook_id, token="new", **more)


def test_an_item_becomes_an_inbound_sms_with_all_its_fields() -> None:
    assert accept({**GOOD, "received_at": "2026-01-01T08:00:00Z"}) == InboundSms(
        id="agg-42",
        source="dev",
        sender="+994501234567",
        to="8103",
        text="2 AZE 1111111",
        arrived_ms=ARRIVED_MS,
        received_ms=1_767_254_400_000,
    )


def test_id_to_and_time_of_receipt_are_optional() -> None:
    sms = accept({"from": "+994501234567", "text": "x"})
    assert (sms.id, sms.to, sms.received_ms, sms.by_text) == ("new:0", "8103", None, True)


def test_an_own_id_goes_before_the_request_s_and_that_before_the_text() -> None:
    assert accept(GOOD, webhook_id="wh").id == "agg-42"
    unnamed = accept({"from": "+994501234567", "text": "x"}, webhook_id="wh")
    assert (unnamed.id, unnamed.by_text) == ("wh:0", False)


def test_a_requests_trace_is_kept_with_each_of_its_sms_and_costs_nothing_where_it_has_none() -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    assert INBOUND_DECODER.decode(ENCODER.encode(accept(GOOD, trace=trace))).trace == trace
    assert b"trace" not in ENCODER.encode(accept(GOOD))


@pytest.mark.parametrize("sender", ["994501234567", "+994501234567"])
def test_a_sender_is_kept_with_its_plus(sender: str) -> None:
    assert accept({**GOOD, "from": sender}).sender == "+994501234567"


@pytest.mark.parametrize("sender", ["", "8103", "+12345", "BANK", "+99450123456789012", "+99450 1234567", "٩٩٤٥٠١٢٣٤"])
def test_short_codes_and_names_are_no_senders(sender: str) -> None:
    assert rejection({**GOOD, "from": sender}).startswith("from: not a phone number")


@pytest.mark.parametrize("time", ["2026-01-01T12:00:00+04:00", "2026-01-01T08:00:00Z", "2026-01-01 08:00:00z"])
def test_a_time_of_receipt_is_read_in_any_zone(time: str) -> None:
    assert accept({**GOOD, "received_at": time}).received_ms == 1_767_254_400_000


def test_a_time_of_receipt_without_a_zone_is_rejected() -> None:
    assert "with a timezone component - at `$.received_at`" in rejection({**GOOD, "received_at": "2026-01-01T08:00:00"})


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_of_receipt_at_the_edge_of_the_calendar_is_kept(time: str) -> None:
    assert accept({**GOOD, "received_at": time}).received_ms is not None


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({**GOOD, "txet": "2"}, "unknown field `txet`"),
        ({"from": "+994501234567"}, "missing required field `text`"),
        ({**GOOD, "text": 2}, "Expected `str`, got `int` - at `$.text`"),
        ({**GOOD, "received_at": 1767254400}, "at `$.received_at`"),
        ({**GOOD, "received_at": "yesterday"}, "Invalid RFC3339"),
        ({**GOOD, "id": ""}, "length >= 1 - at `$.id`"),
        ({**GOOD, "id": "x" * 129}, "length <= 128 - at `$.id`"),
        ({**GOOD, "to": "8" * 17}, "length <= 16 - at `$.to`"),
        ({**GOOD, "text": "x" * 4001}, "length <= 4000 - at `$.text`"),
        ({**GOOD, "text": "x" * 65_536}, "length <= 4000 - at `$.text`"),
        (None, "Expected `object`, got `null`"),
        ([], "Expected `object`, got `array`"),
        (b"", "truncated"),
        (b"\xef\xbb\xbf{}", "malformed"),
        (b'{"from": "+994501234567", "text": "\xff"}', "not UTF-8"),
        (b'{"\xff": 1}', "not UTF-8"),
        (b'{"from": "+994501234567", "text": "\\ud800"}', "truncated"),
        (b'{"from": "+994501234567", "text": "\\ud800 \\udc00"}', "surrogate"),
        (b'{"from": "+994501234567", "text": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"from": "+994501234567", "text": NaN}', "malformed"),
        (b'{"text": ' + b"[" * 100_000, "Expected `str`"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_its_fault(item: Any, said: str) -> None:
    assert said in rejection(item)


def test_a_nul_in_a_text_is_kept_for_the_grammar_to_refuse() -> None:
    assert accept(b'{"from": "+994501234567", "text": "2\\u0000AZE"}').text == "2\0AZE"


@given(st.binary(max_size=80) | st.recursive(st.none() | st.text(), st.lists).map(msgspec.json.encode))
def test_no_bytes_do_more_than_a_rejection(raw: bytes) -> None:
    for ndjson in (False, True):
        try:
            items = native.items_of(raw, ndjson=ndjson)
        except native.BodyError:
            continue
        taken, rejected = request().taken(items)
        assert (taken, len(rejected)) == ([], len(items))  # nothing so short is an SMS


FAULTY = [{**GOOD, "to": 1}, {**GOOD, "from": "BANK"}, {}, 7, {**GOOD, "received_at": "2026-01-01T08:00:00"}]


@given(st.lists(st.sampled_from([GOOD, {**GOOD, "id": None}, *FAULTY]), min_size=1, max_size=9))
def test_an_array_gives_of_each_item_what_it_gives_by_itself(bodies: list[Any]) -> None:
    together = request("wh").taken(native.items_of(msgspec.json.encode(bodies), ndjson=False))
    one_by_one = request("wh").taken([native.item_of(msgspec.json.encode(one), at) for at, one in enumerate(bodies)])
    assert together == one_by_one


@given(st.text(max_size=200), st.text(min_size=1, max_size=128))
def test_whatever_is_accepted_reads_back_the_same(text: str, sms_id: str) -> None:
    sms = accept({**GOOD, "text": text, "id": sms_id})
    assert INBOUND_DECODER.decode(ENCODER.encode(sms)) == sms


def ids(body: bytes, *, ndjson: bool = False) -> list[str | None]:
    return [item.id for item in native.items_of(body, ndjson=ndjson) if isinstance(item, native.Item)]


def test_a_body_is_one_object_an_array_or_lines() -> None:
    one, other = b'{"id": "1", "from": "", "text": ""}', b'{"id": "2", "from": "", "text": ""}'
    assert ids(b" " + one + b" ") == ["1"]
    assert ids(b"\n[" + one + b", " + other + b"]") == ["1", "2"]
    assert ids(one + b"\r\n\n  \n" + other, ndjson=True) == ["1", "2"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "no SMS"),
        (b"[1,]", "not JSON"),
        (b"[{}] x", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[" + b"{}," * 1000 + b"{}]", "1001 SMS in one request; at most 1000"),
    ],
)
def test_an_unusable_array_is_refused_as_a_whole(body: bytes, said: str) -> None:
    with pytest.raises(native.BodyError, match=said):
        native.items_of(body, ndjson=False)


def test_more_than_a_thousand_sound_items_are_refused_as_a_whole() -> None:
    with pytest.raises(native.BodyError, match="1001 SMS"):
        native.items_of(msgspec.json.encode([GOOD] * 1001), ndjson=False)


def test_a_thousand_items_are_taken() -> None:
    assert len(native.items_of(b"[" + b"{}," * 999 + b"{}]", ndjson=False)) == 1000


@pytest.mark.parametrize("body", [b"", b"\n \r\n"])
def test_no_lines_are_no_sms(body: bytes) -> None:
    with pytest.raises(native.BodyError, match="no SMS"):
        native.items_of(body, ndjson=True)
