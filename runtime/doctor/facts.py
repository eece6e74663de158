"""What a server says of itself, read once; what it does not let us read is a finding.

Reads INFO, CONFIG GET and FUNCTION LIST; writes one key that ends by itself.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from lua import library
from lua.store import Store
from runtime.doctor.finding import Finding
from runtime.durability import check_version
from runtime.errors import StartupError

CONFIG: Final = (
    *("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "aof-load-truncated", "dir", "save"),
    *("maxmemory", "maxmemory-policy", "maxclients", "lazyfree-lazy-expire"),
    *("min-replicas-to-write", "min-replicas-max-lag"),
)
"""What promises rest on, and hints."""
KEY: Final = "mark:{doctor}"
KEY_S: Final = 60
"""The key that is written to try the store, and when it ends."""


class Facts(msgspec.Struct, frozen=True):
    """One server."""

    info: Mapping[str, Any]
    config: Mapping[str, str]
    """Empty where it is not shown."""
    libraries: Mapping[str, str]
    """Source by name, of the libraries that begin as ours do."""
    denied: list[str]
    """Commands that the user may not give."""
    key: str = KEY
    """That may be written to try it; of a Cluster's node one that it owns."""

    @property
    def name(self) -> str:
        """`valkey` or `redis`."""
        return "valkey" if "valkey_version" in self.info else "redis"

    @property
    def version(self) -> str:
        """As the server tells it."""
        return str(self.info.get(f"{self.name}_version", "0"))


async def read(store: Store, key: str) -> Facts:
    """What one server says, and whether it takes a key, unless it is a replica; raises as the client does where it is
    away."""
    denied: list[str] = []

    async def asked(words: tuple[str | int, ...], name: str, otherwise: Any) -> Any:
        try:
            return await store.execute_command(*words)
        except ResponseError as error:
            if "perm" in str(error).lower():
                denied.append(name)
            elif otherwise is not None:
                raise
            return otherwise

    info = await asked(("INFO", "everything"), "info", {})
    config = await asked(("CONFIG GET", *CONFIG), "config|get", {})
    found = await asked(("FUNCTION", "LIST", "LIBRARYNAME", "permits_*", "WITHCODE"), "function|list", [])
    tried = () if info.get("role") == "slave" else (("WAIT", 0, 1), ("SET", key, "", "EX", KEY_S))
    for words in (("TIME",), *tried):
        await asked(words, str(words[0]).lower(), None)
    return Facts(info, config, dict(map(_library, found)), denied, key)


def _library(flat: Any) -> tuple[str, str]:
    pairs = dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat  # pyright: ignore
    texts = {_text(name): _text(value) for name, value in pairs.items()}  # pyright: ignore
    return texts["library_name"], texts["library_code"]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def of_version(facts: Facts) -> Finding:
    """Whether the server is new enough."""
    seen = f"{facts.name} {facts.version}"
    try:
        check_version(facts.name, facts.version)
    except StartupError as error:
        return Finding("version", "unsafe", seen, "redis 7.0 or valkey 8.0, or later", str(error))
    return Finding("version", "ok", seen, "redis 7.0 or valkey 8.0, or later")


def of_library(facts: Facts) -> Finding:
    """Whether the store's functions are ours."""
    wanted = f"{library.LIBRARY}, as this release has it"
    stored = facts.libraries.get(library.LIBRARY)
    others = ", ".join(name for name in facts.libraries if name != library.LIBRARY)
    beside = f" (beside it {others})" if others else ""
    if "function|list" in facts.denied:
        return Finding("library", "warn", "not shown", wanted, "allow function|list")
    if stored is None:
        return Finding("library", "warn", f"missing{beside}", wanted, "start a worker: it loads the library")
    if stored != library.source():
        return Finding(
            "library",
            "unsafe",
            f"another source of that name{beside}",
            wanted,
            "run one release, or give the library of the newer one another version; never FUNCTION LOAD REPLACE",
        )
    return Finding("library", "ok", f"the same{beside}", wanted)


def of_rights(facts: Facts) -> Finding:
    """Whether we could look at everything."""
    wanted = "info, config|get, function|list, time, wait, and a key of our own"
    if facts.denied:
        denied = ", ".join(facts.denied)
        return Finding("rights", "unsafe", f"denied: {denied}", wanted, f"allow {denied}; what they tell is unknown")
    return Finding("rights", "ok", "all granted", wanted)
