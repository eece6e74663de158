"""A real browser that can reach no other host."""

import asyncio
import re
import shutil
from pathlib import Path
from typing import Final

CHROMIUM: Final = shutil.which("chromium")


async def browsed(url: str, profile: Path, *, width: int = 1280) -> tuple[str, str]:
    """The page as it stands after its scripts have run, and what the console said."""
    assert CHROMIUM is not None, "chromium is missing"
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=5000"]
    words += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={profile}"]
    words += ["--enable-logging=stderr", "--v=0", f"--window-size={width},1000"]
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM, *words, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    page, said = await browser.communicate()
    assert browser.returncode == 0, said.decode()[-2000:]
    return page.decode(), "\n".join(re.findall(r"CONSOLE.*", said.decode()))
