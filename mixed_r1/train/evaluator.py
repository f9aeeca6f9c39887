"""The evaluations of a run: on which rows, against what they are read, and where they are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress

from mixed_r1.engines import Engine
from mixed_r1.models import ModelAdapter
from mixed_r1.ranks import Ranks
from mixed_r1.rewards import MixedReward
from mixed_r1.rollout import Sampler, SamplingParams
from mixed_r1.run_directory import MODES, Column, RunDirectory, Split
from mixed_r1.schema import Sample
from mixed_r1.train.completions import CompletionRows, write_completions
from mixed_r1.train.evaluation import Evaluation, as_scored, best_constants, evaluate
from mixed_r1.train.metrics import JsonLines
from mixed_r1.train.rows import EvaluationRows, tell
from mixed_r1.train_config import TrainConfig

__all__ = ["Evaluator"]


class Evaluator:
    """Answers the rows, greedily and sampled, and writes evaluation.jsonl and the answers."""

    def __init__(
        self,
        config: TrainConfig,
        adapter: ModelAdapter,
        rows: EvaluationRows,
        reward: MixedReward,
        sampler: Sampler,
        engine: Engine,
        ranks: Ranks,
    ) -> None:
        self.config = config
        self.adapter = adapter
        self.rows = rows
        self.reward = reward
        self.sampler = sampler
        self.engine = engine
        self.ranks = ranks
        self.step = -1  # the last step whose policy was evaluated
        self.before: dict[str, Evaluation] = {}
        self.constants: dict[str, tuple[str, float]] = {}  # by task, what the best constant answer earns
        self.told: set[str] = set()  # rows of which it was said that they cannot be asked
        self._file = JsonLines(None)
        self._answers: Callable[[int], Path] | None = None
        self._rows_of = CompletionRows(adapter.tokenizer.decode, None)
        self.records: list[dict[str, Any]] = []  # all that were written, those of a resumed run too

    def __bool__(self) -> bool:
        return bool(self.rows.validation)

    def open(self, files: RunDirectory, *, offset: int) -> None:
        """Write to the run's files, after ``offset`` bytes of records (see ``JsonLines``)."""
        self._file = JsonLines(files.evaluation if self.ranks.first else None, offset=offset)
        self.records = self._file.records()
        self._answers = files.answers
        if self.ranks.first:  # an evaluation that a stopped run made after its checkpoint is made again
            known = {record["step"] for record in self.records}
            for step, path in files.all_answers().items():
                if step not in known:
                    path.unlink()
        self._rows_of = CompletionRows(self.adapter.tokenizer.decode, files.images)

    def sync(self) -> int:
        return self._file.sync()

    def of(self, split: Split) -> list[dict[str, Any]]:
        """The records of one split, by step."""
        return [record for record in self.records if record["split"] == split]

    def __call__(self, step: int, label: str, progress: Progress) -> dict[str, Evaluation]:
        """Mode -> the evaluation on the validation rows. The weights have been pushed to the sampler."""
        rounds: list[tuple[Split, list[Sample], bool]] = [
            ("validation", self.rows.validation, True),
            ("validation", self.rows.validation, False),
        ]
        rounds += [("train", self.rows.seen, True)] if self.rows.seen else []
        bar = progress.add_task(f"evaluate {label}", total=sum(len(rows) for _, rows, _ in rounds), note="")
        results: dict[str, Evaluation] = {}
        records: list[dict[str, Any]] = []
        answers: list[list[dict[str, Any]]] = []
        for split, rows, greedy in rounds:
            said: Any = {Column.STEP: step, Column.SPLIT: split, Column.MODE: MODES[not greedy]}
            with self.engine.gathered():
                result = evaluate(
                    self.adapter,
                    rows,
                    self.reward,
                    params=SamplingParams.of(self.config, greedy=greedy),
                    completions_per_sample=self.config.eval_completions,
                    seed=self.config.seed,
                    max_rows=self.config.max_rollout_rows,
                    max_tokens_at_once=self.config.rollout_tokens,
                    encode_options=self.config.encode_options(),
                    sampler=self.sampler,
                    ranks=self.ranks,
                    record=partial(self._rows_of, **said),
                    on_progress=lambda n: progress.advance(bar, n),
                )
            self._tell(split, result, progress)
            answers += result.answers_kept
            result = replace(result, answers_kept=[])
            if split == "validation":
                self.constants = self.constants or self._constants(self.before.get("greedy", result))
                results[result.mode] = result = replace(result, constants=self.constants)
            records += [{"step": step, "split": split, **record} for record in result.records()]
        if self._answers is not None and self.ranks.first:
            write_completions(self._answers(step), answers)
        for record in records:  # all or none: an evaluation that an outage ends is done again
            self._file.write(record)
        self.records += records
        self.step = step
        self.before = self.before or results
        return results

    def _tell(self, split: Split, result: Evaluation, progress: Progress) -> None:
        """Say once which rows cannot be asked."""
        new = {name: problem for name, problem in result.skipped.items() if name not in self.told}
        self.told |= set(new)
        if new and self.ranks.first:
            lines = [f"{split} row {name} left out: {problem}" for name, problem in new.items()]
            tell(progress.console, lines)

    def restore(self, step: int, before: Path) -> None:
        """Go on where a stopped run was: its last evaluation, and the rows of its first."""
        self.step = step
        if before.exists():
            rows = json.loads(before.read_text())
            self.before = {mode: Evaluation(mode, rows[mode]) for mode in rows}

    def compared(self, after: dict[str, Evaluation]) -> dict[str, Any]:
        """By mode: the records of the first evaluation and of ``after``, and their paired differences."""
        compared = {}
        for mode, result in after.items():
            entry: dict[str, Any] = {"after": result.records()}
            if mode in self.before:
                first = self.before[mode]
                entry["before"] = first.records()
                entry["difference"] = asdict(result.minus(first))
                tasks = sorted({row["task"] for row in result.rows})
                entry["by_task"] = {task: asdict(result.minus(first, task)) for task in tasks}
            compared[mode] = entry
        return compared

    def _constants(self, given: Evaluation) -> dict[str, tuple[str, float]]:
        """What the best constant answer earns on the validation rows, by task; the first rank finds it."""
        found: dict[str, tuple[str, float]] | None = None
        if self.ranks.first:
            options, answered = self.config.encode_options(), {row["id"] for row in given.rows}
            rows = [
                as_scored(sample, self.adapter.encode(sample, **options)) if sample.boxes else sample
                for sample in self.rows.validation
                if sample.id in answered
            ]
            found = best_constants(rows, self.reward, given)
        shared: dict[str, tuple[str, float]] = self.ranks.gather(found)[0]
        return shared
