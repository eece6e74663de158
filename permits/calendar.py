"""Local days and instants: the quota's day is Asia/Baku's, numbered in days since 1970-01-01."""

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

BAKU: Final = ZoneInfo("Asia/Baku")
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_SECOND: Final = [f"{second:02}" for second in range(60)]
_MILLISECOND: Final = [f".{ms:03}Z" for ms in range(1000)]
"""Ready to be joined: formatting its numbers would cost an instant four times as much."""


@lru_cache(maxsize=256)
def _offset_ms(hour: int) -> int:
    """UTC offset in force during one hour since 1970."""
    offset = datetime.fromtimestamp(hour * 3600, BAKU).utcoffset()
    return 0 if offset is None else int(offset.total_seconds() * 1000)


def local_day(at_ms: int) -> int:
    """Number of the Baku day that holds an instant."""
    return (at_ms + _offset_ms(at_ms // HOUR_MS)) // DAY_MS


@lru_cache(maxsize=64)  # the names of a few days, asked for with every question: formatting one costs 2 µs
def day_name(day: int) -> str:
    """`YYYYMMDD`, as in key names."""
    return date.fromordinal(_EPOCH + day).strftime("%Y%m%d")


def day_number(name: str) -> int:
    """The inverse of `day_name`; ValueError where it is no date."""
    return datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC).date().toordinal() - _EPOCH


def day_start_ms(day: int) -> int:
    """The instant at which a Baku day begins."""
    midnight_utc = day * DAY_MS
    nearly = midnight_utc - _offset_ms(midnight_utc // HOUR_MS)
    return midnight_utc - _offset_ms(nearly // HOUR_MS)  # the clocks may change between the two midnights


def hour_end(at_s: int) -> int:
    """The first full hour, in seconds since 1970, that is not before an instant."""
    return -(-at_s // 3600) * 3600


@lru_cache(maxsize=64)  # of the hours in which the permits of a batch end
def hour_name(at_s: int) -> str:
    """`YYYYMMDDHH` in UTC of an instant in seconds since 1970, as in key names."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%d%H")


def rfc3339(at_ms: int) -> str:
    """An instant in UTC with milliseconds, as in all messages."""
    minute = at_ms // 60_000
    ms = at_ms - minute * 60_000
    return f"{_minute(minute)}{_SECOND[ms // 1000]}{_MILLISECOND[ms % 1000]}"


@lru_cache(maxsize=4096)
def _minute(minute: int) -> str:
    """Of a UTC minute; the instants of an answer are mostly of the last two days."""
    return datetime.fromtimestamp(minute * 60, UTC).isoformat()[: len("2026-01-01T00:00:")]
