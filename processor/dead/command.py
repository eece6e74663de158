"""`icaze dead`: what could not be processed, with its reason: listed, shown, put back, dropped.

Reads `dead:{p}` and the day keys; what it changes, `acting` does.
"""

import argparse
import getpass
import sys
from collections.abc import Generator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import Progress

from lua import keys as key_names
from permits.calendar import rfc3339
from permits.messages import DeadLetter
from processor.dead import arguments as words
from processor.dead.acting import Acting, Done
from processor.dead.arguments import agreed, said, wanted
from processor.dead.letters import found, letters
from processor.dead.returns import ERASED
from runtime import embedded, keyring, layout, lifecycle, settings
from runtime.connection import Client, shown
from runtime.day_keys import DayKeys, UnreadDayKeyError
from runtime.errors import StartupError
from runtime.keyring import UnsealedError
from runtime.layout import Layout
from runtime.sealing import is_sealed, opened_letter
from runtime.settings import Settings
from runtime.topology import client_to, wire_to

configure: Final = words.configure
"""Adds the command's words."""


def run(arguments: argparse.Namespace) -> int:
    """0; 1 where the store is away, a letter is not there, or one stays where it is."""
    return lifecycle.run(lambda _: _run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    current = settings.load()
    url = current.redis_url or embedded.url(current.data)
    async with aclosing(client_to(url)) as client:
        try:
            raw: bytes | None = await client.execute_command("GET", key_names.LAYOUT)
            if raw is None:
                raise StartupError(f"store {shown(url)}: no icaze data in it")
            tags = msgspec.json.decode(raw, type=Layout).tags
            if arguments.action == "list":
                return await _list(client, tags, arguments)
            if arguments.action == "show":
                letter = await found(client, arguments.name)
                if letter is None:
                    return _missing(arguments.name)
                if is_sealed(letter):
                    letter = _opened(letter, await _day_keys(current, url, tags[0]))
                return _show(letter, arguments)
            return await _act(client, tags, arguments, current, url)
        except (RedisError, OSError) as error:
            raise StartupError(f"store {shown(url)}: {error}") from None


async def _list(client: Client, tags: Sequence[str], arguments: argparse.Namespace) -> int:
    count = 0
    async for name, letter in letters(client, tags, wanted(arguments)):
        count += 1
        _print_line(name, letter, as_json=arguments.json)
    if not count and not arguments.json:
        print("no dead letters")
    return 0


def _print_line(name: str, letter: DeadLetter, *, as_json: bool) -> None:
    if as_json:
        facts = {"name": name, "kind": letter.kind, "dead_at": rfc3339(letter.dead_ms), "reason": letter.reason}
        print(msgspec.json.encode(facts).decode())
    else:
        print(f"{name}  {rfc3339(letter.dead_ms)}  {letter.kind:<11}  {letter.reason}")


def _show(letter: DeadLetter, arguments: argparse.Namespace) -> int:
    if arguments.json:
        print(msgspec.json.encode(letter).decode())
    else:
        _print_line(arguments.name, letter, as_json=False)
        print(letter.raw)
    return 0


def _opened(letter: DeadLetter, day_keys: DayKeys) -> DeadLetter:
    """The letter to be read; as it stands, with a word to whoever asked, where it cannot be opened."""
    try:
        return opened_letter(day_keys, letter)
    except UnreadDayKeyError:
        print(f"icaze dead: {ERASED}", file=sys.stderr)
    except UnsealedError as error:
        print(f"icaze dead: {error}", file=sys.stderr)
    return letter


def _missing(name: str) -> int:
    print(f"icaze dead: no letter {name!r}; `icaze dead list` names them", file=sys.stderr)
    return 1


async def _act(client: Client, tags: Sequence[str], arguments: argparse.Namespace, current: Settings, url: str) -> int:
    """Letters put back or dropped, a line each."""
    reason, mended = said(arguments)
    chosen: list[tuple[str, DeadLetter]] = []
    if arguments.all:
        chosen = [one async for one in letters(client, tags, wanted(arguments))]
    missing = 0
    for name in arguments.names:
        letter = await found(client, name)
        if letter is None:
            missing += _missing(name)
        else:
            chosen.append((name, letter))
    if arguments.all and not arguments.dry_run and not agreed(arguments, len(chosen)):
        return 1
    into = None
    if arguments.action == "requeue":
        route = layout.route(current)
        await layout.settle(client, route)  # another key, or number of partitions, would put SMS in the wrong place
        into = await _day_keys(current, url, tags[0]), route
    wire = wire_to(url)
    acting = Acting(
        wire,
        into=into,
        actor=arguments.by or getpass.getuser(),
        reason=reason,
        replicas=current.awaited,
        dry_run=arguments.dry_run,
    )
    stayed = missing
    try:
        with _progress(len(chosen)) as advance:
            for name, letter in chosen:
                done = await acting.act(name, letter, mended)
                stayed += done.did in ("refused", "gone")
                _tell(done, as_json=arguments.json, dry_run=arguments.dry_run)
                advance()
    finally:
        await wire.close()
    if not chosen and not missing and not arguments.json:
        print("no dead letters")
    return 1 if stayed else 0


def _tell(done: Done, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print(msgspec.json.encode(done).decode())
        return
    did = f"would be {done.did}" if dry_run and done.did != "refused" else done.did
    to, why = done.to and f" to {done.to}", done.why and f": {done.why}"
    print(f"{done.name}  {done.kind:<11}  {did}{to}{why}")


async def _day_keys(current: Settings, url: str, first_tag: str) -> DayKeys:
    """The keys of the days as they stand now."""
    wire, key = wire_to(url), key_names.partition_keys(first_tag).day_keys
    keys = DayKeys(wire.execute_command, key=key, keyring=keyring.load(current))
    try:
        await keys.read()
    finally:
        await wire.close()
    return keys


@contextmanager
def _progress(count: int) -> Generator[Any]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal or count < 2) as bar:
        task = bar.add_task("dead letters", total=count)
        yield lambda: bar.advance(task)
