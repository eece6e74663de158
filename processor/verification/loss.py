"""I1: nothing acknowledged is lost, and no SMS is decided in two places."""

from struct import Struct
from typing import Final

from permits.calendar import DAY_MS, rfc3339
from permits.decision import DEDUP_DAYS
from permits.outcomes import MOVED
from processor.verification.finding import EXAMPLES, Finding, Findings
from processor.verification.journal import BUCKETS, Buckets, Journal
from processor.verification.trail import DECIDED, AuditEntry, Partition

_PLACE: Final = Struct("<q12sIIH")
"""Hash of the SMS's id, digest, hash of the owner, arrival in s, partition."""

DAY_S: Final = DAY_MS // 1000


class Loss:
    """Every acknowledged id, and every moved entry, has a row that ends it. An id is known without its source."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._ended = Buckets()
        self._moved: list[dict[str, str]] = [{} for _ in range(BUCKETS)]
        self._lost = Findings("I1", "loss", "every acknowledged SMS stands in the trail")
        self._stranded = Findings("I1", "moved", "every moved entry is decided in its own partition")

    def feed(self, partition: Partition, entry: AuditEntry) -> None:
        """Note which ids these rows end."""
        ended = self._ended.arrays
        for row, letter in zip(entry.batch.rows, entry.letters, strict=True):
            hashed = hash(row.sms_id)
            if letter == MOVED:
                self._moved[hashed % BUCKETS][row.sms_id] = f"partition {partition.number}, entry {row.entry_id}"
            else:
                ended[hashed % BUCKETS].append(hashed)

    def findings(self) -> list[Finding]:
        """Compare, one bucket at a time."""
        lost: set[int] = set()
        for at, bucket in enumerate(self._ended.arrays):
            ended = set(bucket)
            if self._journal is not None:
                lost |= set(self._journal.ids.arrays[at]) - ended
            self._stranded.checked += len(self._moved[at])
            for sms_id, place in self._moved[at].items():
                if hash(sms_id) not in ended:
                    self._stranded.violation(f"{place}: sms {sms_id!r} was moved and is decided nowhere")
        self._judge_journal(lost)
        return [self._lost.finding(), self._stranded.finding()]

    def _judge_journal(self, lost: set[int]) -> None:
        if self._journal is None:
            self._lost.not_checked("no --journal")
            return
        self._lost.checked = self._journal.acknowledged
        self._lost.left_out = self._journal.older
        names = self._journal.names(lost, EXAMPLES) if lost else []
        for at, name in enumerate(names):
            times = 1 if at else 1 + len(lost) - len(names)
            self._lost.violation(f"sms {name!r} was acknowledged and has no outcome", times)


class OnePlace:
    """The same SMS is not decided under two owners or in two partitions, where no record would show it."""

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(BUCKETS)]
        self._findings = Findings("I1", "one place", "no SMS is decided under two owners or in two partitions")

    def feed(self, partition: Partition, entry: AuditEntry) -> None:
        """Note where each SMS was decided."""
        buckets, pack, number = self._buckets, _PLACE.pack, partition.number
        for row, letter in zip(entry.batch.rows, entry.letters, strict=True):
            if letter in DECIDED:
                sms = hash(row.sms_id)
                owner, arrived_s = hash(row.owner) & 0xFFFFFFFF, row.arrived_ms // 1000 & 0xFFFFFFFF
                buckets[sms % BUCKETS] += pack(sms, row.digest.encode(), owner, arrived_s, number)

    def findings(self) -> list[Finding]:
        """Compare, one bucket at a time."""
        for bucket in self._buckets:
            self._findings.checked += len(bucket) // _PLACE.size
            if len({place[:2] for place in _PLACE.iter_unpack(bucket)}) * _PLACE.size < len(bucket):
                self._compare(bucket)
        return [self._findings.finding()]

    def _compare(self, bucket: bytearray) -> None:
        first: dict[tuple[int, bytes], tuple[int, int, int]] = {}
        for sms, digest, owner, arrived_s, number in _PLACE.iter_unpack(bucket):
            was = first.setdefault((sms, digest), (owner, arrived_s, number))
            if (was[0], was[2]) != (owner, number) and abs(was[1] - arrived_s) <= DEDUP_DAYS * DAY_S:
                self._findings.violation(
                    f"digest {digest.decode()}, arrived {rfc3339(arrived_s * 1000)}: decided in partition {was[2]} "
                    f"and, under {'the same' if was[0] == owner else 'another'} owner, in partition {number}"
                )
