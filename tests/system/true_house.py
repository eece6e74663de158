"""A small day in a true house, for the checker's test: pushed, decided, told, checked, cancelled, and at rest.

Writes the history as the laboratory does, and takes a copy of the whole store. Every outcome that there is comes about.
"""

import base64
import hashlib
import hmac
import itertools
import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from redis import Redis

from api import dev_issuer
from runtime.settings import Settings
from tests.system.house import House, Running, until
from tests.system.laboratory.ministry import Ministry
from tests.system.laboratory.stage import Stage

SMS: Final = 600
BATCH: Final = 20
TIN: Final = "1234567890"
SEAL: Final = {"tin": TIN, "fin": "7ABCDE1", "acr": "urn:asan:imza"}
EMPLOYEES: Final = (("5AAAAA1", "AZE7000001"), ("5AAAAA2", "AZE7000002"), ("5AAAAA3", "AA7000003"))
STREAMS: Final = ("inbound", "replies", "applications", "outbox")
GATEWAY, APP = "gateway", "app"
RULES: Final = 'name = "founding"\ncancel_word = "LEGV"\nhold_minutes = { app = 240 }\n'
"""The file's own, and two rules that it leaves out."""
LISTED: Final = "AZE7200000"
FLOOD: Final = 255
"""SMS on one document: more than its record of the day may hold."""


class TrueHouse:
    """What is left of the day."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.folder = house.folder
        self.history: list[dict[str, Any]] = []
        self.keys: dict[bytes, tuple[int, bytes]] = {}
        """Time to live, ms (0: none), and DUMP, by name."""
        self.metrics = house.folder / "metrics"
        self.policy = house.folder / "policy.toml"
        self.ministry = Ministry(house.folder)
        self.code = ""
        """Of the permit that an officer has cancelled."""

    def live(self) -> None:
        """The day, from the first SMS to the last reply."""
        house = self.house
        house.sink()
        stage = Stage()
        house.at_end(stage.close)
        stage.wait(self.ministry.open())
        house.at_end(lambda: stage.wait(self.ministry.close()))
        house.environ |= self._furnished() | self.ministry.environ(int(self.ministry.address.rpartition(":")[2]))
        up = house.start("up")
        day = house.folder / "day.ndjson"
        done = house.call("day", "--messages", str(SMS), "--mix", "launch", "--seed", "7", "-o", str(day))
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in day.read_text().splitlines()]
        for at in range(0, SMS, BATCH):
            self._push(up, lines[at : at + BATCH])
        self._push(up, lines[:BATCH])
        self._call(up, "POST", "/v1/blocked", "lists", {"document": LISTED, "list": "infected", "reason": "test"})
        for source, hard in _hard():
            self._push(up, hard, source)
        store: Any
        with Redis.from_url(up.door("store")) as store:  # pyright: ignore[reportUnknownMemberType]
            self._employ(up)
            _stray(store)
            self._rest(store)
            self._patrol(up, next(line["text"] for line in lines if line["text"].startswith("2 AZE ")))
            self._rest(store)
            self._say("quiet", "laboratory")
            self.metrics.write_text("".join(_metrics(up.door(role)) for role in ("ingest", "process", "dispatch")))
            for name in store.scan_iter(count=1000):
                self.keys[name] = (max(0, store.pttl(name)), store.dump(name))
        up.stop()

    def restore(self, store: Any) -> None:
        """Make another store what this one was."""
        store.flushall()
        with store.pipeline(transaction=False) as pipe:
            for name, (ttl_ms, dumped) in self.keys.items():
                pipe.restore(name, ttl_ms, dumped)
            pipe.execute()

    def _say(self, event: str, who: str, **facts: Any) -> None:
        self.history.append({"at_ms": time.time_ns() // 1_000_000, "who": who, "event": event, **facts})

    def _furnished(self) -> dict[str, str]:
        """The files that this house has beside the usual ones, by setting."""
        rules, aggregators = self.policy, self.house.folder / "aggregators.toml"
        rules.write_text(Path("permits/policy.toml").read_text().replace('name = "founding"\n', RULES))
        aggregators.write_text(
            "".join(
                f'[[aggregator]]\nname = "{name}"\nchannel = "{channel}"\nsecrets = ["whsec_{_secret(name)}"]\n'
                for name, channel in ((GATEWAY, "sms"), (APP, "app"))
            )
        )
        return {
            "ICAZE_DEV_ISSUER": "true",
            "ICAZE_POLICY_FILE": str(rules),
            "ICAZE_AGGREGATORS_FILE": str(aggregators),
        }

    def _push(self, up: Running, lines: list[dict[str, Any]], source: str = GATEWAY) -> None:
        for line in lines:
            said = {"id": line["id"], "source": source, "from": line["from"], "text": line["text"]}
            self._say("pushed", "pusher-1", **said, received_at_ms=line.get("received_at_ms"))
        body = json.dumps([_as_pushed(line) for line in lines]).encode()
        answer = _ask("POST", f"{up.door('ingest')}/v1/sms", body, _signed(source, body))
        for line in lines:
            self._say("acknowledged" if line["id"] in answer["ids"] else "refused", "pusher-1", id=line["id"])

    def _patrol(self, up: Running, text: str) -> None:
        document = text.removeprefix("2 ").replace(" ", "")
        found = self._call(up, "POST", "/v1/checks", "checks", {"document": document})
        self.code = next(permit["code"] for permit in found["permits"] if permit["code"])
        self._show(up)
        self._call(up, "POST", f"/v1/permits/{self.code}/cancel", "permits.cancel", {"reason": "test"})
        self._say("cancelled", "api-1", permit=self.code)
        self._show(up)

    def _show(self, up: Running) -> None:
        shown = self._call(up, "POST", "/v1/checks", "checks", {"permit": self.code})
        self._say("shown", "api-1", permit=self.code, valid=shown["valid"])

    def _employ(self, up: Running) -> None:
        """An organisation, a delegate, and employees whom both apply for."""
        path = f"/v1/organisations/{TIN}"
        self._call(up, "POST", "/v1/organisations", "organisation", {"tin": TIN, "name": "Test MMC"}, by=SEAL)
        self._say("acted", "clerk-1", deed="register", permit="", under="")
        until_ = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86_400))
        grant = {"fin": "6DEF45G", "name": "R. M.", "powers": ["read", "apply"], "until": until_}
        lent = self._call(up, "POST", f"{path}/delegates", "organisation", grant, by=SEAL)
        self._say("acted", "clerk-1", deed="grant", permit="", under="")
        for (fin, document), by in zip(EMPLOYEES, itertools.cycle((SEAL, {"fin": "6DEF45G"})), strict=False):
            employee = {"fin": fin, "document": document, "name": "A. B."}
            times = {"valid_from": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "valid_until": until_}
            made = self._call(up, "POST", f"{path}/permits", "organisation", {**employee, **times}, by=by)
            under = "" if by is SEAL else lent["id"]
            self._say("acted", "clerk-1", deed="create", permit=made["code"], under=under)

    def _call(
        self, up: Running, method: str, path: str, scope: str, body: Any, *, by: dict[str, Any] | None = None
    ) -> Any:
        key = dev_issuer.key_pair(Settings(data_dir=str(self.house.data)))
        now_ms = time.time_ns() // 1_000_000
        subject = (by or {}).get("fin", scope)
        token = dev_issuer.issue(key, subject=subject, scope=scope, minutes=5, now_ms=now_ms, claims=by or {}).token
        headers = {
            "Authorization": f"Bearer {token}",
            "Idempotency-Key": str(len(self.history)) + "-" + str(time.time_ns()),
        }
        return _ask(method, up.door("api") + path, json.dumps(body).encode(), headers)

    def _rest(self, store: Any) -> None:
        def look() -> bool:
            names = [name for name in store.scan_iter(count=1000) if name.partition(b":")[0].decode() in STREAMS]
            return sum(store.xlen(name) for name in names) == 0

        until(look, "a house at rest", within_s=20)


def _metrics(door: str) -> str:
    with urllib.request.urlopen(f"{door}/metrics", timeout=5) as answer:  # noqa: S310
        return answer.read().decode()


def _hard() -> list[tuple[str, list[dict[str, Any]]]]:
    """What a synthetic day does not hold, in the order in which it is pushed."""
    now_ms = time.time_ns() // 1_000_000
    flood = [_sms(f"flood-{n}", "1 AZE 7000009", 1) for n in range(FLOOD)]
    family = [_sms(f"family-{n}", f"2 AZE 71000{n:02}", 2) for n in range(20)]
    timed = [
        _sms("late-1", "2 AZE 7300000", 3) | {"received_at_ms": now_ms - 7_200_000},
        _sms("soon-1", "2 AZE 7300001", 3) | {"received_at_ms": now_ms - 300_000},
        _sms("old-1", "2 AZE 7300002", 3) | {"received_at_ms": now_ms - 50 * 3_600_000},
    ]
    undone = [_sms("undone-1", "2 AZE 7400000", 4), _sms("undone-2", "LEGV 2 AZE 7400000", 4)]
    again = [_sms("undone-3", "LEGV AZE 7400000", 4), _sms("undone-4", "2 AZE 7400000", 4)]
    held = [
        _sms("held-1", "2 AZE 7500000", 5),
        _sms("held-2", "LEGV AZE 7500000", 5),
        _sms("held-3", "1 AZE 7500000", 5),
    ]
    listed = [_sms("listed-1", f"2 {LISTED}", 6)]
    return [(GATEWAY, [*flood]), (GATEWAY, [*family, *timed, *undone, *again, *listed]), (APP, held)]


def _stray(store: Any) -> None:
    """What another program has appended: no SMS at all, and one SMS in every partition."""
    inbound = [f"inbound:{{{tag}}}" for tag in json.loads(store.get("layout"))["tags"]]
    store.xadd(inbound[0], {"m": b"no SMS"})
    sms = {"id": "stray", "source": GATEWAY, "from": "+994500000009", "to": "8103", "text": "salam"}
    for name in inbound:
        store.xadd(name, {"m": json.dumps({**sms, "arrived_ms": time.time_ns() // 1_000_000})})


def _sms(name: str, text: str, phone: int) -> dict[str, Any]:
    return {"id": name, "from": f"+99450000000{phone}", "to": "8103", "text": text}


def _as_pushed(line: dict[str, Any]) -> dict[str, Any]:
    body = {name: line[name] for name in ("id", "from", "to", "text") if name in line}
    at_ms = line.get("received_at_ms")
    return body if at_ms is None else body | {"received_at": f"{datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()}"}


def _secret(source: str) -> str:
    return base64.b64encode(source.encode().ljust(32, b"-")).decode()


def _signed(source: str, body: bytes) -> dict[str, str]:
    """Headers of a Standard Webhook."""
    name, now = f"{time.time_ns()}", f"{int(time.time())}"
    mac = hmac.new(base64.b64decode(_secret(source)), f"{name}.{now}.".encode() + body, hashlib.sha256).digest()
    return {"webhook-id": name, "webhook-timestamp": now, "webhook-signature": f"v1,{base64.b64encode(mac).decode()}"}


def _ask(method: str, url: str, body: bytes, headers: dict[str, str]) -> Any:
    """The JSON of a request that succeeds."""
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {url}: {error.code} {error.read()[:300]!r}") from None


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    """Lines as NDJSON."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
