"""The boxes and the answer that the verifiers saw in a completion, boxes in pixels of the original image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from mixed_r1.config import ConfigError
from mixed_r1.report.run_files import ReportError, Run
from mixed_r1.rewards.config import RewardConfig
from mixed_r1.schema import Box, Sample
from mixed_r1_kernels.verify import compile_gold, verify

__all__ = ["Answer", "box_frame", "gold_boxes", "read_answers", "reward_config", "to_pixels"]

Size = tuple[int, int]


class Answer(NamedTuple):
    """What was read out of one completion; an empty text where no single answer was found."""

    text: str
    boxes: tuple[Box, ...]  # in the frame of the prediction


def reward_config(run: Run) -> RewardConfig:
    """The reward settings of a run; the defaults where it has none."""
    settings = run.config.get("reward") or {}
    try:
        return RewardConfig.from_mapping(settings)
    except (TypeError, ConfigError) as error:
        raise ReportError(
            f"{run.path / 'config.yaml'}: reward must be readable settings, got {error}"
        ) from None


def read_answers(completions: Sequence[str], sample: Sample, config: RewardConfig) -> list[Answer]:
    """The answers to ``sample`` in ``completions``, read by the verifiers themselves."""
    settings = _for_sample(config, sample).verify_settings()
    gold = compile_gold(sample.task, sample.answer, options=sample.options or (), settings=settings)
    result = verify(completions, [gold] * len(completions))
    answers, first = [], 0
    for completion, (start, end), count in zip(completions, result.spans, result.box_counts, strict=True):
        rows = result.boxes[first : first + count].tolist()
        answers.append(Answer(completion[start:end], tuple((a, b, c, d) for a, b, c, d in rows)))
        first += count
    return answers


def _for_sample(config: RewardConfig, sample: Sample) -> RewardConfig:
    try:
        return config.for_task(sample.task, sample.reward)
    except ValueError:  # the row's own settings are unusable: it was masked when it was scored
        return config


def box_frame(run: Run, sample: Sample, config: RewardConfig) -> str:
    """The frame of predicted boxes: the row's setting, else the model family's, else the run's.

    The families' frames are those of mixed_r1.models, which takes seconds of torch to import.
    """
    if sample.reward and "box_frame" in sample.reward:
        return _for_sample(config, sample).box_frame
    for directory in (run.model_dir, run.start_dir):
        try:
            family = json.loads((directory / "config.json").read_text())["model_type"] if directory else None
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if family is not None:
            return "resized" if family == "qwen2_5_vl" else "norm1000"
    return config.box_frame


def gold_boxes(sample: Sample, image_size: Size) -> list[Box]:
    """The gold boxes of a grounding row in pixels; none for other tasks."""
    if sample.task != "grounding":
        return []
    return [box for gold in sample.answer if (box := to_pixels(gold, sample.frame, image_size)) is not None]


def to_pixels(box: Box, frame: str, image_size: Size, resized_size: Size | None = None) -> Box | None:
    """``box`` of ``frame`` in pixels of the original image; None where the frame's size is not known."""
    if frame == "resized":
        if resized_size is None:
            return None
        scale = (image_size[0] / resized_size[0], image_size[1] / resized_size[1])
    elif frame == "norm1000":
        scale = (image_size[0] / 1000, image_size[1] / 1000)
    elif frame == "norm1":
        scale = (float(image_size[0]), float(image_size[1]))
    else:
        scale = (1.0, 1.0)
    x1, y1, x2, y2 = box
    return x1 * scale[0], y1 * scale[1], x2 * scale[0], y2 * scale[1]
