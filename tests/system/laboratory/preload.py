"""Small libraries in C that programs of a house load first, for what can be seen or set nowhere else.

`SyncedSizes`: how much of each file the store had synced, told after every fdatasync.
"""

import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

NO_COMPILER: Final = "no C compiler"
SYNCED: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int told(int file, const char *name) {
  struct stat before;
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  int seen = fstat(file, &before) == 0 && S_ISREG(before.st_mode);
  int code = real(file);
  const char *folder = getenv("LABORATORY_SYNCED");
  if (code == 0 && seen && folder) {
    char path[4096];
    long long size = before.st_size;
    snprintf(path, sizeof path, "%s/%llu", folder, (unsigned long long)before.st_ino);
    int out = open(path, O_WRONLY | O_CREAT, 0600);
    if (out >= 0) {
      if (pwrite(out, &size, sizeof size, 0) < 0) _exit(99);
      close(out);
    }
  }
  return code;
}

int fdatasync(int file) { return told(file, "fdatasync"); }
int fsync(int file) { return told(file, "fsync"); }
"""


def why_not() -> str | None:
    """Why nothing can be loaded first here; None where it can."""
    if sys.platform != "linux":
        return "loading a library first is written for Linux"
    return None if _compiler() else NO_COMPILER


def built(name: str, source: str, folder: Path) -> Path:
    """The library of a source."""
    compiler = _compiler()
    assert compiler is not None, why_not()
    code, library = folder / f"{name}.c", folder / f"{name}.so"
    code.write_text(source)
    words = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(code), "-ldl"]
    subprocess.run(words, check=True, capture_output=True)
    return library


class SyncedSizes:
    """What the store has synced of its files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "synced"
        self._folder.mkdir()
        self.environ = {
            "LD_PRELOAD": str(built("synced", SYNCED, folder)),
            "LABORATORY_SYNCED": str(self._folder),
        }

    def of(self, file: Path) -> int | None:
        """Bytes of a file that its last sync covered; None where none was seen."""
        told = self._folder / str(os.stat(file).st_ino)
        return struct.unpack("q", told.read_bytes())[0] if told.exists() else None

    def age_s(self, file: Path) -> float:
        """How long ago its last sync was."""
        return time.time() - (self._folder / str(os.stat(file).st_ino)).stat().st_mtime


def _compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")
