"""Where jobs run: in this process, in processes of this machine, or on a Ray cluster.

Every runner yields results in the order of the jobs, and a job writes its files by rename: a run that is
killed continues with the jobs whose files are missing.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Literal, TypeAlias, TypeVar

__all__ = ["Engine", "run_jobs"]

Engine: TypeAlias = Literal["local", "ray"]
Job = TypeVar("Job")


def run_jobs(
    function: Callable[[Job], dict[str, Any]],
    jobs: Sequence[Job],
    *,
    engine: Engine = "local",
    workers: int = 1,
) -> Iterator[dict[str, Any]]:
    """``function`` of every job, in order. ``workers``: processes here; on Ray the jobs that run at once."""
    if engine == "ray":
        return _on_ray(function, jobs, workers)
    if workers <= 1 or len(jobs) <= 1:
        return (function(job) for job in jobs)
    return _in_processes(function, jobs, workers)


def _in_processes(
    function: Callable[[Job], dict[str, Any]], jobs: Sequence[Job], workers: int
) -> Iterator[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")  # forking a process with Arrow's threads may hang
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        yield from pool.map(function, jobs)


def _on_ray(
    function: Callable[[Job], dict[str, Any]], jobs: Sequence[Job], workers: int
) -> Iterator[dict[str, Any]]:
    """Ray Data: one block per job; the machines share the file system that the build writes to."""
    try:
        import ray
    except ImportError as error:
        raise ImportError("engine 'ray' must have Ray: pip install 'mixed-r1[ray]'") from error
    kept = list(jobs)

    def on_worker(batch: dict[str, Any]) -> dict[str, Any]:
        results = [function(kept[int(i)]) for i in batch["id"]]
        return {"id": batch["id"], "result": [json.dumps(result) for result in results]}

    data = ray.data.range(len(kept), override_num_blocks=len(kept))
    done = data.map_batches(on_worker, batch_size=1, concurrency=workers or None)
    results = {int(row["id"]): json.loads(row["result"]) for row in done.iter_rows()}
    yield from (results[i] for i in range(len(kept)))
