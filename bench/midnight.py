"""A day whose rules change at midnight: the trace moved so that half of its SMS were received before a Baku midnight
that has just been, half after, and a policy that changes there. All arrive later: a backlog from both sides."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from permits.calendar import BAKU
from permits.policy import DEFAULT_FILE

HALF: Final = timedelta(hours=12)
DECREE: Final = """
[[regimes]]
name = "decree"
from = {midnight}
late_minutes = 2880
purposes = [
    {{ code = 1, minutes = 120, names = {{ az = "tibbi yardım", ru = "медицинская помощь", en = "medical need" }} }},
    {{ code = 2, minutes = 120, names = {{ az = "gündəlik tələbat", ru = "повседневные нужды", en = "daily needs" }} }},
]
rules = [{{ after = [1, 2], no = [1, 2] }}]
limits = {{ requests_per_document = 20, senders_per_document = 5, refusals_answered_per_hour = 5 }}
"""
"""Shorter permits, no funerals, one permit a day over all; and nothing is too late, since all of it is."""


def latest(now: datetime) -> datetime:
    """The latest Baku midnight that lies half a day back: what was received around it still counts by its receipt."""
    return (now - HALF).astimezone(BAKU).replace(hour=0, minute=0, second=0, microsecond=0)


def moved(trace: Path, midnight: datetime) -> Path:
    """A copy of a day's trace in which that midnight is the day's noon."""
    at = trace.with_suffix(".midnight.ndjson")
    decoder, encoder = msgspec.json.Decoder(dict[str, str]), msgspec.json.Encoder()
    shift: timedelta | None = None
    with trace.open("rb") as lines, at.open("wb") as out:
        for line in lines:
            sms = decoder.decode(line)
            received = datetime.fromisoformat(sms["received_at"])
            if shift is None:
                start = received.astimezone(BAKU).replace(hour=0, minute=0, second=0, microsecond=0)
                shift = midnight - HALF - start
            sms["received_at"] = (received + shift).astimezone(UTC).isoformat().replace("+00:00", "Z")
            out.write(encoder.encode(sms) + b"\n")
    return at


def policy(folder: Path, midnight: datetime) -> Path:
    """The founding rules until that midnight, a decree's from then on."""
    founding = DEFAULT_FILE.read_text().replace("late_minutes = 60", "late_minutes = 2880")
    at = folder / "midnight.toml"
    at.write_text(founding + DECREE.format(midnight=midnight.replace(tzinfo=None).isoformat()))
    return at
