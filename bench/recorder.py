"""A wire-tap between a worker and the store: passes everything on, and keeps what the lanes said, in order.

Not timed itself. What it kept can be said again to another store: the same function with prepared arguments.
"""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import hiredis

from lua import library

CHUNK: Final = 1 << 18
Said = list[bytes]


class Recorder:
    """What was said, by connection, in the order in which it came."""

    def __init__(self) -> None:
        self.commands: list[Said] = []

    def keep(self, command: Said) -> None:
        """The calls that decide, and the reads of a lane that do not wait."""
        name = command[0]
        if (name == b"FCALL" and command[1] == library.DECIDE.encode()) or (
            name in (b"XRANGE", b"XREADGROUP") and b"BLOCK" not in command
        ):
            self.commands.append(command)


@contextmanager
def tapped(socket: Path, through: Path) -> Generator[Recorder, None, None]:
    """Another socket of the store at `socket`, and what is said through it."""
    recorder = Recorder()
    loop = asyncio.new_event_loop()
    opened, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(socket, through, recorder, opened, stop)))
    thread.start()
    try:
        if not opened.wait(10):
            raise SystemExit("icaze bench: the recorder did not start")
        yield recorder
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _serve(socket: Path, through: Path, recorder: Recorder, opened: threading.Event, stop: asyncio.Event) -> None:
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            connections.add(task)
        there_reader, there_writer = await asyncio.open_unix_connection(str(socket), limit=CHUNK)
        parser = hiredis.Reader()

        def look(chunk: bytes) -> None:
            parser.feed(chunk)
            while (command := parser.gets()) is not False:
                recorder.keep(command)

        back = asyncio.create_task(_pass_on(there_reader, writer, lambda _: None))
        try:
            await _pass_on(reader, there_writer, look)
        finally:
            back.cancel()
            there_writer.close()
            writer.close()

    async with await asyncio.start_unix_server(connected, str(through), limit=CHUNK):
        opened.set()
        await stop.wait()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter, look: Callable[[bytes], None]) -> None:
    """All bytes of one direction, until it ends."""
    try:
        while chunk := await source.read(CHUNK):
            look(chunk)
            to.write(chunk)
            await to.drain()
    except ConnectionError:
        return
