"""Every key in the store: its name, type, writer, reader, time to live, and what it grows with.

All keys of one partition carry its hash tag, so that one atomic call may touch them all, on a Cluster too.
"""

import binascii
from functools import cache
from itertools import product
from typing import Final, Literal

import msgspec

SLOTS: Final = 16384
LAYOUT: Final = "layout"
"""Partition count, tags, route version and routing key's fingerprint, as stored at first start."""
INBOUND_GROUP: Final = "decide"
"""The workers' consumer group on `inbound:{p}`."""
LANE: Final = "lane"
"""The one consumer of that group in each partition: whoever holds the lease."""
DISPATCH_GROUP: Final = "dispatch"
EPOCHS: Final = "epochs"
"""Acts on all organisations' permits at once, oldest first; the first has number 1."""
EPOCHS_MARK: Final = "mark:{epochs}"
"""As a partition's mark, where the epochs are: the tag has their slot."""
EPOCHS_FED: Final = "epochs_fed"
"""How many of them the Ministry has taken."""

Role = Literal["decide", "dispatch"]


class KeySpec(msgspec.Struct, frozen=True):
    """One row of the key table in ARCHITECTURE.md."""

    name: str
    type: str
    writer: str
    reader: str
    ttl: str
    grows_with: str


KEY_TABLE: Final = (
    KeySpec("layout", "string", "first start", "every role", "none: one key", "nothing"),
    KeySpec(
        "members:<role>", "zset", "process, dispatch", "process, dispatch", "30 s after the last beat", "processes"
    ),
    KeySpec("inbound:{p}", "stream", "ingest, dead", "process", "entries go when decided", "backlog"),
    KeySpec(
        "replies:{p}",
        "stream",
        "process, dead",
        "dispatch, registered groups",
        "trimmed below the lowest group",
        "unsent",
    ),
    KeySpec("audit:{p}", "stream", "process", "verify, archive", "trimmed by age, once archived", "decisions"),
    KeySpec(
        "held:{p}", "zset", "process, api, dead", "process, api", "entries go when released", "approvals held back"
    ),
    KeySpec(
        "dead:{p}", "stream", "process, dispatch", "dead, process, verify", "trimmed by age, by policy", "dead letters"
    ),
    KeySpec("day:{p}:<YYYYMMDD>", "hash", "process", "process, api", "days after its day, by policy", "owners a day"),
    KeySpec("blocked:{p}", "hash", "api", "process, api", "none: a field a document", "documents on status lists"),
    KeySpec("phone:{p}:<phone>:<YYYYMMDD>", "set", "process", "process", "2 days", "phones that come often"),
    KeySpec("counts:{p}:<YYYYMMDD>", "hash", "process", "up, verify", "8 days", "outcomes x purposes"),
    KeySpec(
        "senders:{p}:<YYYYMMDDHH>", "hash", "process, api", "api", "until its hour: permits' ends", "permits in force"
    ),
    KeySpec(
        "holder:{p}:<field>", "hash", "api, process, dispatch", "api, process, dispatch", "none: by `ends`", "holders"
    ),
    KeySpec("ends:{p}", "zset", "api, process, dispatch", "dispatch", "none: with its `holder`", "holders"),
    KeySpec("organisations:{p}", "hash", "api", "api", "none: a field each", "organisations"),
    KeySpec("org:{p}:<tin>", "zset", "dispatch", "api", "none: with its `holder`", "permits of an organisation"),
    KeySpec("person:{p}:<person>", "zset", "dispatch", "api", "none: with its `holder`", "employees"),
    KeySpec("applications:{p}", "stream", "api, process, dead", "process", "entries go when judged", "unconfirmed"),
    KeySpec("outbox:{p}", "stream", "api, process", "dispatch", "entries go when taken", "untransmitted"),
    KeySpec("feed:{p}", "hash", "api, process, dispatch", "dispatch", "none: a few counters", "nothing"),
    KeySpec(
        "acts:{p}",
        "stream",
        "api, process, dispatch, dead",
        "auditors, archive",
        "trimmed by age, once archived",
        "acts",
    ),
    KeySpec("archive:{p}", "hash", "process", "process, audit", "none: a field a trail", "nothing"),
    KeySpec("imports:{p}", "stream", "api", "process", "entries go when done", "imports under way"),
    KeySpec("import:{p}:<id>", "hash", "api, process", "api, process", "7 days", "imports"),
    KeySpec("policies:{p}", "list", "api", "api, process, verify", "none: an item each", "versions of the rules"),
    KeySpec(
        "day_keys:{p}",
        "hash",
        "ingest, process, dispatch",
        "ingest, process, dispatch, dead",
        "none: a field a day, by policy",
        "nothing",
    ),
    KeySpec("spools:{p}", "hash", "ingest", "api", "30 s after the last word", "ingest processes"),
    KeySpec("epochs", "list", "api", "api, dispatch", "none: an item each", "mass acts"),
    KeySpec("epochs_fed", "string", "dispatch", "dispatch", "none: one key", "nothing"),
    KeySpec("groups:{p}", "hash", "dispatch, other readers", "dispatch", "none: a field a group", "groups"),
    KeySpec("mark:{p}", "string", "dispatch, api, process", "replicas", "none: one key", "nothing"),
    KeySpec("lease:<role>:{p}", "string", "process, dispatch", "process, dispatch", "5 s", "partitions"),
    KeySpec("fence:<role>:{p}", "string", "process, dispatch", "process", "none: a counter", "partitions"),
)


def slot(tag: str) -> int:
    """Cluster slot of a hash tag (CRC16/XMODEM mod 16384)."""
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


@cache
def tags(partitions: int) -> tuple[str, ...]:
    """One short tag a partition, its slot near the middle of the partition's share of the slots.

    So partitions fall evenly over any number of shards that split the slots in contiguous ranges.
    """
    width = len(str(partitions - 1))
    near = SLOTS // (8 * partitions)

    def tag(index: int) -> str:
        number = f"{index:0{width}d}"
        start = binascii.crc_hqx(number.encode(), 0)
        middle = (2 * index + 1) * SLOTS // (2 * partitions)

        def distance(suffix: bytes) -> int:
            return abs(binascii.crc_hqx(suffix, start) % SLOTS - middle)

        suffix = min(_suffixes(1) + _suffixes(2), key=distance)
        if distance(suffix) > near:
            suffix = next((s for s in _suffixes(3) if distance(s) <= near), suffix)
        return number + suffix.decode()

    return tuple(tag(index) for index in range(partitions))


@cache
def _suffixes(length: int) -> list[bytes]:
    """All words of so many letters."""
    return ["".join(word).encode() for word in product("abcdefghijklmnopqrstuvwxyz", repeat=length)]


class PartitionKeys(msgspec.Struct, frozen=True):
    """The keys of one partition; names with a day or a role are methods."""

    tag: str
    inbound: str
    replies: str
    audit: str
    dead: str
    groups: str
    blocked: str
    held: str
    """Approvals that wait, by the moment of their release, ms."""
    ends: str
    organisations: str
    applications: str
    outbox: str
    feed: str
    acts: str
    imports: str
    policies: str
    """Of the first partition alone: the versions of the rules."""
    day_keys: str
    """Of the first partition alone: the sealed keys of the days whose texts can still be read."""
    archive: str
    mark: str
    """What is written to replicas alone, and waited for."""
    spools: str
    """Of the first partition alone: what ingest processes replay."""

    def day(self, name: str) -> str:
        """Record hash of one day of arrival, `YYYYMMDD`."""
        return f"day:{{{self.tag}}}:{name}"

    def counts(self, name: str) -> str:
        """Counters of one day of decision, `YYYYMMDD`."""
        return f"counts:{{{self.tag}}}:{name}"

    def senders(self, hour: str) -> str:
        """Sealed numbers of the senders of permits that end before an hour, `YYYYMMDDHH` in UTC, when it expires."""
        return f"senders:{{{self.tag}}}:{hour}"

    def phone(self, phone: bytes, day: str) -> str:
        """Documents that a phone which comes often asked for on a day, `YYYYMMDD`, by the phone's keyed hash."""
        return f"phone:{{{self.tag}}}:{phone.hex()}:{day}"

    def holder(self, field: bytes) -> str:
        """Records outside the day hashes of the holders that share the first bytes of their owner key."""
        return f"holder:{{{self.tag}}}:{field.hex()}"

    def org(self, tin: str) -> str:
        """Codes of an organisation's permits, by the moment of their creation."""
        return f"org:{{{self.tag}}}:{tin}"

    def person(self, key: bytes) -> str:
        """Codes of the employee permits of a person, by the keyed hash of the FIN."""
        return f"person:{{{self.tag}}}:{key.hex()}"

    def bulk(self, name: str) -> str:
        """One import: head, chunks to do, report."""
        return f"import:{{{self.tag}}}:{name}"

    def lease(self, role: Role) -> str:
        """Who works on this partition now."""
        return f"lease:{role}:{{{self.tag}}}"

    def fence(self, role: Role) -> str:
        """Epoch of the latest lease."""
        return f"fence:{role}:{{{self.tag}}}"


def partition_keys(tag: str) -> PartitionKeys:
    """The key names of a partition's tag."""
    p = f"{{{tag}}}"
    return PartitionKeys(
        tag=tag,
        inbound=f"inbound:{p}",
        replies=f"replies:{p}",
        audit=f"audit:{p}",
        dead=f"dead:{p}",
        groups=f"groups:{p}",
        blocked=f"blocked:{p}",
        held=f"held:{p}",
        ends=f"ends:{p}",
        organisations=f"organisations:{p}",
        applications=f"applications:{p}",
        outbox=f"outbox:{p}",
        feed=f"feed:{p}",
        acts=f"acts:{p}",
        imports=f"imports:{p}",
        policies=f"policies:{p}",
        day_keys=f"day_keys:{p}",
        archive=f"archive:{p}",
        mark=f"mark:{p}",
        spools=f"spools:{p}",
    )


def members(role: Role) -> str:
    """The live processes of a role."""
    return f"members:{role}"
