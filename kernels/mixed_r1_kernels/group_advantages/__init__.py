"""Advantages of completions within their group."""

from mixed_r1_kernels.group_advantages.api import METHODS, group_advantages
from mixed_r1_kernels.group_advantages.task_ema import TaskEma

__all__ = ["METHODS", "TaskEma", "group_advantages"]
