"""Logs never carry a document or a full phone number, whatever somebody else's error says."""

import logging
import sys

import pytest

from runtime.telemetry import Log, masked, start_logging


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
