"""``build``: the stages of a recipe in order, each done once, each resumable.

    rows           sources -> normalise -> check -> filter    per partition
    dedup          repeated ids, near-equal rows              over all features
    contamination  rows that evaluation sets hold             over all features
    difficulty     k answers per row, scored                  journalled in a folder "rollouts" of its own
    balance        quotas                                     over all features
    write          split, shards, figures, card, rejects      per file, then published by rename

A stage's fingerprint covers what its result depends on, and the stage before it: changing one setting
redoes its stage and those after it, and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa

from mixed_r1.data.engine.contamination import evaluation_features, find_contaminated
from mixed_r1.data.engine.dedup import find_duplicates
from mixed_r1.data.engine.difficulty import (
    Sampler,
    Scorer,
    find_too_easy_or_hard,
    measure,
    read_statistics,
    write_statistics,
)
from mixed_r1.data.engine.features import needs
from mixed_r1.data.engine.publish import publish, published, write_figures, write_rejects
from mixed_r1.data.engine.rows import RowsJob, forget_sources, run_partition
from mixed_r1.data.engine.runners import Engine, run_jobs
from mixed_r1.data.engine.select import assign_splits, find_surplus
from mixed_r1.data.engine.table import Drops, FeatureTable, read_drops, write_drops
from mixed_r1.data.engine.workdir import BuildError, Stage, fingerprint, locked
from mixed_r1.data.engine.write import plan_writes, run_write
from mixed_r1.data.recipe import Balance, Recipe
from mixed_r1.data.sources import Source, open_source
from mixed_r1.files import atomic_path
from mixed_r1.tasks import known_tasks

__all__ = ["BuildResult", "Progress", "build"]

# Part of every fingerprint: raised when a change of the code changes the bytes of a result.
_VERSION = 4

Progress = Callable[[str, int, int], None]


class BuildResult(NamedTuple):
    """``rows`` per split; ``dropped`` per stage and reason; ``up_to_date``: nothing had to be done."""

    out: Path
    rows: dict[str, int]
    dropped: dict[str, dict[str, int]]
    up_to_date: bool


def build(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    engine: Engine = "local",
    workers: int = 1,
    sampler: Sampler | None = None,
    scorer: Scorer | None = None,
    keep_work: bool = True,
    progress: Progress = lambda stage, done, total: None,
) -> BuildResult:
    """Build ``recipe`` into ``out``; run again after a crash or a change, it does what is missing.

    Args:
        engine: ``local``, or ``ray`` for a cluster that shares ``out`` and the sources' files.
        workers: processes (0: one per core); on Ray, jobs at once (0: as many as the cluster takes).
        sampler: k answers per row, for the difficulty stage.
        scorer: rewards of completions, for the difficulty stage.
        keep_work: keep ``out/.work``, so that a changed recipe redoes only what changed.
        progress: called with (stage, done, total).

    Raises:
        ConfigError: a source or filter that does not exist. BuildError: ``out`` is in use or holds other
            files, a difficulty stage lacks sampler or scorer, no row is left, a worker was killed.
    """
    if recipe.difficulty is not None and (sampler is None or scorer is None):
        raise BuildError("sampler and scorer must be given for a recipe with a difficulty stage, got None")
    recipe = recipe.model_copy(update={"base": recipe.base.resolve()})
    target = Path(out)
    if target.is_dir() and not (target / ".work").is_dir() and not (target / "manifest.json").is_file():
        if any(target.iterdir()):
            raise BuildError(f"out must be empty or an earlier build, got {target}")
    with locked(target / ".work"):
        forget_sources()
        result = _Run(recipe, target, engine, workers, progress).run(sampler, scorer)
        if not keep_work:
            shutil.rmtree(target / ".work")
    return result


class _Run:
    """One call of ``build``: what the stages share."""

    def __init__(self, recipe: Recipe, out: Path, engine: Engine, workers: int, progress: Progress) -> None:
        self.recipe = recipe
        self.out = out
        self.engine = engine
        self.workers = workers
        self.progress = progress
        self.sources = [open_source(spec.kind, spec.options, recipe.base) for spec in recipe.sources]
        self.stages = {stage.name: stage for stage in _stages(recipe, self.sources, out / ".work")}
        self.dropped: dict[str, dict[str, int]] = {}
        self.drops: list[tuple[str, Drops]] = []

    def run(self, sampler: Sampler | None, scorer: Scorer | None) -> BuildResult:
        manifest = published(self.out, self.stages["write"].fingerprint)
        if manifest is not None:
            return BuildResult(self.out, manifest["rows"], manifest["dropped"], up_to_date=True)
        recipe = self.recipe
        table = self.rows()
        alive = np.ones(len(table), dtype=bool)
        self.dropping("dedup", alive, lambda stage: find_duplicates(table, recipe.dedup))
        if recipe.contamination is not None:
            self.dropping("contamination", alive, lambda stage: self.contaminated(table, alive, stage))
        statistics: dict[int, dict[str, float]] = {}
        if recipe.difficulty is not None:
            assert sampler is not None and scorer is not None
            measured = self.dropping(
                "difficulty", alive, lambda stage: self.unsuitable(table, alive, stage, sampler, scorer)
            )
            statistics = read_statistics(measured.folder / "statistics.parquet")
        if recipe.balance is not None:
            spec = recipe.balance
            self.dropping("balance", alive, lambda stage: self.surplus(table, alive, spec))
        return self.write(table, alive, statistics)

    def rows(self) -> FeatureTable:
        """Sources, normalise, check, filter: one job per partition."""
        stage = self.stages["rows"]
        finished = stage.open() is not None
        began = time.perf_counter()
        jobs = list(self.partitions(stage.folder))
        results = self.jobs("rows", run_partition, jobs, [Path(f"{job.stem}.json") for job in jobs])
        counts: Counter[str] = Counter()
        for result in results:
            counts.update(result)
        for name, count in sorted(counts.items()):
            step, separator, reason = name.partition(": ")
            if separator:
                self.dropped.setdefault(step, {})[reason] = count
        if not finished:
            stage.finish({"read": counts["read"], "kept": counts["kept"]})
            stage.log(
                read=counts["read"],
                kept=counts["kept"],
                dropped=self.dropped,
                seconds=round(time.perf_counter() - began, 3),
            )
        return FeatureTable([Path(job.stem) for job in jobs], [result["kept"] for result in results])

    def partitions(self, folder: Path) -> Iterator[RowsJob]:
        wanted = needs(self.recipe)
        for number, (spec, source) in enumerate(zip(self.recipe.sources, self.sources, strict=True)):
            left = spec.limit
            try:
                partitions = source.partitions(self.recipe.rows_per_partition)
            except (ValueError, LookupError, TypeError, pa.ArrowException) as error:
                problem = f"{type(error).__name__}: {error}"
                raise BuildError(f"source {spec.name} must be readable, got {problem}") from None
            for k, partition in enumerate(partitions):
                if left is not None and left <= 0:
                    break
                stem = folder / f"{number:03d}-{spec.name}-{k:06d}"
                yield RowsJob(self.recipe, number, partition, left, wanted, str(stem))
                left = None if left is None else left - partition.rows

    def jobs(
        self, name: str, function: Callable[[Any], dict[str, Any]], jobs: list[Any], marks: list[Path]
    ) -> list[dict[str, Any]]:
        """Results of all jobs; those whose mark exists are read from it, the others are run and write it."""
        missing = [job for job, mark in zip(jobs, marks, strict=True) if not mark.is_file()]
        fresh = run_jobs(function, missing, engine=self.engine, workers=self.workers)
        for done, _ in enumerate(fresh, start=len(jobs) - len(missing) + 1):
            self.progress(name, done, len(jobs))
        return [json.loads(mark.read_text()) for mark in marks]

    def dropping(self, name: str, alive: np.ndarray, find: Callable[[Stage], Drops]) -> Stage:
        """A stage over all rows: its drops are found or read back, and taken from ``alive``."""
        stage = self.stages[name]
        file = stage.folder / "drops.parquet"
        done = stage.open()
        began = time.perf_counter()
        if done is None:
            with atomic_path(file) as temporary:
                write_drops(temporary, find(stage))
        drops = read_drops(file)
        alive[drops.rows] = False
        self.drops.append((name, drops))
        self.dropped[name] = dict(sorted(Counter(drops.reasons).items()))
        if done is None:
            stage.finish({"dropped": len(drops.rows), "kept": int(alive.sum())})
            seconds = round(time.perf_counter() - began, 3)
            stage.log(kept=int(alive.sum()), dropped=self.dropped[name], seconds=seconds)
        self.progress(name, 1, 1)
        return stage

    def contaminated(self, table: FeatureTable, alive: np.ndarray, stage: Stage) -> Drops:
        spec = self.recipe.contamination
        assert spec is not None
        evaluations = {}
        for i, path in enumerate(spec.against):
            evaluations[path] = evaluation_features(self.recipe.base / path, stage.folder / f"evaluation-{i}")
            self.progress("contamination", i, len(spec.against))
        return find_contaminated(table, alive, evaluations, spec)

    def unsuitable(
        self, table: FeatureTable, alive: np.ndarray, stage: Stage, sampler: Sampler, scorer: Scorer
    ) -> Drops:
        spec = self.recipe.difficulty
        assert spec is not None
        rollouts = self.stages["rollouts"]
        rollouts.open()
        rewards = measure(
            table,
            alive,
            spec,
            rollouts.folder / "journal.jsonl",
            sampler=sampler,
            scorer=scorer,
            progress=lambda done, total: self.progress("difficulty", done, total),
        )
        path = stage.folder / "statistics.parquet"
        write_statistics(path, rewards, spec.passing)
        return find_too_easy_or_hard(table, path, spec)

    def surplus(self, table: FeatureTable, alive: np.ndarray, spec: Balance) -> Drops:
        known = known_tasks() if spec.by == "task" else [source.name for source in self.recipe.sources]
        return find_surplus(table, alive, spec, seed=self.recipe.seed, known=known)

    def fail_empty(self, table: FeatureTable) -> NoReturn:
        """No row is left: say what drops most of them, with one of these; all rejects can be read."""
        path = self.out / "rejects.jsonl"
        write_rejects(path, table, self.drops)
        counts: Counter[tuple[str, str]] = Counter()
        first: dict[tuple[str, str], dict[str, str]] = {}
        with path.open(encoding="utf-8") as stream:
            for line in map(json.loads, stream):
                key = (line["stage"], line["reason"])
                counts[key] += 1
                first.setdefault(key, line)
        if not len(table):  # what is mended now may be images, whose change the listing does not tell
            shutil.rmtree(self.stages["rows"].folder)
        if not counts:
            raise BuildError(f"recipe {self.recipe.name} must have rows to read, got none")
        (key, count), *_ = counts.most_common(1)
        example = first[key]
        where = " ".join(filter(None, (example["origin"], example["place"] or example["id"])))
        raise BuildError(
            f"recipe {self.recipe.name} must keep at least one row, got none of {sum(counts.values())}; "
            f"{count} by {': '.join(key)}, such as {where}: {example['detail']}; all are in {path}"
        )

    def write(
        self, table: FeatureTable, alive: np.ndarray, statistics: dict[int, dict[str, float]]
    ) -> BuildResult:
        """Split, shards, figures; then everything into place."""
        if not alive.any():
            self.fail_empty(table)
        recipe = self.recipe
        stage = self.stages["write"]
        began = time.perf_counter()
        done = stage.open()
        staging = stage.folder / "out"
        if done is None:
            staging.mkdir(exist_ok=True)
            splits = assign_splits(table, alive, recipe.split, recipe.seed)
            jobs = plan_writes(table, splits, statistics, stage.folder, recipe.output)
            self.jobs("write", run_write, jobs, [Path(job.mark) for job in jobs])
            done = stage.finish(
                write_figures(recipe, table, splits, statistics, self.drops, self.dropped, staging)
            )
        publish(stage, staging, self.out, done)
        stage.log(rows=done["rows"], seconds=round(time.perf_counter() - began, 3))
        return BuildResult(self.out, done["rows"], self.dropped, up_to_date=False)


def _stages(recipe: Recipe, sources: list[Source], root: Path) -> Iterator[Stage]:
    """The recipe's stages with their fingerprints, each of which includes the one before."""
    inputs = [_state(path) for source in sources for path in source.inputs()]
    rows = [
        recipe.sources,
        recipe.filters,
        recipe.max_pixels,
        recipe.rows_per_partition,
        needs(recipe),
        inputs,
    ]
    settings: list[tuple[str, Any]] = [("rows", rows), ("dedup", recipe.dedup)]
    if recipe.contamination is not None:
        files = [_state(recipe.base / path) for path in recipe.contamination.against]
        settings.append(("contamination", [recipe.contamination, files]))
    if recipe.difficulty is not None:
        sampled = recipe.difficulty.sampled_by()
        kept = recipe.difficulty.model_dump(mode="json", include={"k", "passing", "windows"})
        settings.append(("difficulty", [sampled, kept]))
    if recipe.balance is not None:
        settings.append(("balance", [recipe.balance, recipe.seed]))
    settings.append(("write", [recipe.name, recipe.description, recipe.split, recipe.seed, recipe.output]))
    if (
        recipe.difficulty is not None
    ):  # whatever other rows there are: a model's answers depend on the row alone
        answers = [recipe.sources, recipe.max_pixels, inputs, recipe.difficulty.sampled_by()]
        yield Stage(root, "rollouts", fingerprint(_VERSION, "rollouts", _plain(answers)))
    chain = ""
    for name, values in settings:
        chain = fingerprint(_VERSION, chain, name, _plain(values))
        yield Stage(root, name, chain)


def _state(path: Path) -> list[Any]:
    """Values that change when the file does."""
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns]


def _plain(value: Any) -> Any:
    """JSON-ready form of settings."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
