"""A running system for measurements: `icaze up` in a folder of its own, its doors, its tokens and its SMS.

Used by `whole_path`, and by all that measure the api.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

ICAZE: Final = (sys.executable, "-m", "icaze")
START_S: Final = 60.0


class ApiHouse(msgspec.Struct, frozen=True):
    """The doors of a running system, and the settings that its commands need."""

    doors: dict[str, str]
    environ: dict[str, str]
    up: "subprocess.Popen[bytes]"

    def run(self, *words: str) -> str:
        """What a command prints."""
        return subprocess.run([*ICAZE, *words], env=self.environ, stdout=subprocess.PIPE, check=True, text=True).stdout

    def tokens(self, role: str, count: int) -> list[str]:
        """Development tokens, each of another subject."""
        return [self.run("token", "--role", role, "--subject", f"bench-{n}").strip() for n in range(count)]

    def ask(self, path: str, token: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """One question to the api: status, headers and body of the answer."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.doors["api"] + path, data=body, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # our own address
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def pid(self, role: str) -> int:
        """Of the process behind a door; OSError while it is not up."""
        with urllib.request.urlopen(f"{self.doors[role]}/readyz", timeout=10) as answer:  # noqa: S310
            return int(json.load(answer)["pid"])


@contextmanager
def opened(folder: Path, settings: Mapping[str, str]) -> Generator[ApiHouse, None, None]:
    """`icaze up` on free ports, with an issuer of tokens; stopped at the end."""
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ICAZE_")},
        "ICAZE_DATA_DIR": str(folder / "data"),
        "ICAZE_DEV_ISSUER": "true",
        **{f"ICAZE_{role}_PORT": "0" for role in ("INGEST", "PROCESS", "DISPATCH", "API")},
        **settings,
    }
    log = folder / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen([*ICAZE, "up"], env=environ, stdout=output, stderr=output)
    try:
        doors = _doors(log, process)
        yield ApiHouse(
            doors,
            {**environ, "ICAZE_REDIS_URL": doors["store"], "ICAZE_INGEST_PORT": doors["ingest"].rpartition(":")[2]},
            process,
        )
    finally:
        process.terminate()
        process.wait(timeout=60)


def _doors(log: Path, process: "subprocess.Popen[bytes]") -> dict[str, str]:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        said = log.read_text()
        found = dict(re.findall(r"^(store|ingest|process|dispatch|api) +(\S+)$", said, re.MULTILINE))
        if len(found) == 5:
            return found
        time.sleep(0.1)
    raise SystemExit(f"icaze up did not start: {log.read_text()[-2000:]}")
