"""A run directory in the trainer's format: real rows of the embedded data, scored by the real rewards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from mixed_r1.data import load_samples
from mixed_r1.data.mini import build_mini, corpus, sft_target
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.schema import Reason, Sample
from mixed_r1_kernels import EmbeddingTable

STEPS, GROUP = 9, 4


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_mini(tmp_path_factory.mktemp("mini"), size=300)


@pytest.fixture(scope="session")
def model_dir(mini: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokenizer and embedding rows as a Hugging Face directory has them."""
    path = tmp_path_factory.mktemp("demo") / "model"
    path.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(load_samples(mini["train"])), trainer)
    tokenizer.save(str(path / "tokenizer.json"))
    rows = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 32)).astype(np.float32)
    save_file({"model.language_model.embed_tokens.weight": rows}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    return path


@pytest.fixture(scope="session")
def reward(model_dir: Path) -> MixedReward:
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    table = EmbeddingTable.from_pretrained(model_dir)
    return MixedReward(table, tokenizer, config=RewardConfig(box_frame="resized"))


@pytest.fixture(scope="session")
def samples(mini: dict[str, Path]) -> list[Sample]:
    """Two rows a task, boxes seen by the model at twice the size."""
    chosen: dict[str, list[Sample]] = {}
    for sample in load_samples(mini["train"]):
        size = sample.image_size and (2 * sample.image_size[0], 2 * sample.image_size[1])
        chosen.setdefault(sample.task, []).append(sample.model_copy(update={"resized_size": size}))
    return [sample for rows in chosen.values() for sample in rows[:2]]


def answers(sample: Sample) -> list[str]:
    """A right completion (given twice), one without its closing tag, and a wrong or partly right one."""
    right = sft_target(in_model_pixels(sample))
    wrong = right.replace(
        "<answer>", "<answer>A photo of " if sample.task == "open_ended" else "<answer>not "
    )
    if sample.task == "grounding":
        wrong = "<think>the middle</think><answer>[24, 24, 72, 72]</answer>"
    return [right, right, right.removesuffix("</answer>"), wrong]


def in_model_pixels(sample: Sample) -> Sample:
    if sample.task != "grounding":
        return sample
    return sample.model_copy(update={"answer": tuple(tuple(2 * v for v in box) for box in sample.answer)})


def completion_rows(
    step: int, samples: Sequence[Sample], texts: Sequence[Sequence[str]], reward: MixedReward
) -> list[dict[str, Any]]:
    """Rows of a completions file, one per text of each sample."""
    flat = [
        (group, i, sample, text)
        for group, (sample, own) in enumerate(zip(samples, texts, strict=True))
        for i, text in enumerate(own)
    ]
    batch = reward([text for *_, text in flat], [sample for _, _, sample, _ in flat])
    means = {
        group: np.mean([batch.total[k] for k, row in enumerate(flat) if row[0] == group])
        for group in range(len(samples))
    }
    rows = []
    for k, (group, index, sample, text) in enumerate(flat):
        row: dict[str, Any] = {
            "step": step,
            "sample_id": sample.id,
            "task": sample.task,
            "source": sample.source,
            "prompt": sample.question,
            "prompt_group": group,
            "completion_index": index,
            "completion": text,
            "num_tokens": len(text.split()),
            "total": float(batch.total[k]),
            "advantage": float(batch.total[k] - means[group]),
            "sample": sample.model_dump_json(),
        }
        for column, name in enumerate(batch.names):
            value = batch.values[k, column]
            row[f"reward_{name}"] = None if np.isnan(value) else float(value)
            row[f"reason_{name}"] = Reason(int(batch.reasons[k, column])).name
        rows.append(row)
    return rows


def write_rows(run: Path, step: int, rows: list[dict[str, Any]]) -> None:
    path = run / "completions" / f"step-{step:06d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def metric_records(reward: MixedReward, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
    """Metrics of steps in which more and more completions are right."""
    rng = np.random.default_rng(0)
    for step in range(1, STEPS + 1):
        flat = [
            (s, answers(s)[0 if rng.random() < step / STEPS else 2]) for s in samples for _ in range(GROUP)
        ]
        batch = reward([text for _, text in flat], [sample for sample, _ in flat])
        record: dict[str, Any] = {
            "step": step,
            "time": 1.7e9 + 2 * step,
            "reward/mean": float(batch.total.mean()),
        }
        for kind in ("task", "source"):
            labels = np.array([getattr(sample, kind) for sample, _ in flat])
            for label in np.unique(labels).tolist():
                record[f"reward/{kind}/{label}"] = float(batch.total[labels == label].mean())
        record |= {f"reward/share/{name}": share for name, share in batch.shares().items()}
        for column, counts in batch.reason_counts().items():
            record |= {f"reason/{column}/{name}": count for name, count in counts.items()}
        record |= {
            "entropy": 0.5 / step,
            "grad_norm": 1.0,
            "length/mean": 20.0 + step,
            "kl": 0.0,
            "loss": None,
        }
        yield record | {
            "time/rollout": 1.0,
            "time/reward": 0.25,
            "time/train": 0.75,
            "tokens_per_second": 800.0,
        }


EVALUATION = [
    {
        "step": 0,
        "split": "validation",
        "mode": "sampled",
        "task": "all",
        "mean": 0.5,
        "stderr": 0.01,
        "n": 250,
    },
    {
        "step": 0,
        "split": "validation",
        "mode": "sampled",
        "task": "chart",
        "mean": 0.4,
        "stderr": 0.03,
        "n": 40,
    },
    {
        "step": 0,
        "split": "validation",
        "mode": "greedy",
        "task": "all",
        "mean": 0.61,
        "stderr": 0.02,
        "n": 250,
    },
    {
        "step": 9,
        "split": "validation",
        "mode": "sampled",
        "task": "all",
        "mean": 0.625,
        "stderr": 0.01,
        "n": 250,
    },
    {
        "step": 9,
        "split": "validation",
        "mode": "sampled",
        "task": "chart",
        "mean": 0.38,
        "stderr": 0.04,
        "n": 40,
    },
    {
        "step": 9,
        "split": "validation",
        "mode": "greedy",
        "task": "all",
        "mean": 0.62,
        "stderr": 0.02,
        "n": 250,
    },
    {"step": 9, "split": "validation", "mode": "greedy", "task": "math", "mean": None, "stderr": 0.0, "n": 0},
]


def write_jsonl(path: Path, records: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(scope="session")
def finished_run(
    tmp_path_factory: pytest.TempPathFactory,
    mini: dict[str, Path],
    model_dir: Path,
    reward: MixedReward,
    samples: list[Sample],
) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    run.mkdir()
    config = {
        "model": str(model_dir),
        "data": str(mini["train"]),
        "steps": STEPS,
        "prompts_per_step": 12,
        "completions_per_prompt": GROUP,
        "reward": {"box_frame": "resized"},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    write_jsonl(run / "metrics.jsonl", list(metric_records(reward, samples)))
    write_jsonl(run / "evaluation.jsonl", EVALUATION)
    for step in (1, STEPS):
        write_rows(run, step, completion_rows(step, samples, [answers(sample) for sample in samples], reward))
    return run


@pytest.fixture
def run_dir(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run that the test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "demo" / "run"))


@pytest.fixture
def record(run_dir: Path, reward: MixedReward) -> Callable[..., list[dict[str, Any]]]:
    """``record(step, samples, texts)`` scores texts and replaces the completions of a step; returns the rows.

    ``texts`` holds a list for each sample (default: ``answers``). ``changes`` go into every row.
    """

    def write(
        step: int, samples: Sequence[Sample], texts: Sequence[Sequence[str]] | None = None, **changes: Any
    ) -> list[dict[str, Any]]:
        rows = completion_rows(step, samples, texts or [answers(sample) for sample in samples], reward)
        rows = [row | changes for row in rows]
        write_rows(run_dir, step, rows)
        return rows

    return write
