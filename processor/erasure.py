"""Erases the keys of days past their retention, and has the store write its append-only files anew without them.

Reads and writes `day_keys:{p}` of the first partition; run by the worker that holds it. The field `rewrite` stands
from before the keys go until the store has finished a rewrite that was asked for after they went: whoever finds it,
as after a crash at any point, asks again.
"""

from typing import Any, Final

from redis.exceptions import RedisError

from lua.store import Store, servers
from permits.calendar import day_name, local_day
from runtime.telemetry import Log

REWRITE: Final = "rewrite"


class BehindError(ConnectionError):
    """A replica may not have heard of the erasure yet."""


class Eraser:
    """The erasures of one worker."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._due: bytes | None = None
        """The erasure that the next two are about: another worker may have made one since."""
        self._asked_of: set[str] = set()
        """The runs of servers that took our wish for a rewrite after the last erasure."""
        self._erased_at: dict[str, int] = {}
        """How far each primary had written when it was first looked at after it, by the name of what it replicates."""
        self._log = Log("process")

    async def round(self, *, now_ms: int, texts_days: int) -> None:
        """What is due now; the next round looks after what this one has begun. Raises as the store does."""
        oldest = day_name(local_day(now_ms) - texts_days)
        fields = [name.decode() for name in await self._store.execute_command("HKEYS", self._key)]
        lapsed = [name for name in fields if name.isdigit() and name < oldest]
        if lapsed:
            await self._store.execute_command("HSET", self._key, REWRITE, oldest)
            await self._store.execute_command("HDEL", self._key, *lapsed)
            self._log.info("day keys erased", days=sorted(lapsed))
        if lapsed or REWRITE in fields:
            await self._rewrite(is_fresh=bool(lapsed))

    async def _rewrite(self, *, is_fresh: bool) -> None:
        """One server after another, primaries first: a rewrite forks.

        A server that cannot be asked, or is behind, keeps no other from it, once the erasure is no longer fresh: what
        is not done there stays due.
        """
        due: bytes | None = await self._store.execute_command("HGET", self._key, REWRITE)
        if is_fresh or due != self._due:
            self._due = due
            self._asked_of.clear()
            self._erased_at.clear()
        is_whole = True
        for server in await servers(self._store):
            try:
                if not await self._is_rewritten(server):
                    return
            except (RedisError, OSError) as error:  # away, behind, another rewrite under way, or not ours to ask
                is_whole = False
                self._log.warning("append-only file not rewritten", error=type(error).__name__, reason=str(error)[:80])
                if is_fresh:
                    return
        if is_whole:
            await self._store.execute_command("HDEL", self._key, REWRITE)
            self._due = None
            self._log.info("append-only file written without the erased keys")

    async def _is_rewritten(self, server: Store) -> bool:
        facts: dict[str, Any] = await server.execute_command("INFO", "server", "persistence", "replication")
        stream: str = facts["master_replid"]
        if facts["role"] == "master":
            self._erased_at.setdefault(stream, facts["master_repl_offset"])
        elif stream not in self._erased_at or facts["slave_repl_offset"] < self._erased_at[stream]:
            raise BehindError("a replica that has not heard of the erasure yet")
        if facts["aof_rewrite_in_progress"] or facts["aof_rewrite_scheduled"]:
            return False
        is_done = facts["run_id"] in self._asked_of and facts["aof_last_bgrewrite_status"] == "ok"
        if is_done or not facts["aof_enabled"]:
            return True
        await server.execute_command("BGREWRITEAOF")
        self._asked_of.add(facts["run_id"])
        return False
