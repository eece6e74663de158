"""From the intended start of each SMS to the operator: planted times come out as planted."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from bench.latencies import Latencies
from bench.open_loop import Answers
from bench.passage import Load, Passage
from bench.posts import PATH, Post, distinct, posts, settings
from ingest import signature

BEGAN_S = 1_000.0


def passed(load: Load, pushed: list[Post], at_operator_ms: dict[str, int]) -> Passage:
    answers = Answers(
        [0.004] * len(pushed), Counter({202: len(pushed)}), [0.0], load.seconds, len(pushed), 0, 202, BEGAN_S
    )
    return Passage(
        load=load,
        pushed=pushed,
        answers=answers,
        acked_ms={id_: 1_000_004 for post in pushed for id_ in post.ids},
        rejected=0,
        at_operator_ms=at_operator_ms,
        drained_s=0.5,
        cpu_us={"ingest": 100.04},
        others_cores=0.25,
        peak_mb={"store": 12.0},
        syncs=Latencies([0.001]),
        checks=[{"violations": 0, "status": "ok"}, {"violations": 2, "status": "violated"}],
    )


def one(name: str) -> Post:
    return Post((name,), b"")


def test_an_sms_waits_from_when_it_was_meant_to_be_pushed_whenever_it_was() -> None:
    load = Load(rate=10, seconds=0.3)
    seen = passed(load, [one("a"), one("b"), one("c")], {"a": 1_000_049, "b": 1_000_199, "c": 1_003_199})
    assert [(round(start, 3), round(wait, 3)) for start, wait in seen.to_operator()] == [
        (0.0, 0.05),
        (0.1, 0.1),
        (0.2, 3.0),
    ]
    figures = seen.figures()
    assert (figures["sink_p50_ms"], figures["sink_p99_ms"]) == (pytest.approx(100), pytest.approx(3000))
    assert (figures["lag_max_s"], figures["last_reply_s"]) == (3.0, 3.0)


def test_all_of_an_array_were_meant_to_be_pushed_at_its_time() -> None:
    load = Load(rate=100, seconds=1, size=50)
    pushed = [Post(tuple(f"{n}-{k}" for k in range(50)), b"") for n in range(2)]
    seen = passed(load, pushed, {"0-0": 1_000_099, "0-49": 1_000_099, "1-0": 1_000_699})
    assert [(round(start, 3), round(wait, 3)) for start, wait in seen.to_operator()] == [
        (0.0, 0.1),
        (0.0, 0.1),
        (0.5, 0.2),
    ]


def test_a_repeat_is_measured_once_and_what_got_no_reply_not_at_all() -> None:
    seen = passed(
        Load(rate=10, seconds=0.4), [one("a"), one("silent"), one("a"), one("b")], {"a": 1_000_009, "b": 1_000_309}
    )
    assert [round(wait, 3) for _, wait in seen.to_operator()] == [0.01, 0.01]
    figures = seen.figures()
    assert (figures["sms_pushed"], figures["sms_replied"]) == (4, 2)


def test_figures_tell_what_failed_was_violated_and_what_others_took() -> None:
    seen = passed(Load(rate=10, seconds=0.1), [one("a")], {})
    seen.answers.statuses = Counter({503: 1})
    figures = seen.figures()
    assert (figures["requests_failed"], figures["violations"], figures["not_checked"]) == (1, 2, 0)
    assert (figures["cpu_us_ingest"], figures["peak_mb_store"], figures["ack_p99_ms"]) == (100.0, 12.0, 4.0)
    assert seen.references() == {
        "fdatasync_p50_ms": 1.0,
        "fdatasync_p99_ms": 1.0,
        "fdatasync_p999_ms": 1.0,
        "others_busy_cores": 0.25,
    }


def test_plots_show_each_stretch_of_time_with_its_rate_and_its_longest_wait() -> None:
    load = Load(rate=4, seconds=1.5)
    pushed = [one(name) for name in "abcdef"]
    taken = {"a": 1_000_099, "b": 1_000_269, "c": 1_001_299, "f": 1_001_299}
    rate, lag, curve = passed(load, pushed, taken).plots("n1")
    assert rate["lines"]["pushed (intended)"] == [(0.0, 4.0), (0.5, 4.0), (1.0, 4.0)]
    assert rate["lines"]["replies at the operator"] == [(0.0, 4.0), (0.5, 0.0), (1.0, 4.0)]
    assert lag["lines"]["longest"] == [(0.0, 100.0), (0.5, 800.0), (1.0, 50.0)]
    assert curve["lines"]["at the operator"][-1] == (1.0, pytest.approx(800))


def test_posts_are_signed_for_the_aggregator_that_ingest_is_told_of(tmp_path: Path) -> None:
    known = signature.load(settings(tmp_path)["ICAZE_AGGREGATORS_FILE"])
    for post in posts("http://127.0.0.1:1", 20, size=3, seed=1):
        head, _, body = post.request.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        assert first == f"POST {PATH} HTTP/1.1"
        headers = dict(line.split(": ", 1) for line in lines)
        source = known.source(
            remote="192.0.2.1",
            webhook_id=headers["webhook-id"],
            timestamp=headers["webhook-timestamp"],
            signature=headers["webhook-signature"],
            body=body,
            now_s=float(headers["webhook-timestamp"]),
        )
        assert source == "bench"
        assert [sms["id"] for sms in msgspec.json.decode(body)] == list(post.ids)
        assert int(headers["Content-Length"]) == len(body)


def test_one_sms_goes_as_an_object_and_repeats_come_again_under_their_id() -> None:
    pushed = posts("http://127.0.0.1:1", 2_000, size=1, seed=1)
    assert msgspec.json.decode(pushed[0].request.partition(b"\r\n\r\n")[2])["id"] == pushed[0].ids[0]
    assert 1_900 < len(list(distinct(pushed))) < 2_000
