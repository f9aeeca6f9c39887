"""Reward on held-out rows: greedy and sampled, per task, with standard errors that count rows, not
completions. Beside it stands what a policy that has learnt nothing can earn: the best constant answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from mixed_r1.config import ConfigError
from mixed_r1.data.stats import short_gold
from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.models.prompt import Prompt
from mixed_r1.ranks import Ranks
from mixed_r1.rewards import MixedReward, RewardBatch
from mixed_r1.rollout import Group, ModelSampler, RolloutError, RolloutRequest, Sampler, SamplingParams
from mixed_r1.run_directory import Mode
from mixed_r1.schema import Sample

__all__ = [
    "Difference",
    "Evaluation",
    "as_scored",
    "best_constants",
    "evaluate",
    "on_every_rank",
    "shortened",
]

MAX_ANSWER = 64  # characters of an answer that are kept and compared
TOKENS_AT_ONCE = 1 << 18  # of the prompts that are answered together: 32 of the longest by default
CONSTANTS = 8  # of each task's answers and golds, the commonest are tried

T = TypeVar("T")


@dataclass(frozen=True)
class Difference:
    """The paired change of the mean reward over the same rows, with its standard error."""

    mean: float
    stderr: float


@dataclass(frozen=True)
class Evaluation:
    """One plain JSON record a row: id, task, the mean over its completions of the reward (None where one was
    masked) and of each column, the answers given, and the gold where it is a short text.

    ``constants``: by task, the best constant answer and the mean reward it earns on these rows. ``skipped``:
    why rows that are not here could not be asked, by id. ``answers_kept``: of each row, what the ``record``
    of ``evaluate`` made of its completions.
    """

    mode: Mode
    rows: list[dict[str, Any]]
    constants: dict[str, tuple[str, float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    answers_kept: list[list[dict[str, Any]]] = field(default_factory=list)

    def records(self) -> list[dict[str, Any]]:
        """One record per task and one for all: mean, standard error over rows, number of rows, column
        means."""
        tasks = sorted({row["task"] for row in self.rows})
        return [self._record(task) for task in tasks] + [self._record("all")]

    def _record(self, task: str) -> dict[str, Any]:
        rows = [row for row in self.rows if task in ("all", row["task"])]
        rewards = np.array([row["reward"] for row in rows if row["reward"] is not None])
        names = sorted({name for row in rows for name in row["columns"]})
        by_task: dict[str, Any] = {}
        if task != "all":
            answers = self.answers(task)
            golds = [row["gold"] for row in rows if row.get("gold") is not None]
            by_task["commonest_answer"], by_task["commonest_gold"] = _commonest(answers), _commonest(golds)
            by_task["constant"] = list(self.constants[task]) if task in self.constants else None
        return {
            "mode": self.mode,
            "task": task,
            "mean": float(rewards.mean()) if rewards.size else None,
            "stderr": _stderr(rewards),
            "n": int(rewards.size),
            "columns": {
                name: float(np.mean([row["columns"][name] for row in rows if name in row["columns"]]))
                for name in names
            },
            **by_task,
        }

    def answers(self, task: str) -> list[str]:
        """Every answer given to a row of ``task``."""
        return [answer for row in self.rows if row["task"] == task for answer in row.get("answers", ())]

    def minus(self, before: Evaluation, task: str = "all") -> Difference:
        """The paired difference on the same rows, all or those of one task."""
        if [row["id"] for row in self.rows] != [row["id"] for row in before.rows]:
            raise ValueError("before must be an evaluation of the same rows, got others")
        pairs = [
            (a["reward"], b["reward"])
            for a, b in zip(self.rows, before.rows, strict=True)
            if task in ("all", a["task"])
        ]
        difference = np.array([a - b for a, b in pairs if a is not None and b is not None])
        return Difference(float(difference.mean()) if difference.size else 0.0, _stderr(difference))


def evaluate(
    adapter: ModelAdapter,
    samples: Sequence[Sample],
    reward: MixedReward,
    *,
    params: SamplingParams,
    completions_per_sample: int = 1,
    seed: int = 0,
    max_rows: int = 256,
    max_tokens_at_once: int = TOKENS_AT_ONCE,
    encode_options: Mapping[str, Any] | None = None,
    sampler: Sampler | None = None,
    ranks: Ranks | None = None,
    record: Callable[[list[Group], RewardBatch], list[list[dict[str, Any]]]] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Answer every row and score it. Greedy where ``params.temperature`` is 0. ``sampler`` answers instead of
    the adapter's own; ``ranks`` share the rows. ``record`` makes of groups and their scores what is kept.

    The random numbers depend on ``seed`` and the row's id alone, so two models are compared on the same
    draws. ``encode_options`` are those of ``adapter.encode``; a row that it refuses is left out and named in
    ``skipped``. At most ``max_rows`` completions are decoded together, of prompts of at most
    ``max_tokens_at_once`` tokens, padding counted.

    Raises:
        ConfigError: no row can be answered.
    """
    if not samples:
        raise ValueError("samples must hold at least one row, got none")
    greedy = params.temperature == 0
    count = 1 if greedy else completions_per_sample
    asked = sampler or ModelSampler(adapter, max_rows=max_rows)
    mine = samples if ranks is None else ranks.share(list(samples))
    rows_at_once = max(1, max_rows // count)

    def answered() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{} for _ in mine]
        encoded = ((i, _encoded(adapter, mine[i], encode_options or {})) for i in range(len(mine)))
        for places, prompts in _chunks(encoded, found, rows_at_once, max_tokens_at_once):
            chunk = [mine[i] for i in places]
            drawn = asked.generate(RolloutRequest(chunk, prompts, count, params, seed=seed, step=-1))
            scored = [as_scored(sample, prompt) for sample, prompt in zip(chunk, prompts, strict=True)]
            texts = [c.text for group in drawn for c in group]
            batch = reward(texts, [s for s in scored for _ in range(count)])
            answers = [shortened(answer) for answer in batch.answers]
            for k, i in enumerate(places):
                lines = slice(k * count, (k + 1) * count)
                found[i] = _row(mine[i], batch, lines, answers[lines])
            if record is not None:
                groups = [Group(*of_row) for of_row in zip(scored, prompts, map(tuple, drawn), strict=True)]
                for i, kept in zip(places, record(groups, batch), strict=True):
                    found[i]["kept"] = kept
            if on_progress is not None:
                on_progress(len(chunk) * (ranks.world_size if ranks else 1))
        return [{"id": sample.id, **row} for sample, row in zip(mine, found, strict=True)]

    rows = answered() if ranks is None else ranks.merge(on_every_rank(ranks, answered))
    skipped = {row["id"]: row["problem"] for row in rows if "problem" in row}
    if len(skipped) == len(rows):
        name, problem = next(iter(skipped.items()))
        raise ConfigError(
            f"rows to evaluate must be such that one can be answered, got none; {name}: {problem}"
        )
    asked_rows = [row for row in rows if "problem" not in row]
    texts = [row.pop("kept") for row in asked_rows if "kept" in row]
    return Evaluation("greedy" if greedy else "sampled", asked_rows, skipped=skipped, answers_kept=texts)


def _encoded(adapter: ModelAdapter, sample: Sample, options: Mapping[str, Any]) -> Prompt | str:
    """The prompt of a row, or why it has none."""
    try:
        return adapter.encode(sample, **options)
    except ValueError as error:
        return str(error)


def _chunks(
    encoded: Iterable[tuple[int, Prompt | str]],
    found: list[dict[str, Any]],
    max_rows: int,
    max_tokens: int,
) -> Iterator[tuple[list[int], list[Prompt]]]:
    """Rows that are answered together, by their places; those without a prompt are noted in ``found``."""
    places: list[int] = []
    prompts: list[Prompt] = []
    for i, prompt in encoded:
        if isinstance(prompt, str):
            found[i] = {"problem": prompt}
            continue
        longest = max(map(len, [*prompts, prompt]))
        if places and (len(places) == max_rows or longest * (len(places) + 1) > max_tokens):
            yield places, prompts
            places, prompts = [], []
        places.append(i)
        prompts.append(prompt)
    if places:
        yield places, prompts


def best_constants(
    samples: Sequence[Sample], reward: MixedReward, given: Evaluation
) -> dict[str, tuple[str, float]]:
    """By task, the one answer that earns most when it is given to every row, and its mean reward.

    Tried, in the answer format, are the commonest golds that are short texts and the commonest answers of
    ``given``. A policy gradient finds such an answer before it finds the task: a reward no higher than this
    shows no ability. ``samples`` are scored as they are (grounding: with image sizes); masked rows are left
    out.
    """
    best: dict[str, tuple[str, float]] = {}
    for task in sorted({sample.task for sample in samples}):
        rows = [sample for sample in samples if sample.task == task]
        golds = Counter(gold for sample in rows if (gold := short_gold(sample)) is not None)
        tried = [*golds.most_common(CONSTANTS), *Counter(given.answers(task)).most_common(CONSTANTS)]
        for answer in dict.fromkeys(answer for answer, _ in tried):
            batch = reward([reward.config.in_format(answer)] * len(rows), rows)
            mean = float(batch.total[batch.mask].mean()) if batch.mask.any() else 0.0
            if task not in best or mean > best[task][1]:
                best[task] = (answer, mean)
    return best


def _commonest(answers: Sequence[str]) -> list[Any] | None:
    """[the commonest of ``answers``, its share]."""
    if not answers:
        return None
    ((answer, count),) = Counter(answers).most_common(1)
    return [answer, count / len(answers)]


def shortened(answer: str) -> str:
    """``answer`` in lower case, its first characters, so that equal answers are equal texts."""
    return " ".join(answer.split())[:MAX_ANSWER].casefold()


def on_every_rank(ranks: Ranks, draw: Callable[[], list[T]]) -> list[T]:
    """Call ``draw`` on every rank. A RolloutError of one is raised on all: they save together."""
    drawn: list[T] = []
    problem = None
    try:
        drawn = draw()
    except RolloutError as error:
        problem = str(error)
    if problems := [text for text in ranks.gather(problem) if text is not None]:
        raise RolloutError("; ".join(problems))
    return drawn


def _row(sample: Sample, batch: RewardBatch, lines: slice, answers: list[str]) -> dict[str, Any]:
    columns = {name: batch.values[lines, k] for k, name in enumerate(batch.names)}
    return {
        "id": sample.id,
        "task": sample.task,
        "reward": float(batch.total[lines].mean()) if batch.mask[lines].all() else None,
        "columns": {k: float(np.nanmean(v)) for k, v in columns.items() if np.isfinite(v).any()},
        "answers": answers,
        "gold": short_gold(sample),
    }


def as_scored(sample: Sample, prompt: Prompt) -> Sample:
    """The row with the image sizes that turn the model's boxes into pixels of the original."""
    return prompt.row or sample


def _stderr(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else 0.0
