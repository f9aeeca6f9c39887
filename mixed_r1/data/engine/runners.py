"""Where jobs run: in this process, in processes of this machine, or on a Ray cluster.

A job writes its files by rename and its mark last: a run that is killed continues with the jobs without a
mark.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, Literal, TypeAlias, TypeVar

from mixed_r1.data.engine.workdir import BuildError

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

    ``workers``: processes of this machine, 0 for one per core; on Ray, jobs at once, 0 for as many as the
    cluster takes.
    """
    if engine == "ray":
        return _on_ray(function, jobs, workers)
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1 or len(jobs) <= 1:
        return (function(job) for job in jobs)
    return _in_processes(function, jobs, workers)


def _in_processes(
    function: Callable[[Job], dict[str, Any]], jobs: Sequence[Job], workers: int
) -> Iterator[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")  # forking a process with Arrow's threads may hang
    count = min(workers, len(jobs))
    with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
        futures = [pool.submit(function, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise BuildError(f"workers must not be killed, got one that was ({error})") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """End this process with its parent: left alone, it would write into the files of a later build."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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
