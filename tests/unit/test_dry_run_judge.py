"""The fast judge of a dry run says, of any stream under any policy, what the policy and the plain model say."""

from collections.abc import Sequence
from datetime import datetime, time
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from permits.calendar import DAY_MS, HOUR_MS, day_number, day_start_ms
from permits.decision import Model, Request
from permits.documents import DEFAULT_SERIES, Series, SeriesTable, canonical, shape
from permits.messages import AuditRow
from permits.outcomes import APPROVED, REFUSALS
from permits.policy import Policy
from permits.regimes import Barred, CrossRule, Hours, Limits, PolicyFile, Purpose, Regime
from permits.sms import Fault, Reading
from processor.dry_run.judge import Judge, Verdict

MIDNIGHT_MS: Final = day_start_ms(day_number("20260310"))
MINUTE_MS: Final = 60_000
OWNERS: Final = ("a" * 16, "b" * 16, "c" * 16)
PHONES: Final = ("11110000", "22220000", "33330000")


def purpose(code: int, *, per_day: int | None = None, hours: Hours | None = None) -> Purpose:
    return Purpose(code=code, names={"az": "x", "ru": "x", "en": "x"}, minutes=180, per_day=per_day, hours=hours)


def policy(*regimes: Regime) -> Policy:
    return Policy(PolicyFile(documents=DEFAULT_SERIES, regimes=regimes), "drawn-00000000")


LIMITS: Final = (
    Limits(),
    Limits(requests_per_document=3, refusals_answered_per_hour=1),
    Limits(senders_per_document=1, documents_per_sender=9),
    Limits(requests_per_document=5, senders_per_document=2, refusals_answered_per_hour=2),
)
HOURS: Final = (
    None,
    Hours(start=time(6), until=time(21)),
    Hours(start=time(21), until=time(6)),
    Hours(start=time(0, 0, 1), until=time(0, 10, 30)),
)
PURPOSES: Final = st.lists(
    st.builds(purpose, st.integers(1, 3), per_day=st.sampled_from([None, 1, 2]), hours=st.sampled_from(HOURS)),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.code,
).map(tuple)
REGIMES: Final = st.builds(
    Regime,
    name=st.just("drawn"),
    start=st.sampled_from([datetime(2026, 3, day, hour) for day in (9, 10, 11, 14) for hour in (0, 1)]),  # noqa: DTZ001
    until=st.sampled_from([None, None, datetime(2026, 3, 10, 0, 5), datetime(2026, 3, 16)]),  # noqa: DTZ001
    off=st.sampled_from([False] * 7 + [True]),
    curfew=st.sampled_from(HOURS),
    late_minutes=st.sampled_from([None, None, 60, 1440]),
    purposes=PURPOSES,
    rules=st.sampled_from([(), (CrossRule(after=(1,), no=(2,)), CrossRule(after=(2,), no=(1, 2)))]),
    barred=st.sampled_from([(), (Barred(list="infected"),), (Barred(list="abuse", purposes=(3,)),)]),
    limits=st.sampled_from(LIMITS),
)
POLICIES: Final = st.lists(REGIMES, min_size=1, max_size=3, unique_by=lambda one: one.start).map(lambda r: policy(*r))


class Decision(msgspec.Struct):
    """A row of a trail, how it was decided, and how long after the one before it."""

    owner: str
    phone: str
    code: int
    shape: str
    fault: str
    was: str
    later_ms: int
    waited_ms: int
    travelled_ms: int

    def row(self, decided_ms: int) -> AuditRow:
        """Made before its decision: received, then arrived."""
        arrived_ms = decided_ms - self.waited_ms
        asked_ms = arrived_ms - self.travelled_ms
        where = ("0-0", "sms", "dev", self.code, self.owner, "d" * 12, asked_ms, arrived_ms, False)
        return AuditRow(*where, self.code, self.shape, self.fault, self.phone)


def decisions(codes: list[int], waited_ms: list[int], faults: list[str]) -> st.SearchStrategy[list[Decision]]:
    """Trails of few owners and phones."""
    return st.lists(
        st.builds(
            Decision,
            owner=st.sampled_from(OWNERS),
            phone=st.sampled_from(PHONES),
            code=st.sampled_from(codes),
            shape=st.sampled_from(["AZE9999999"] * 5 + ["AA99999999", ""]),
            fault=st.sampled_from([""] * 6 + faults),
            was=st.sampled_from("aaaqqdksml"),
            later_ms=st.sampled_from([0, 0, 1, 999, MINUTE_MS, HOUR_MS, DAY_MS, 3 * DAY_MS]),
            waited_ms=st.sampled_from(waited_ms),
            travelled_ms=st.sampled_from([0, *waited_ms, -2 * MINUTE_MS]),
        ),
        min_size=10,
        max_size=60,
    )


class Plainly:
    """The policy and the model, asked for each row."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._model = Model()
        self._identity = 0

    def judge(self, row: AuditRow, was: str, decided_ms: int) -> Verdict:
        """As `Judge.judge`."""
        regime = self._policy.at(min(row.asked_ms, row.arrived_ms))
        fault = msgspec.convert(row.fault or None, Fault | None)
        reading = Reading(row.asked or None, row.shape or None, fault, "az")
        reason = self._policy.refuses(regime, reading, asked_ms=row.asked_ms, now_ms=decided_ms)
        asked = regime.purpose(reading.purpose)
        code = 0 if asked is None else asked.code
        refused = None if reason is None else REFUSALS[reason]
        if was == REFUSALS["abuse_sender"] and regime.limits.documents_per_sender is not None:
            refused = was
        listed = was == REFUSALS["blocked"] and regime.lists_of(code) != ()
        return self._decide(row, code, refused, regime, listed=listed)

    def note(self, row: AuditRow, was: str) -> None:
        """As `Judge.note`."""
        self._decide(row, row.purpose, was, self._policy.at(min(row.asked_ms, row.arrived_ms)), listed=False)

    def _decide(self, row: AuditRow, code: int, refused: str | None, regime: Regime, *, listed: bool) -> Verdict:
        self._identity += 1
        asked = regime.purpose(code)
        request = Request(
            owner=row.owner,
            identity=str(self._identity),
            purpose=code,
            asked_ms=row.asked_ms,
            arrived_ms=row.arrived_ms,
            refused=refused,
            rules=() if asked is None else regime.rules_of(asked),
            sender=row.sender[:4],
            listed=listed,
            limits=regime.limits,
        )
        said = self._model.decide(request)
        return said.letter, code, not said.answered


def verdicts(judge: Judge | Plainly, decisions: Sequence[Decision], *, noted: int) -> list[Verdict]:
    """What is said to each row after the first ones, of which it only takes note."""
    said, now_ms = list[Verdict](), MIDNIGHT_MS - 2000
    for count, decision in enumerate(decisions):
        now_ms += decision.later_ms
        row = decision.row(now_ms)
        if count < noted:
            judge.note(row, decision.was)
        else:
            said.append(judge.judge(row, decision.was, now_ms))
    return said


@settings(max_examples=100, deadline=None)
@given(
    drawn=POLICIES,
    trail=decisions([0, 1, 2, 3, 4], [0, 1000, HOUR_MS, 2 * DAY_MS], ["malformed", "ambiguous", "bad_document"]),
    noted=st.sampled_from([0, 7]),
)
def test_the_judge_agrees_with_policy_and_model(drawn: Policy, trail: list[Decision], noted: int) -> None:
    assert verdicts(Judge(drawn), trail, noted=noted) == verdicts(Plainly(drawn), trail, noted=noted)


@settings(max_examples=100, deadline=None)
@given(
    regime=st.builds(
        Regime,
        name=st.just("open"),
        start=st.just(datetime(2026, 1, 1)),  # noqa: DTZ001
        purposes=st.just((purpose(1), purpose(2, per_day=2), purpose(3))),
        rules=st.sampled_from([(), (CrossRule(after=(1, 3), no=(2, 3)),)]),
        barred=st.just((Barred(list="abuse", purposes=(3,)),)),
        limits=st.sampled_from(LIMITS),
    ),
    trail=decisions([1, 2, 3], [0, 0, 1000, HOUR_MS - 1000], ["malformed"]),
    noted=st.sampled_from([0, 7]),
)
def test_the_judge_agrees_where_rules_and_limits_decide(regime: Regime, trail: list[Decision], noted: int) -> None:
    drawn = policy(regime)
    assert verdicts(Judge(drawn), trail, noted=noted) == verdicts(Plainly(drawn), trail, noted=noted)


def letters(judge: Judge, *moments: tuple[int, int], owner: str = "") -> str:
    """What is said to SMS under code 2 of one owner, else of one each: (asked, decided)."""
    rows = [
        AuditRow("0-0", "", "", 2, owner or str(count), "", asked_ms, asked_ms, False, 2, "AZE9999999", "", "1111")
        for count, (asked_ms, _) in enumerate(moments)
    ]
    return "".join(
        judge.judge(row, APPROVED, decided_ms)[0] for row, (_, decided_ms) in zip(rows, moments, strict=True)
    )


def test_a_regime_begins_and_ends_to_the_millisecond() -> None:
    """Also where the judge comes and goes between them."""
    judge = Judge(
        policy(
            Regime(name="on", start=datetime(2026, 1, 1), purposes=(purpose(2),)),  # noqa: DTZ001
            Regime(name="off", start=datetime(2026, 3, 9, 12), off=True),  # noqa: DTZ001
            Regime(name="again", start=datetime(2026, 3, 10), until=datetime(2026, 3, 10, 9), purposes=(purpose(2),)),  # noqa: DTZ001
        )
    )
    cuts = (MIDNIGHT_MS - 12 * HOUR_MS, MIDNIGHT_MS, MIDNIGHT_MS + 9 * HOUR_MS)
    moments = [(cut + step, cut) for cut in cuts for step in (-1, 0, -1)]
    assert letters(judge, *moments) == "aoa" + "oao" + "aoa"


def test_a_day_counts_as_long_as_its_sms_can_come() -> None:
    judge = Judge(policy(Regime(name="r", start=datetime(2026, 1, 1), purposes=(purpose(2, per_day=1),))))  # noqa: DTZ001
    decided_ms = MIDNIGHT_MS + 5 * DAY_MS
    first, later, late = (MIDNIGHT_MS, MIDNIGHT_MS), (decided_ms, decided_ms), (MIDNIGHT_MS + 1, decided_ms)
    assert letters(judge, first, later, late, later, owner="one") == "aaqq"


@pytest.mark.parametrize("at_ms", [0, 1, 599_000, 600_000, 630_000, 6 * HOUR_MS, 21 * HOUR_MS, DAY_MS - 1])
@pytest.mark.parametrize("hours", HOURS[1:])
def test_hours_begin_and_end_to_the_millisecond(at_ms: int, hours: Hours) -> None:
    """Also where the judge has just come from the moment before."""
    ruled = policy(Regime(name="r", start=datetime(2026, 1, 1), purposes=(purpose(2, hours=hours),)))  # noqa: DTZ001
    judge = Judge(ruled)
    for asked_ms in (MIDNIGHT_MS + at_ms - 1, MIDNIGHT_MS + at_ms):
        row = AuditRow("0-0", "", "", 2, str(asked_ms), "", asked_ms, asked_ms, False, 2, "AZE9999999", "", "1111")
        letter, _, _ = judge.judge(row, APPROVED, asked_ms)
        assert letter == (APPROVED if hours.holds(asked_ms) else REFUSALS["hours"])


DOCUMENTS: Final = (
    st.from_regex(r"(AZE|AA|MYI|DYI|MOM|P|CD|[A-Z]{1,4}|[0-9]{1,3}[A-Z]{1,2})[0-9]{3,9}[A-Z]?", fullmatch=True)
    .map(canonical)
    .filter(lambda document: document is not None)
)
TABLES: Final = st.builds(
    SeriesTable,
    series=st.lists(
        st.builds(
            Series,
            name=st.just("x"),
            prefix=st.sampled_from(["AZE", "AA", "A", "P", "MYI", "CD"]),
            digits=st.lists(st.integers(4, 9), max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    foreign_length=st.sampled_from([None, (6, 9), (8, 8)]),
)


@settings(max_examples=200, deadline=None)
@given(document=DOCUMENTS, table=TABLES)
def test_a_table_accepts_a_shape_where_it_accepts_the_document(document: str, table: SeriesTable) -> None:
    assert table.accepts(shape(document)) == table.accepts(document)


def test_where_a_gateways_clock_is_ahead_the_rules_of_the_arrival_hold() -> None:
    first = Regime("first", datetime(2026, 3, 9), purposes=(purpose(2),))  # noqa: DTZ001
    second = Regime("second", datetime(2026, 3, 10), purposes=(purpose(3),))  # noqa: DTZ001
    said = [
        Judge(policy(first, second)).judge(
            AuditRow("0-0", "sms", "dev", 2, "a" * 16, "d" * 12, at_ms, arrived_ms, False, 2, "AZE9999999", "", "1111"),
            "a",
            MIDNIGHT_MS + 1,
        )
        for at_ms, arrived_ms in [(MIDNIGHT_MS, MIDNIGHT_MS - 1), (MIDNIGHT_MS, MIDNIGHT_MS)]
    ]
    assert [letter for letter, _, _ in said] == ["a", "u"]
