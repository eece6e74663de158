"""`python -m tests.system.laboratory`: experiments by name or all, any number of runs, a table at the end.

With `--rows FILE` each row is written as it comes, and a later call on the same sources goes on where that file ends:
what held over as many strikes is not made again; what failed is, and its failure stays in the table.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from tests.system.laboratory.conduct import conduct
from tests.system.laboratory.experiments import EXPERIMENTS
from tests.system.laboratory.rows import keep, kept, source
from tests.system.laboratory.table import show


def main(words: Sequence[str] | None = None) -> int:
    """Exit code: 0 everything held, 1 something did not, now or in a kept row, 2 no such experiment."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.laboratory", description=__doc__)
    parser.add_argument("--experiment", action="append", metavar="NAME", help="one of --list; as often as needed")
    parser.add_argument("--runs", type=int, metavar="N", help="strikes of each (default: its own long number)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the same seed draws alike (default 1)")
    parser.add_argument(
        "--rows", type=Path, metavar="FILE", help="append each row; what held there on these sources is not made again"
    )
    parser.add_argument("--list", action="store_true", help="name the experiments")
    parser.add_argument("--json", action="store_true", help="one object a row")
    parser.add_argument("--keep", action="store_true", help="keep every run's files")
    arguments = parser.parse_args(words)
    if arguments.list:
        for name, make in EXPERIMENTS.items():
            print(f"{name:<28} {make().says}")
        return 0
    names: list[str] = arguments.experiment or list(EXPERIMENTS)
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown:
        print(f"laboratory: no experiment {unknown[0]!r}; --list names them", file=sys.stderr)
        return 2
    of = source()
    rows = kept(arguments.rows, of)
    made = {(row.experiment, row.seed, row.runs) for row in rows if row.ok}
    errors = Console(stderr=True)
    for number, name in enumerate(names, start=1):
        experiment = EXPERIMENTS[name]()
        runs = min(arguments.runs or experiment.long, experiment.most)
        if (name, arguments.seed, runs) in made:
            continue

        def progress(line: str, number: int = number) -> None:
            errors.print(f"[{number}/{len(names)}] {line}", markup=False, highlight=False)

        row = conduct(experiment, runs=runs, seed=arguments.seed, progress=progress, keep=arguments.keep)
        row.source = of
        rows.append(row)
        keep(arguments.rows, row)
        if arguments.json:
            print(msgspec.json.encode(row).decode(), flush=True)
    if not arguments.json:
        show(rows, Console(width=150))
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing of a house runs on
    raise SystemExit(main())
