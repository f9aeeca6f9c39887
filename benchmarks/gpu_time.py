"""python -m benchmarks.gpu_time OP: one op's cases on a GPU, each contender recorded as it is measured.

``--dry``: small cases on the CPU. ``--compiled``: only torch.compile of the peers. Exit status 1 where one of
ours failed or erred beyond its tolerance.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path


def main() -> int:
    from benchmarks.gpu_cases import CASES
    from benchmarks.gpu_timing import measure_case, measure_ceilings, table_line
    from benchmarks.harness import hardware, versions

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_time", description=__doc__)
    parser.add_argument("op", choices=CASES)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, appended to")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    device, size = ("cpu", "dry") if options.dry else ("cuda", "full")
    ceilings = measure_ceilings(device)
    bandwidth, rate = ceilings.bytes_per_second / 1e12, ceilings.flops_per_second / 1e12
    print(f"measured: {bandwidth:.3g} TB/s, {rate:.3g} TFLOP/s")
    shared = {
        "op": options.op,
        "date": datetime.date.today().isoformat(),
        "hardware": hardware(),
        "versions": versions(),
        "ceilings": ceilings._asdict(),
    }
    failed = False
    for case in CASES[options.op](device, size, options.compiled):
        print(f"\n{case.name}\n  (floor: {case.formula})")
        titles = ("device ms", "call ms", "floor ms", "of floor", "peak MiB", "error")
        print(f"  {'':40}{''.join(title.rjust(10) for title in titles)}", flush=True)
        for record in measure_case(case, device=device, ceilings=ceilings):
            failed |= record["failure"] is not None and not record["is_peer"]
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(shared | record) + "\n")
            print(table_line(record), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
