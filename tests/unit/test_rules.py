"""`icaze policy`: whether a file can be used, and the rules in force at a time."""

import json
from pathlib import Path

import pytest

from icaze import main
from permits.policy import DEFAULT_FILE


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICAZE_POLICY_FILE", raising=False)
    monkeypatch.delenv("ICAZE_CONFIG", raising=False)


def test_the_built_in_rules_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == str(DEFAULT_FILE)
    assert said["regimes"] == ["founding"]
    assert main(["policy", "check"]) == 0
    assert ": ok, version policy-" in capsys.readouterr().out


def test_the_rules_in_force_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", "--at", "2026-01-01T08:00:00Z"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("regime founding, from 2020-01-01T00:00:00")
    assert lines[2] == "  2  food, medicines, bank, post: 180 min, 1 a day"
    assert lines[3].endswith("no end, honoured 3 days, no limit a day")


@pytest.fixture
def two_regimes(tmp_path: Path) -> str:
    file = tmp_path / "policy.toml"
    text = DEFAULT_FILE.read_text()
    file.write_text(text + '\n[[regimes]]\nname = "off"\nfrom = 2026-01-02T00:00:00\noff = true\n')
    return str(file)


@pytest.mark.parametrize(
    ("at", "name"),
    [
        ("2026-01-01T19:59:59Z", "founding"),
        ("2026-01-01T20:00:00Z", "off"),
        ("2026-01-01T23:59:59", "founding"),
        ("2026-01-02T00:00:00", "off"),
        ("2026-01-02", "off"),
    ],
)
def test_a_time_without_a_zone_is_baku_s(
    two_regimes: str, at: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "show", two_regimes, "--at", at, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == name


def test_the_file_of_the_settings_is_taken(
    two_regimes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ICAZE_POLICY_FILE", two_regimes)
    assert main(["policy", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["regimes"] == ["founding", "off"]


def test_a_time_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", "--at", "tomorrow"]) == 2
    assert "'tomorrow'" in capsys.readouterr().err


def test_a_time_out_of_the_calendar_is_refused_or_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", "--at", "0001-01-01T00:00:00"]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"regimes = []", b"\xff", b"x ="])
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policy.toml"
    file.write_bytes(content)
    assert main(["policy", "check", str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"icaze policy: {file}: ")


def test_two_files_are_compared(two_regimes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "diff", str(DEFAULT_FILE), str(DEFAULT_FILE)]) == 0
    assert capsys.readouterr().out == "no difference\n"
    assert main(["policy", "diff", str(DEFAULT_FILE), two_regimes]) == 0
    assert "regimes.off" in capsys.readouterr().out
    assert main(["policy", "diff", str(DEFAULT_FILE), two_regimes, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[-1]["before"] is None


def test_every_word_of_a_regime_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        DEFAULT_FILE.read_text()
        + """
[zones]
baku = { az = "Bakı", ru = "Баку", en = "Baku" }

[[regimes]]
name = "curfew"
from = 2026-01-02T00:00:00
until = 2026-01-03T00:00:00
zones = ["baku"]
curfew = { from = 21:00:00, until = 06:00:00 }
rules = [{ after = [1], no = [1] }]
barred = [{ list = "infected" }, { list = "abuse", purposes = [1] }]

[[regimes.purposes]]
code = 1
names = { az = "bir", ru = "раз", en = "one" }
minutes = 60
hours = { from = 09:00:00, until = 18:00:00 }

[[regimes]]
name = "over"
from = 2026-01-03T00:00:00
off = true
"""
    )
    assert main(["policy", "show", str(file), "--at", "2026-01-02"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "regime curfew, from 2026-01-02T00:00:00 until 2026-01-03T00:00:00",
        "  in baku only",
        "  a permit is needed 21:00-06:00",
        "  1  one: 60 min, no limit a day, asked for 09:00-18:00",
        "  after 1 no 1",
        "  documents on infected: no permit",
        "  documents on abuse: no 1",
    ]
    assert main(["policy", "show", str(file), "--at", "2026-01-03"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["  nobody needs a permit"]
