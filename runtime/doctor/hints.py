"""Memory, room and the machine: what may break a promise later."""

from pathlib import Path
from typing import Final

from runtime.doctor.facts import Facts
from runtime.doctor.finding import Finding

LEAST_CLIENTS: Final = 1000
"""A worker and a dispatcher have a connection for each of their partitions."""
THP: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
OVERCOMMIT: Final = Path("/proc/sys/vm/overcommit_memory")


def of_memory(facts: Facts) -> list[Finding]:
    """Whether the store is bounded, and never makes room by forgetting."""
    if not facts.config:
        return []
    most, policy = int(facts.config["maxmemory"]), facts.config["maxmemory-policy"]
    found: list[Finding] = []
    good = policy == "noeviction"
    change = "" if good else "CONFIG SET maxmemory-policy noeviction, and in the configuration file"
    evicts = "unsafe" if most else "warn"
    found.append(Finding("maxmemory-policy", "ok" if good else evicts, policy, "noeviction", change))
    found.append(
        Finding("maxmemory", "ok", f"{most:,} bytes", "a bound")
        if most
        else Finding("maxmemory", "warn", "no bound", "a bound", "set maxmemory: else the machine ends the store first")
    )
    evicted = int(facts.info.get("evicted_keys", 0))
    if evicted:
        change = "find out what is gone (`icaze verify`)"
        found.append(Finding("evicted keys", "unsafe", f"{evicted:,} since its start", "0", change))
    return found


def of_room(facts: Facts) -> list[Finding]:
    """Connections, and expiries that stall."""
    if not facts.config:
        return []
    most, now = int(facts.config["maxclients"]), int(facts.info.get("connected_clients", 0))
    tight = most < LEAST_CLIENTS or now > 0.8 * most
    change = "CONFIG SET maxclients 10000, and a limit of open files to match" if tight else ""
    lazy = facts.config["lazyfree-lazy-expire"]
    return [
        Finding("maxclients", "warn" if tight else "ok", f"{now:,} of {most:,}", f"{LEAST_CLIENTS:,} or more", change),
        Finding(
            "lazyfree-lazy-expire",
            "ok" if lazy == "yes" else "warn",
            lazy,
            "yes",
            "" if lazy == "yes" else "CONFIG SET lazyfree-lazy-expire yes: a day's records end without a stall",
        ),
    ]


def of_machine(*, is_ours: bool, thp: Path = THP, overcommit: Path = OVERCOMMIT) -> list[Finding]:
    """Settings of the kernel, where the store runs on this machine."""
    found: list[Finding] = []
    if not is_ours:
        return found
    if (pages := _read(thp)) is not None and "[always]" in pages:
        change = f"echo madvise > {thp}: a fork copies 2 MB for each byte written"
        found.append(Finding("transparent huge pages", "warn", "always", "madvise or never", change))
    if (over := _read(overcommit)) is not None and over.strip() != "1":
        change = "sysctl vm.overcommit_memory=1: else a rewrite of a large append-only file may fail to fork"
        found.append(Finding("vm.overcommit_memory", "warn", over.strip(), "1", change))
    return found


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
