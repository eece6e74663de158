"""The store away under load, and ingest killed meanwhile: nothing acknowledged is lost or decided twice."""

from tests.system.house import House
from tests.system.outage import Outage


def test_aggregators_that_never_retry_lose_nothing_while_the_store_is_away(house: House) -> None:
    seen = Outage(house, seconds=5, rate=200).run()
    assert seen["spooled_when_back"] > 0, seen
    assert seen["replayed_by_the_last_ingest"] >= seen["spooled_when_back"], seen


def test_ingest_killed_during_an_outage_has_all_it_acknowledged_stored_by_the_next(house: House) -> None:
    seen = Outage(house, seconds=4, rate=200, kills=2).run()
    assert seen["ingest_kills"] == 2, seen
    assert seen["retries"] > 0, "the replay has not noticed"
