"""What a measurement starts ends with it, whatever went wrong between."""

import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from bench import whole_path
from bench.api_house import ApiHouse

LONG = "import signal; print('begun', flush=True); signal.pause()"
"""A replay that ends when it is told to."""


@pytest.mark.timeout(10)
def test_an_error_does_not_wait_for_the_whole_replay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(whole_path, "ICAZE", (sys.executable, "-c", LONG))
    house = ApiHouse({"ingest": "http://127.0.0.1:1"}, {}, Mock())

    def fail() -> None:
        with whole_path.pushing(tmp_path / "trace", tmp_path, house) as replay:
            assert replay.stdout is not None
            assert replay.stdout.readline() == b"begun\n"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
