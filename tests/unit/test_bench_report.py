"""`make bench-report`: one measurement that fails costs none of the others their place, and is told."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEASURED = [
    "peers --install",
    "drain --profile",
    "memory",
    "limit",
    "ingest",
    "scale",
    "peers",
    "peak",
    "day --messages 5400000",
]
"""In the order in which the environment of the peers is there before the first that needs it."""
ICAZE = """#!/bin/sh
[ "$1" = bench ] || exit 9
shift
[ "$1" = "$BROKEN" ] && echo half && exit 1
echo "$*"
"""
PYTHON = """#!/bin/sh
echo "$*" >page
cat "$3" >>page
exit "${PAGE_FAILS:-0}"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile, everything installed, and programs that only say how they were called."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "bench").mkdir()
    for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in (("icaze", ICAZE), ("python", PYTHON)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o700)
    for stamp in (".run", ".dev"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


def made(checkout: Path, **environ: str) -> tuple[int, str, list[str]]:
    """Exit code, standard error, and what the page was made of."""
    done = subprocess.run(
        ["make", "bench-report"],  # noqa: S607  # whichever make is there
        cwd=checkout,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    called, *lines = (checkout / "page").read_text().splitlines()
    assert called == "-m bench.report bench/report.ndjson"
    return done.returncode, done.stderr, lines


def test_all_are_measured_and_the_peers_are_there_before_the_drain(checkout: Path) -> None:
    code, said, lines = made(checkout)
    assert (code, said) == (0, "")
    assert lines == [f"{words} --json" for words in MEASURED]


def test_the_page_is_made_of_what_came_and_the_exit_code_tells_of_what_did_not(checkout: Path) -> None:
    code, said, lines = made(checkout, BROKEN="peak")
    assert code != 0
    assert "bench-report: failed, or a promise broken: peak" in said
    assert lines == ["half" if words == "peak" else f"{words} --json" for words in MEASURED]


def test_a_page_that_could_not_be_made_is_told(checkout: Path) -> None:
    code, said, _ = made(checkout, PAGE_FAILS="1")
    assert code != 0
    assert "a promise broken: report" in said
