"""What a permit's record amounts to at a moment, against a plain model that lives through time tick by tick."""

from hypothesis import given
from hypothesis import strategies as st

from permits.employees import (
    DAY_MS,
    MOST_ACTS,
    MOST_DAYS,
    Act,
    Effective,
    EmployeePermit,
    Epoch,
    Stored,
    effective,
    flaws,
    with_act,
)

TICKS = 24
STORED: tuple[Stored, ...] = ("draft", "submitted", "confirmed", "refused", "transmitted", "cancelled")


def permit(*, status: Stored = "transmitted", from_ms: int = 0, until_ms: int = 10, epoch: int = 0) -> EmployeePermit:
    return EmployeePermit(
        code="23456789AB",
        owner="",
        person="",
        person_partition=0,
        tin="1234567890",
        employer="",
        status=status,
        from_ms=from_ms,
        until_ms=until_ms,
        epoch=epoch,
        employee="",
    )


def epochs_of(*acts: tuple[int, int | None]) -> list[Epoch]:
    """Epochs of (when, new end); without an end they deactivate."""
    return [
        Epoch(
            number=number,
            action="deactivate" if until_ms is None else "extend",
            at_ms=at_ms,
            reason=f"decree {number}",
            actor="regime",
            request="",
            until_ms=until_ms or 0,
        )
        for number, (at_ms, until_ms) in enumerate(acts, 1)
    ]


def lived(found: EmployeePermit, epochs: list[Epoch], now_ms: int) -> tuple[str, int]:
    """The model: every tick until now, and in each what happens in it."""
    status, until_ms, over = str(found.status), found.until_ms, False
    for tick in range(now_ms + 1):
        over = over or tick >= until_ms
        for epoch in epochs:
            granted = status in ("submitted", "confirmed", "transmitted")
            if epoch.at_ms != tick or epoch.number <= found.epoch or over or not granted:
                continue
            if epoch.action == "deactivate":
                status = "cancelled"
            elif epoch.until_ms > until_ms:
                until_ms = epoch.until_ms
    if over and status not in ("refused", "cancelled"):
        status = "expired"
    elif status == "transmitted" and now_ms >= found.from_ms:
        status = "active"
    return status, until_ms


@given(data=st.data(), status=st.sampled_from(STORED), now_ms=st.integers(0, TICKS))
def test_the_fold_is_what_living_through_it_gives(data: st.DataObject, status: Stored, now_ms: int) -> None:
    moments = sorted(data.draw(st.lists(st.integers(0, now_ms), max_size=5)))
    ends = data.draw(st.lists(st.none() | st.integers(0, TICKS * 2), min_size=len(moments), max_size=len(moments)))
    epochs = epochs_of(*zip(moments, ends, strict=True))
    found = permit(
        status=status,
        from_ms=data.draw(st.integers(0, TICKS)),
        until_ms=data.draw(st.integers(1, TICKS)),
        epoch=data.draw(st.integers(0, len(epochs))),
    )
    folded = effective(found, epochs, now_ms)
    assert (folded.status, folded.until_ms) == lived(found, epochs, now_ms)
    assert folded.from_ms == found.from_ms


def test_a_permit_is_active_between_its_beginning_and_its_end() -> None:
    found = permit(from_ms=3, until_ms=5)
    assert [effective(found, [], now_ms).status for now_ms in (2, 3, 4, 5)] == [
        "transmitted",
        "active",
        "active",
        "expired",
    ]


def test_a_deactivated_permit_says_why_and_stays_so() -> None:
    epochs = epochs_of((1, None), (2, 20))
    assert effective(permit(), epochs, 3) == Effective("cancelled", "deactivated: decree 1", 0, 10)


def test_an_epoch_brings_back_nothing_that_had_ended() -> None:
    assert effective(permit(until_ms=4), epochs_of((4, 20)), 5) == Effective("expired", None, 0, 4)
    assert effective(permit(until_ms=5), epochs_of((4, 20)), 5) == Effective("active", None, 0, 20)


def test_an_extension_shortens_nothing() -> None:
    assert effective(permit(until_ms=10), epochs_of((1, 5)), 2).until_ms == 10


def test_epochs_that_a_permit_has_seen_do_nothing_to_it() -> None:
    epochs = epochs_of((1, None), (2, 20))
    assert effective(permit(epoch=1), epochs, 3) == Effective("active", None, 0, 20)
    assert effective(permit(epoch=2), epochs, 3) == Effective("active", None, 0, 10)


def test_drafts_refused_and_cancelled_permits_are_no_epochs_business() -> None:
    for status in ("draft", "refused", "cancelled"):
        assert effective(permit(status=status), epochs_of((1, None)), 2).status == status


def test_a_history_keeps_its_first_act_and_the_latest() -> None:
    acts: tuple[Act, ...] = ()
    for n in range(MOST_ACTS + 10):
        acts = with_act(acts, Act(at_ms=n, actor="a", deed="edit"))
    assert [act.at_ms for act in acts] == [0, *range(11, MOST_ACTS + 10)]


def test_a_validity_that_cannot_be_is_a_flaw_of_its_field() -> None:
    now_ms, year_ms = 1_000 * DAY_MS, MOST_DAYS * DAY_MS

    def fields(from_ms: int, until_ms: int) -> list[str]:
        return [flaw.field for flaw in flaws(from_ms, until_ms, now_ms=now_ms)]

    assert fields(now_ms, now_ms + year_ms) == []
    assert fields(0, now_ms + 1) == []
    assert fields(now_ms + year_ms, now_ms + year_ms + 1) == []
    assert fields(now_ms, now_ms) == ["valid_until"]
    assert fields(now_ms - 2, now_ms) == ["valid_until"]
    assert fields(now_ms - 2, now_ms + year_ms + 1) == ["valid_until"]
    assert fields(now_ms + year_ms + 1, now_ms + year_ms + 2) == ["valid_from"]
    assert fields(-1, now_ms + 1) == ["valid_from"]
