"""A clock that can be put forward, for every process of a house: `libfaketime`, loaded before anything else.

Timers keep the real time; only what o'clock it is changes, for the store's expiries as for the roles (Debian:
`apt-get install faketime`).
"""

import time
from pathlib import Path
from typing import Final

LIBRARIES: Final = "/usr/lib/*/faketime/libfaketime.so.1", "/usr/local/lib/faketime/libfaketime.so.1"
SEEN_WITHIN_S: Final = 4.0
"""Each process looks at the file once a second, and now and then later."""


def known() -> Path | None:
    """The library, where it is installed."""
    return next((path for pattern in LIBRARIES for path in sorted(Path("/").glob(pattern[1:]))), None)


class Clock:
    """One clock in a file; what is started with its `environ` goes by it."""

    def __init__(self, file: Path) -> None:
        library = known()
        if library is None:
            raise SystemExit("libfaketime is not here (Debian: apt-get install faketime): no clock can be put forward")
        self._file = file
        self.environ: Final = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.set(days=0)

    def set(self, *, days: int) -> None:
        """So many days ahead of the real time; returns when all go by it."""
        new = self._file.with_suffix(".new")
        new.write_text(f"+{days}d\n")
        new.rename(self._file)  # never torn, whoever reads
        time.sleep(SEEN_WITHIN_S)
