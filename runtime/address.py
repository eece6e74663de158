"""Where the store is: one URL read into servers, sentinels or the nodes of a Cluster.

`redis`, `rediss` (TLS) and `unix` name one server; `+sentinel` after the scheme names sentinels and their service,
`+cluster` some nodes of a Cluster.
"""

from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from runtime.errors import StartupError

Kind = Literal["server", "sentinel", "cluster"]
PORTS: Final = {"server": 6379, "sentinel": 26379, "cluster": 6379}
_KINDS: Final[dict[str, Kind]] = {"": "server", "sentinel": "sentinel", "cluster": "cluster"}


class StoreAddress(msgspec.Struct, frozen=True):
    """A store's URL in its parts."""

    kind: Kind
    url: str
    hosts: tuple[str, ...] = ()
    """`host:port` of the sentinels, or of some nodes."""
    service: str = ""
    """What the sentinels call the master."""
    scheme: str = "redis"
    """Of each server: redis or rediss."""
    login: str = ""
    """`user:password@`, as it stands in the URL; empty: none."""
    query: str = ""

    def of(self, host: str) -> str:
        """The URL of one server of it."""
        return f"{self.scheme}://{self.login}{host}/0{self.query}"

    def of_sentinel(self, host: str) -> str:
        """The URL of one sentinel, which knows none of the store's users."""
        return f"{self.scheme}://{host}{self.query}"


def store_address(url: str) -> StoreAddress:
    """The parts of a URL; StartupError says what it lacks."""
    scheme, _, topology = url.partition("://")[0].partition("+")
    kind = _KINDS.get(topology)
    if kind is None or scheme not in ("redis", "rediss", "unix") or (scheme == "unix" and topology):
        raise StartupError(
            "ICAZE_REDIS_URL begins with redis://, rediss:// or unix://, or with redis+sentinel:// or "
            "redis+cluster:// (rediss: over TLS)"
        )
    if kind == "server":
        return StoreAddress(kind, url, scheme=scheme)
    login, places, path, query = parts_of(url)
    hosts = tuple(_host(place, PORTS[kind]) for place in places.split(",") if place)
    service = path.strip("/")
    if not hosts:
        raise StartupError(f"ICAZE_REDIS_URL={scheme}+{topology}:// needs hosts: host:port,host:port")
    if kind == "sentinel" and not service:
        raise StartupError("ICAZE_REDIS_URL=redis+sentinel:// ends with the name of the master: host:port,…/mymaster")
    if kind == "cluster" and service not in ("", "0"):
        raise StartupError("ICAZE_REDIS_URL=redis+cluster:// has no database and no service behind its hosts")
    query = f"?{query}" if query else ""
    return StoreAddress(kind, url, hosts, service if kind == "sentinel" else "", scheme, login, query)


def parts_of(url: str) -> tuple[str, str, str, str]:
    """Login with its @, hosts, path and query of a store's URL.

    Newer releases of Python refuse to split a URL that has an address in brackets behind another host.
    """
    rest, _, query = url.partition("://")[2].partition("#")[0].partition("?")
    authority, _, path = rest.partition("/")
    login, at, places = authority.rpartition("@")
    return login + at, places, path, query


def with_files(url: str, files: Mapping[str, str]) -> str:
    """The URL with settings of TLS (redis-py's names of files) as its query; those that it has stay."""
    *_, query = parts_of(url)
    more = [f"{name}={quote(path)}" for name, path in files.items() if path and f"{name}=" not in query]
    joined = "&".join(filter(None, (query, *more)))
    return url if not more else f"{url.partition('?')[0]}?{joined}"


def _host(place: str, port: int) -> str:
    host, colon, number = place.rpartition(":")
    if not colon or place.endswith("]"):
        return f"{place}:{port}"
    if not host or not number.isdecimal() or int(number) > 65535:
        raise StartupError(f"ICAZE_REDIS_URL: {place!r} is no host:port")
    return place
