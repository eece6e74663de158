"""Logs never carry a document or a full phone number, whatever somebody else's error says."""

import logging
import sys

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from runtime.telemetry import Ages, Log, masked, start_logging


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("unknown subscriber +994501234567", "unknown subscriber +…"),
        ("KeyError: 'AZE1111111'", "KeyError: 'AZE…'"),
        ("error 503 after 12345 ms", "error 503 after 12345 ms"),
    ],
)
def test_what_may_be_a_document_or_a_phone_is_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_the_cause_of_a_log_line_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        start_logging("debug")
        Log("test").error("failed", cause=KeyError("AZE1111111"))
        sys.stderr.flush()
    finally:
        root.handlers[:], root.level = before[0], before[1]
        logging.getLogger("aiohttp.access").setLevel(logging.NOTSET)
    said = capsys.readouterr().err
    assert "KeyError" in said
    assert "1111111" not in said


def test_equal_ages_at_once_are_counted_as_one_by_one() -> None:
    shown: list[bytes] = []
    for at_once in (False, True):
        registry = CollectorRegistry()
        ages = Ages("age", "of something", buckets=(0.5, 1.0), registry=registry)
        for seconds, times in ((0.0, 1), (0.5, 3), (0.75, 2), (9.0, 4)):
            if at_once:
                ages.observe_many(seconds, times)
            else:
                for _ in range(times):
                    ages.observe(seconds)
        shown.append(b"\n".join(line for line in generate_latest(registry).splitlines() if b"created" not in line))
    assert shown[0] == shown[1]
    assert b'age_bucket{le="1.0"} 6.0' in shown[1]
