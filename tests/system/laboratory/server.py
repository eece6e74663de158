"""The floor's store: the embedded one's command line, without its parent, and whether it answers."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from redis import Redis

from runtime.embedded import EmbeddedStore, server_binary, socket_path
from tests.system.laboratory.needs import Needs


class Server:
    """The store in a data folder; a post runs it."""

    def __init__(self, data: Path, needs: Needs) -> None:
        self.socket = socket_path(data)
        self.url = f"unix://{self.socket}"
        (data / "store").mkdir(parents=True, exist_ok=True)
        store = EmbeddedStore(data, fsync=needs.level == "fsync", memory_mb=needs.memory_mb)
        self.words: Sequence[str] = store.command(server_binary())

    def cleared(self) -> bool:
        """Take away the socket that a killed server leaves; true, so that the next can begin."""
        with suppress(OSError):
            os.unlink(self.socket)
        return True

    def answers(self) -> bool:
        """Whether it serves, its file loaded."""
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def ask(self, *command: object) -> Any:
        """One command past every link, and its reply."""
        with Redis(unix_socket_path=str(self.socket), socket_timeout=30) as redis:
            return cast("Any", redis).execute_command(*command)
