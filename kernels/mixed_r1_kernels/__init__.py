"""Compiled reward kernels for multimodal RL.

Importing this needs NumPy alone; torch is imported only where tensors are passed.
"""

from mixed_r1_kernels._impl import ImplUnavailable
from mixed_r1_kernels.reason import Reason

__all__ = ["ImplUnavailable", "Reason"]
