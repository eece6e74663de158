"""`icaze policy propose` and `confirm`: asks the running api, in the name of the token's owner."""

import os
import sys
import uuid
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
import uvloop

from runtime import settings

TOKEN = "ICAZE_TOKEN"  # noqa: S105  # a variable's name: a token in a flag would stand in `ps`
PATIENCE_S = 10.0


def propose(text: bytes, *, as_json: bool) -> int:
    """0 and the new version's name; 1 with the reason where the api refuses it."""
    headers = {"Content-Type": "application/toml", "Idempotency-Key": str(uuid.uuid4())}
    return _told("", text, headers, as_json=as_json)


def confirm(version: str, *, as_json: bool) -> int:
    """0 where it will hold; 1 with the reason where the api refuses it."""
    return _told(f"/{version}/confirm", b"", {}, as_json=as_json)


def _told(path: str, body: bytes, headers: Mapping[str, str], *, as_json: bool) -> int:
    token = os.environ.get(TOKEN)
    if not token:
        return _failed(f"set {TOKEN} to a bearer token with the scope policy")
    try:
        status, answer = uvloop.run(_post(path, body, {"Authorization": f"Bearer {token}", **headers}))
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
        return _failed(f"the api does not answer ({type(error).__name__}); is it running?")
    if status >= 400:
        return _failed(f"{answer.get('title')}: {answer.get('detail')}")
    starts = f", from {answer['starts']}" if answer["starts"] else ""
    print(msgspec.json.encode(answer).decode() if as_json else f"{answer['version']}  {answer['state']}{starts}")
    return 0


async def _post(path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    current = settings.load()
    address = f"http://{current.host}:{current.api_port}/v1/policies{path}"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session,
        session.post(address, data=body or None, headers=headers) as answer,
    ):
        return answer.status, msgspec.json.decode(await answer.read(), type=dict[str, Any])


def _failed(why: str) -> int:
    print(f"icaze policy: {why}", file=sys.stderr)
    return 1
