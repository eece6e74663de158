"""A replicated pair under three sentinels, for tests."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bench.cluster import Server, free_port
from bench.store import binary
from tests.system.house import until

SERVICE: Final = "icaze"
SENTINELS: Final = 3
DOWN_MS: Final = 1000
"""A silent master is replaced after this."""
LOOKS_ON_MS: Final = 3000
"""How long a sentinel does nothing after two seconds in which it was not run; by itself it would be thirty."""
FORM_S: Final = 60.0
"""A link that fails at first is tried again after fifteen seconds."""


class Pair:
    """Two servers, one of them the master, and who watches them."""

    def __init__(self, servers: list[Server], ports: list[int], watchers: "list[subprocess.Popen[bytes]]") -> None:
        self.servers = servers
        self.watchers = watchers
        self.ports = ports
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in ports) + f"/{SERVICE}"
        never = Retry(NoBackoff(), 0)
        self._sentinels: list[Any] = [
            redis.Redis(port=port, socket_timeout=5, retry=never, protocol=2) for port in ports
        ]

    @property
    def master(self) -> Server:
        """Whom the sentinels name."""
        for sentinel in self._sentinels:
            with suppress(redis.RedisError):
                _, port = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
                return next(server for server in self.servers if server.port == int(port))
        raise AssertionError("no sentinel answers")

    @property
    def is_ready(self) -> bool:
        """Whether a failover would succeed: each sentinel knows the others and the replica."""
        try:
            flat = [sentinel.execute_command("SENTINEL", "MASTER", SERVICE) for sentinel in self._sentinels]
        except redis.RedisError:
            return False
        told = [dict(zip(facts[::2], facts[1::2], strict=True)) for facts in flat]
        return all(
            int(facts[b"num-other-sentinels"]) == SENTINELS - 1 and int(facts[b"num-slaves"]) >= 1 for facts in told
        )

    @property
    def is_brisk(self) -> bool:
        """Whether all sentinels have been told that a pause of the machine shall cost seconds, not half a minute."""
        try:
            for sentinel in self._sentinels:
                sentinel.execute_command("SENTINEL", "DEBUG", "tilt-period", LOOKS_ON_MS)
        except redis.RedisError:
            return False
        return True

    def close(self) -> None:
        """Let go of the sentinels."""
        for sentinel in self._sentinels:
            sentinel.close()


@contextmanager
def pair(folder: Path, *, fsync: bool = True) -> Generator[Pair, None, None]:
    """The pair, replicating; all processes end with the block."""
    folder.mkdir(exist_ok=True, mode=0o700)
    watchers: list[subprocess.Popen[bytes]] = []
    servers = [Server(folder / str(number), {"repl-diskless-sync-delay": "0"}, fsync=fsync) for number in range(2)]
    made: Pair | None = None
    try:
        for server in servers:
            server.start()
        master, replica = servers
        replica.client.execute_command("REPLICAOF", "127.0.0.1", master.port)
        until(lambda: replica.client.info("replication")["master_link_status"] == "up", "the replica")
        ports = [free_port() for _ in range(SENTINELS)]
        for port in ports:
            settings = folder / f"sentinel-{port}.conf"
            settings.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {folder}\nlogfile {folder}/sentinel-{port}.log\n"
                f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 2\n"
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}\n"
                f"sentinel failover-timeout {SERVICE} 5000\n"
            )
            words = [str(binary()), str(settings), "--sentinel"]
            watchers.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        made = Pair(servers, ports, watchers)
        until(lambda: made.is_brisk, "the sentinels' doors")
        until(lambda: made.is_ready, "the sentinels", within_s=FORM_S)
        yield made
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.wait()
        if made is not None:
            made.close()
        for server in servers:
            server.close()
