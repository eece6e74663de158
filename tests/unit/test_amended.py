"""The record of an amended SMS permit: its place, and its kind beside employees' permits."""

import msgspec

from permits.amended import AmendedPermit
from permits.employees import Act, EmployeePermit

PERMIT = AmendedPermit(
    code="7KQWX3M9PA",
    owner="0123456789abcdef",
    digest="a1b2c3d4e5f6",
    asked_ms=1_767_254_300_000,
    decided_s=1_767_254_400,
    purpose=1,
    from_ms=1_767_254_400_000,
    until_ms=None,
    ends_ms=1_767_470_400_000,
    status="cancelled",
    reason="false purpose",
    acts=(Act(at_ms=1_767_254_500_000, actor="officer", deed="cancel", status="cancelled", reason="false purpose"),),
)


def test_its_field_names_the_entry_of_the_day_record_that_it_overrides() -> None:
    assert PERMIT.field == "sa1b2c3d4e5f6-1767254400"


def test_a_record_says_itself_which_kind_it_is() -> None:
    raw = msgspec.json.encode(PERMIT)
    assert raw.startswith(b'{"kind":"sms",')
    assert msgspec.json.decode(raw, type=EmployeePermit | AmendedPermit) == PERMIT


def test_two_permits_of_one_owner_have_two_fields() -> None:
    later = msgspec.structs.replace(PERMIT, decided_s=PERMIT.decided_s + 1)
    other = msgspec.structs.replace(PERMIT, digest="a1ffffffffff")
    assert len({permit.field for permit in (PERMIT, later, other)}) == 3
