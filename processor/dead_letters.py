"""`icaze dead`: what could not be processed, with its reason. Reads `dead:{p}` and, to show one, the day keys."""

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final, get_args

import msgspec
from redis.exceptions import RedisError

from lua import keys as key_names
from permits.calendar import rfc3339
from permits.messages import DEAD_DECODER, DeadKind, DeadLetter
from runtime import embedded, keyring, lifecycle, settings
from runtime.connection import Client, shown
from runtime.day_keys import DayKeys, UnreadDayKeyError
from runtime.errors import StartupError
from runtime.keyring import UnsealedError
from runtime.layout import Layout
from runtime.sealing import is_sealed, opened_letter
from runtime.settings import Settings
from runtime.topology import client_to, wire_to

PAGE: Final = 200


def configure(parser: argparse.ArgumentParser) -> None:
    """List all, or show one."""
    actions = parser.add_subparsers(dest="action", required=True)
    listed = actions.add_parser("list", help="a line each, oldest first in its partition")
    listed.add_argument("--kind", choices=get_args(DeadKind), help="only these")
    listed.add_argument("--json", action="store_true", help="print JSON, an object a line, without the raw content")
    shown = actions.add_parser("show", help="one whole, its raw content included as long as it can be read")
    shown.add_argument("name", metavar="NAME", help="as `list` prints it: TAG/ID")
    shown.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """0; 1 where the store is away or the letter is not there."""
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
            if arguments.action == "show":
                letter = await _found(client, arguments.name)
                return await _show(letter, arguments, current, key_names.partition_keys(tags[0]).day_keys)
            count = 0
            async for name, letter in _letters(client, tags):
                if arguments.kind in (None, letter.kind):
                    count += 1
                    _print_line(name, letter, as_json=arguments.json)
        except (RedisError, OSError) as error:
            raise StartupError(f"store {shown(url)}: {error}") from None
    if not count and not arguments.json:
        print("no dead letters")
    return 0


async def _letters(client: Client, tags: tuple[str, ...]) -> AsyncIterator[tuple[str, DeadLetter]]:
    for tag in tags:
        stream, after = key_names.partition_keys(tag).dead, "-"
        while True:
            page: list[tuple[bytes, Any]] = await client.execute_command("XRANGE", stream, after, "+", "COUNT", PAGE)
            for entry_id, fields in page:
                yield f"{tag}/{entry_id.decode()}", _letter(entry_id, fields)
            if len(page) < PAGE:
                break
            after = "(" + page[-1][0].decode()


def _letter(entry_id: bytes, fields: dict[bytes, bytes]) -> DeadLetter:
    """An entry of the stream; what somebody else put there is shown as it stands."""
    try:
        return DEAD_DECODER.decode(fields[b"m"])
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError) as error:
        name = entry_id.decode()
        raw = b" ".join(part for pair in fields.items() for part in pair).decode("utf-8", "backslashreplace")
        return DeadLetter(
            kind="inbound",
            entry_id=name,
            reason=f"not a dead letter: {error}",
            dead_ms=int(name.partition("-")[0]),
            raw=raw,
        )


def _print_line(name: str, letter: DeadLetter, *, as_json: bool) -> None:
    if as_json:
        facts = {"name": name, "kind": letter.kind, "dead_at": rfc3339(letter.dead_ms), "reason": letter.reason}
        print(msgspec.json.encode(facts).decode())
    else:
        print(f"{name}  {rfc3339(letter.dead_ms)}  {letter.kind:<11}  {letter.reason}")


async def _found(client: Client, name: str) -> DeadLetter | None:
    tag, _, entry_id = name.partition("/")
    found: list[tuple[bytes, Any]] = []
    if entry_id:
        found = await client.execute_command("XRANGE", key_names.partition_keys(tag).dead, entry_id, entry_id)
    return _letter(*found[0]) if found else None


async def _show(letter: DeadLetter | None, arguments: argparse.Namespace, current: Settings, key: str) -> int:
    """One letter; what is sealed of it opened, or the reason why it cannot be."""
    if letter is None:
        print(f"icaze dead: no letter {arguments.name!r}; `icaze dead list` names them", file=sys.stderr)
        return 1
    if is_sealed(letter):
        letter = await _opened(letter, current, key)
    if arguments.json:
        print(msgspec.json.encode(letter).decode())
    else:
        _print_line(arguments.name, letter, as_json=False)
        print(letter.raw)
    return 0


async def _opened(letter: DeadLetter, current: Settings, key: str) -> DeadLetter:
    """The letter to be read; as it stands, with a word to whoever asked, where it cannot be opened."""
    wire = wire_to(current.redis_url or embedded.url(current.data))
    keys = DayKeys(wire.execute_command, key=key, keyring=keyring.load(current))
    try:
        await keys.read()
    finally:
        await wire.close()
    try:
        return opened_letter(keys, letter)
    except UnreadDayKeyError:
        print("icaze dead: its text and sender are gone: the key of their day was erased", file=sys.stderr)
    except UnsealedError as error:
        print(f"icaze dead: {error}", file=sys.stderr)
    return letter
