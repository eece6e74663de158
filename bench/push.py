"""One batch goes to ingest as an aggregator pushes it: the same ids again until there is an answer.

Writes the journal: one line per accepted or rejected id, after each 2xx.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import random
import time
import uuid
from http import HTTPStatus
from typing import BinaryIO

import aiohttp
import msgspec

from bench.trace import Batch

# Worth trying again: the answer says so, or the outcome is unknown.
_RETRIED = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_BACK_OFF_MAX_S = 5.0
_DETAIL_MAX = 300  # characters of an answer shown to a person


class PushError(Exception):
    """Going on is useless: ingest refuses the request itself, or nothing has succeeded for too long."""


class Tally(msgspec.Struct):
    """What has happened so far; `messages` counts those handed over, answered or not."""

    messages: int = 0
    accepted: int = 0
    rejected: int = 0
    retries: int = 0


class _Rejected(msgspec.Struct):
    index: int
    error: str = ""


class _Answer(msgspec.Struct):
    ids: list[str]
    rejected: list[_Rejected] = []


class _Acked(msgspec.Struct, gc=False):
    id: str
    acked_ms: int


_ANSWER = msgspec.json.Decoder(_Answer)
_ENCODER = msgspec.json.Encoder()


class Signer:
    """Signs requests by Standard Webhooks with a secret written `whsec_<base64>`; ValueError where it is not."""

    def __init__(self, secret: str) -> None:
        try:
            self._key = base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise ValueError(f"the secret is not whsec_<base64>: {error}") from None
        if not self._key:
            raise ValueError("the secret is empty")

    def headers(self, webhook_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
        """Returns the three headers; a retry keeps the id and takes a new timestamp."""
        digest = hmac.new(self._key, f"{webhook_id}.{timestamp_s}.".encode() + body, hashlib.sha256).digest()
        return {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }


class Pusher:
    """Pushes batches over one session, shared by all connections."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        tally: Tally,
        stopping: asyncio.Event,
        journal: BinaryIO | None = None,
        signer: Signer | None = None,
        give_up_s: float = 120.0,
        back_off_s: float = 0.1,
    ) -> None:
        self._session = session
        self._url = url
        self._tally = tally
        self._stopping = stopping
        self._journal = journal
        self._signer = signer
        self._give_up_s = give_up_s
        self._back_off_s = back_off_s
        self._last_success_s = 0.0

    async def push(self, batch: Batch) -> None:
        """Returns when the batch is answered and journalled, or undone where a stop is asked for meanwhile.

        Raises PushError.
        """
        self._tally.messages += len(batch.ids)
        started_s = time.monotonic()
        webhook_id = uuid.uuid4().hex
        attempt = 0
        while True:
            problem, wait_s = await self._try(batch, webhook_id)
            if problem is None:
                self._last_success_s = time.monotonic()
                return
            waited_s = time.monotonic() - max(started_s, self._last_success_s)
            if waited_s >= self._give_up_s:
                raise PushError(f"no success for {waited_s:.0f} s; the last answer: {problem}")
            if wait_s is None:
                wait_s = min(_BACK_OFF_MAX_S, self._back_off_s * 2**attempt) * random.uniform(0.5, 1.0)
            if await pause(min(wait_s, self._give_up_s - waited_s), self._stopping):
                return
            attempt += 1
            self._tally.retries += 1

    async def _try(self, batch: Batch, webhook_id: str) -> tuple[str | None, float | None]:
        """Sends once; returns (None, None) on success, else the problem and how long ingest asks to wait."""
        headers = {"content-type": "application/json"}
        if self._signer:
            headers |= self._signer.headers(webhook_id, int(time.time()), batch.body)
        try:
            async with self._session.post(
                self._url, data=batch.body, headers=headers, allow_redirects=False
            ) as response:
                body = await response.read()
        except TimeoutError:
            return "timeout", None
        except aiohttp.InvalidURL:
            raise PushError(f"not a URL: {self._url}") from None
        except (aiohttp.ClientError, OSError) as error:
            return str(error) or type(error).__name__, None
        if 200 <= response.status < 300:
            self._take(batch, body)
            return None, None
        problem = f"{response.status} {_detail(body)}"
        if response.status in _RETRIED or response.status >= 500:
            return problem, _retry_after_s(response.headers.get("retry-after"))
        raise PushError(problem)

    def _take(self, batch: Batch, body: bytes) -> None:
        """Counts and journals an answer, in one write."""
        acked_ms = time.time_ns() // 1_000_000
        try:
            answer = _ANSWER.decode(body)
            rejected = [(batch.ids[entry.index], entry.error) for entry in answer.rejected]
        except (msgspec.DecodeError, IndexError) as error:
            raise PushError(f"a 2xx with an answer that cannot be read: {error}") from None
        self._tally.accepted += len(answer.ids)
        self._tally.rejected += len(rejected)
        if self._journal is not None:
            lines: list[object] = [_Acked(id_, acked_ms) for id_ in answer.ids]
            lines += [{"id": id_, "rejected": error} for id_, error in rejected]
            try:
                self._journal.write(_ENCODER.encode_lines(lines))
                self._journal.flush()
            except OSError as error:
                raise PushError(f"the journal cannot be written: {error}") from None


async def pause(wait_s: float, stopping: asyncio.Event) -> bool:
    """Waits unless a stop is or gets asked for; says whether it is."""
    if wait_s > 0 and not stopping.is_set():
        try:
            await asyncio.wait_for(stopping.wait(), wait_s)
        except TimeoutError:
            return False
    return stopping.is_set()


def _retry_after_s(header: str | None) -> float | None:
    """Reads a Retry-After in seconds; the form with a date counts as none."""
    return float(header) if header and header.isascii() and header.isdigit() else None


def _detail(body: bytes) -> str:
    """Takes the sentence for people out of a problem+json, else the text itself."""
    try:
        problem = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body[:_DETAIL_MAX].decode(errors="replace").strip()
    return str(problem.get("detail") or problem.get("title") or problem)[:_DETAIL_MAX]
