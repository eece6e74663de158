"""Local days and instants: the quota's day is Asia/Baku's, numbered in days since 1970-01-01."""

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

BAKU: Final = ZoneInfo("Asia/Baku")
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1).toordinal()


@lru_cache(maxsize=256)
def _offset_ms(hour: int) -> int:
    """UTC offset in force during one hour since 1970."""
    offset = datetime.fromtimestamp(hour * 3600, BAKU).utcoffset()
    return 0 if offset is None else int(offset.total_seconds() * 1000)


def local_day(at_ms: int) -> int:
    """Number of the Baku day that holds an instant."""
    return (at_ms + _offset_ms(at_ms // HOUR_MS)) // DAY_MS


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


def rfc3339(at_ms: int) -> str:
    """An instant in UTC with milliseconds, as in all messages."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"
