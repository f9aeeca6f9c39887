"""Mixed-Reward in other trainers. Nothing here imports the trainer it serves."""

from mixed_r1.integrations.ground_truth import decode, encode

__all__ = ["decode", "encode"]
