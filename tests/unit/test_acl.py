"""The users of `deploy/acl/users.acl` against the table of keys: who writes and reads what, and nothing besides."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import pytest

from lua.keys import KEY_TABLE, KeySpec

USERS: Final = Path(__file__).parents[2] / "deploy" / "acl" / "users.acl"
ROLES: Final = ("ingest", "process", "dispatch", "api")
READERS: Final = {"every role": ROLES, "registered groups": ("operator",), "archive": ("process",)}
AUDITOR: Final = ("verify", "dead", "auditors", "audit")
DECLARED: Final = {
    "process": {"inbound:{p}", "imports:{p}", "blocked:{p}", "holder:{p}:<field>", "outbox:{p}", "applications:{p}"},
    "dispatch": {"outbox:{p}", "applications:{p}", "senders:{p}:<YYYYMMDDHH>", "replies:{p}", "org:{p}:<tin>"},
    "api": {"replies:{p}", "dead:{p}", "applications:{p}", "outbox:{p}", "feed:{p}"},
}
"""What a role takes entries from, and what stands among the keys of a function that it calls: those are checked for
reading and writing, whatever the function does with them."""


def rules(user: str) -> list[str]:
    """The words of a user."""
    lines = [line.split() for line in USERS.read_text().splitlines()]
    return next(words[2:] for words in lines if words[1] == user)


def key(spec: KeySpec, role: str) -> str:
    """One key of a row, as a role would name it."""
    name = spec.name.replace("{p}", "{07k}")
    if "<role>" in name:
        name = name.replace("<role>", "decide" if role == "process" else role)
    return name.replace("<", "").replace(">", "")


def may(role: str, spec: KeySpec, *, write: bool) -> bool:
    """Whether a user's key patterns let it write, or read, a row's keys."""
    starts = ("~", "%W~" if write else "%R~", "%RW~")
    patterns = [word.partition("~")[2] for word in rules(role) if word.startswith(starts)]
    return any(fnmatchcase(key(spec, role), pattern) for pattern in patterns)


def names(told: str) -> set[str]:
    """The roles that a cell of the table names."""
    parts = ["auditor" if part in AUDITOR else part for part in told.split(", ")]
    return {role for part in parts for role in READERS.get(part, (part,))}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_write_what_the_table_says_it_writes_and_no_other_key(role: str) -> None:
    rows = [spec for spec in KEY_TABLE if role in spec.writer.split(", ")]
    rows += [spec for spec in KEY_TABLE if role == "process" and spec.writer == "first start"]
    assert [spec.name for spec in rows if not may(role, spec, write=True)] == []
    written = {spec.name for spec in rows} | DECLARED.get(role, set())
    assert [spec.name for spec in KEY_TABLE if may(role, spec, write=True) and spec.name not in written] == []


@pytest.mark.parametrize("role", [*ROLES, "auditor", "operator"])
def test_a_role_may_read_what_the_table_says_it_reads(role: str) -> None:
    rows = [spec for spec in KEY_TABLE if role in names(spec.reader)]
    assert rows
    assert [spec.name for spec in rows if not may(role, spec, write=False)] == []


def test_only_the_roles_may_ask_who_all_the_nodes_are() -> None:
    """They look at each server before they start, and the eraser waits for each; nobody else has any business there."""
    users = [line.split()[1] for line in USERS.read_text().splitlines()]
    assert [user for user in users if "+cluster|nodes" in rules(user)] == list(ROLES)


def test_every_key_that_ingest_may_read_is_layout_or_day_keys() -> None:
    readable = [spec.name for spec in KEY_TABLE if may("ingest", spec, write=False)]
    assert readable == ["layout", "day_keys:{p}"]


@pytest.mark.parametrize("role", [*ROLES, "auditor", "operator", "replica", "sentinel"])
def test_every_user_begins_with_nothing_and_is_given_each_command_by_name(role: str) -> None:
    words = rules(role)
    assert "-@all" in words
    assert [word for word in words if word.startswith("+@") or word in ("allkeys", "~*", "allcommands", "nopass")] == []


def test_nobody_can_log_in_before_a_password_is_set() -> None:
    assert USERS.read_text().splitlines()[0] == "user default off"
    assert [line for line in USERS.read_text().splitlines() if ">" in line or "#" in line or "nopass" in line] == []
