"""Servers on TCP ports, and a Cluster of them with the embedded store's settings, for measurements and tests.

with cluster(folder, primaries=3) as three:
    run_something(three.url)
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from bench.store import ALLOCATOR, Store, binary, options

SLOTS: Final = 16384
FORM_S: Final = 30.0
"""Of a busy machine; an idle one needs less than two seconds."""
NODE_TIMEOUT_MS: Final = 2000
"""How long a node may be silent before the others replace it."""


class Server:
    """One server process on a port of this machine; it may be killed, stopped for a while, and started again."""

    def __init__(self, folder: Path, more: dict[str, str], *, fsync: bool = True) -> None:
        folder.mkdir(mode=0o700)
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        given = options(folder, fsync=fsync)
        for name in ("unixsocket", "unixsocketperm"):
            del given[name]
        given |= {"port": str(self.port), "bind": "127.0.0.1", **more}
        self._words = [word for name, value in given.items() for word in (f"--{name}", value)]
        never = Retry(NoBackoff(), 0)
        password = more.get("requirepass")
        self.client: Any = redis.Redis(port=self.port, password=password, socket_timeout=20, retry=never, protocol=2)
        self.process: subprocess.Popen[bytes] | None = None
        self.is_asleep = False

    def keep(self, name: str, value: str) -> None:
        """A setting for its next starts."""
        self._words += [f"--{name}", value]

    def start(self) -> None:
        """Run it; returns once it answers."""
        environ = {**ALLOCATOR, **os.environ}
        self.process = subprocess.Popen(
            [str(binary()), *self._words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ
        )
        until(self._serves, f"the server on port {self.port}")

    def _serves(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self.process is not None  # for the types
        self.process.send_signal(number)
        self.is_asleep = number == signal.SIGSTOP

    def kill(self) -> None:
        """End it as a crash would; its files stay."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """End it and its connections."""
        self.client.close()
        self.kill()


class Cluster:
    """Primaries, each with its share of the slots, and their replicas."""

    def __init__(self, primaries: Sequence[Server], replicas: Sequence[Server]) -> None:
        self.primaries = primaries
        self.replicas = replicas
        self.url = "redis+cluster://" + ",".join(server.host for server in (*primaries, *replicas))

    @property
    def servers(self) -> list[Server]:
        """All of them."""
        return [*self.primaries, *self.replicas]

    def owner(self, slot: int) -> Server:
        """The server that owns a slot now, as most of those that answer know it."""
        votes: dict[int, int] = {}
        for server in [server for server in self.servers if not server.is_asleep]:
            with suppress(redis.RedisError):
                for first, last, node, *_ in server.client.execute_command("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        votes[node[1]] = votes.get(node[1], 0) + 1
        port = max(votes, key=lambda one: votes[one])
        return next(server for server in self.servers if server.port == port)


@contextmanager
def cluster(
    folder: Path, *, primaries: int = 3, replicas: int = 0, fsync: bool = True
) -> Generator[Cluster, None, None]:
    """A Cluster with so many primaries and replicas (at most one for each); its processes end with the block."""
    folder.mkdir(exist_ok=True, mode=0o700)
    servers: list[Server] = []
    try:
        for number in range(primaries + replicas):
            more = {
                "cluster-enabled": "yes",
                "cluster-config-file": str(folder / str(number) / "nodes.conf"),
                "cluster-node-timeout": str(NODE_TIMEOUT_MS),
                "cluster-port": str(free_port()),
                "cluster-require-full-coverage": "no",
            }
            servers.append(Server(folder / str(number), more, fsync=fsync))
            servers[-1].start()
        formed = Cluster(servers[:primaries], servers[primaries:])
        _form(formed)
        yield formed
    finally:
        for server in servers:
            server.close()


@contextmanager
def opened(folder: Path, *, primaries: int) -> Generator[Store, None, None]:
    """A new store on ports: one server, or a Cluster of more; stopped at the end, its files with it."""
    folder.mkdir(mode=0o700)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if primaries == 1:
            one = Server(folder / "0", {})
            stack.callback(one.close)
            one.start()
            yield Store(folder, one.client, url=f"redis://{one.host}")
            return
        formed = stack.enter_context(cluster(folder, primaries=primaries))
        nodes = [ClusterNode("127.0.0.1", server.port) for server in formed.primaries]
        client: Any = stack.enter_context(RedisCluster(startup_nodes=nodes, protocol=2))
        yield Store(folder, client, url=formed.url, servers=[server.client for server in formed.primaries])


def _form(formed: Cluster) -> None:
    """Introduce all to each other, share out the slots in order, and have each replica follow its primary."""
    first, count = formed.primaries[0], len(formed.primaries)
    for number, server in enumerate(formed.servers):
        server.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        if server is not first:
            bus = server.client.config_get("cluster-port")["cluster-port"]
            first.client.execute_command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
    for number, server in enumerate(formed.primaries):
        start, end = number * SLOTS // count, (number + 1) * SLOTS // count - 1
        server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", start, end)
    until(lambda: all(_knows(server, len(formed.servers)) for server in formed.servers), "all know each other")
    for replica, primary in zip(formed.replicas, formed.primaries, strict=False):
        replica.client.execute_command("CLUSTER", "REPLICATE", primary.client.execute_command("CLUSTER", "MYID"))
    until(lambda: all(_is_formed(server, formed) for server in formed.servers), "the Cluster")


def _knows(server: Server, nodes: int) -> bool:
    info = server.client.execute_command("CLUSTER INFO")
    return info["cluster_known_nodes"] == str(nodes) and info["cluster_state"] == "ok"


def _is_formed(server: Server, formed: Cluster) -> bool:
    links = server.client.info("replication")
    is_linked = links["role"] == "master" or links["master_link_status"] == "up"
    shards = server.client.execute_command("CLUSTER", "SLOTS")
    return is_linked and sum(len(nodes) for _, _, *nodes in shards) == len(formed.servers)


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it; SystemExit where it does not come."""
    deadline = time.monotonic() + FORM_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"icaze bench: not within {FORM_S:g} s: {what}")
        time.sleep(0.02)
