"""The words of `icaze dead`: which letters are meant, and what is to be done with them."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

from permits.messages import DeadKind
from processor.dead.letters import Wanted
from runtime.errors import StartupError

MOST_REASON: Final = 200


def configure(parser: argparse.ArgumentParser) -> None:
    """List, show, requeue, drop."""
    actions = parser.add_subparsers(dest="action", required=True)
    listed = actions.add_parser("list", help="a line each, oldest first in its partition")
    _add_filters(listed, "--reason")
    listed.add_argument("--json", action="store_true", help="print JSON, an object a line, without the raw content")
    shown = actions.add_parser("show", help="one whole, its raw content included as long as it can be read")
    shown.add_argument("name", metavar="NAME", help="as `list` prints it: TAG/ID")
    shown.add_argument("--json", action="store_true", help="print JSON")
    for deed, what in (("requeue", "put back where they belong"), ("drop", "taken away for good")):
        acting = actions.add_parser(deed, help=f"letters {what}, each audited")
        acting.add_argument("names", nargs="*", metavar="NAME", help="as `list` prints them")
        acting.add_argument("--all", action="store_true", help="every letter that fits the filters")
        _add_filters(acting, "--where-reason")
        acting.add_argument("--reason", required=True, help="for the audit: never a name or a number of a person")
        acting.add_argument("--by", metavar="WHO", help="for the audit (default: the user of this machine)")
        acting.add_argument("--yes", action="store_true", help="do not ask")
        acting.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        acting.add_argument("--json", action="store_true", help="print JSON, an object a line")
        if deed == "requeue":
            mending = "the corrected SMS of the one letter named, JSON"
            acting.add_argument("--with", dest="file", type=Path, metavar="FILE", help=mending)


def _add_filters(parser: argparse.ArgumentParser, reason: str) -> None:
    parser.add_argument("--kind", choices=get_args(DeadKind), help="only these")
    parser.add_argument(reason, dest="where_reason", default="", metavar="PART", help="only those whose reason has it")
    parser.add_argument("--since", type=_moment_ms, metavar="TIME", default=0, help="RFC 3339; dead since then")
    parser.add_argument("--until", type=_moment_ms, metavar="TIME", help="dead before")
    parser.add_argument("--limit", type=_count, metavar="N", help="so many at most")


def wanted(arguments: argparse.Namespace) -> Wanted:
    """Which letters the filters mean."""
    return Wanted(arguments.kind, arguments.where_reason, arguments.since, arguments.until, arguments.limit)


def said(arguments: argparse.Namespace) -> tuple[str, bytes]:
    """(reason, corrected SMS); StartupError where the words do not fit together."""
    reason = arguments.reason.strip()
    if not 0 < len(reason) <= MOST_REASON:
        raise StartupError(f"--reason must have 1 to {MOST_REASON} letters")
    if bool(arguments.names) == arguments.all:
        raise StartupError("name letters, or choose them by filters with --all")
    filtered = arguments.kind or arguments.where_reason or arguments.since or arguments.until or arguments.limit
    if arguments.names and filtered:
        raise StartupError("filters choose letters with --all; these are named")
    file: Path | None = getattr(arguments, "file", None)
    if file is None:
        return reason, b""
    if len(arguments.names) != 1:
        raise StartupError("--with corrects one letter: name it")
    try:
        return reason, file.read_bytes()
    except OSError as error:
        raise StartupError(f"--with {file}: {error.strerror}") from None


def agreed(arguments: argparse.Namespace, count: int) -> bool:
    """Whether a person agrees to many letters at once; who cannot be asked says --yes."""
    if arguments.yes or not count:
        return True
    if not sys.stdin.isatty():
        raise StartupError(f"{count} letters: say --yes, or look first with --dry-run")
    return input(f"{arguments.action} {count} dead letters? [y/N] ").strip().lower() in ("y", "yes")


def _moment_ms(text: str) -> int:
    """Milliseconds of an RFC 3339 time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time as 2026-01-01T08:00:00Z") from None
    return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)
