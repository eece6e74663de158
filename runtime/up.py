"""`icaze up`: the main job on one machine, each role in a process of its own, with a live summary.

Starts the embedded store (or uses ICAZE_REDIS_URL), then ingest, a worker, the dispatcher and the api. A stop goes
the way of an SMS: ingest first, so that nothing new comes in, then each role finishes what the one before left.
"""

import argparse
import asyncio
import fcntl
import os
import sys
from collections.abc import Generator
from contextlib import aclosing, contextmanager, nullcontext
from typing import Any, Final

from redis.exceptions import RedisError
from rich.console import Console
from rich.live import Live

from runtime import keyring, layout, lifecycle, settings
from runtime.children import Child, fresh_log
from runtime.connection import shown
from runtime.embedded import EmbeddedStore
from runtime.errors import StartupError
from runtime.fitness import settled
from runtime.settings import Settings
from runtime.summary import Summary
from runtime.topology import client_to, wire_to

ROLES: Final = ("ingest", "process", "dispatch", "api")
SCREEN_EVERY_S: Final = 1.0
LINE_EVERY_S: Final = 10.0
STORE_LOOK_S: Final = 0.2


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments: settings say everything."""
    parser.epilog = "Settings are ICAZE_* variables; `icaze --help` lists them."


def run(_: argparse.Namespace) -> int:
    """Everything, until Ctrl-C."""
    return lifecycle.run(_up)


async def _up(stop: asyncio.Event) -> int:
    current = settings.load()
    with _data_folder(current):
        if current.redis_url:
            return await _run_roles(stop, current, current.redis_url, None)
        store = EmbeddedStore(current.data, fsync=current.durability != "memory", memory_mb=current.store_memory_mb)
        await store.start()
        try:
            return await _run_roles(stop, current, store.url, store)
        finally:
            await store.stop()


async def _run_roles(stop: asyncio.Event, current: Settings, url: str, store: EmbeddedStore | None) -> int:
    """Start the roles, show them, and stop them in order; `store` is None where somebody else runs it."""
    async with aclosing(client_to(url)) as client:
        partitions = await settled(client, current, layout.route(current), url)
    doors = [("store", shown(url))]
    summary = Summary(wire_to(url), partitions, doors)
    console = Console()
    logs = current.data / "logs"
    environ = {"ICAZE_REDIS_URL": url, "ICAZE_DEV_ISSUER": os.environ.get("ICAZE_DEV_ISSUER", "1")}

    def on_line(role: str, line: bytes) -> None:
        shown = summary.reply(line) if role == "dispatch" else line.decode(errors="replace")
        if not console.is_terminal:
            print(shown, flush=True)

    children = [
        Child(role, environ=environ, log=fresh_log(logs / f"{role}.log"), patience_s=current.drain_s, on_line=on_line)
        for role in ROLES
    ]
    keeping = asyncio.create_task(_keep(store))
    try:
        # All at once: where several cannot start, the first failure is the one that is told.
        await asyncio.gather(*(child.start() for child in children))
        doors += [(child.role, child.door or "") for child in children]
        doors.append(("logs", str(logs)))
        for name, address in doors:
            print(f"{name:<9} {address}", flush=True)
        print('try:      .venv/bin/icaze send "2 AZE 1111111" --from +994501234567', flush=True)
        await _watch(stop, summary, console, children, keeping)
        print("stopping: what was taken in is decided and sent first", flush=True)
        return 0
    finally:
        for child in children:
            await child.stop()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep(store: EmbeddedStore | None) -> None:
    """Start the store again whenever it ends; StartupError where it does not come back."""
    while True:
        await asyncio.sleep(STORE_LOOK_S)
        if store is not None and await store.ended():
            sys.stderr.write("the store ended; starting it again\n")
            await store.start()


async def _watch(
    stop: asyncio.Event, summary: Summary, console: Console, children: list[Child], keeping: asyncio.Task[None]
) -> None:
    """Show the figures until the stop; StartupError where a role or the store cannot be kept running."""
    live = Live(console=console, auto_refresh=False, screen=False) if console.is_terminal else None
    waits = [asyncio.create_task(event.wait()) for event in (stop, *(child.failed for child in children))]
    done: set[asyncio.Task[Any]] = set()
    said = ""
    with live or nullcontext():
        while not done:
            try:
                await summary.look()
            except (RedisError, OSError) as error:
                sys.stderr.write(f"store away: {type(error).__name__}\n")
            if live is not None:
                live.update(summary.screen(), refresh=True)
            elif (line := summary.line()) != said:
                said = line
                print(line, flush=True)
            every_s = LINE_EVERY_S if live is None else SCREEN_EVERY_S
            done, _ = await asyncio.wait([*waits, keeping], timeout=every_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    for child in children:
        if child.failed.is_set():
            raise StartupError(f"{child.role} keeps ending: {child.last_words()}")
    if keeping.done():
        keeping.result()


@contextmanager
def _data_folder(current: Settings) -> Generator[None, None, None]:
    """The data folder, ours alone: StartupError where it cannot be written or another `up` works in it."""
    try:
        (current.data / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
        layout.make_secret(layout.routing_key_path(current))
        keyring.make(keyring.path(current))
        lock = (current.data / "up.lock").open("w")
    except OSError as error:
        raise StartupError(f"{error.filename}: {error.strerror}; set ICAZE_DATA_DIR to another") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartupError(f"data folder {current.data}: another `icaze up` works in it") from None
        yield
