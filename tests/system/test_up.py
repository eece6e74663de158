"""`icaze up` as a person meets it: it shows where it is, answers six SMS, stops cleanly, and starts where it was."""

import json
import signal
import sys
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.system.house import ICAZE, House, Running, descendants, exists, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

STOP_S = 15.0


def ask(house: House, up: Running, text: str, sender: str) -> dict[str, Any]:
    """The reply to one SMS; the journal gets its id, as it would from an aggregator."""
    port = up.door("ingest").rpartition(":")[2]
    done = house.call("send", text, "--from", sender, "--json", ICAZE_INGEST_PORT=port)
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    with house.journal.open("a") as journal:
        journal.write(json.dumps({"id": reply["in_reply_to"], "acked_ms": time.time_ns() // 1_000_000}) + "\n")
    return reply


def hours(reply: dict[str, Any]) -> float | None:
    """How long a permit is valid; None without an end."""
    if reply["valid_until"] is None:
        return None
    ends, starts = (datetime.fromisoformat(reply[name]) for name in ("valid_until", "valid_from"))
    return (ends - starts).total_seconds() / 3600


def family(up: Running) -> dict[int, str]:
    """All processes of an `up`: four roles and the store."""
    found = descendants(up.pid)
    assert len(found) == 5, found
    return found


def test_six_sms_are_answered_as_the_founding_document_asks(house: House) -> None:
    house.sink()
    up = house.start("up")
    assert [line.split()[0] for line in up.lines[:6]] == ["store", "ingest", "process", "dispatch", "api", "logs"]
    first = ask(house, up, "2 AZE 1111111", "+994501234567")
    assert (first["verdict"], hours(first)) == ("approved", 3)
    assert ask(house, up, "2 AZE 1111111", "+994501234567")["reason"] == "quota"
    other = ask(house, up, "1 AZE 1111111", "+994551234567")
    assert (other["verdict"], hours(other)) == ("approved", 3)
    funeral = ask(house, up, "3 AZE 1111111", "+994701234567")
    assert (funeral["verdict"], hours(funeral)) == ("approved", None)
    assert ask(house, up, "2 AZE", "+994501234568")["reason"] == "malformed"
    foreigner = ask(house, up, "2 MYİ 7654321", "+994501234569")
    assert (foreigner["verdict"], hours(foreigner)) == ("approved", 3)
    token = house.call("token", "--role", "mygov").stdout.strip()
    request = urllib.request.Request(  # noqa: S310
        f"{up.door('api')}/v1/status",
        data=b'{"document": "AZE1111111"}',
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        shown = {permit["code"] for permit in json.loads(answer.read())["permits"] if permit["code"]}
    assert shown == {first["permit"], other["permit"], funeral["permit"]}
    assert up.said("decided 0 today")
    until(lambda: house.sent() == 6, "all replies sent")
    assert house.verify()["approved"] == 4
    up.stop(within_s=STOP_S)


def test_without_an_operator_replies_are_printed_without_the_whole_phone_number(house: House) -> None:
    up = house.start("up")
    ask(house, up, "2 AZE 1111111", "+994501234567")
    line = until(lambda: next((line for line in up.lines if "approved  " in line), None), "the reply")
    assert line.startswith("+99450***67  approved  ")
    assert "1234567" not in "\n".join(up.lines).replace("--from +994501234567", "")


def test_the_password_of_a_store_is_not_shown(house: House) -> None:
    store = house.start("up").door("store")
    with_password = store.replace("unix://", "unix://nobody:s3cret@")
    done = house.call("up", ICAZE_REDIS_URL=with_password, ICAZE_DATA_DIR=str(house.folder / "other"))
    assert done.returncode == 1
    assert "s3cret" not in done.stdout + done.stderr
    assert "***" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_process_and_the_next_start_finds_everything_again(
    house: House, number: signal.Signals
) -> None:
    house.sink()
    up = house.start("up")
    assert ask(house, up, "2 AZE 1111111", "+994501234567")["verdict"] == "approved"
    before = family(up)
    up.signal(number)
    assert up.ended(within_s=STOP_S) == 0, up.errors()
    assert not [pid for pid in before if exists(pid)]
    assert up.errors() == ""
    up = house.start("up")
    assert ask(house, up, "2 AZE 1111111", "+994501234567")["reason"] == "quota"
    until(lambda: house.sent() == 2, "both replies sent")
    house.verify()


def test_a_stop_with_traffic_under_way_drains_what_was_taken_in(house: House, day: Path) -> None:
    house.sink()
    up = house.start("up")
    replay = house.replay(day, up.door("ingest"), rate=1000)
    until(lambda: house.acknowledged() > 500, "traffic")
    up.stop(within_s=STOP_S)
    replay.kill()
    house.start("up")
    assert house.verify()["acknowledged"] > 500


def test_on_a_terminal_a_live_screen_is_shown_and_ctrl_c_ends_it(house: House) -> None:
    up = house.run([*ICAZE, "up"], {"TERM": "xterm"}, terminal=True)
    until(lambda: any("last replies" in line for line in up.lines) or not up.alive, "the live screen")
    before = family(up)
    up.type(b"\x03")
    assert up.ended(within_s=STOP_S) == 0, up.lines
    assert not [pid for pid in before if exists(pid)]
    assert "Traceback" not in "".join(up.lines)
