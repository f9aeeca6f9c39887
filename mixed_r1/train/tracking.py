"""A run's metrics for others to watch: TensorBoard, trackio, Weights & Biases, each by name and optional."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any, Protocol

from mixed_r1.run_directory import Metric, RunDirectory
from mixed_r1.train_config import TrainConfig

__all__ = ["Tracker", "open_trackers"]


class Tracker(Protocol):
    def log(self, record: Mapping[str, Any]) -> None:
        """One step's metrics; ``record["step"]`` is the step."""
        ...

    def close(self) -> None: ...


def open_trackers(config: TrainConfig, *, step: int) -> list[Tracker]:
    """Those of ``config.track``, at ``step`` of the run; the run's name is that of its directory.

    Raises:
        ImportError: a tracker that is not installed.
    """
    trackers: list[Tracker] = []
    for name in config.track:
        package = "torch.utils.tensorboard" if name == "tensorboard" else name
        try:
            module = importlib.import_module(package)
        except ImportError as error:
            raise ImportError(
                f"track {name!r} needs a package: pip install 'mixed-r1[tracking]' ({error})"
            ) from None
        kind = TensorBoard if name == "tensorboard" else Hosted
        trackers.append(kind(module, config, step))
    return trackers


class TensorBoard:
    """Event files in ``out/tensorboard``. A resumed run takes back what was written after its checkpoint."""

    def __init__(self, module: Any, config: TrainConfig, step: int) -> None:
        self.writer = module.SummaryWriter(str(RunDirectory(config.out).tensorboard), purge_step=step + 1)

    def log(self, record: Mapping[str, Any]) -> None:
        for key, value in _numbers(record).items():
            self.writer.add_scalar(key, value, record[Metric.STEP])
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class Hosted:
    """trackio or wandb, whose calls are alike. A resumed run goes on under its name; steps logged again after
    a kill stay there twice in trackio, and only their first values in wandb."""

    def __init__(self, module: Any, config: TrainConfig, step: int) -> None:
        self.module = module
        settings: dict[str, Any] = {"project": config.track_project, "name": config.out.name}
        if module.__name__ == "wandb":
            settings |= {"id": config.out.name, "dir": str(config.out)}
        module.init(**settings, config=config.model_dump(mode="json"), resume="allow")

    def log(self, record: Mapping[str, Any]) -> None:
        self.module.log(_numbers(record), step=record[Metric.STEP])

    def close(self) -> None:
        self.module.finish()


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """Every finite value, under its name."""
    named = {key: value for key, value in record.items() if key not in (Metric.STEP, Metric.WRITTEN_AT)}
    return {key: float(value) for key, value in named.items() if value is not None and math.isfinite(value)}
