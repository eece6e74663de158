"""What a mass act on all organisations' permits costs, and how soon it shows: `icaze bench epoch`.

Plants permits as the roles write them into a running system's store, proclaims epochs over HTTP, and asks two
processes of the api, the one that took the act and another, until each shows it.
"""

import argparse
import base64
import json
import os
import random
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import redis

from bench import api_house
from bench.arguments import positive
from bench.machine import OwnTime
from bench.measurement import Measurement, Target, conditions
from bench.progress import passed_on
from lua.keys import PartitionKeys, partition_keys
from permits import codes
from permits.calendar import DAY_MS, rfc3339
from permits.employees import RETENTION_MS, Act, EmployeePermit
from permits.messages import ENCODER

NATIONAL: Final = 925_000
PERMITS_EACH: Final = 13
"""Of an organisation: 925,000 of 72,330."""
ROUNDS: Final = 9
CHUNK: Final = 1_000
SEALED_BYTES: Final = 124
"""Nonce, employee with a phone, and tag."""
SEEN_S: Final = 10.0
TIN: Final = "1234567890"


def configure(parser: argparse.ArgumentParser) -> None:
    """How many."""
    parser.add_argument("--permits", type=positive, default=NATIONAL, help=f"how many stand (default {NATIONAL})")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help="extensions before the last act (default 9)")


def measure(arguments: argparse.Namespace) -> Measurement:
    """The acts' figures; each must cost one item of the list and nothing else."""
    settings = {"ICAZE_STORE_MEMORY_MB": "8192"}
    with tempfile.TemporaryDirectory(prefix="icaze-epoch-") as name, api_house.opened(Path(name), settings) as house:
        store: Any = redis.Redis(unix_socket_path=house.doors["store"].removeprefix("unix://"))
        names = [partition_keys(tag) for tag in json.loads(store.get("layout"))["tags"]]
        with _another_api(house) as elsewhere:
            doors = _Doors(house, elsewhere)
            code = doors.apply()
            used_bytes = _used(store)
            began = time.monotonic()
            _plant(store, names, arguments.permits)
            planted_s = time.monotonic() - began
            figures: dict[str, float] = {
                "bytes_a_permit": round((_used(store) - used_bytes) / arguments.permits, 1),
                "plant_s": round(planted_s, 1),
            }
            epochs_bytes = _epochs_bytes(store)
            own = OwnTime()
            figures |= _acts(doors, code, arguments.rounds)
            busy = own.busy
        acts = arguments.rounds + 1
        figures["items_an_act"] = store.llen("epochs") / acts
        figures["bytes_an_act"] = round((_epochs_bytes(store) - epochs_bytes) / acts, 1)
        figures["sms"] = sum(store.xlen(keys.replies) for keys in names)
    return Measurement(
        measurement="epoch",
        conditions=conditions(repeats=acts, generator_busy=busy, permits=arguments.permits, api_processes=2),
        figures=figures,
        targets={"items_an_act": Target(1, 1), "sms": Target(0, 0)},
    )


class _Doors:
    """The api's two processes, asked in their callers' names."""

    def __init__(self, house: api_house.ApiHouse, elsewhere: str) -> None:
        self.here = house.doors["api"]
        self.elsewhere = elsewhere
        person = ("--role", "organisation", "--tin", TIN, "--fin", "5ABC12D", "--acr", "imza")
        self._seal = house.run("token", *person).strip()
        self._regime = house.run("token", "--role", "regime").strip()

    def apply(self) -> str:
        """The code of a permit that ends today, to be looked at."""
        self._ask(self.here, "/v1/organisations", self._seal, {"tin": TIN, "name": "Bench"})
        today = datetime.now(UTC)
        row = {
            "fin": "1AAA11A",
            "document": "AZE1111111",
            "name": "Aysel Quliyeva",
            "valid_from": today.isoformat(),
            "valid_until": (today + timedelta(hours=12)).isoformat(),
        }
        return self._ask(self.here, f"/v1/organisations/{TIN}/permits", self._seal, row)["code"]

    def proclaim(self, act: dict[str, str]) -> None:
        """One mass act."""
        self._ask(self.here, "/v1/regime/epochs", self._regime, {"reason": "bench", **act})

    def permit(self, door: str, code: str) -> dict[str, Any]:
        """The permit as a process shows it."""
        return self._ask(door, f"/v1/organisations/{TIN}/permits/{code}", self._seal)

    def _ask(self, door: str, path: str, token: str, body: dict[str, str] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        headers["Idempotency-Key"] = os.urandom(8).hex()
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(door + path, data=data, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # our own address
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise SystemExit(f"{path}: {error.code} {error.read().decode()}") from None


def _acts(doors: _Doors, code: str, rounds: int) -> dict[str, float]:
    """Times of each act's call, and from its beginning until either process shows it."""
    taken: list[float] = []
    seen: dict[str, list[float]] = {doors.here: [], doors.elsewhere: []}
    start_ms = time.time_ns() // 1_000_000 // 1000 * 1000
    acts = [
        ({"action": "extend", "until": rfc3339(start_ms + day * DAY_MS)}, "valid_until") for day in range(1, rounds + 1)
    ]
    for act, field in [*acts, ({"action": "deactivate"}, "status")]:
        wanted = act.get("until", "cancelled")
        began = time.monotonic()
        doors.proclaim(act)
        taken.append(time.monotonic() - began)
        for door, times in seen.items():
            while doors.permit(door, code)[field] != wanted:
                if time.monotonic() > began + SEEN_S:
                    raise SystemExit(f"not seen within {SEEN_S:.0f} s")
            times.append(time.monotonic() - began)
    figures: dict[str, float] = {}
    for name, times in (("call", taken), ("seen_here", seen[doors.here]), ("seen_elsewhere", seen[doors.elsewhere])):
        figures[f"{name}_ms_median"] = round(median(times) * 1000, 1)
        figures[f"{name}_ms_most"] = round(max(times) * 1000, 1)
    return figures


def _plant(store: Any, names: list[PartitionKeys], count: int) -> None:
    """Transmitted permits, with the entries by which sweep and lists find them."""
    rng = random.Random(1)
    now_ms = time.time_ns() // 1_000_000
    for start in passed_on(range(0, count, CHUNK), count, doing="planting", each=CHUNK):
        pipe = store.pipeline(transaction=False)
        for number in range(start, min(start + CHUNK, count)):
            permit = _permit(rng, number, len(names), now_ms)
            partition, field, byte = codes.decode(permit.code) or (0, b"", 0)
            keys = names[partition]
            pipe.hset(keys.holder(field), f"o{byte:02x}", b"3 " + ENCODER.encode(permit))
            pipe.zadd(keys.ends, {field.hex(): (permit.until_ms + RETENTION_MS) // 1000})
            pipe.zadd(names[int(permit.tin) % len(names)].org(permit.tin), {permit.code: now_ms})
            pipe.zadd(names[permit.person_partition].person(bytes.fromhex(permit.person)), {permit.code: now_ms})
        pipe.execute()


def _permit(rng: random.Random, number: int, partitions: int, now_ms: int) -> EmployeePermit:
    owner, person = rng.randbytes(8), rng.randbytes(8)
    trace = f"00-{'0' * 32}-{'0' * 16}-01"
    seal = "5f0c3a52-87f1-4a5e-9e55-6cb3f2f0a1d7"
    acts = (
        Act(at_ms=now_ms, actor=seal, deed="create", status="submitted", method="asan_imza", trace=trace),
        Act(at_ms=now_ms, actor="registry", deed="confirm", status="confirmed", trace=trace),
        Act(at_ms=now_ms, actor="ministry", deed="transmit", status="transmitted", trace=trace),
    )
    return EmployeePermit(
        code=codes.encode(rng.randrange(partitions), owner, rng.randbytes(1)),
        owner=owner.hex(),
        person=person.hex(),
        person_partition=rng.randrange(partitions),
        tin=f"{number // PERMITS_EACH:010d}",
        employer="Bakı Metropoliteni QSC",
        status="transmitted",
        from_ms=now_ms,
        until_ms=now_ms + 30 * DAY_MS,
        epoch=0,
        employee=f"k1.{base64.urlsafe_b64encode(rng.randbytes(SEALED_BYTES)).decode()}",
        zone="Bakı",
        activity="nəqliyyat",
        request=rng.randbytes(16).hex(),
        acts=acts,
    )


@contextmanager
def _another_api(house: api_house.ApiHouse) -> Generator[str, None, None]:
    """A second process of the api on the same store: its address."""
    command = [*api_house.ICAZE, "api"]
    process = subprocess.Popen(command, env=house.environ, stdout=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline() if process.stdout else ""
        if not said.startswith("api "):
            raise SystemExit("a second api did not start")
        yield said.split()[1]
    finally:
        process.terminate()
        process.wait(timeout=30)


def _used(store: Any) -> int:
    return int(store.info("memory")["used_memory"])


def _epochs_bytes(store: Any) -> int:
    return int(store.memory_usage("epochs", samples=0) or 0)
