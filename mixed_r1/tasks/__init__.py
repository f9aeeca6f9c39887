"""The tasks: one file each, and one line of the table below.

A task of a user's own needs no file here. It is a subclass of ``Task`` in a module of theirs, named
``package.module:ClassName`` in ``RewardConfig.custom_tasks``, or given to ``register``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator

from mixed_r1.config import ConfigError
from mixed_r1.loading import load_object
from mixed_r1.tasks.base import Task
from mixed_r1.tasks.chart import Chart
from mixed_r1.tasks.grounding import Grounding
from mixed_r1.tasks.mathematics import Math
from mixed_r1.tasks.multiple_choice import MultipleChoice
from mixed_r1.tasks.open_ended import OpenEnded
from mixed_r1.tasks.short_answer import ShortAnswer
from mixed_r1.tasks.yes_no import YesNo

__all__ = [
    "BUILT_IN",
    "CLOSED_TASKS",
    "TASKS",
    "TASK_COLUMNS",
    "Task",
    "TaskName",
    "known_tasks",
    "load_tasks",
    "register",
    "task_number",
    "task_of",
    "task_order",
]

BUILT_IN: tuple[Task, ...] = (
    YesNo(),
    MultipleChoice(),
    Chart(),
    Math(),
    Grounding(),
    OpenEnded(),
    ShortAnswer(),
)
TASKS = tuple(task.name for task in BUILT_IN)
CLOSED_TASKS = tuple(task.name for task in BUILT_IN if task.closed)
TASK_COLUMNS = tuple(dict.fromkeys(task.column for task in BUILT_IN))

# By name: the tasks above, and those that were registered, in that order.
_known: dict[str, Task] = {task.name: task for task in BUILT_IN}


def known_tasks() -> tuple[str, ...]:
    """The names of the tasks that rows may have in this process, in the order of ``task_order``."""
    return tuple(_known)


def task_of(name: str) -> Task:
    """The task of this name. Raises ValueError where none has it."""
    if name not in _known:
        raise ValueError(_unknown(name))
    return _known[name]


def task_order(name: str) -> tuple[int, str]:
    """Key that sorts names of tasks: the table's order, then registered ones, then others, ``all`` last."""
    return (len(_known) + 1 if name == "all" else task_number(name) if name in _known else len(_known), name)


def task_number(name: str) -> int:
    """The number of a task, counted from 0, that stands for it in arrays and checkpoints."""
    return list(_known).index(task_of(name).name)


def register(task: Task | type[Task]) -> Task:
    """Register ``task``, so that this process can read its rows; returns it. Twice is as good as once.

    Raises:
        ConfigError: no Task, or a name or column that another task has.
    """
    made = task() if isinstance(task, type) and issubclass(task, Task) else task
    if not isinstance(made, Task):
        raise ConfigError(f"task must be a mixed_r1.tasks.Task, got {task!r}")
    holder = _known.get(made.name)
    if holder is not None:
        if _origin(holder) != _origin(made):
            raise ConfigError(f"task must have a name of its own, got {made.name!r} again ({_origin(made)})")
        return holder
    if made.name == "all" or made.column == "format":
        raise ConfigError(f"task must not be named all nor fill the column format, got {_origin(made)}")
    _known[made.name] = made
    return made


def load_tasks(names: Iterable[str]) -> list[Task]:
    """Register the tasks that ``package.module:ClassName`` name. Raises ConfigError as ``load_object`` does
    too.
    """
    return [register(load_object(name, what="custom_tasks")) for name in names]


def _origin(task: Task) -> str:
    return f"{type(task).__module__}:{type(task).__qualname__}"


def _unknown(name: Any) -> str:
    shown = repr(name)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return f"must be one of {', '.join(_known)}, got {shown} (a task of your own is named in custom_tasks)"


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or name not in _known:
        raise ValueError(_unknown(name))
    return name


# The name of a known task, as pydantic models check it.
TaskName: TypeAlias = Annotated[str, BeforeValidator(_checked_name)]
