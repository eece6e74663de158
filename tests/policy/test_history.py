"""The rules of 2020, one class a decree: what people were told who wrote to 8103 on a day of that year."""

from pathlib import Path

import pytest

from permits.employees import EmployeePermit, Epoch, effective
from permits.policy import Policy, load
from permits.replies import Texts
from tests.policy.country import ENDLESS, Country, instant, permit, refused

MINE = "AZE1111111"
YOURS = "AA7654321"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load(Path(__file__).with_name("2020.toml"))


@pytest.fixture
def country(policy: Policy) -> Country:
    return Country(policy)


def places(policy: Policy, moment: str) -> list[str]:
    """Where the rules of a moment hold, as people know the places."""
    return [policy.zones[zone]["en"] for zone in policy.at(instant(moment)).zones]


class TestFrom5April:
    """The whole country; codes 1, 2, 3; 1 and 2 for two hours, 2 once a day."""

    def test_codes_1_and_2_are_good_for_two_hours_and_3_without_end(self, country: Country) -> None:
        assert country.ask(f"1 {MINE}", "2020-04-05T00:00") == permit(120)
        assert country.ask(f"2 {MINE}", "2020-04-05T10:00") == permit(120)
        assert country.ask(f"3 {MINE}", "2020-04-11T23:59") == permit(ENDLESS)

    def test_code_2_is_given_once_a_day_a_document_and_the_others_as_often_as_asked(self, country: Country) -> None:
        assert country.ask(f"2 {MINE}", "2020-04-06T10:00") == permit(120)
        assert country.ask(f"2 {MINE}", "2020-04-06T18:00") == refused("quota")
        assert country.ask(f"2 {YOURS}", "2020-04-06T18:00") == permit(120)
        assert country.ask(f"2 {MINE}", "2020-04-07T00:00") == permit(120)
        for code, minutes in ((1, 120), (3, ENDLESS)):
            for hour in (9, 12, 15):
                assert country.ask(f"{code} {MINE}", f"2020-04-06T{hour:02}:00") == permit(minutes)

    def test_there_is_no_code_4_and_no_place_apart(self, country: Country) -> None:
        assert country.ask(f"4 {MINE}", "2020-04-06T10:00") == refused("unknown_code")
        assert places(country.policy, "2020-04-06T10:00") == []


class TestFrom12April:
    """Named people barred from code 3, after 30,000 funerals a day."""

    def test_who_abused_code_3_has_the_other_codes_left(self, country: Country) -> None:
        assert country.ask(f"3 {MINE}", "2020-04-12T10:00", stands_on=["abuse"]) == refused("blocked")
        assert country.ask(f"1 {MINE}", "2020-04-12T10:00", stands_on=["abuse"]) == permit(120)
        assert country.ask(f"2 {MINE}", "2020-04-12T10:00", stands_on=["abuse"]) == permit(120)
        assert country.ask(f"3 {YOURS}", "2020-04-12T10:00") == permit(ENDLESS)

    def test_the_list_bars_nobody_the_day_before(self, country: Country) -> None:
        assert country.ask(f"3 {MINE}", "2020-04-11T23:59:59", stands_on=["abuse"]) == permit(ENDLESS)


class TestOver65sInApril:
    """Over-65s not allowed out, under any code."""

    @pytest.mark.parametrize("code", [1, 2, 3])
    def test_no_code_lets_them_out(self, country: Country, code: int) -> None:
        assert country.ask(f"{code} {MINE}", "2020-04-20T10:00", stands_on=["age"]) == refused("blocked")

    def test_in_june_they_may_go_out_again(self, country: Country) -> None:
        assert country.ask(f"2 {MINE}", "2020-06-21T10:00", stands_on=["age"]) == permit(120)


class TestFrom27April:
    """Two hours become three."""

    def test_codes_1_and_2_are_good_for_three_hours(self, country: Country) -> None:
        assert country.ask(f"1 {MINE}", "2020-04-27T00:00") == permit(180)
        assert country.ask(f"2 {MINE}", "2020-05-17T23:59") == permit(180)

    def test_what_held_before_holds_on(self, country: Country) -> None:
        assert country.ask(f"2 {MINE}", "2020-05-01T10:00") == permit(180)
        assert country.ask(f"2 {MINE}", "2020-05-01T18:00") == refused("quota")
        assert country.ask(f"3 {MINE}", "2020-05-01T18:00") == permit(ENDLESS)
        assert country.ask(f"3 {YOURS}", "2020-05-01T18:00", stands_on=["abuse"]) == refused("blocked")
        assert country.ask(f"1 {YOURS}", "2020-05-01T18:00", stands_on=["age"]) == refused("blocked")


class TestFrom18May:
    """Regime off: nobody needs a permit."""

    @pytest.mark.parametrize("text", [f"2 {MINE}", f"9 {MINE}", "salam", "2 AZE 1", f"1 2 {MINE}"])
    def test_whatever_is_asked_the_answer_is_that_none_is_needed(self, country: Country, text: str) -> None:
        assert country.ask(text, "2020-05-18T00:00") == refused("regime_off")
        assert country.ask(text, "2020-06-20T23:59:59") == refused("regime_off")

    def test_the_reply_says_so(self, policy: Policy) -> None:
        texts = Texts.of(policy.at(instant("2020-05-20T12:00")), "plain")
        before, after = texts.refusal("en", "regime_off", None)
        assert before + after == ("No permit is needed to leave home at present. There is no need to send an SMS.")


class TestFrom21June:
    """Regime on in eight cities and districts only; code 3 gone; two hours."""

    def test_codes_1_and_2_are_good_for_two_hours(self, country: Country) -> None:
        assert country.ask(f"1 {MINE}", "2020-06-21T00:00") == permit(120)
        assert country.ask(f"2 {MINE}", "2020-06-21T00:00") == permit(120)
        assert country.ask(f"2 {MINE}", "2020-06-21T12:00") == refused("quota")

    def test_there_is_no_code_3(self, country: Country) -> None:
        assert country.ask(f"3 {MINE}", "2020-06-21T10:00") == refused("unknown_code")

    def test_it_holds_in_eight_places(self, policy: Policy) -> None:
        assert places(policy, "2020-06-21T00:00") == [
            "Baku", "Sumgait", "Ganja", "Lankaran", "Yevlakh", "Masalli", "Jalilabad", "Absheron",
        ]  # fmt: skip

    def test_replies_offer_the_two_codes(self, policy: Policy) -> None:
        before, _ = Texts.of(policy.at(instant("2020-06-21T00:00")), "plain").refusal("en", "unknown_code", None)
        assert "the code (1 or 2)" in before


class TestFrom25June:
    """Approvals held back on purpose, 15 minutes by SMS and 5 by app. That they are is in `test_held_replies`."""

    def test_approvals_wait_by_channel_from_midnight_on(self, policy: Policy) -> None:
        assert policy.at(instant("2020-06-24T23:59:59.999")).hold_minutes == {}
        assert policy.at(instant("2020-06-25T00:00")).hold_minutes == {"sms": 15, "app": 5}

    def test_the_rest_of_the_rules_is_the_day_befores(self, country: Country) -> None:
        assert country.ask(f"2 {MINE}", "2020-06-25T10:00") == permit(120)
        assert country.ask(f"2 {MINE}", "2020-06-25T11:00") == refused("quota")
        assert country.ask(f"3 {MINE}", "2020-06-25T10:00") == refused("unknown_code")

    def test_a_refusal_waits_for_nothing(self, country: Country) -> None:
        assert country.ask(f"3 {MINE}", "2020-06-25T10:00").told


class TestFrom29June:
    """One permit a day over all codes: after 1 no 2, after 2 no 2."""

    @pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 2), (2, 1), (1, 1)])
    def test_the_first_permit_is_the_only_one_of_the_day(self, country: Country, first: int, second: int) -> None:
        assert country.ask(f"{first} {MINE}", "2020-06-29T08:00") == permit(120)
        assert country.ask(f"{second} {MINE}", "2020-06-29T20:00") == refused("quota")
        assert country.ask(f"{second} {YOURS}", "2020-06-29T20:00") == permit(120)
        assert country.ask(f"{second} {MINE}", "2020-06-30T00:00") == permit(120)

    def test_a_refusal_uses_nothing_up(self, country: Country) -> None:
        assert country.ask(f"3 {MINE}", "2020-06-29T08:00") == refused("unknown_code")
        assert country.ask(f"2 {MINE}", "2020-06-29T08:01") == permit(120)

    def test_the_day_before_code_1_and_code_2_stood_side_by_side(self, country: Country) -> None:
        assert country.ask(f"1 {MINE}", "2020-06-28T08:00") == permit(120)
        assert country.ask(f"2 {MINE}", "2020-06-28T09:00") == permit(120)


class TestInJuly:
    """Infected and returning travellers refused."""

    @pytest.mark.parametrize("code", [1, 2])
    @pytest.mark.parametrize("name", ["infected", "traveller"])
    def test_no_code_lets_them_out(self, country: Country, code: int, name: str) -> None:
        assert country.ask(f"{code} {MINE}", "2020-07-06T10:00", stands_on=[name]) == refused("blocked")
        assert country.ask(f"{code} {YOURS}", "2020-07-06T10:00") == permit(120)

    def test_they_were_let_out_in_june(self, country: Country) -> None:
        assert country.ask(f"2 {MINE}", "2020-06-30T10:00", stands_on=["infected"]) == permit(120)

    def test_the_reply_shows_the_document_and_never_the_list(self, policy: Policy) -> None:
        before, after = Texts.of(policy.at(instant("2020-07-06T10:00")), "plain").refusal("en", "blocked", 2)
        assert before == "No permit, document ..."
        assert not [name for name in policy.lists if name in before + after]


def employee(*, until: str) -> EmployeePermit:
    """A permit that an organisation obtained in June."""
    return EmployeePermit(
        code="2222222222",
        owner="00" * 8,
        person="ab" * 8,
        person_partition=0,
        tin="1234567890",
        employer="Bakery",
        status="transmitted",
        from_ms=instant("2020-06-21T00:00"),
        until_ms=instant(until),
        epoch=0,
        employee="sealed",
    )


class TestOn5July:
    """All organisations' permits deactivated in one stroke: an epoch, no rule of the SMS half."""

    DEACTIVATED = Epoch(1, "deactivate", instant("2020-07-05T00:00"), "decree", "ministry", "")

    def test_every_permit_in_force_is_cancelled_by_one_record(self) -> None:
        standing = effective(employee(until="2020-08-01T00:00"), [self.DEACTIVATED], instant("2020-07-05T00:00"))
        assert standing.status == "cancelled"
        assert effective(employee(until="2020-08-01T00:00"), [], instant("2020-07-04T12:00")).status == "active"

    def test_people_go_on_by_sms_as_the_day_before(self, country: Country) -> None:
        assert country.ask(f"2 {MINE}", "2020-07-04T10:00") == country.ask(f"2 {MINE}", "2020-07-05T10:00")


class TestFrom20July:
    """Two hours become three; organisations' permits extended in one stroke, which is an epoch."""

    EXTENDED = Epoch(1, "extend", instant("2020-07-20T00:00"), "decree", "ministry", "", instant("2020-08-05T00:00"))

    def test_codes_1_and_2_are_good_for_three_hours(self, country: Country) -> None:
        assert country.ask(f"1 {MINE}", "2020-07-19T23:59") == permit(120)
        assert country.ask(f"1 {MINE}", "2020-07-20T00:00") == permit(180)
        assert country.ask(f"2 {YOURS}", "2020-07-20T00:00") == permit(180)

    def test_one_a_day_and_the_lists_hold_on(self, country: Country) -> None:
        assert country.ask(f"1 {MINE}", "2020-07-21T10:00") == permit(180)
        assert country.ask(f"2 {MINE}", "2020-07-21T11:00") == refused("quota")
        assert country.ask(f"2 {YOURS}", "2020-07-21T10:00", stands_on=["traveller"]) == refused("blocked")

    def test_every_permit_of_an_organisation_runs_longer_by_one_record(self) -> None:
        standing = effective(employee(until="2020-07-21T00:00"), [self.EXTENDED], instant("2020-07-30T00:00"))
        assert (standing.status, standing.until_ms) == ("active", instant("2020-08-05T00:00"))


class TestFrom28September:
    """The same engine for a night curfew, 21:00 to 06:00."""

    @pytest.mark.parametrize(
        "moment", ["2020-09-28T21:00", "2020-09-28T23:59:59", "2020-09-29T00:00", "2020-09-29T05:59:59"]
    )
    def test_at_night_a_permit_is_needed(self, country: Country, moment: str) -> None:
        assert country.ask(f"2 {MINE}", moment) == permit(180)

    @pytest.mark.parametrize("moment", ["2020-09-28T06:00", "2020-09-28T12:00", "2020-09-28T20:59:59.999"])
    def test_by_day_none_is(self, country: Country, moment: str) -> None:
        assert country.ask(f"2 {MINE}", moment) == refused("regime_off")

    def test_the_first_night_began_at_midnight(self, country: Country) -> None:
        assert country.ask(f"2 {MINE}", "2020-09-28T00:00") == permit(180)

    def test_the_reply_by_day_says_when_the_night_begins(self, policy: Policy) -> None:
        before, _ = Texts.of(policy.at(instant("2020-09-28T12:00")), "plain").refusal("en", "regime_off", None)
        assert "only from 21:00 to 06:00" in before

    def test_a_day_ends_at_midnight_also_within_a_night(self, country: Country) -> None:
        assert country.ask(f"2 {MINE}", "2020-10-01T22:00") == permit(180)
        assert country.ask(f"2 {MINE}", "2020-10-01T23:00") == refused("quota")
        assert country.ask(f"2 {MINE}", "2020-10-02T00:30") == permit(180)


class TestFrom14December:
    """Sixteen cities and districts, villages excluded; codes 1 and 2; three hours; until 18 January."""

    def test_codes_1_and_2_are_good_for_three_hours_at_any_hour(self, country: Country) -> None:
        assert country.ask(f"1 {MINE}", "2020-12-14T12:00") == permit(180)
        assert country.ask(f"2 {MINE}", "2020-12-14T22:00") == permit(180)
        assert country.ask(f"2 {MINE}", "2020-12-14T23:00") == refused("quota")
        assert country.ask(f"3 {MINE}", "2020-12-14T12:00") == refused("unknown_code")

    def test_it_holds_in_sixteen_places_and_not_in_their_villages(self, policy: Policy) -> None:
        regime = policy.at(instant("2020-12-14T00:00"))
        assert len(set(places(policy, "2020-12-14T00:00"))) == 16
        assert [purpose.zone and purpose.zone["en"] for purpose in regime.purposes] == ["villages excluded"] * 2

    def test_on_18_january_it_is_over(self, country: Country) -> None:
        assert country.ask(f"2 {MINE}", "2021-01-17T23:59:59") == permit(180)
        assert country.ask(f"2 {YOURS}", "2021-01-18T00:00") == refused("regime_off")


class TestAtMidnight:
    """A change of rules with a backlog from both sides: each SMS is judged by its own moment of receipt."""

    def test_minutes_are_those_of_the_moment_of_receipt(self, country: Country) -> None:
        for at in range(3):  # the queue holds both, in any order
            before = country.ask(f"1 AZE111111{at}", "2020-04-26T23:59:59.999", decided="2020-04-27T00:20")
            after = country.ask(f"1 AZE222222{at}", "2020-04-27T00:00", decided="2020-04-27T00:10")
            assert (before, after) == (permit(120), permit(180))

    def test_the_quota_is_that_of_the_day_of_receipt(self, country: Country) -> None:
        assert country.ask(f"2 {MINE}", "2020-04-27T00:00:01", decided="2020-04-27T00:01") == permit(180)
        assert country.ask(f"2 {MINE}", "2020-04-26T23:59:59", decided="2020-04-27T00:02") == permit(120)
        assert country.ask(f"2 {MINE}", "2020-04-26T23:59:58", decided="2020-04-27T00:03") == refused("quota")
        assert country.ask(f"2 {MINE}", "2020-04-27T00:00:02", decided="2020-04-27T00:04") == refused("quota")

    def test_a_code_that_goes_at_midnight_is_known_until_then(self, country: Country) -> None:
        assert country.ask(f"3 {MINE}", "2020-05-17T23:59:59", decided="2020-05-18T00:05") == permit(ENDLESS)
        assert country.ask(f"3 {MINE}", "2020-05-18T00:00", decided="2020-05-18T00:05") == refused("regime_off")
        assert country.ask(f"3 {MINE}", "2020-06-20T23:59:59", decided="2020-06-21T00:05") == refused("regime_off")
        assert country.ask(f"3 {MINE}", "2020-06-21T00:00", decided="2020-06-21T00:05") == refused("unknown_code")

    def test_what_was_given_before_midnight_does_not_count_under_the_new_rule(self, country: Country) -> None:
        assert country.ask(f"1 {MINE}", "2020-06-28T23:30") == permit(120)
        assert country.ask(f"2 {MINE}", "2020-06-28T23:59:59", decided="2020-06-29T00:30") == permit(120)
        assert country.ask(f"2 {MINE}", "2020-06-29T00:00", decided="2020-06-29T00:30") == permit(120)
        assert country.ask(f"1 {MINE}", "2020-06-29T00:01", decided="2020-06-29T00:31") == refused("quota")

    def test_a_list_bars_from_midnight_on(self, country: Country) -> None:
        late = "2020-04-12T00:30"
        assert country.ask(f"3 {MINE}", "2020-04-11T23:59:59", decided=late, stands_on=["abuse"]) == permit(ENDLESS)
        assert country.ask(f"3 {MINE}", "2020-04-12T00:00", decided=late, stands_on=["abuse"]) == refused("blocked")
