"""`icaze day`: a synthetic national day, as NDJSON of what an aggregator would push to ingest.

Writes one ingest object a line, in order of `received_at`; the same arguments give the same bytes.
"""

import argparse
import sys
from collections.abc import Iterator
from datetime import date
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from typing import BinaryIO

import msgspec

from bench.author import MIXES, Author, Intent
from bench.crowd import Crowd
from bench.intensity import arrivals
from bench.progress import passed_on

REPEAT_DELAY_MS = (1_000, 30_000)  # an aggregator repeats what it takes for unacknowledged


class Sms(msgspec.Struct, frozen=True, gc=False, rename={"sender": "from"}):
    """One line of the day, as ingest takes it."""

    id: str
    sender: str
    to: str
    text: str
    received_at: str


def generate(messages: int, seed: int, mix: str, day: date) -> Iterator[tuple[Sms, Intent]]:
    """Yields exactly `messages` messages in order of time, repeats included, each with its intent.

    A repeat has its original's id and text and a later time. Memory does not grow with `messages`.
    """
    rng = Random(seed)
    draw = rng.random
    crowd, author = Crowd(messages, draw), Author(MIXES[mix], rng)
    repeat_share = MIXES[mix].repeats
    # A repeat takes the place of a fresh message, so there is one repeat for so many fresh ones.
    repeat_chance = repeat_share / (1 - repeat_share)
    shortest_ms, longest_ms = REPEAT_DELAY_MS
    run = f"{day:%Y%m%d}-{mix[0]}{seed}"
    repeats: list[tuple[int, int, Sms, Intent]] = []
    for index, (at_ms, received_at) in enumerate(arrivals(messages, day, draw)):
        if repeats and repeats[0][0] <= at_ms:
            _, _, original, intent = heappop(repeats)
            yield (
                Sms(original.id, original.sender, original.to, original.text, received_at),
                Intent(intent.verdict, intent.purpose, intent.document, True),
            )
            continue
        phone = crowd.next_phone(index)
        text, intent = author.write(phone)
        sms = Sms(f"{run}-{index}", phone.number, "8103", text, received_at)
        if draw() < repeat_chance:
            due_ms = at_ms + shortest_ms + int(draw() * (longest_ms - shortest_ms))
            heappush(repeats, (due_ms, index, sms, intent))
        yield sms, intent


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--messages", type=_positive, required=True, metavar="N", help="lines to write")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same bytes (default 1)")
    parser.add_argument(
        "--mix",
        choices=sorted(MIXES),
        default="steady",
        help="launch: 38 %% approved; steady: 78 %%; rule-change: 37 %% (default steady)",
    )
    parser.add_argument(
        "--date",
        type=date.fromisoformat,
        default=date(2026, 1, 1),
        help="the local day, in Baku's time (default 2026-01-01)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")


def run(args: argparse.Namespace) -> int:
    """Writes the day; returns the exit code."""
    drawn = generate(args.messages, args.seed, args.mix, args.date)
    if args.output is None:
        try:
            write(drawn, sys.stdout.buffer)
            sys.stdout.flush()
        except BrokenPipeError:  # `| head` has seen enough; keep the interpreter's last flush quiet
            sys.stderr.close()
        return 0
    try:
        with args.output.open("wb") as out:
            write(passed_on(drawn, args.messages, doing="writing"), out)
    except OSError as error:
        print(f"icaze day: {error}", file=sys.stderr)
        return 1
    return 0


def write(drawn: Iterator[tuple[Sms, Intent]], out: BinaryIO) -> None:
    """Writes one JSON object a line, a thousand lines at a time."""
    encoder = msgspec.json.Encoder()
    lines = bytearray()
    for sms, _ in drawn:
        encoder.encode_into(sms, lines, -1)  # -1: behind what is there
        lines += b"\n"
        if len(lines) > 1 << 17:
            out.write(lines)
            lines.clear()
    out.write(lines)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
