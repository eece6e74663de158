"""The base line of I11: what stands in the store when all roles are at their places, and no SMS has come."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from redis.exceptions import RedisError

from tests.system.checker.__main__ import main
from tests.system.checker.store import Store, store_of
from tests.system.house import PARTITIONS, ready, until
from tests.system.laboratory.post import Post
from tests.system.laboratory.server import Server

SHARING: Final = ("process", "dispatch")
STEADY_S: Final = 1.0
"""Roles that are in place open some more connections within a moment, and on a busy machine later."""


def all_in_place(server: Server, posts: Mapping[str, Post], streams: Iterable[str]) -> bool:
    """Whether every role answers and has its even share of the partitions, and each stream is being read."""
    for role in {name.partition("-")[0] for name in posts} - {"store"}:
        said = [ready(post.door) if post.door else {} for name, post in posts.items() if name.partition("-")[0] == role]
        share = PARTITIONS // len(said) if role in SHARING else None
        if not all(facts and facts.get("partitions") == share for facts in said):
            return False
    try:
        return all(any(group["consumers"] for group in _groups(server, name)) for name in streams)
    except (RedisError, OSError):
        return False


def take(store: str, file: Path) -> Path:
    """Write what stands in the store of this address once its connections are steady; the file, for `--baseline`."""
    looked = store_of(store)
    try:
        until(_Steady(looked), "no role opens another connection")
    finally:
        looked.close()
    if main(["--redis", store, "--snapshot", str(file)]):
        raise AssertionError("the checker took no base line")
    return file


class _Steady:
    """Whether no connection has come or gone for a while."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._clients = 0
        self._since_s = 0.0

    def __call__(self) -> bool:
        clients, now_s = self._store.info("clients")["connected_clients"], time.monotonic()
        if clients != self._clients:
            self._clients, self._since_s = clients, now_s
        return now_s - self._since_s >= STEADY_S


def _groups(server: Server, stream: str) -> list[dict[str, Any]]:
    """Consumer groups of a stream; none where it is not there yet."""
    return server.ask("XINFO GROUPS", stream) if server.ask("EXISTS", stream) else []
