"""I5, for officers' notices: each follows an act on that permit, and is knowingly sent once."""

from collections import defaultdict
from typing import Final

from permits.calendar import DAY_MS
from processor.verification.finding import Finding, Findings
from processor.verification.sink_log import Send, SinkLog
from processor.verification.trail import Partition

DEED_OF: Final = {"cancelled": "cancel", "extended": "extend"}
"""What an officer has done where a notice has this verdict."""
WORTH_MS: Final = DAY_MS
"""A notice is sent within a day of its act, or never."""


class Notices:
    """Holds each notice in the operator's log against the acts of its partition."""

    def __init__(self, log: SinkLog | None) -> None:
        self._log = log
        self._findings = Findings("I5", "notices", "every officer's notice follows an act, knowingly sent once")
        self._deeds: defaultdict[str, set[str]] = defaultdict(set)
        self._notices: dict[str, list[Send]] = {}
        if log is None:
            self._findings.not_checked("no --sink")

    @property
    def sent(self) -> bool:
        """Whether this partition has any."""
        return bool(self._notices)

    def begin(self, partition: Partition) -> None:
        """Another partition: other notices and acts."""
        self._notices = {} if self._log is None else self._log.notices(partition.tag)
        self._deeds.clear()

    def act(self, code: str, deed: str) -> None:
        """Note what was done to a permit."""
        self._deeds[code].add(deed)

    def end(self, partition: Partition, acts_from_ms: int) -> None:
        """Judge the partition's notices; all acts since `acts_from_ms` were told (0: all ever)."""
        for name, sends in self._notices.items():
            self._findings.checked += 1
            where = f"notice {partition.tag}-{name}"
            unmarked = sum(1 for send in sends if not send.ambiguous)
            if unmarked > 1:
                self._findings.violation(f"{where}: sent {len(sends)} times, {unmarked} without the ambiguous mark")
            missing = [send for send in sends if not self._follows_an_act(name, send)]
            if missing and acts_from_ms and min(send.at_ms for send in missing) < acts_from_ms + WORTH_MS:
                self._findings.left_out += 1
            elif missing:
                self._findings.violation(f"{where}: sent without an act, verdict {missing[0].verdict}")

    def _follows_an_act(self, name: str, send: Send) -> bool:
        return DEED_OF.get(send.verdict) in self._deeds.get(name.rpartition("-")[2], ())

    def findings(self) -> list[Finding]:
        """The result."""
        return [self._findings.finding()]
