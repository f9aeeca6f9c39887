"""``python -m benchmarks --op bmas [--impl native] [--peers] [--threads N] [--out FILE]``.

A module benchmarks/<op>.py has ``cases(options) -> Iterable[Case]``; options are the arguments below.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.bars import Verdict

FOLDER = Path(__file__).parent


def main() -> None:
    files = sorted(FOLDER.glob("*.py"))
    ops = [path.stem for path in files if "\ndef cases(" in path.read_text(encoding="utf-8")]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Check an op, then time it.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--op", choices=ops)
    which.add_argument("--all", action="store_true", help="every op in turn")
    parser.add_argument(
        "--impl", nargs="+", default=["native"], help="implementations of ours (default: native)"
    )
    parser.add_argument("--peers", action="store_true", help="also the peers that are installed")
    parser.add_argument(
        "--scaling", action="store_true", help="sweep the sizes instead of the standard cases"
    )
    parser.add_argument(
        "--threads", type=int, nargs="+", help="in turn (default: 1 and 2 for the kernels, where there are 2)"
    )
    parser.add_argument("--seconds", type=float, default=1.5, help="per contender and case")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", type=Path, help="JSON lines (default: benchmarks/results/<date>-<op>.jsonl)")
    options = parser.parse_args()
    ops = ops if options.all else [options.op]
    most = max(options.threads or [min(2, len(os.sched_getaffinity(0)))])
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):  # before NumPy, torch and powerboxes read them
        os.environ[name] = str(most)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # nothing here measures NumPy's matrix products
    from benchmarks.harness import keep_pages

    keep_pages()
    outcomes = [verdict.passed for op in ops for verdict in _run(op, options, most)]
    if outcomes:
        counts = {"passed": outcomes.count(True), "missed": outcomes.count(False)}
        counts["not measured"] = outcomes.count(None)
        print("bars: " + ", ".join(f"{count} {what}" for what, count in counts.items()))


def _run(op: str, options: argparse.Namespace, most: int) -> list[Verdict]:
    from benchmarks.bars import verdicts
    from benchmarks.harness import Growth, hardware, measure, print_scaling, print_table, write_records

    out = options.out or FOLDER / "results" / f"{datetime.date.today().isoformat()}-{op}.jsonl"
    module = importlib.import_module(f"benchmarks.{op}")
    machine = ", ".join(f"{key} {value}" for key, value in hardware().items())
    every: list[Verdict] = []
    for threads in options.threads or [n for n in getattr(module, "THREADS", (1,)) if n <= most]:
        clock = "cpu" if threads == 1 and options.device == "cpu" else "wall"
        print(f"{op}: {machine} - {threads} thread(s), {clock} time")
        rows = []
        for case in module.cases(argparse.Namespace(**vars(options) | {"threads": threads})):
            measurements = measure(case, clock=clock, seconds=options.seconds)
            found = verdicts(case.bars, measurements)
            print_table(case, measurements, found)
            write_records(out, op, case, measurements, threads, found)
            rows.append(Growth(case.name, case.unit, case.work, measurements))
            every += found
        if options.scaling:
            print_scaling(rows)
    print(f"\nrecorded in {out}")
    return every


if __name__ == "__main__":
    main()
