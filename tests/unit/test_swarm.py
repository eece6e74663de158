"""What Locust writes down, as figures of a measurement."""

from bench.swarm import read_stats

STATS = """Type,Name,Request Count,Failure Count,Median Response Time,Requests/s,Failures/s,50%,99%,100%
POST,ingest: one SMS,1217,2,7,20.123,0.0,7,46,400
redis,XADD inbound,0,0,0,0.0,0.0,N/A,N/A,N/A
,Aggregated,1217,2,7,20.123,0.0,7,46,400
"""


def test_each_kind_of_request_gets_its_figures() -> None:
    figures = read_stats(STATS)
    assert {name: value for name, value in figures.items() if "one_sms" in name} == {
        "locust_ingest_one_sms_requests": 1217,
        "locust_ingest_one_sms_failed": 2,
        "locust_ingest_one_sms_per_s": 20.1,
        "locust_ingest_one_sms_p99_ms": 46,
    }
    assert figures["locust_aggregated_failed"] == 2


def test_a_kind_that_was_never_asked_has_no_percentile_and_is_no_fault() -> None:
    assert read_stats(STATS)["locust_xadd_inbound_p99_ms"] == 0
