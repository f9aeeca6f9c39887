"""Compiled reward kernels for multimodal RL.

Importing this needs NumPy alone; torch is imported only where tensors are passed.
"""

from mixed_r1_kernels._impl import ImplUnavailable
from mixed_r1_kernels.bmas import BmasScores, Similarity, bmas, similarity_matrix
from mixed_r1_kernels.box_iou.api import box_iou, paired_box_iou
from mixed_r1_kernels.embedding_table import EmbeddingTable
from mixed_r1_kernels.group_advantages import TaskEma, group_advantages
from mixed_r1_kernels.match_boxes.api import BoxMatches, match_boxes
from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.token_logprobs.api import TokenLogprobs, token_logprobs, token_logprobs_and_entropy

__all__ = [
    "BmasScores",
    "BoxMatches",
    "EmbeddingTable",
    "ImplUnavailable",
    "Reason",
    "Similarity",
    "TaskEma",
    "TokenLogprobs",
    "bmas",
    "box_iou",
    "group_advantages",
    "match_boxes",
    "paired_box_iou",
    "similarity_matrix",
    "token_logprobs",
    "token_logprobs_and_entropy",
]
