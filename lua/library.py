"""The function library: joined from its files, loaded once, compared at every start, never replaced.

Run as a module it prints the joined source, for linters.
"""

from pathlib import Path
from typing import Final, cast

from redis.exceptions import ResponseError

from lua.store import Store, primaries

LIBRARY: Final = "permits_v2"
"""A released change of arguments or behaviour is another version, side by side, until old workers are gone."""
FILES: Final = (
    "ids.lua",
    "record.lua",
    "judge.lua",
    "cancel.lua",
    "decide.lua",
    "held.lua",
    "lease.lua",
    "replies.lua",
    "change.lua",
    "archive.lua",
    "policies.lua",
    "blocked.lua",
    "mark.lua",
    "requeue.lua",
)
DECIDE: Final = "permits_v2_decide"
LEASE: Final = "permits_v2_lease"
RELEASE: Final = "permits_v2_release"
JOIN: Final = "permits_v2_join"
REGISTER: Final = "permits_v2_register"
TRIM: Final = "permits_v2_trim"
BURY: Final = "permits_v2_bury"
CHANGE: Final = "permits_v2_change"
CREATE: Final = "permits_v2_create"
FORGET: Final = "permits_v2_forget"
PROCLAIM: Final = "permits_v2_proclaim"
ENLIST: Final = "permits_v2_enlist"
ENACT: Final = "permits_v2_enact"
ARCHIVED: Final = "permits_v2_archived"
REQUEUE: Final = "permits_v2_requeue"
DROP: Final = "permits_v2_drop"
MARK: Final = "permits_v2_mark"
BLOCK: Final = "permits_v2_block"
UNBLOCK: Final = "permits_v2_unblock"
RELEASE_HELD: Final = "permits_v2_release_held"
WITHDRAW: Final = "permits_v2_withdraw"
BURY_HELD: Final = "permits_v2_bury_held"


class LibraryDiffersError(RuntimeError):
    """The store holds another source under our library's name."""


def source() -> str:
    """The library as loaded: all files under one shebang."""
    here = Path(__file__).parent
    return f"#!lua name={LIBRARY}\n" + "\n".join((here / name).read_text() for name in FILES)


async def ensure_loaded(store: Store) -> None:
    """Load the library where it is missing; raise LibraryDiffersError where another source has its name."""
    for server in await primaries(store):
        await _ensure_loaded(server)


async def _ensure_loaded(store: Store) -> None:
    stored = _texts(await store.execute_command("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY, "WITHCODE"))
    if not stored:  # looked at first: a full store refuses a load, and its backlog must still be drained
        try:
            await store.execute_command("FUNCTION", "LOAD", source())
        except ResponseError as error:
            if "already exists" not in str(error):
                raise
        stored = _texts(await store.execute_command("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY, "WITHCODE"))
    if source() not in stored:
        raise LibraryDiffersError(
            f"the store's function library {LIBRARY} differs from ours: bump the version of the library"
        )


def _texts(reply: object) -> list[str]:
    """All strings in a nested reply, whatever the protocol's shape."""
    if isinstance(reply, bytes):
        return [reply.decode()]
    if isinstance(reply, str):
        return [reply]
    if isinstance(reply, dict):
        pairs = cast("dict[object, object]", reply)
        return [text for item in (*pairs.keys(), *pairs.values()) for text in _texts(item)]
    if isinstance(reply, list):
        return [text for item in cast("list[object]", reply) for text in _texts(item)]
    return []


if __name__ == "__main__":
    print(source())
