"""`deploy/acl/users.acl` on a real server: each role works under its own user, and can do nothing else."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from redis.exceptions import NoPermissionError

from bench.cluster import Server, cluster
from lua.keys import members, partition_keys, tags
from tests.system.house import PARTITIONS, House
from tests.system.sentinels import pair

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

USERS: Final = Path(__file__).parents[2] / "deploy" / "acl" / "users.acl"
ROLES: Final = ("process", "ingest", "dispatch", "api")
"""In the order in which they may meet an empty store."""
KEYS: Final = partition_keys(tags(PARTITIONS)[0])
ENTRY: Final = ("*", "m", "x")
ADMINS: Final[tuple[tuple[Any, ...], ...]] = (
    ("CONFIG", "SET", "maxmemory", 1),
    ("FLUSHALL",),
    ("KEYS", "*"),
    ("DEBUG", "SLEEP", 0),
    ("ACL", "LIST"),
    ("FUNCTION", "FLUSH"),
    ("FUNCTION", "DELETE", "permits_v2"),
    ("SHUTDOWN",),
    ("MONITOR",),
    ("EVAL", "return 1", 0),
    ("REPLICAOF", "NO", "ONE"),
    ("CLIENT", "KILL", "TYPE", "normal"),
)


def secret(user: str) -> str:
    """A user's password in these tests."""
    return f"secret-of-{user}"


class Guarded:
    """A server that runs with the users' file, and what they may do there."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._clients: dict[str, Any] = {}

    def url(self, user: str) -> str:
        """The store as a user reaches it."""
        return f"redis://{user}:{secret(user)}@{self.server.host}/0"

    def client(self, user: str) -> Any:
        """A client of that user."""
        return redis.Redis(port=self.server.port, username=user, password=secret(user), protocol=2)

    def may(self, user: str, *command: Any) -> bool:
        """Whether a user may run a command; it is run."""
        client = self._clients.setdefault(user, self.client(user))
        try:
            client.execute_command(*command)
        except NoPermissionError:
            return False
        except redis.ResponseError:
            return True
        return True

    def denied(self) -> list[str]:
        """What was refused so far: user, reason and object."""
        log = self.server.client.acl_log()
        return [f"{entry['username']} {entry['reason']} {entry['object']}" for entry in log]

    def close(self) -> None:
        """Let go of all connections."""
        for client in self._clients.values():
            client.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """A server with the users' file, a password given to each."""
    lines = USERS.read_text().splitlines()
    users = [line.replace(" on ", f" on >{secret(line.split()[1])} ", 1) for line in lines]
    (tmp_path / "users.acl").write_text("\n".join(users) + "\n")
    server = Server(tmp_path / "s", {"aclfile": str(tmp_path / "users.acl"), "enable-debug-command": "yes"})
    server.client = redis.Redis(port=server.port, username="admin", password=secret("admin"), protocol=2)
    server.start()
    store = Guarded(server)
    try:
        yield store
    finally:
        store.close()
        server.close()


def flow(house: House, url: Callable[[str], str]) -> None:
    """One SMS through a process of each role, each under its own user, and a verification of what came of it."""
    house.furnish()
    house.sink()
    doors = {role: house.start(role, {"ICAZE_REDIS_URL": url(role)}) for role in ROLES}
    words = ["send", "2 AZE 1111111", "--from", "+994501234567", "--json"]
    port = doors["ingest"].door("ingest").rpartition(":")[2]
    done = house.call(*words, ICAZE_INGEST_PORT=port, ICAZE_REDIS_URL=url("admin"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "approved"
    for role in doors.values():
        role.stop()
    house.journal.touch()
    house.verify(ICAZE_REDIS_URL=url("auditor"))


def test_an_sms_goes_all_the_way_with_each_role_under_its_own_user(house: House, guarded: Guarded) -> None:
    flow(house, guarded.url)
    assert guarded.denied() == []


@pytest.mark.parametrize("topology", ["cluster", "pair"])
def test_each_role_works_under_its_own_user_behind_every_url(house: House, tmp_path: Path, topology: str) -> None:
    with cluster(tmp_path / "t", replicas=1) if topology == "cluster" else pair(tmp_path / "t") as formed:
        for server in formed.servers:
            for line in USERS.read_text().splitlines()[1:]:
                _, name, *words = line.split()
                server.client.execute_command("ACL", "SETUSER", name, f">{secret(name)}", *words)

        def url(user: str) -> str:
            return formed.url.replace("://", f"://{user}:{secret(user)}@")

        flow(house, url)
        log = [entry for server in formed.servers for entry in server.client.acl_log()]
        assert log == []


def test_a_role_that_meets_an_empty_store_before_any_worker_says_what_to_do(house: House, guarded: Guarded) -> None:
    house.furnish()
    for role in ("ingest", "dispatch", "api"):
        done = house.call(role, ICAZE_REDIS_URL=guarded.url(role))
        assert done.returncode == 1
        assert "start a worker (`icaze process`) first" in done.stderr, done.stderr


@pytest.mark.parametrize("user", [*ROLES, "operator", "auditor"])
def test_nobody_but_the_administrator_rules_the_server(guarded: Guarded, user: str) -> None:
    allowed = [command for command in ADMINS if guarded.may(user, *command)]
    assert allowed == []


DENIED: Final[dict[str, list[tuple[Any, ...]]]] = {
    "ingest": [
        ("XRANGE", KEYS.inbound, "-", "+"),
        ("XRANGE", KEYS.replies, "-", "+"),
        ("XREAD", "STREAMS", KEYS.replies, "0"),
        ("HGETALL", KEYS.day("20260101")),
        ("XADD", KEYS.replies, *ENTRY),
        ("XTRIM", KEYS.inbound, "MAXLEN", 0),
        ("DEL", KEYS.inbound),
        ("SET", "layout", "x"),
        ("FUNCTION", "LOAD", "x"),
        ("FCALL", "permits_v2_lease", 2, KEYS.lease("decide"), KEYS.fence("decide"), "me", 1000),
    ],
    "process": [
        ("SET", KEYS.lease("dispatch"), "me"),
        ("SET", KEYS.fence("dispatch"), 9),
        ("HGETALL", KEYS.groups),
        ("HSET", KEYS.organisations, "tin", "x"),
        ("RPUSH", KEYS.policies, "x"),
        ("SET", "epochs_fed", 1),
        ("SCAN", 0),
    ],
    "dispatch": [
        ("XADD", KEYS.inbound, *ENTRY),
        ("XRANGE", KEYS.inbound, "-", "+"),
        ("HGETALL", KEYS.day("20260101")),
        ("HGETALL", KEYS.blocked),
        ("XRANGE", KEYS.audit, "-", "+"),
        ("SET", KEYS.fence("decide"), 9),
        ("SET", KEYS.lease("decide"), "me"),
        ("FUNCTION", "LOAD", "x"),
    ],
    "api": [
        ("SET", KEYS.lease("decide"), "me"),
        ("GET", KEYS.lease("dispatch")),
        ("FCALL", "permits_v2_lease", 2, KEYS.lease("decide"), KEYS.fence("decide"), "me", 1000),
        ("ZADD", members("decide"), 1, "me"),
        ("XADD", KEYS.inbound, *ENTRY),
        ("HSET", KEYS.day("20260101"), "f", "v"),
        ("HGETALL", KEYS.day_keys),
        ("XRANGE", KEYS.audit, "-", "+"),
        ("FUNCTION", "LOAD", "x"),
    ],
    "operator": [
        ("XADD", KEYS.replies, *ENTRY),
        ("XTRIM", KEYS.replies, "MAXLEN", 0),
        ("XDEL", KEYS.replies, "0-1"),
        ("XRANGE", KEYS.inbound, "-", "+"),
        ("HGETALL", KEYS.day("20260101")),
        ("HGETALL", KEYS.day_keys),
    ],
    "auditor": [
        ("XADD", KEYS.inbound, *ENTRY),
        ("DEL", KEYS.audit),
        ("FCALL", "permits_v2_lease", 2, KEYS.lease("decide"), KEYS.fence("decide"), "me", 1000),
    ],
}


@pytest.mark.parametrize("user", DENIED)
def test_what_a_role_has_no_business_with_is_refused(guarded: Guarded, user: str) -> None:
    allowed = [command for command in DENIED[user] if guarded.may(user, *command)]
    assert allowed == []


def test_another_dispatcher_registers_reads_and_acknowledges(house: House, guarded: Guarded) -> None:
    house.furnish()
    house.start("process", {"ICAZE_REDIS_URL": guarded.url("process")}).stop()
    guarded.server.client.xadd(KEYS.replies, {"m": "{}"})
    operator = guarded.client("operator")
    operator.execute_command("FCALL", "permits_v2_register", 2, KEYS.replies, KEYS.groups, "mine", 1)
    ((_, ((entry_id, _),)),) = operator.xreadgroup("mine", "one", {KEYS.replies: ">"})
    assert operator.xack(KEYS.replies, "mine", entry_id) == 1
    operator.close()
