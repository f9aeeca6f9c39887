"""The boxes and the answer that the verifiers saw in a completion, boxes in pixels of the original image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mixed_r1.config import ConfigError
from mixed_r1.frames import Box, Size, convert
from mixed_r1.report.run_files import ReportError, Run
from mixed_r1.rewards.config import RewardConfig
from mixed_r1.schema import Sample
from mixed_r1.tasks import known_tasks, task_of
from mixed_r1_kernels.verify import compile_gold, verify

__all__ = ["Answer", "box_frame", "read_answers", "reward_config", "to_pixels"]


class Answer(NamedTuple):
    """What was read out of one completion; an empty text where no single answer was found."""

    text: str
    boxes: tuple[Box, ...]  # in the frame of the prediction


def reward_config(run: Run) -> RewardConfig:
    """The reward settings of a run; the defaults where it has none.

    Functions are left out: a page needs none of their code. So are tasks whose code is not here.
    """
    settings = run.config.get("reward") or {}
    try:
        settings = {name: value for name, value in settings.items() if name != "functions"}
        try:
            return RewardConfig.from_mapping(settings)
        except ConfigError:
            if not settings.pop("custom_tasks", None):
                raise
            tasks = settings.get("tasks") or {}
            settings["tasks"] = {name: value for name, value in tasks.items() if name in known_tasks()}
            return RewardConfig.from_mapping(settings)
    except (TypeError, AttributeError, ConfigError) as error:
        raise ReportError(f"{run.files.config}: reward must be readable settings, got {error}") from None


def read_answers(completions: Sequence[str], sample: Sample, config: RewardConfig) -> list[Answer]:
    """The answers to ``sample`` in ``completions``, read by the verifiers themselves."""
    settings = _for_sample(config, sample).verify_settings()
    gold = compile_gold(
        task_of(sample.task).reader, sample.answer, options=sample.options or (), settings=settings
    )
    result = verify(completions, [gold] * len(completions))
    answers = []
    first = 0
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


def box_frame(sample: Sample, config: RewardConfig) -> str:
    """The frame of the boxes that were predicted for ``sample``: the run recorded it."""
    return _for_sample(config, sample).frame


def to_pixels(
    boxes: Sequence[Box], frame: str, image_size: Size, resized_size: Size | None = None
) -> list[Box]:
    """``boxes`` of ``frame`` in pixels of the original image; none where the frame's size is not known."""
    try:
        return [convert(box, frame, "pixels", image_size, resized_size) for box in boxes]
    except ValueError:
        return []
