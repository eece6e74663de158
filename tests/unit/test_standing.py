"""What an owner's records amount to: who wins, what is hidden, in which order; and what a check says of it."""

from typing import Final

import msgspec
import pytest

from api.checks import judged
from api.standing import Permit, ShownStatus, Standing, standing
from lua.changes import written
from lua.records import timing
from permits import codes
from permits import policy as policies
from permits.amended import AmendedPermit
from permits.calendar import DAY_MS, HOUR_MS, rfc3339
from permits.employees import MOST_ACTS, Act, Deed, EmployeePermit, Epoch, Stored
from permits.messages import ENCODER
from permits.policy import Policy
from tests.day_records import static_struct

NOW_MS: Final = 1_767_254_400_000
OWNER: Final = bytes.fromhex("0011223344556677")
DIGEST: Final = bytes.fromhex("a1b2c3d4e5f6")
POLICY: Final[Policy] = policies.load()


def entry(
    *, decided_ms: int, purpose: int = 1, letter: str = "a", digest: bytes = DIGEST, owner: bytes = OWNER
) -> bytes:
    decided_s = decided_ms // 1000
    word = timing(arrived_s=decided_s, decided_s=decided_s, minutes=180, days_to_arrival=0)
    return static_struct(owner[4:], digest, decided_s, word, b"ph", purpose) + letter.encode()


def amended(
    *, decided_ms: int, owner: bytes = OWNER, status: str = "cancelled", ends_ms: int = NOW_MS
) -> AmendedPermit:
    return msgspec.convert(
        {
            "kind": "sms",
            "code": codes.encode(3, owner, DIGEST),
            "owner": owner.hex(),
            "digest": DIGEST.hex(),
            "asked_ms": decided_ms,
            "decided_s": decided_ms // 1000,
            "purpose": 1,
            "from_ms": decided_ms,
            "until_ms": ends_ms,
            "ends_ms": ends_ms,
            "status": status,
            "reason": "false purpose",
        },
        AmendedPermit,
    )


def employee(status: Stored = "transmitted", *, epoch: int = 0, until_ms: int = NOW_MS + DAY_MS) -> EmployeePermit:
    return EmployeePermit(
        code="2222222222",
        owner=OWNER.hex(),
        person="ab" * 8,
        person_partition=0,
        tin="1234567890",
        employer="Bakery",
        status=status,
        from_ms=NOW_MS - HOUR_MS,
        until_ms=until_ms,
        epoch=epoch,
        employee="sealed",
        acts=(
            Act(at_ms=NOW_MS - 9000, actor="anna", deed="create"),
            Act(at_ms=NOW_MS - 8000, actor="registry", deed="confirm"),
            Act(at_ms=NOW_MS - 7000, actor="ministry", deed="transmit"),
        ),
    )


def held(*records: EmployeePermit | AmendedPermit) -> list[bytes]:
    return [part for n, record in enumerate(records) for part in (b"f%d" % n, written(1, ENCODER.encode(record)))]


def stood(
    *values: bytes | None, records: list[bytes] | None = None, epochs: tuple[Epoch, ...] = (), owner: bytes = OWNER
) -> list[Standing]:
    return standing(values, records or [], partition=3, owner=owner, policy=POLICY, epochs=epochs, now_ms=NOW_MS)


def statuses(found: list[Standing]) -> list[str]:
    return [known.permit.status for known in found]


def test_an_amended_permit_stands_in_place_of_its_day_record_entry() -> None:
    at_ms = NOW_MS - HOUR_MS
    found = stood(entry(decided_ms=at_ms), records=held(amended(decided_ms=at_ms)))
    assert [(known.permit.status, known.permit.reason) for known in found] == [("cancelled", "false purpose")]


def test_a_permit_that_its_phone_has_cancelled_is_cancelled_with_its_times() -> None:
    (known,) = stood(entry(decided_ms=NOW_MS - HOUR_MS, letter="e") + entry(decided_ms=NOW_MS, letter="c"))
    assert (known.permit.status, known.permit.valid_from) == ("cancelled", rfc3339(NOW_MS - HOUR_MS))
    assert known.permit.valid_until is not None
    (withdrawn,) = stood(entry(decided_ms=NOW_MS, letter="v") + entry(decided_ms=NOW_MS, letter="y"))
    assert (withdrawn.permit.status, withdrawn.permit.valid_from) == ("cancelled", None)


def test_an_amended_permit_outlives_its_day_record() -> None:
    assert statuses(stood(None, None, records=held(amended(decided_ms=NOW_MS - 5 * DAY_MS)))) == ["cancelled"]


def test_an_extended_permit_is_active_until_its_new_end() -> None:
    at_ms = NOW_MS - 4 * HOUR_MS
    for ends_ms, status in ((NOW_MS + 1, "active"), (NOW_MS, "expired")):
        record = amended(decided_ms=at_ms, status="active", ends_ms=ends_ms)
        (known,) = stood(entry(decided_ms=at_ms), records=held(record))
        assert (known.permit.status, known.permit.valid_until) == (status, rfc3339(ends_ms))


def test_another_permit_of_the_same_sms_digest_is_not_overridden() -> None:
    record = amended(decided_ms=NOW_MS - 2 * HOUR_MS)
    assert statuses(stood(entry(decided_ms=NOW_MS - HOUR_MS), records=held(record))) == ["active", "cancelled"]


def test_records_of_others_that_share_the_field_are_nobodys_business() -> None:
    other = OWNER[:4] + b"else"
    values = entry(decided_ms=NOW_MS, owner=other)
    record = amended(decided_ms=NOW_MS, owner=other)
    assert stood(values, records=held(record)) == []
    assert statuses(stood(values, records=held(record), owner=OWNER[:4])) == ["cancelled"]


def test_an_owner_is_known_from_the_field_alone() -> None:
    (known,) = stood(entry(decided_ms=NOW_MS), owner=OWNER[:4])
    assert known.owner == OWNER
    assert known.permit.code == codes.encode(3, OWNER, DIGEST)


def test_an_employees_permit_shows_employer_and_when_it_was_confirmed() -> None:
    (known,) = stood(records=held(employee()))
    assert known.permit == Permit(
        code="2222222222",
        kind="organisation",
        purpose=None,
        status="active",
        valid_from=rfc3339(NOW_MS - HOUR_MS),
        valid_until=rfc3339(NOW_MS + DAY_MS),
        zone=None,
        reason=None,
        employer="Bakery",
        decided_at=rfc3339(NOW_MS - 8000),
    )
    assert known.at_ms == NOW_MS - 8000


def with_acts(*deeds: Deed) -> EmployeePermit:
    """A permit of the last hour and what was done to it, a second each, until now."""
    acts = tuple(Act(at_ms=NOW_MS - 1000 * left, actor="a", deed=deed) for left, deed in enumerate(reversed(deeds)))
    return msgspec.structs.replace(employee(), acts=acts[::-1])


@pytest.mark.parametrize(
    ("deeds", "ago_s"),
    [
        (("create", "confirm", "transmit"), 1),
        (("create", "confirm", "transmit", "edit", "transmit"), 1),
        (("create", "confirm", "transmit", "extend"), 2),
        (("create", *["edit"] * (MOST_ACTS - 1)), 0),
        (("create", *["extend"] * (MOST_ACTS - 1)), 0),
    ],
)
def test_a_permit_says_what_it_says_since_its_last_edit_and_never_since_the_day_it_names(
    deeds: tuple[Deed, ...], ago_s: int
) -> None:
    (known,) = stood(records=held(with_acts(*deeds)))
    assert known.at_ms == NOW_MS - 1000 * ago_s


def test_drafts_are_the_employers_alone() -> None:
    assert stood(records=held(employee("draft"))) == []


def test_later_epochs_act_on_employees_permits_and_on_no_other() -> None:
    epoch = Epoch(number=1, action="deactivate", at_ms=NOW_MS - 1, reason="lockdown", actor="a", request="r")
    values, records = entry(decided_ms=NOW_MS - HOUR_MS), held(employee())
    assert sorted(statuses(stood(values, records=records, epochs=(epoch,)))) == ["active", "cancelled"]
    assert statuses(stood(values, records=held(employee(epoch=1)), epochs=(epoch,))) == ["active", "active"]


def test_all_kinds_stand_newest_first() -> None:
    values = (
        entry(decided_ms=NOW_MS - 5000) + entry(decided_ms=NOW_MS - 1000, letter="q", digest=b"234567"),
        entry(decided_ms=NOW_MS - DAY_MS, digest=b"345678"),
    )
    found = stood(*values, records=held(employee(), amended(decided_ms=NOW_MS - 10_000)))
    assert [NOW_MS - known.at_ms for known in found] == [1000, 5000, 8000, 10_000, DAY_MS]
    assert statuses(found) == ["refused", "active", "active", "cancelled", "expired"]


# What a check says


def known(status: ShownStatus, *, at_ms: int = NOW_MS, zones: tuple[str, ...] = ()) -> Standing:
    return Standing(Permit("2222222222", "sms", 1, status, None, None, None, None), at_ms, OWNER, zones)


@pytest.mark.parametrize(
    ("standing_statuses", "reason"),
    [
        ([], "no_permit"),
        (["refused"], "refused"),
        (["refused", "expired"], "expired"),
        (["cancelled", "expired"], "cancelled"),
        (["expired", "cancelled"], "expired"),
        (["expired", "submitted"], "not_transmitted"),
        (["confirmed", "expired"], "not_transmitted"),
        (["cancelled", "transmitted", "submitted"], "not_yet"),
        (["refused", "active"], None),
    ],
)
def test_the_reason_is_what_comes_nearest_to_a_permit(standing_statuses: list[ShownStatus], reason: str | None) -> None:
    assert judged([known(status) for status in standing_statuses], None)[0] == reason


def test_validity_counts_from_the_earliest_permit_that_is_valid() -> None:
    found = [known("active", at_ms=30), known("active", at_ms=20, zones=("Baku",)), known("expired", at_ms=10)]
    assert judged(found, None) == (None, 20)
    assert judged(found, "Gəncə") == (None, 30)
    assert judged(found[1:], "Gəncə") == ("zone", None)


@pytest.mark.parametrize("zone", ["Şəki", " şəki ", "ŞƏKİ", "Шеки", "ШЕКИ\n"])
def test_a_zone_fits_in_any_language_and_case(zone: str) -> None:
    assert judged([known("active", zones=("Şəki", "Шеки"))], zone)[0] is None


@pytest.mark.parametrize("zone", ["Şək", "Şəki rayonu", " "])
def test_a_zone_that_only_begins_alike_does_not_fit(zone: str) -> None:
    assert judged([known("active", zones=("Şəki", "Шеки"))], zone)[0] == "zone"
