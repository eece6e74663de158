"""An operator's gateway for tests: takes replies over http, logs them, and misbehaves where asked to.

Reads arrays of replies as `dispatch` posts them. Writes the log: NDJSON, one line per reply taken over,
before the answer goes out. Run as `python -m bench.sink`.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Literal

import msgspec
import uvloop
from aiohttp import web

BATCH_MAX = 100  # replies a request, by the contract with operators
_BODY_MAX = 1 << 20  # bytes; a hundred replies are about 50 kB


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway misbehaves: shares from 0 to 1, drawn in order of arrival from `seed`."""

    retry_share: float = 0.0  # of replies: answered `retry`, not taken over, not logged
    refuse_share: float = 0.0  # of replies: answered `refused` for good; logged with that status
    omit_share: float = 0.0  # of replies: taken over and logged, and left out of the answer
    fail_share: float = 0.0  # of requests: 503, nothing taken over
    slow_down_share: float = 0.0  # of requests: 429, nothing taken over
    drop_after_accept_share: float = 0.0  # of requests: taken over and logged, then cut without an answer
    error_after_accept_share: float = 0.0  # of requests: taken over and logged, then 500
    garble_share: float = 0.0  # of requests: taken over and logged, then a 200 that nobody can read
    latency_ms: int = 0  # between log and answer
    seed: int = 1


class Counts(msgspec.Struct):
    """What the gateway has done so far: in replies the first four, in requests the others."""

    accepted: int = 0
    refused: int = 0
    retry: int = 0
    omitted: int = 0
    failed_requests: int = 0
    slowed_requests: int = 0
    dropped_requests: int = 0
    requests_in_error: int = 0
    garbled_requests: int = 0


class _Reply(msgspec.Struct, gc=False):
    id: str
    in_reply_to: str | None = None
    verdict: str | None = None
    ambiguous: bool = False


class _Line(msgspec.Struct, gc=False, omit_defaults=True):
    """A line of the log; `status` is there only where the reply was refused."""

    id: str
    in_reply_to: str | None
    verdict: str | None
    at_ms: int
    ambiguous: bool = False
    status: Literal["accepted", "refused"] = "accepted"


class _Result(msgspec.Struct, gc=False, omit_defaults=True):
    id: str
    status: Literal["accepted", "retry", "refused"]
    error: str | None = None


class Gateway:
    """Takes replies over and answers, as its behaviour has it."""

    def __init__(self, behaviour: Behaviour, log_fd: int | None) -> None:
        self.counts = Counts()
        self._behaviour = behaviour
        self._draw = Random(behaviour.seed).random
        self._log_fd = log_fd
        self._decoder = msgspec.json.Decoder(list[_Reply])
        self._encoder = msgspec.json.Encoder()

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Answers one POST of up to a hundred replies."""
        behaviour = self._behaviour
        try:
            replies = self._decoder.decode(await request.read())
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _problem(400, str(error))
        if len(replies) > BATCH_MAX:
            return _problem(413, f"{len(replies)} replies, at most {BATCH_MAX} are taken")
        if self._drawn(behaviour.fail_share):
            self.counts.failed_requests += 1
            return _problem(503, "not now", {"retry-after": "1"})
        if self._drawn(behaviour.slow_down_share):
            self.counts.slowed_requests += 1
            return _problem(429, "slower", {"retry-after": "1"})
        results = self._decide(replies)
        if behaviour.latency_ms:
            await asyncio.sleep(behaviour.latency_ms / 1000)
        if self._drawn(behaviour.error_after_accept_share):
            self.counts.requests_in_error += 1
            return _problem(500, "something broke")
        if self._drawn(behaviour.garble_share):
            self.counts.garbled_requests += 1
            return web.Response(text="<html>welcome</html>", content_type="text/html")
        if self._drawn(behaviour.drop_after_accept_share):
            self.counts.dropped_requests += 1
            if request.transport is not None:
                request.transport.abort()
        body = self._encoder.encode({"results": results})
        return web.Response(body=body, content_type="application/json")

    def _drawn(self, share: float) -> bool:
        return share > 0 and self._draw() < share

    def _decide(self, replies: list[_Reply]) -> list[_Result]:
        """Gives each reply its status and logs what is taken over, in one write."""
        behaviour, counts = self._behaviour, self.counts
        retried_below = behaviour.retry_share
        refused_below = retried_below + behaviour.refuse_share
        omitted_below = refused_below + behaviour.omit_share
        at_ms = time.time_ns() // 1_000_000
        results: list[_Result] = []
        lines: list[_Line] = []
        for reply in replies:
            drawn = self._draw() if omitted_below else 1.0
            if drawn < retried_below:
                counts.retry += 1
                results.append(_Result(reply.id, "retry", "busy"))
                continue
            line = _Line(reply.id, reply.in_reply_to, reply.verdict, at_ms, reply.ambiguous)
            if drawn < refused_below:
                counts.refused += 1
                line.status = "refused"
                results.append(_Result(reply.id, "refused", "no such subscriber"))
            elif drawn < omitted_below:
                counts.omitted += 1
            else:
                counts.accepted += 1
                results.append(_Result(reply.id, "accepted"))
            lines.append(line)
        if lines and self._log_fd is not None:
            _write_all(self._log_fd, self._encoder.encode_lines(lines))
        return results


GATEWAY = web.AppKey("gateway", Gateway)


def build_app(*, log: Path | None = None, behaviour: Behaviour | None = None) -> web.Application:
    """Returns the gateway as an application; its counts are `app[GATEWAY].counts`."""
    log_fd = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    app = web.Application(client_max_size=_BODY_MAX)
    gateway = app[GATEWAY] = Gateway(behaviour or Behaviour(), log_fd)

    async def close_log(_: web.Application) -> AsyncIterator[None]:
        yield
        if log_fd is not None:
            os.close(log_fd)

    app.cleanup_ctx.append(close_log)
    app.router.add_post("/", gateway.take)
    return app


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8107, help="0 takes a free one and prints it (default 8107)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append a line per reply taken over")
    parser.add_argument("--seed", type=int, default=1, help="the same seed misbehaves alike (default 1)")
    for name, text in (
        ("retry-share", "of replies answered `retry`, and not logged"),
        ("refuse-share", "of replies answered `refused`"),
        ("omit-share", "of replies taken over and logged, and left out of the answer"),
        ("fail-share", "of requests answered 503 with Retry-After: 1"),
        ("slow-down-share", "of requests answered 429 with Retry-After: 1"),
        ("drop-after-accept-share", "of requests taken over and logged, then cut without an answer"),
        ("error-after-accept-share", "of requests taken over and logged, then answered 500"),
        ("garble-share", "of requests taken over and logged, then answered by what nobody can read"),
    ):
        parser.add_argument(f"--{name}", type=_share, default=0.0, metavar="S", help=f"share {text} (0 to 1)")
    parser.add_argument("--latency-ms", type=int, default=0, metavar="MS", help="between log and answer")


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C; returns the exit code."""
    behaviour = Behaviour(**{name: getattr(args, name) for name in Behaviour.__struct_fields__})
    try:
        counts = uvloop.run(_serve(args.host, args.port, args.log, behaviour))
    except OSError as error:
        print(f"sink: {error}", file=sys.stderr)
        return 1
    print(f"sink: {msgspec.json.encode(counts).decode()}", file=sys.stderr)
    return 0


async def _serve(host: str, port: int, log: Path | None, behaviour: Behaviour) -> Counts:
    app = build_app(log=log, behaviour=behaviour)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    try:
        await web.TCPSite(runner, host, port).start()
        if port == 0:
            print(runner.addresses[0][1], flush=True)
        await stopping.wait()
    finally:
        await runner.cleanup()
    return app[GATEWAY].counts


def _write_all(fd: int, data: bytes) -> None:
    """Writes past a short write; the log is then in the kernel, safe from a kill of this process."""
    while data:
        data = data[os.write(fd, data) :]


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode({"status": status, "detail": detail})
    return web.Response(status=status, body=body, content_type="application/problem+json", headers=headers)


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return share


def main() -> int:
    """Runs the gateway from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.sink", description="An operator's gateway for tests.")
    configure(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
