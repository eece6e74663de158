"""The operator of `up`: prints each reply as a line of JSON on standard output."""

import asyncio
import sys
from collections.abc import Sequence

from dispatch.operators.port import Outcome, Parcel


class ConsoleOperator:
    """Accepts everything that standard output takes."""

    async def send(self, parcels: Sequence[Parcel]) -> Outcome:
        """Print the replies; a closed output pauses the dispatcher."""
        lines = b"".join(parcel.wire() + b"\n" for parcel in parcels)
        try:
            await asyncio.to_thread(_write, lines)
        except OSError:
            return Outcome(unknown=True, pause_s=1.0, cause="output_closed")
        return Outcome(accepted=frozenset(parcel.id for parcel in parcels))

    async def close(self) -> None:
        """Nothing is held."""


def _write(lines: bytes) -> None:
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()
