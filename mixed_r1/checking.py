"""``mixed-r1 data check`` of a run: what training and its evaluation would leave out, and why.

Nothing here decides about a row. It reads, opens, renders, tokenizes and scores as a run does, with the run's
own settings and its model's tokenizer and image processor, and notes what these refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mixed_r1.data import DataError, check_samples, read_samples
from mixed_r1.data.shared import shared_rows
from mixed_r1.models import load_adapter
from mixed_r1.models.template import check_template
from mixed_r1.opened import Problem, RowError
from mixed_r1.schema import Sample
from mixed_r1.train.rows import left_out_lines
from mixed_r1.train_config import TrainConfig

__all__ = ["RunCheck", "check_run"]


class RunCheck(NamedTuple):
    """Problems of the rows of a run, and what else is worth knowing of them."""

    problems: list[DataError]
    notes: list[str]


def check_run(config: TrainConfig, judge: Callable[[Sample], Sequence[Problem]]) -> RunCheck:
    """Check ``data`` and ``validation`` of a run; ``judge`` says why a row would be masked.

    Raises:
        ConfigError: a model that cannot be used, or whose chat template does not show what rows say.
    """
    adapter = load_adapter(config.model, weights=False, **config.load_options())

    def look(sample: Sample) -> list[Problem]:
        try:
            adapter.encode(sample, **config.encode_options())
        except RowError as error:
            return error.problems
        except ValueError as error:
            field, _, rule = str(error).partition(" ")
            return [Problem(field, rule)]
        return []

    problems, notes = [], []
    kept: dict[str, list[Sample]] = {}
    for name in ("data", "validation"):
        if getattr(config, name) is None:
            continue
        spec = config.source("data" if name == "data" else "validation")
        found = check_samples(spec, look=look, judge=judge)
        problems += found
        try:
            loaded = read_samples(spec)
        except DataError:  # among the problems already
            continue
        check_template(adapter.tokenizer, loaded.samples, config.system_prompt)
        kept[name] = loaded.samples
        notes += left_out_lines(name, loaded._replace(problems=[]))
    if len(kept) == 2:
        for held, trained in shared_rows(kept["data"], kept["validation"]):
            rule = f"must not be in data too, got row {held.id}, which is row {trained.id} there"
            problems.append(DataError("validation", 0, "row", rule))
    return RunCheck(problems, notes)
