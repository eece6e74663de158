"""A peer that does less than the job is found out by the SMS that it is handed, whatever else it was handed."""

import sys
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

from bench.backlog import Backlog, PeerSms
from bench.peers import peer

PROGRAM = """
import os, sys
sys.path.insert(0, {programs!r})
import job, json
from redis import Redis
store = Redis.from_url(job.URL)
if sys.argv[1] == "load":
    with open(sys.argv[2]) as lines:
        store.rpush("tasks", *(line.strip() for line in lines))
while sys.argv[1] == "work":
    sms = json.loads(store.blpop("tasks")[1])
    words = list(job.arguments(sms))
    {shortcut}
    store.evalsha(job.SHA, *words)
"""
"""In the manner of the others; what follows the keys are id, sender, purpose, permits a day and code."""


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A peer of our own in place of all others."""
    monkeypatch.setattr(peer, "PROGRAMS", tmp_path)
    monkeypatch.setattr(peer, "BIN", Path(sys.executable).parent)
    monkeypatch.setattr(peer, "PEERS", {"own": peer.Peer((sys.executable, "own_peer.py", "work"), 100)})
    return tmp_path


def drained(folder: Path, shortcut: str) -> dict[str, float]:
    """The peer with one line more, handed messages that need neither deduplication nor quota."""
    programs = str(Path(peer.__file__).parent / "programs")
    (folder / "own_peer.py").write_text(PROGRAM.format(programs=programs, shortcut=shortcut))
    sms = [msgspec.json.encode(PeerSms(f"sms-{n}", "+994501234567", 2, f"AZE{n}")) for n in range(20)]
    return peer.drain("own", Mock(spec=Backlog, peer_sms=sms), 20, folder)


def test_a_peer_that_does_the_job_is_measured(alone: Path) -> None:
    assert drained(alone, "pass")["per_s"] > 0


@pytest.mark.parametrize(
    "shortcut", ["words[8] = 0", "words[1] = 'seen:' + os.urandom(8).hex()", "words[7] = words[7] or 1"]
)
def test_one_that_lets_a_repeat_a_second_permit_or_an_unread_text_pass_is_not(alone: Path, shortcut: str) -> None:
    with pytest.raises(SystemExit, match=r"own told .* and should have told"):
        drained(alone, shortcut)
