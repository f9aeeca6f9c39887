"""Every op given arrays of odd layout, dtype, kind or device: the right answer, or a TypeError or ValueError
that names the argument. Never another exception, never a silent wrong value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

from mixed_r1_kernels import EmbeddingTable, bmas, box_iou, group_advantages, match_boxes, token_logprobs

RNG = np.random.default_rng(0)
BOXES = RNG.random((3, 4)).astype(np.float32)
ROWS = RNG.standard_normal((20, 8)).astype(np.float32)
TABLE = EmbeddingTable(ROWS)


def unaligned(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"x" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)


def spread(array: np.ndarray) -> np.ndarray:
    wide = np.zeros([2 * n for n in array.shape], array.dtype)
    wide[tuple(slice(None, None, 2) for _ in array.shape)] = array
    return wide[tuple(slice(None, None, 2) for _ in array.shape)]


def frozen(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def negated_bit(array: np.ndarray) -> torch.Tensor:
    """A tensor that is read as the negative of its memory."""
    tensor = torch.complex(torch.from_numpy(array), torch.from_numpy(-array)).conj().imag
    assert tensor.is_neg()
    return tensor


# The same values in another layout.
SAME: dict[str, Callable[[np.ndarray], Any]] = {
    "fortran": np.asfortranarray,
    "spread": spread,
    "reversed twice": lambda x: x[::-1].copy()[::-1],
    "unaligned": unaligned,
    "swapped bytes": lambda x: x.astype(x.dtype.newbyteorder()),
    "frozen": frozen,
    "matrix": lambda x: x.view(np.matrix) if x.ndim == 2 else x.view(np.recarray),
    "tensor": lambda x: torch.from_numpy(x.copy()),
    "strided tensor": lambda x: torch.from_numpy(np.stack([x, x], -1))[..., 0],
    "tensor with a gradient": lambda x: torch.from_numpy(x.copy()).requires_grad_(
        x.dtype.kind == "f" and x.dtype.itemsize > 2
    ),
}
BAD: dict[str, Callable[[np.ndarray], Any]] = {
    "complex": lambda x: x.astype(np.complex64),
    "complex tensor": lambda x: torch.from_numpy(x.astype(np.complex64)).conj(),
    "text": lambda x: x.astype(str),
    "objects": lambda x: x.astype(object),
    "time": lambda x: x.astype("m8[s]"),
    "records": lambda x: np.zeros(x.shape, [("a", "f4")]),
    "masked": lambda x: np.ma.masked_array(x, np.zeros(x.shape, bool)),
    "none": lambda x: None,
    "bytes": lambda x: x.tobytes(),
    "sparse": lambda x: torch.from_numpy(x.copy()).to_sparse(),
    "meta": lambda x: torch.from_numpy(x.copy()).to("meta"),
    "nested": lambda x: torch.nested.nested_tensor([torch.from_numpy(x.copy())]),
    "fake": lambda x: FakeTensorMode().from_tensor(torch.from_numpy(x.copy())),
}
FLOATS_BAD = {
    "quantized": lambda x: torch.quantize_per_tensor(torch.from_numpy(x).float(), 0.1, 0, torch.quint8),
    "mkldnn": lambda x: torch.from_numpy(x).float().to_mkldnn(),
    "float8": lambda x: torch.from_numpy(x).to(torch.float8_e4m3fn),
}


def of_pair(array: Any) -> Any:
    """box_iou takes two arrays or two tensors."""
    return box_iou(array, torch.from_numpy(BOXES) if isinstance(array, torch.Tensor) else BOXES)


# Argument: a good value, and the call with something in its place.
FLOAT_ARGUMENTS: dict[str, tuple[np.ndarray, Callable[[Any], Any]]] = {
    "boxes1": (BOXES, of_pair),
    "boxes2": (
        BOXES,
        lambda x: box_iou(torch.from_numpy(BOXES) if isinstance(x, torch.Tensor) else BOXES, x),
    ),
    "pred": (BOXES, lambda x: match_boxes(x, BOXES, [3], [3]).total),
    "target": (BOXES, lambda x: match_boxes(BOXES, x, [3], [3]).total),
    "rewards": (RNG.random((4, 2)), lambda x: group_advantages(x, 2)),
    "weights": (RNG.random(2), lambda x: group_advantages(np.eye(4, 2), 2, weights=x)),
    "rows": (ROWS, lambda x: bmas([[1, 2]], [[3]], EmbeddingTable(x)).score),
}
INTEGER_ARGUMENTS: dict[str, tuple[np.ndarray, Callable[[Any], Any]]] = {
    "group_sizes": (np.array([1, 3]), lambda x: group_advantages(np.arange(4.0), x)),
    "pred_counts": (np.array([2, 1]), lambda x: match_boxes(BOXES, BOXES, x, [1, 2]).total),
    "completions": (np.array([1, 2, 9]), lambda x: bmas([x], [[3]], TABLE).score),
    "references": (np.array([1, 2, 9]), lambda x: bmas([[3]], [x], TABLE).score),
    "reference_of": (np.array([1, 0]), lambda x: bmas([[3], [4]], [[5], [6]], TABLE, reference_of=x).score),
    "task_ids": (np.array([1, 0]), lambda x: ema(x)),
}
BOOLEAN_ARGUMENTS = {
    "mask": (np.array([True, False, True]), lambda x: group_advantages(np.arange(3.0), 3, mask=x))
}


def ema(task_ids: Any) -> Any:
    from mixed_r1_kernels import TaskEma

    return group_advantages(np.arange(2.0), 2, method="task_ema", state=TaskEma(), task_ids=task_ids)


ARGUMENTS = FLOAT_ARGUMENTS | INTEGER_ARGUMENTS | BOOLEAN_ARGUMENTS


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("layout", SAME)
def test_the_layout_changes_nothing(argument: str, layout: str) -> None:
    value, call = ARGUMENTS[argument]
    if value.ndim == 1 and layout == "fortran":
        pytest.skip("one axis has one order")
    np.testing.assert_array_equal(np.asarray(call(SAME[layout](value))), np.asarray(call(value)))


@pytest.mark.parametrize("argument", FLOAT_ARGUMENTS)
def test_a_tensor_with_the_negative_bit(argument: str) -> None:
    value, call = FLOAT_ARGUMENTS[argument]
    np.testing.assert_array_equal(np.asarray(call(negated_bit(value))), np.asarray(call(value)))


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("kind", BAD | FLOATS_BAD)
def test_what_is_no_array_of_numbers_is_refused(argument: str, kind: str) -> None:
    value, call = ARGUMENTS[argument]
    if kind in FLOATS_BAD and argument not in FLOAT_ARGUMENTS:
        pytest.skip("of floats")
    if kind == "none" and argument in ("weights", "mask", "reference_of"):
        pytest.skip("None is the default")
    bad = (BAD | FLOATS_BAD)[kind](value)
    with pytest.raises((TypeError, ValueError), match=argument):
        call(bad)


LOGPROBS = {
    "hidden": (torch.rand(3, 8), lambda x: token_logprobs(x, torch.ones(5, 8), torch.arange(3))),
    "weight": (torch.rand(5, 8), lambda x: token_logprobs(torch.ones(3, 8), x, torch.arange(3))),
    "targets": (torch.arange(3), lambda x: token_logprobs(torch.ones(3, 8), torch.ones(5, 8), x)),
}


@pytest.mark.parametrize("argument", LOGPROBS)
@pytest.mark.parametrize("kind", ["complex tensor", "sparse", "meta", "nested", *FLOATS_BAD])
def test_token_logprobs_refuses(argument: str, kind: str) -> None:
    value, call = LOGPROBS[argument]
    if kind in FLOATS_BAD and argument == "targets":
        value = value.float()
    with pytest.raises((TypeError, ValueError), match=rf"{argument} must"):
        call((BAD | FLOATS_BAD)[kind](value.numpy()))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.uint64])
@pytest.mark.parametrize("argument", INTEGER_ARGUMENTS)
def test_every_integer_type(argument: str, dtype: type) -> None:
    value, call = INTEGER_ARGUMENTS[argument]
    for given in (value.astype(dtype), torch.from_numpy(value.astype(dtype))):
        np.testing.assert_array_equal(np.asarray(call(given)), np.asarray(call(value)))


@pytest.mark.parametrize(
    "argument", ["group_sizes", "pred_counts", "completions", "references", "reference_of"]
)
@pytest.mark.parametrize("number", [2**63 - 1, 2**64 - 1, -(2**63), 2**31, -(2**31)])
def test_integers_that_wrap_in_fewer_bits(argument: str, number: int) -> None:
    value, call = INTEGER_ARGUMENTS[argument]
    dtype = np.uint64 if number > 2**63 - 1 else np.int64
    with pytest.raises(ValueError, match=argument):
        call(np.full(value.shape, number, dtype))
