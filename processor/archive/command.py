"""`icaze audit`: proves the archive, and shows what it holds.

Reads the segments of one or more folders, and, unless told to leave it, the store. Writes nothing.
"""

import argparse
import re
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvloop
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.text import Text

from lua.archives import Trail
from lua.store import Store
from processor.archive import segments
from processor.archive.proof import Proof, prove
from processor.archive.segments import DamagedSegmentError
from processor.verification.store_at_rest import read_layout
from runtime import embedded
from runtime.connection import shown
from runtime.errors import StartupError
from runtime.settings import Settings
from runtime.settings import load as load_settings
from runtime.topology import client_to

PROVED, WRONG, UNUSABLE = 0, 1, 2
_TRAILS: Sequence[Trail] = ("audit", "acts")


def configure(parser: argparse.ArgumentParser) -> None:
    """Prove the archive, or print entries of it."""
    actions = parser.add_subparsers(dest="action", required=True)
    proving = actions.add_parser("verify", help="prove every chain, from its first member to the store's head")
    proving.add_argument("--offline", action="store_true", help="without the store: to the last member found")
    proving.add_argument("--json", action="store_true", help="one object for programs")
    showing = actions.add_parser("show", help="the entries of one partition, as NDJSON")
    showing.add_argument("--partition", type=int, required=True, metavar="N", help="its number, from 0")
    showing.add_argument("--trail", choices=_TRAILS, default="audit", help="decisions (audit), or acts")
    showing.add_argument("--from", dest="since", type=_moment, metavar="TIME", help="RFC 3339; entries since then")
    showing.add_argument("--until", type=_moment, metavar="TIME", help="entries before")
    for action in (proving, showing):
        action.add_argument(
            "--dir", type=Path, action="append", metavar="DIR", help="a worker's archive folder; again for each"
        )


def run(arguments: argparse.Namespace) -> int:
    """Exit code: 0 proved or shown, 1 something is wrong, 2 an input cannot be used."""
    try:
        settings = load_settings()
        named: list[Path] = arguments.dir or []
        for folder in named:
            if not folder.is_dir():
                raise StartupError(f"{folder} is no folder")
        folders = named or [settings.archive]
        if arguments.action == "show":
            return _show(folders, arguments.partition, arguments.trail, arguments.since, arguments.until)
        proof = uvloop.run(_verified(settings, folders, offline=arguments.offline))
    except BrokenPipeError:
        raise
    except (StartupError, OSError) as error:
        sys.stderr.write(f"icaze audit: {error}\n")
        return UNUSABLE
    if arguments.json:
        print(msgspec.json.encode(proof).decode())
    else:
        _print(proof, Console())
    return PROVED if proof.ok else WRONG


async def _verified(settings: Settings, folders: Sequence[Path], *, offline: bool) -> Proof:
    console = Console(stderr=True)
    columns = (TextColumn("archive"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        size = sum(path.stat().st_size for folder in folders for path in folder.glob(f"*/*/*{segments.SUFFIX}"))
        task = bar.add_task("archive", total=size)

        def advance(read: int) -> None:
            bar.advance(task, read)

        if offline:
            if not size:
                raise StartupError(f"no segment in {', '.join(map(str, folders))}")
            return await prove(folders, store=None, tags=(), advance=advance)
        async with _store(settings) as store:
            return await prove(folders, store=store, tags=(await read_layout(store)).tags, advance=advance)


@asynccontextmanager
async def _store(settings: Settings) -> AsyncGenerator[Store]:
    url = settings.redis_url or embedded.url(settings.data)
    client = client_to(url)
    try:
        yield client
    except (RedisError, OSError) as error:
        raise StartupError(f"store {shown(url)}: {error}") from None
    finally:
        await client.aclose()


def _print(proof: Proof, console: Console) -> None:
    def line(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=True)

    for chain in proof.chains:
        waiting = "" if chain.unarchived is None else f", {chain.unarchived:,} not yet archived"
        line(f"{chain.partition}/{chain.trail}: {chain.entries:,} entries to {chain.last}{waiting}; {chain.hash}")
    for note in proof.notes:
        line(f"note: {note}", "yellow")
    for fault in proof.faults:
        line(f"{fault.kind.upper()} {fault.where}: {fault.says}", "bold red")
    size = f"{proof.entries:,} entries in {proof.members:,} members, {proof.segments:,} segments, {proof.bytes:,} bytes"
    if proof.ok and not proof.segments:
        line("nothing is archived yet", "yellow")
    elif proof.ok:
        line(f"ok: {size}; write the hashes down elsewhere, and a chain that no longer holds them is forged", "green")
    else:
        line(f"{len(proof.faults)} fault(s); {size}", "bold red")


def _show(folders: Sequence[Path], partition: int, trail: Trail, since: int | None, until: int | None) -> int:
    tags = [tag for tag in segments.tags(folders) if re.fullmatch(f"0*{partition}[a-z]*", tag)]
    if not tags:
        sys.stderr.write(f"icaze audit: no segment of partition {partition} in {', '.join(map(str, folders))}\n")
        return WRONG
    write = sys.stdout.buffer.write
    try:
        for line in _entries(folders, tags[0], trail, since, until):
            write(line + b"\n")
    except DamagedSegmentError as error:
        sys.stdout.buffer.flush()
        sys.stderr.write(f"icaze audit: {error}\n")
        return WRONG
    sys.stdout.buffer.flush()
    return PROVED


def _entries(folders: Sequence[Path], tag: str, trail: Trail, since: int | None, until: int | None) -> Iterator[bytes]:
    """JSON of each entry: its id, and its fields; JSON in a field stands as JSON."""
    for name, fields in segments.read(folders, tag, trail):
        at_ms = segments.entry_id(name)[0]
        if (since is None or at_ms >= since) and (until is None or at_ms < until):
            shown = {field: _value(value) for field, value in fields.items()}
            yield msgspec.json.encode({"id": name, **shown})


def _value(value: bytes) -> str | msgspec.Raw:
    return msgspec.Raw(value) if value.startswith(b"{") else value.decode("utf-8", "backslashreplace")


def _moment(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
