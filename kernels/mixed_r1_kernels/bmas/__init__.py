"""Bidirectional Max-Average Similarity of token sequences."""

from mixed_r1_kernels.bmas.api import BmasScores, Similarity, bmas, similarity_matrix

__all__ = ["BmasScores", "Similarity", "bmas", "similarity_matrix"]
