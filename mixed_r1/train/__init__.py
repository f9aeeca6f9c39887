"""GRPO on mixed verifiable rewards: ``train(TrainConfig(...))``."""

from mixed_r1.train.evaluation import Evaluation, evaluate
from mixed_r1.train.scoring import make_reward
from mixed_r1.train.trainer import Trainer, train
from mixed_r1.train_config import TrainConfig

__all__ = ["Evaluation", "TrainConfig", "Trainer", "evaluate", "make_reward", "train"]
