"""The store, as far as the checker reads it: one server, or a Cluster."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ResponseError
from redis.retry import Retry

CLUSTER: Final = "redis+cluster://"
Entry = tuple[str, dict[str, bytes]]


class Store:
    """One server. Everything raises RedisError where it cannot be read."""

    def __init__(self, url: str) -> None:
        self._redis: Any = Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=30)  # pyright: ignore[reportUnknownMemberType]

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()

    def names(self) -> list[str]:
        """All key names, sorted; bytes that are no UTF-8 as `\\xNN`."""
        return sorted({name.decode("utf-8", "backslashreplace") for name in self._redis.scan_iter(count=1000)})

    def type_of(self, name: str) -> str:
        """`string`, `hash`, `stream` ...; `none` where there is no such key."""
        return self._redis.type(name).decode()

    def ttl_s(self, name: str) -> int:
        """Seconds to live; -1: for ever, -2: no such key."""
        return self._redis.ttl(name)

    def bytes_of(self, name: str) -> int:
        """Memory that a key takes, by the server's estimate."""
        return self._redis.memory_usage(name, samples=0) or 0

    def string(self, name: str) -> bytes | None:
        """The value of a string."""
        return self._redis.get(name)

    def hash(self, name: str) -> dict[bytes, bytes]:
        """All fields of a hash; none where there is no such key."""
        return self._redis.hgetall(name)

    def list(self, name: str) -> "list[bytes]":
        """All items of a list."""
        return self._redis.lrange(name, 0, -1)

    def scored(self, name: str) -> "list[tuple[bytes, float]]":
        """Members and scores of a sorted set."""
        return self._redis.zrange(name, 0, -1, withscores=True)

    def stream(self, name: str) -> Iterator[Entry]:
        """All entries of a stream, a thousand at a time."""
        start = "-"
        while entries := self._redis.xrange(name, start, "+", count=1000):
            for entry_id, fields in entries:
                if fields is not None:
                    yield entry_id.decode(), {field.decode(): value for field, value in fields.items()}
            start = f"({entries[-1][0].decode()}"

    def length(self, name: str) -> int:
        """Entries that stand in a stream."""
        return self._redis.xlen(name)

    def added(self, name: str) -> int:
        """Entries that ever went into a stream; 0 where there is no such key."""
        return self._about(name).get("entries-added", 0)

    def is_trimmed(self, name: str) -> bool:
        """Whether a stream has lost its oldest entries; one that was deleted from the middle has not."""
        about = self._about(name)
        return about.get("entries-added", 0) > about.get("length", 0) and about["max-deleted-entry-id"] == b"0-0"

    def _about(self, name: str) -> dict[str, Any]:
        try:
            return self._redis.xinfo_stream(name)
        except ResponseError as error:
            if "no such key" in str(error):
                return {}
            raise

    def groups(self, name: str) -> "list[dict[str, Any]]":
        """Consumer groups of a stream: name, consumers, pending, lag."""
        return self._redis.xinfo_groups(name) if self.type_of(name) == "stream" else []

    def info(self, section: str) -> dict[str, Any]:
        """A section of INFO."""
        return self._redis.info(section)


class Cluster(Store):
    """The primaries of a Cluster as one store."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        nodes = [ClusterNode(host, int(port)) for host, _, port in (one.rpartition(":") for one in hosts.split(","))]
        self._redis: Any = RedisCluster(
            startup_nodes=nodes, username=user or None, password=password or None, socket_timeout=30
        )

    def info(self, section: str) -> dict[str, Any]:
        """A section of INFO: sums over the primaries; what is no number is left out."""
        summed: Counter[str] = Counter()
        for of_node in self._redis.info(section, target_nodes=RedisCluster.PRIMARIES).values():
            summed.update({name: value for name, value in of_node.items() if isinstance(value, int)})
        return dict(summed)


def store_of(url: str) -> Store:
    """The store that a URL names: `redis+cluster://host:port,…` is a Cluster."""
    return Cluster(url) if url.startswith(CLUSTER) else Store(url)


class Names:
    """The keys that stand, by kind: what is before the first colon."""

    def __init__(self, store: Store) -> None:
        self.all = store.names()

    @cache  # noqa: B019  # one object a run
    def of(self, kind: str) -> tuple[str, ...]:
        """All keys of a kind."""
        return tuple(name for name in self.all if name.partition(":")[0] == kind)


def record(value: bytes) -> tuple[int, dict[str, Any]]:
    """Version and JSON of a record as it stands in a hash: `<version> <JSON>`; ValueError where it is none."""
    version, _, body = value.partition(b" ")
    return int(version), json.loads(body)
