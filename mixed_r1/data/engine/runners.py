"""Where jobs run: in this process, in processes of this machine, or on a Ray cluster.

A job writes its files by rename and its mark last: a run that is killed continues with the jobs without a
mark.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
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
    """``function`` of every job, as they are done.

    ``workers``: processes of this machine; on Ray, jobs at once, 0 for as many as the cluster takes.
    """
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
        futures = [pool.submit(function, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _on_ray(
    function: Callable[[Job], dict[str, Any]], jobs: Sequence[Job], workers: int
) -> Iterator[dict[str, Any]]:
    """Ray Data, one block per job; its machines must share the sources and the folder that is built."""
    try:
        import ray.data
    except ImportError as error:
        raise ImportError("engine 'ray' must have Ray: pip install 'mixed-r1[ray]'") from error
    if not jobs:
        return
    kept = list(jobs)

    def on_worker(batch: dict[str, Any]) -> dict[str, Any]:
        return {"result": [json.dumps(function(kept[int(i)])) for i in batch["id"]]}

    numbers = ray.data.range(len(kept), override_num_blocks=len(kept))
    compute = ray.data.TaskPoolStrategy(size=workers or None)
    for row in numbers.map_batches(on_worker, batch_size=1, compute=compute).iter_rows():
        yield json.loads(row["result"])
