"""When messages arrive: the intensity of a national day, minute by minute and down to its peak second.

The shape is that of public reports of 2020, scaled to any number of messages: a quiet night, a morning
rise, half an hour at the intensity that broke a neighbour's first day, one peak minute, one peak second.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTES = 1440

# Relative intensity at the start of each local hour; between hours it is interpolated. The curve itself is
# an assumption; what is sourced are the three peaks below.
HOURLY = (20, 12, 8, 6, 6, 10, 25, 55, 90, 115, 120, 115, 110, 100, 95, 100, 110, 120, 115, 95, 75, 55, 40, 30)

SURGE_STARTS = 10 * 60  # local minute of the day
SURGE_MINUTES = 30
SURGE_TIMES_MEAN = 3.84  # 240/s for half an hour on a day of 5.4 million (62.5/s)
PEAK_MINUTE = SURGE_STARTS + 4
PEAK_MINUTE_TIMES_MEAN = 4.1  # Greece: 7,500 in the peak minute against a mean of 1,818
PEAK_SECOND = 30  # of the peak minute
PEAK_SECOND_TIMES_MEAN = 16.0  # 1,000 in the peak second of a day of 5.4 million

_SECONDS = [f"{second:02d}" for second in range(60)]
_FRACTIONS = [f".{millisecond:03d}Z" for millisecond in range(1000)]
_SURGE = range(SURGE_STARTS, SURGE_STARTS + SURGE_MINUTES)


def profile() -> list[float]:
    """Returns the intensity of each local minute as a multiple of the day's mean minute."""
    weights: list[float] = []
    for minute in range(MINUTES):
        hour, part = divmod(minute, 60)
        start, end = HOURLY[hour], HOURLY[(hour + 1) % 24]
        weights.append(start + (end - start) * part / 60)
    surge = dict.fromkeys(_SURGE, SURGE_TIMES_MEAN) | {PEAK_MINUTE: PEAK_MINUTE_TIMES_MEAN}
    elsewhere = sum(weight for minute, weight in enumerate(weights) if minute not in surge)
    scale = (MINUTES - sum(surge.values())) / elsewhere
    return [surge.get(minute, weight * scale) for minute, weight in enumerate(weights)]


def minute_counts(messages: int) -> list[int]:
    """Splits `messages` over the minutes of the day; the sum is exact for any number."""
    counts: list[int] = []
    reached, given = 0.0, 0
    for weight in profile():
        reached += weight / MINUTES
        until = min(messages, round(reached * messages))
        counts.append(until - given)
        given = until
    counts[-1] += messages - given
    return counts


def arrivals(messages: int, day: date, draw: Callable[[], float]) -> Iterator[tuple[int, str]]:
    """Yields (milliseconds since local midnight, RFC 3339 time in UTC), in order of time.

    The day is the calendar day of Asia/Baku, because quotas count by it.
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("Asia/Baku")).astimezone(UTC)
    for minute, count in enumerate(minute_counts(messages)):
        prefix = (midnight + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:")
        start_ms = minute * 60_000
        for offset_ms in spread(minute, count, draw):
            yield start_ms + offset_ms, prefix + _SECONDS[offset_ms // 1000] + _FRACTIONS[offset_ms % 1000]


def spread(minute: int, count: int, draw: Callable[[], float]) -> list[int]:
    """Spreads `count` arrivals over a minute, in ms, evenly but for the peak second of the peak minute."""
    crowded = 0
    if minute == PEAK_MINUTE:
        crowded = round(count * PEAK_SECOND_TIMES_MEAN / (60 * PEAK_MINUTE_TIMES_MEAN))
    offsets = [int(draw() * 60_000) for _ in range(count - crowded)]
    offsets += [PEAK_SECOND * 1000 + int(draw() * 1000) for _ in range(crowded)]
    offsets.sort()
    return offsets
