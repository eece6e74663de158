"""A wall clock that a measurement or an experiment sets: a small library, loaded into every program of a house first.

How far it is from the machine's stands in a file that all of them map, and goes for a store's expiries as for the
roles; timers keep the machine's time. It needs a C compiler.
"""

import mmap
import struct
import time
from pathlib import Path
from typing import Final

from bench.preload import built

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

SOURCE: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);
static volatile long long *shift_ms;

__attribute__((constructor)) static void open_shift(void) {
  const char *path = getenv("HOUSE_CLOCK");
  int file = path ? open(path, O_RDONLY) : -1;
  void *at = file < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
  if (at != MAP_FAILED) shift_ms = at;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int code = real(clock, now);
  if (code == 0 && shift_ms && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    long long ns = now->tv_nsec + (*shift_ms % 1000) * 1000000LL;
    now->tv_sec += *shift_ms / 1000 + (ns >= 1000000000LL) - (ns < 0);
    now->tv_nsec = (ns + 1000000000LL) % 1000000000LL;
  }
  return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  int code = clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return code;
}

time_t time(time_t *kept) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (kept) *kept = exact.tv_sec;
  return exact.tv_sec;
}
"""


class Clock:
    """The clock of one house."""

    def __init__(self, folder: Path) -> None:
        library, shift = built("clock", SOURCE, folder), folder / "clock"
        shift.write_bytes(bytes(8))
        self._file = shift.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 8)
        self.environ = {"LD_PRELOAD": str(library), "HOUSE_CLOCK": str(shift)}

    @property
    def shift_ms(self) -> int:
        """How far it is from the machine's."""
        return struct.unpack("q", self._map[:8])[0]

    def shift(self, ms: int) -> None:
        """Set it so far from the machine's, at once, for every program."""
        self._map[:8] = struct.pack("q", ms)

    def now_ms(self) -> int:
        """What it shows."""
        return time.time_ns() // 1_000_000 + self.shift_ms

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
        self._file.close()
