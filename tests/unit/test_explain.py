"""`icaze explain`: how a text reads, for people and for programs."""

import io
import json
import sys
from pathlib import Path

import pytest

from icaze import main
from permits.policy import DEFAULT_FILE


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICAZE_POLICY_FILE", raising=False)
    monkeypatch.delenv("ICAZE_CONFIG", raising=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2 AZE 1111111", {"purpose": 2, "document": "AZE1111111"}),
        ("salam", {"refused": "malformed"}),
        ("9 AZE 1111111", {"refused": "unknown_code"}),
        ("2 AZE 111111", {"refused": "bad_document"}),
        ("1 2 AZE 1111111", {"refused": "ambiguous"}),
        ("", {"refused": "malformed"}),
    ],
)
def test_a_text_is_explained(text: str, said: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", text, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == said


def test_a_person_gets_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "2 AZE 1111111"]) == 0
    assert "AZE1111111" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("LEGV AZE1111111", {"cancels": "AZE1111111", "purpose": None}, "document AZE1111111, purpose any"),
        ("2 AZE1111111 legv", {"cancels": "AZE1111111", "purpose": 2}, "document AZE1111111, purpose 2"),
        ("LEGV", {"refused": "malformed"}, "refused: malformed"),
        ("LEGV 9 AZE1111111", {"refused": "unknown_code"}, "refused: unknown_code"),
    ],
)
def test_a_text_with_the_cancel_word_is_explained(
    text: str,
    said: dict[str, object],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "policy.toml"
    rules = DEFAULT_FILE.read_text()
    file.write_text(rules.replace("late_minutes = 60", 'late_minutes = 60\ncancel_word = "LEGV"'))
    monkeypatch.setenv("ICAZE_POLICY_FILE", str(file))
    assert main(["explain", text, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == said
    assert main(["explain", text]) == 0
    assert line in capsys.readouterr().out
    assert main(["policy", "show"]) == 0
    assert "cancelled by SMS with LEGV" in capsys.readouterr().out


class _Input:
    """Standard input of given bytes."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def explained(
    content: bytes, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> tuple[int, list[object], str]:
    monkeypatch.setattr(sys, "stdin", _Input(content))
    code = main(["explain", "--stdin", "--json"])
    sys.stdout.flush()
    said = capfdbinary.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err.decode()


def test_lines_are_explained_one_by_one(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    content = b'{"text": "2 AZE 1111111"}\n\n{"text": "salam", "id": 4}\n'
    assert explained(content, monkeypatch, capfdbinary) == (
        0,
        [{"purpose": 2, "document": "AZE1111111"}, {"refused": "malformed"}],
        "",
    )


@pytest.mark.parametrize(
    "line", [b"{}", b'{"text": 1}', b"2 AZE 1111111", b'{"text": "\xff"}', b'{"text": "\\ud800"}', b"[" * 100_000]
)
def test_a_line_that_cannot_be_used_is_named_after_those_before_it(
    line: bytes, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    code, answers, error = explained(b'{"text": "salam"}\n' + line + b"\n", monkeypatch, capfdbinary)
    assert (code, answers) == (2, [{"refused": "malformed"}])
    assert error.startswith("icaze explain: line 2: ")


def test_a_policy_file_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ICAZE_POLICY_FILE", "/nowhere/policy.toml")
    assert main(["explain", "2 AZE 1111111"]) == 1
    assert "/nowhere/policy.toml" in capsys.readouterr().err
