"""The command line: the only place that knows every role.

Each command is a module with `configure(parser)` and `run(args) -> exit code`, imported when it is called.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

from runtime.errors import StartupError

COMMANDS: Final = {
    "up": ("runtime.up", "the whole system on this machine: store, ingest, a worker, the dispatcher, the api"),
    "ingest": ("ingest.app", "take SMS from aggregators"),
    "process": ("processor.app", "decide SMS, and have employees confirmed"),
    "dispatch": ("dispatch.app", "send replies to the operator, and the feed to the Ministry"),
    "api": ("api.app", "answer citizens, police, officers and organisations"),
    "send": ("ingest.send", "one SMS through the running ingest, and its reply"),
    "explain": ("processor.explain", "how a text reads, or what happened to a document, changing nothing"),
    "block": ("processor.blocked_command", "put a document on a status list"),
    "unblock": ("processor.unblock_command", "take a document off a status list"),
    "day": ("bench.day", "a synthetic national day, as NDJSON"),
    "replay": ("bench.replay", "push a trace through ingest; with --dry-run, judge the archive by another policy"),
    "bench": ("bench.command", "measure this machine: drain, ingest, limit, peak, memory, scale and more"),
    "verify": ("processor.verification.command", "check the promises from audit trail, journal and sink log"),
    "reconcile": ("dispatch.reconcile", "hold our feed against what the Ministry has"),
    "audit": ("processor.archive.command", "the archived trails: prove their chain, show their entries"),
    "doctor": ("runtime.doctor.command", "measure what the connected store promises, and say what to change"),
    "dead": ("processor.dead.command", "dead letters: list, show, requeue, drop"),
    "policy": ("processor.rules", "check a policy file; show the rules in force at a time"),
    "token": ("api.token_command", "a development token"),
}
UNSHIPPED: Final = ("day", "replay", "bench")
"""Commands of `bench`, which only a source checkout has."""
DRY_RUN: Final = ("processor.dry_run.command", "judge the archived decisions by another policy, changing nothing")
"""What `icaze replay --dry-run` is: it needs no trace, and every installation has it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone; the interpreter's own last flush must not fail too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if words else 2
    name, *rest = words
    if name not in COMMANDS:
        print(f"icaze: no command {name!r}; `icaze --help` lists them", file=sys.stderr)
        return 2
    # A replay is two commands, which share nothing but their name.
    module_name, summary = DRY_RUN if name == "replay" and "--dry-run" in rest else COMMANDS[name]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if name in UNSHIPPED and error.name is not None and error.name.split(".")[0] == "bench":
            print(f"icaze {name}: needs a source checkout; the installed package has no bench/", file=sys.stderr)
            return 2
        raise
    parser = argparse.ArgumentParser(prog=f"icaze {name}", description=summary)
    module.configure(parser)
    try:
        return module.run(parser.parse_args(rest))
    except StartupError as error:
        print(f"icaze: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _overview() -> str:
    from runtime.settings import described  # only this screen needs it

    width = max(map(len, COMMANDS))
    lines = ["usage: icaze COMMAND [...]", "", "commands (icaze COMMAND --help tells more):"]
    lines += [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    lines += ["", "settings (environment, or a TOML file named by ICAZE_CONFIG, names in lower case without ICAZE_):"]
    lines += [f"  {name} [{default}]\n      {meaning}" for name, default, meaning in described()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
