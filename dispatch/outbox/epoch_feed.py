"""Acts on all permits at once, on their way to the Ministry: one record an epoch, in order.

Reads `epochs` (through `runtime.epochs`); writes `epochs_fed`. Whoever holds the first partition does this.
"""

import time
from collections.abc import Sequence
from typing import Final

from dispatch.ministry.port import Ministry, epoch_id
from dispatch.outbox.transmission import backoff_s
from lua.calls import mark_command
from lua.keys import EPOCHS_FED, EPOCHS_MARK
from permits.employees import Epoch
from runtime.leases import Lease
from runtime.shared import SharedWire
from runtime.telemetry import FEED_FAILURES, Log

PARTITION: Final = 0
"""Who holds this one transmits the epochs."""


class EpochFeed:
    """Transmits the epochs that the Ministry has not."""

    def __init__(self, store: SharedWire, *, ministry: Ministry, epochs: Sequence[Epoch], replicas: int = 0) -> None:
        self._store = store
        self._ministry = ministry
        self._epochs = epochs
        self._replicas = replicas
        self._fed = 0
        """As many are surely transmitted."""
        self._failures = 0
        self._not_before_s = 0.0
        self._log = Log("outbox")

    async def feed(self, leases: Sequence[Lease]) -> None:
        """Transmit what is due; raises where the store is away."""
        ours = any(lease.index == PARTITION for lease in leases)
        if not ours or len(self._epochs) <= self._fed or time.monotonic() < self._not_before_s:
            return
        self._fed = int(await self._store.execute_command("GET", EPOCHS_FED) or 0)
        if self._replicas:
            await self._store.ask([mark_command(EPOCHS_MARK)], self._replicas)
        for epoch in self._epochs[self._fed :]:
            outcome = await self._ministry.proclaim(epoch)
            name = epoch_id(epoch.number)
            if name not in outcome.accepted:
                # A refusal too: without this epoch the Ministry would judge every permit otherwise than we do.
                cause = "epoch_refused" if name in outcome.refused else outcome.cause
                FEED_FAILURES.labels(cause).inc()
                self._log.error("the Ministry has not taken an epoch", number=epoch.number, why=cause)
                self._not_before_s = time.monotonic() + max(outcome.pause_s, backoff_s(self._failures))
                self._failures += 1
                return
            self._failures = 0
            await self._store.execute_command("SET", EPOCHS_FED, epoch.number)
            self._fed = epoch.number
