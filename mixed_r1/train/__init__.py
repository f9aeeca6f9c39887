"""GRPO on mixed verifiable rewards: ``train(TrainConfig(...))``."""

from mixed_r1.train.config import TrainConfig
from mixed_r1.train.evaluation import Evaluation, evaluate
from mixed_r1.train.trainer import Trainer, make_reward, train

__all__ = ["Evaluation", "TrainConfig", "Trainer", "evaluate", "make_reward", "train"]
