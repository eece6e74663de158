"""Logs as JSON lines, and every metric once. Neither ever carries a document or a full phone number."""

import logging
import re
import sys
from bisect import bisect_left
from typing import Any, Final

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

REGISTRY: Final = CollectorRegistry(auto_describe=True)
"""One a process: each role runs in a process of its own."""

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600)


class Ages(Histogram):
    """A histogram that takes equal ages at once: one by one they cost a tenth of the dispatcher's time."""

    _sum: Any
    _buckets: list[Any]

    def observe_many(self, seconds: float, times: int) -> None:
        """As so many times `observe`."""
        self._sum.inc(seconds * times)
        self._buckets[bisect_left(self._upper_bounds, seconds)].inc(times)


DURABILITY: Final = Info("icaze_durability", "what an acknowledgement means", registry=REGISTRY)
SMS_ACCEPTED: Final = Counter("icaze_sms_accepted", "SMS stored and acknowledged", ["source"], registry=REGISTRY)
SMS_REJECTED: Final = Counter("icaze_sms_rejected", "SMS refused at the door, by reason", ["reason"], registry=REGISTRY)
APPEND_SECONDS: Final = Histogram(
    "icaze_append_seconds", "from the request to its entries on disk", buckets=_SECONDS, registry=REGISTRY
)
BACKLOG: Final = Gauge("icaze_backlog", "undecided SMS in all partitions", registry=REGISTRY)
SPOOLED: Final = Counter("icaze_spooled", "SMS acknowledged from the spool", registry=REGISTRY)
SPOOL_REPLAYED: Final = Counter("icaze_spool_replayed", "SMS of the spool that the store has", registry=REGISTRY)
SPOOL_ENTRIES: Final = Gauge("icaze_spool_entries", "SMS in the spool that the store lacks", registry=REGISTRY)
SPOOL_BYTES: Final = Gauge("icaze_spool_bytes", "size of the spool's files", registry=REGISTRY)
SPOOL_DAMAGED: Final = Counter("icaze_spool_damaged", "files of the spool with damage, kept aside", registry=REGISTRY)
DECIDED: Final = Counter("icaze_decided", "entries ended, by outcome", ["outcome"], registry=REGISTRY)
IDS_REUSED: Final = Counter("icaze_ids_reused", "aggregator ids seen with other words", registry=REGISTRY)
UNANSWERED: Final = Counter(
    "icaze_unanswered", "refusals of whoever had too many within the hour, which no reply tells", registry=REGISTRY
)
BATCH_SECONDS: Final = Histogram(
    "icaze_batch_seconds", "one batch, from its read to its decision", buckets=_SECONDS, registry=REGISTRY
)
DECIDED_AGE: Final = Gauge("icaze_decided_age_seconds", "age of the oldest SMS in the last batch", registry=REGISTRY)
LANES: Final = Gauge("icaze_lanes", "partitions held", ["role"], registry=REGISTRY)
LANE_RESTARTS: Final = Counter("icaze_lane_restarts", "reads from the head, by cause", ["cause"], registry=REGISTRY)
SENT: Final = Counter("icaze_replies_sent", "replies the operator accepted", ["verdict"], registry=REGISTRY)
SEND_FAILURES: Final = Counter(
    "icaze_send_failures", "sends that must be repeated, by cause", ["cause"], registry=REGISTRY
)
REPLIES_DEAD: Final = Counter("icaze_replies_dead", "replies never sent, by reason", ["reason"], registry=REGISTRY)
REPLY_AGE: Final = Ages(
    "icaze_reply_age_seconds", "from the decision to the operator's acceptance", buckets=_SECONDS, registry=REGISTRY
)
DEAD_LETTERS: Final = Gauge(
    "icaze_dead_letters", "dead letters of held partitions, by kind and reason", ["kind", "reason"], registry=REGISTRY
)
DEAD_LAPSED: Final = Counter(
    "icaze_dead_letters_lapsed", "dead letters trimmed by age that nobody handled", registry=REGISTRY
)
GROUPS_DROPPED: Final = Counter(
    "icaze_groups_dropped", "reply readers dropped for silence", ["group"], registry=REGISTRY
)
RELEASE_LATENESS: Final = Histogram(
    "icaze_release_lateness_seconds", "from the end of a hold to the reply", buckets=_SECONDS, registry=REGISTRY
)
HELD_BURIED: Final = Counter("icaze_held_dead", "held approvals that could not be told", registry=REGISTRY)
REQUESTS: Final = Counter(
    "icaze_api_requests", "API requests, by route and status", ["route", "status"], registry=REGISTRY
)
GUESSING: Final = Counter(
    "icaze_guessing_alarms", "callers that asked about too many unknown documents", ["client"], registry=REGISTRY
)
CONFIRMED: Final = Counter("icaze_applications", "applications judged by the registry", ["status"], registry=REGISTRY)
REGISTRY_FAILURES: Final = Counter(
    "icaze_registry_failures", "questions to the registry that must be repeated, by cause", ["cause"], registry=REGISTRY
)
TRANSMITTED: Final = Counter(
    "icaze_feed_events", "events that the Ministry took or refused", ["status"], registry=REGISTRY
)
FEED_FAILURES: Final = Counter(
    "icaze_feed_failures", "sends to the Ministry that must be repeated, by cause", ["cause"], registry=REGISTRY
)
IMPORTED: Final = Counter("icaze_import_lines", "lines of imports, by result", ["result"], registry=REGISTRY)
ARCHIVED: Final = Counter("icaze_archived", "entries of the trails stored in segments", ["trail"], registry=REGISTRY)
ARCHIVE_FAILURES: Final = Counter(
    "icaze_archive_failures", "members of segments that must be written again, by cause", ["cause"], registry=REGISTRY
)


_NUMBER: Final = re.compile(r"\d{6,}")


def masked(text: str) -> str:
    """The words of somebody else's error, without what might be a document or a phone."""
    return _NUMBER.sub("…", text)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "role": record.name,
            "event": record.getMessage(),
        }
        fields: Any = getattr(record, "fields", None)
        if fields:
            line.update(fields)
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = masked(f"{record.exc_info[0].__name__}: {record.exc_info[1]}")
        return orjson.dumps(line, default=str).decode()


class Log:
    """A role's log: an event in a few words, and its fields."""

    def __init__(self, role: str) -> None:
        self._logger = logging.getLogger(role)

    def info(self, event: str, **fields: Any) -> None:
        """What is worth knowing."""
        self._logger.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: Any) -> None:
        """What mended itself, or will."""
        self._logger.warning(event, extra={"fields": fields})

    def error(self, event: str, *, cause: BaseException | None = None, **fields: Any) -> None:
        """What somebody must look at."""
        self._logger.error(event, exc_info=cause, extra={"fields": fields})


def start_logging(level: str) -> None:
    """Log lines of this process go to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
