"""A house for each test, and one synthetic day for all of them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.house import ICAZE, House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An empty house; whatever happens, nothing of it runs on."""
    house = House(tmp_path)
    try:
        yield house
    finally:
        house.close()


@pytest.fixture(scope="session")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 SMS in the shape of a steady day."""
    path = tmp_path_factory.mktemp("day") / "day.ndjson"
    words = ["day", "--messages", "3000", "--seed", "9", "--mix", "steady", "-o", str(path)]
    subprocess.run([*ICAZE, *words], check=True, timeout=60)
    return path
