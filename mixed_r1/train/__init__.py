"""GRPO on mixed verifiable rewards."""
