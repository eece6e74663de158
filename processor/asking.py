"""The api, as commands of staff ask it: with the bearer token of ICAZE_TOKEN, for a flag would show in `ps`.

A document comes on standard input for the same reason.
"""

import asyncio
import os
import sys
from typing import Any, Final

import aiohttp
import msgspec

from permits.documents import LONGEST_TEXT
from runtime import settings
from runtime.errors import StartupError

TOKEN: Final = "ICAZE_TOKEN"  # noqa: S105  # the variable, not what it holds
PATIENCE: Final = aiohttp.ClientTimeout(total=10)


def document() -> str:
    """The first line of standard input; StartupError where it is empty."""
    if sys.stdin.isatty():
        print("document: ", end="", file=sys.stderr, flush=True)
    text = sys.stdin.readline(LONGEST_TEXT).strip()
    if not text:
        raise StartupError("no document on standard input, as in: echo AZE1234567 | icaze …")
    return text


def ask(path: str, body: Any) -> bytes:
    """What the api answers to a POST with a JSON body; StartupError says why it does not answer, or refuses."""
    token = os.environ.get(TOKEN, "")
    if not token:
        raise StartupError(f"{TOKEN} is not set: it holds the bearer token of whoever asks")
    current = settings.load()
    return asyncio.run(_posted(f"http://{current.host}:{current.api_port}{path}", token, msgspec.json.encode(body)))


async def _posted(address: str, token: str, body: bytes) -> bytes:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=PATIENCE) as session,
            session.post(address, data=body, headers=headers) as answer,
        ):
            said = await answer.read()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # a token of two lines makes no header
        raise StartupError(f"api {address}: {type(error).__name__}; is `icaze api` running?") from None
    if answer.status != 200:
        raise StartupError(f"the api answered {answer.status}: {_words(said)}")
    return said


def _words(said: bytes) -> str:
    """Title and detail of a problem."""
    try:
        problem = msgspec.json.decode(said, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "no problem+json"
    return ": ".join(str(problem[name]) for name in ("title", "detail") if problem.get(name))
