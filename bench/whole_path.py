"""The whole path for measurements: a pusher, an operator and a settings' set around `icaze up`, and what they tell.

Used by all that push SMS through a whole system; the system itself is `api_house`.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from bench.api_house import ICAZE, ApiHouse
from bench.role import free_port

ROLES: Final = ("ingest", "process", "dispatch", "api")
DRAIN_S: Final = 900.0


@contextmanager
def pushing(
    trace: Path, folder: Path, house: ApiHouse, *words: str
) -> Generator["subprocess.Popen[bytes]", None, None]:
    """`icaze replay` at work on a trace, with a journal of what was acknowledged; told to end where it has not yet."""
    journal = folder / "journal.ndjson"
    journal.unlink(missing_ok=True)
    command = [*ICAZE, "replay", str(trace), "--journal", str(journal), "--url", house.doors["ingest"], "--json"]
    with subprocess.Popen([*command, *words], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def sink(folder: Path) -> Generator[str, None, None]:
    """The operator: its URL."""
    with sink_process(folder) as (url, _):
        yield url


@contextmanager
def sink_process(folder: Path) -> Generator[tuple[str, int], None, None]:
    """The operator: its URL and process id."""
    log = folder / "sink.ndjson"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "bench.sink", "--port", "0", "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            yield f"http://127.0.0.1:{port}/", process.pid
        finally:
            process.terminate()


def settings_of(folder: Path, operator_url: str) -> dict[str, str]:
    """A system of its own, on free ports, with that operator."""
    return {
        "ICAZE_DATA_DIR": tempfile.mkdtemp(prefix="data-", dir=folder),
        "ICAZE_OPERATOR": "http",
        "ICAZE_OPERATOR_URL": operator_url,
        **{f"ICAZE_{role.upper()}_PORT": str(free_port()) for role in ROLES},
    }


def drained(store: Any) -> None:
    """Returns when every inbound and reply stream is empty."""
    deadline = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline:
        if not any((*entries(store, "inbound"), *entries(store, "replies"))):
            return
        time.sleep(0.1)
    raise SystemExit(f"not drained within {DRAIN_S:.0f} s")


def entries(store: Any, kind: Literal["inbound", "replies"]) -> list[int]:
    """How many stand in the stream of that kind, of each partition."""
    tags: list[str] = json.loads(store.get("layout") or b"{}")["tags"]
    pipe = store.pipeline(transaction=False)
    for tag in tags:
        pipe.xlen(f"{kind}:{{{tag}}}")
    return pipe.execute()


def verify(folder: Path, house: ApiHouse) -> dict[str, Any]:
    """What `icaze verify` says of journal and sink."""
    said = subprocess.run(
        [
            *ICAZE,
            "verify",
            "--journal",
            str(folder / "journal.ndjson"),
            "--sink",
            str(folder / "sink.ndjson"),
            "--json",
        ],
        env=house.environ,
        stdout=subprocess.PIPE,
        check=False,
    ).stdout
    (folder / "verify.json").write_bytes(said)
    return json.loads(said)


def peak_mb(pid: int) -> float:
    """Peak resident memory of a process, MB (Linux; 0 elsewhere)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return round(int(found[1]) / 1024, 1) if found else 0.0


def used(store: Any) -> int:
    """Memory of the store, bytes."""
    return int(store.info("memory")["used_memory"])
