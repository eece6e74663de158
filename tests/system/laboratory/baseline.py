"""The base line of I11: what stands in the store when all roles are at their places, and no SMS has come."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from tests.system.checker.__main__ import main
from tests.system.house import PARTITIONS, ready
from tests.system.laboratory.post import Post
from tests.system.laboratory.server import Server


def all_in_place(server: Server, posts: Mapping[str, Post], streams: Iterable[str]) -> bool:
    """Whether every role answers, each partition is held, and each stream of SMS and replies is being read."""
    said = {name: ready(post.door) if post.door else {} for name, post in posts.items() if name != "store"}
    held = {
        role: sum(facts.get("partitions", 0) for name, facts in said.items() if name.partition("-")[0] == role)
        for role in ("process", "dispatch")
    }
    if not all(said.values()) or set(held.values()) != {PARTITIONS}:
        return False
    try:
        return all(any(group["consumers"] for group in _groups(server, name)) for name in streams)
    except (RedisError, OSError):
        return False


def take(server: Server, file: Path) -> Path:
    """Write what stands now; the file, for the checker's `--baseline`."""
    if main(["--redis", server.url, "--snapshot", str(file)]):
        raise AssertionError("the checker took no base line")
    return file


def _groups(server: Server, stream: str) -> list[dict[str, Any]]:
    """Consumer groups of a stream; none where it is not there yet."""
    return server.ask("XINFO GROUPS", stream) if server.ask("EXISTS", stream) else []
