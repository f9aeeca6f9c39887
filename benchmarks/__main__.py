"""``python -m benchmarks --op bmas [--impl native] [--peers] [--threads N] [--out FILE]``.

A module benchmarks/<op>.py has ``cases(options) -> Iterable[Case]``; options are the arguments below.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import os
from pathlib import Path

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
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.5, help="per contender and case")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", type=Path, help="JSON lines (default: benchmarks/results/<date>-<op>.jsonl)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before NumPy and torch read it
    for op in ops if options.all else [options.op]:
        _run(op, options)


def _run(op: str, options: argparse.Namespace) -> None:
    from benchmarks.harness import hardware, measure, print_table, write_records

    out = options.out or FOLDER / "results" / f"{datetime.date.today().isoformat()}-{op}.jsonl"
    clock = "cpu" if options.threads == 1 and options.device == "cpu" else "wall"
    machine = ", ".join(f"{key} {value}" for key, value in hardware().items())
    print(f"{op}: {machine} - {options.threads} thread(s), {clock} time")
    for case in importlib.import_module(f"benchmarks.{op}").cases(options):
        measurements = measure(case, clock=clock, seconds=options.seconds)
        print_table(case, measurements)
        write_records(out, op, case, measurements, options.threads)
    print(f"\nrecorded in {out}")


if __name__ == "__main__":
    main()
