"""One rank of a training run: ``python run_training.py config.yaml [--resume]``; see faulty_ranks."""

from __future__ import annotations

import sys

import mixed_r1.train.trainer as trainer
from mixed_r1.train import TrainConfig, train
from tests.faulty_ranks import faulty

if __name__ == "__main__":
    trainer.Ranks = faulty(trainer.Ranks)
    train(TrainConfig.load(sys.argv[1]), resume="--resume" in sys.argv)
