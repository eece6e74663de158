"""A trace on disk becomes batches to push: objects kept as they stand, grouped, and given a due time.

Reads NDJSON of ingest objects, as `icaze day` writes them, without holding more than one batch.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import cast

import msgspec

GATHER_S = 0.1  # how long a paced message waits for others to fill its batch


class TraceError(ValueError):
    """A line of the trace that cannot be pushed; the text names the line."""


class Batch(msgspec.Struct, frozen=True):
    """One request: a JSON array, the ids in it in order, and its due time in seconds after the start."""

    ids: tuple[str, ...]
    body: bytes
    due_s: float


def batches(
    lines: Iterable[bytes],
    *,
    size: int,
    rate: float | None = None,
    speed: float | None = None,
    keep_times: bool = False,
) -> Iterator[Batch]:
    """Groups up to `size` messages; paced by `rate` (messages/s) or `speed` (times the trace's clock).

    Without a pace everything is due at once. `received_at` is dropped unless `keep_times`, because ingest
    takes no time older than 48 hours. Raises TraceError at a broken line, after all that came before it.
    """
    due = _pace(rate, speed)
    ids: list[str] = []
    objects: list[dict[str, object]] = []
    first_s = last_s = 0.0
    broken: TraceError | None = None
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            message = _parse(line, number)
            due_s = due(message, number) if due else 0.0
        except TraceError as error:
            broken = error
            break
        if ids and (len(ids) == size or due_s - first_s > GATHER_S):
            yield Batch(tuple(ids), msgspec.json.encode(objects), last_s)
            ids, objects = [], []
        if not ids:
            first_s = due_s
        last_s = due_s
        if not keep_times:
            message.pop("received_at", None)
        ids.append(cast(str, message["id"]))
        objects.append(message)
    if ids:
        yield Batch(tuple(ids), msgspec.json.encode(objects), last_s)
    if broken:
        raise broken


def _parse(line: bytes, number: int) -> dict[str, object]:
    try:
        message = msgspec.json.decode(line, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TraceError(f"line {number}: {error}") from None
    if not isinstance(message.get("id"), str):
        raise TraceError(f"line {number} has no id: its retry could not be told from a new message")
    return message


_Pace = Callable[[dict[str, object], int], float]


def _pace(rate: float | None, speed: float | None) -> _Pace | None:
    """Returns what gives a message its due time, or None where everything is due at once."""
    if rate is not None:
        pushed = 0

        def by_rate(_message: dict[str, object], _number: int) -> float:
            nonlocal pushed
            pushed += 1
            return (pushed - 1) / rate

        return by_rate
    if speed is not None:
        start: datetime | None = None

        def by_clock(message: dict[str, object], number: int) -> float:
            nonlocal start
            try:
                at = msgspec.convert(message.get("received_at"), datetime)
                start = start or at
                return (at - start).total_seconds() / speed
            except (msgspec.ValidationError, TypeError):
                raise TraceError(f"line {number} has no usable received_at to pace it by") from None

        return by_clock
    return None
