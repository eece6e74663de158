"""What aggregators and strangers may send: everything five times at once, and poison."""

import json
import urllib.error
import urllib.request
from typing import Any, Final

from lua.keys import partition_keys, tags
from tests.system.house import PARTITIONS
from tests.system.laboratory.checking import Checked
from tests.system.laboratory.experiment import Experiment
from tests.system.laboratory.floor import Floor
from tests.system.laboratory.needs import Needs
from tests.system.laboratory.pusher import Sms

COPIES: Final = 5
SENDER: Final = "+994509999999"
TEXTS: Final = {
    "nul": "2 AZE 1111111\0",
    "long": "2 AZE 1111112 " + "ə" * 65_536,
    "surrogate": "2 AZE 1111113 \ud800",
    "controls": "2\x07AZE\x1b[31m1111114",
    "empty": "",
}
BODIES: Final = {
    "invalid_utf8": b'[{"id": "bad-1", "from": "+994509999999", "to": "8103", "text": "2 AZE \xff\xfe 1111111"}]',
    "cut": b'[{"id": "bad-2", "from": "+99450999',
    "deep": b"[" * 10_000,
    "nothing": b"",
}
GARBAGE: Final[tuple[dict[str, bytes], ...]] = (
    {"m": b"\xff\xfe\x00garbage"},
    {"m": b"{}"},
    {"m": b'{"id": 1}'},
    {"other": b"field"},
    {"m": b"[" * 5_000},
    {"m": b"x" * 65_536},
)


class FiveAtOnce(Experiment):
    """Every array is pushed by five at once, under the same ids."""

    name = "duplicates"
    says = f"every array is pushed {COPIES} times at once"
    needs = Needs(copies=COPIES, rate=100.0, workers=2)

    def strike(self, floor: Floor) -> None:
        """Some hundred SMS."""
        before = floor.history.counts["pushed"]
        floor.go_on(300)
        floor.fault(self.name, (floor.history.counts["pushed"] - before) * (COPIES - 1) // COPIES)


class Poison(Experiment):
    """Texts and bodies that break readers, at the door and in the stream behind it."""

    name = "poison"
    says = "NUL, 64 kB, invalid UTF-8, a lone surrogate, and garbage XADDed to the inbound streams"

    def __init__(self) -> None:
        self._round = 0
        self._garbage = 0

    def strike(self, floor: Floor) -> None:
        """All of it once."""
        self._round += 1
        for name, text in TEXTS.items():
            floor.stage.wait(floor.load.pushers[0].push(Sms(f"poison-{name}-{self._round}", SENDER, text)))
        url = f"http://127.0.0.1:{floor.links['pushers'].port}/v1/sms"
        for name, body in BODIES.items():
            status, said = _post(url, body)
            assert status == 400, (name, status, said)
        for number, fields in enumerate(GARBAGE):
            stream = partition_keys(tags(PARTITIONS)[(number + self._round) % PARTITIONS]).inbound
            floor.ask("XADD", stream, "*", *(part for pair in fields.items() for part in pair))
            self._garbage += 1
        floor.fault(self.name, len(TEXTS) + len(BODIES) + len(GARBAGE))
        floor.go_on()

    def hold(self, floor: Floor, found: Checked) -> None:
        """Each piece of garbage is a dead letter, and nothing else is one."""
        told = floor.house.call("dead", "list", "--json", ICAZE_REDIS_URL=floor.server.url)
        letters: list[dict[str, Any]] = [json.loads(line) for line in told.stdout.splitlines()]
        assert len(letters) == self._garbage, (self._garbage, letters[:10])


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


ALL: Final = (FiveAtOnce, Poison)
