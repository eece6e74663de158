"""Small libraries in C that the programs of a house load first, for what can be seen or set nowhere else."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

NO_COMPILER: Final = "no C compiler"


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


def _compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")
