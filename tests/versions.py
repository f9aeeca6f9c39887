"""The tests under the oldest and the newest packages that pyproject.toml admits.

    python -m tests.versions                         # both, a table at the end: an hour, 15 GB of disk
    python -m tests.versions lowest --tests tests/ops
    make test-versions

Each resolution gets an environment and a copy of the sources of its own under ``--folder``, with the native
modules built there, so nothing of this environment is used. ``uv`` resolves: ``lowest`` takes the oldest
admitted version of what pyproject.toml names, and a recent one of what those need in turn; ``newest`` the
newest of all. Writes ``versions.json`` and a JUnit file for each. Exits with 1 where a test failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mixed_r1.cli.console import plain_table

ROOT = Path(__file__).resolve().parents[1]
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
EXTRAS = ("train", "mini", "lora", "deepspeed", "triton", "math", "data")
SHOWN = ("torch", "transformers", "triton", "numpy", "peft", "deepspeed", "pydantic", "datasets", "pyarrow")
# Not what is under test: of these, the newest always.
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "ml-dtypes", "setuptools", "pybind11", "nanobind", "ninja")
TESTS = ("tests/ops", "tests/models", "tests/engines", "tests/train")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.versions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("resolutions", nargs="*", metavar="RESOLUTION", help="lowest, newest or both")
    parser.add_argument("--tests", nargs="+", default=TESTS, metavar="PATH")
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "versions")
    parser.add_argument("--processes", type=int, default=2, help="pytest workers")
    options = parser.parse_args()
    if unknown := set(options.resolutions) - set(RESOLUTIONS):
        parser.error(f"RESOLUTION must be one of {list(RESOLUTIONS)}, got {sorted(unknown)[0]!r}")

    console, results = Console(), []
    for resolution in options.resolutions or RESOLUTIONS:
        folder = options.folder.resolve() / resolution
        console.rule(f"{resolution}: environment in {folder}")
        python, source = set_up(folder, RESOLUTIONS[resolution], options.python)
        console.rule(f"{resolution}: tests")
        counts = run_tests(python, source, folder, options.tests, options.processes)
        results.append({"resolution": resolution, **counts, "versions": versions(python)})
        (folder / "versions.json").write_text(json.dumps(results[-1], indent=1))
    console.print(table(results))
    sys.exit(any(result["failed"] or not result["passed"] for result in results))


def set_up(folder: Path, resolution: str, python: str) -> tuple[Path, Path]:
    """The interpreter and the sources to test, installed and built."""
    environment, source = folder / "environment", folder / "source"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "runs", "*.so", "*.egg-info", "__pycache__")
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT, source, ignore=ignored)
    _uv("venv", "--python", python, "--clear", environment)
    interpreter = environment / "bin" / "python"
    install = ("pip", "install", "--python", interpreter)
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    _uv(*install, "--resolution", resolution, "--requirement", source / "pyproject.toml", *extras)
    _uv(*install, *TOOLS)  # which replace nothing that satisfies them
    _uv(*install, "--no-deps", "--no-build-isolation", "--editable", source)
    return interpreter, source


def run_tests(
    python: Path, source: Path, folder: Path, tests: Sequence[str], processes: int
) -> dict[str, Any]:
    """Passed, failed and skipped tests, and their seconds; none passed where none could be collected."""
    report = folder / "junit.xml"
    report.unlink(missing_ok=True)
    words = ["-m", "pytest", "-q", "-m", "not slow", "-n", processes, f"--junitxml={report}", *tests]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run([python, *map(str, words)], cwd=source, env=environment, check=False)
    if not report.exists():
        return {"passed": 0, "failed": 0, "skipped": 0, "seconds": 0.0, "failures": []}
    suite = next(ElementTree.parse(report).iter("testsuite"))
    failed, skipped = (
        int(suite.get("failures", 0)) + int(suite.get("errors", 0)),
        int(suite.get("skipped", 0)),
    )
    wrong = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return {
        "passed": int(suite.get("tests", 0)) - failed - skipped,
        "failed": failed,
        "skipped": skipped,
        "seconds": round(float(suite.get("time", 0)), 1),
        "failures": wrong,
    }


def versions(python: Path) -> dict[str, str]:
    """What is installed beside ``python``, of the packages in the table."""
    code = (
        "import importlib.metadata as m, json, platform, sys; "
        "print(json.dumps({'python': platform.python_version(), **{n: m.version(n) for n in sys.argv[1:]}}))"
    )
    shown = subprocess.run([python, "-c", code, *SHOWN], check=True, capture_output=True, text=True).stdout
    found: dict[str, str] = json.loads(shown)
    return found


def table(results: Sequence[dict[str, Any]]) -> Table:
    columns = ["", *(result["resolution"] for result in results)]
    shown = plain_table("the tests under the packages that pyproject.toml admits", columns)
    for name in ("python", *SHOWN):
        shown.add_row(name, *(result["versions"][name] for result in results))
    for name in ("passed", "failed", "skipped", "seconds"):
        shown.add_row(name, *(str(result[name]) for result in results))
    return shown


def _uv(*words: object) -> None:
    environment = {**os.environ, "MIXED_R1_TORCH_OPS": "1", "MIXED_R1_CUDA": "0"}
    subprocess.run([shutil.which("uv") or "uv", *map(str, words)], check=True, env=environment)


if __name__ == "__main__":
    main()
