"""A run of two steps with vLLM in this process: ``python run_vllm.py config.yaml``, in vLLM's environment."""

import sys

from mixed_r1.train import TrainConfig, train

if __name__ == "__main__":  # vLLM's own processes import this file
    train(TrainConfig.load(sys.argv[1]))
