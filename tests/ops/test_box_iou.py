from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mixed_r1_kernels import box_iou, paired_box_iou
from mixed_r1_kernels.box_iou.api import KINDS

IMPLS = ("reference", "native")
LEVELS = ("generic", "avx2", "avx512")


def random_boxes(rng, count, dtype=np.float64, size=500.0):
    corners = rng.random((count, 2)) * size
    return np.concatenate([corners, corners + rng.random((count, 2)) * size], axis=1).astype(dtype)


def exact_iou(a, b):
    """Rational arithmetic, one pair."""
    if not all(math.isfinite(v) for v in (*a, *b)):
        return 0.0
    a, b = ([Fraction(float(v)) for v in box] for box in (a, b))
    a, b = ((min(p[0], p[2]), min(p[1], p[3]), max(p[0], p[2]), max(p[1], p[3])) for p in (a, b))
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = sum((p[2] - p[0]) * (p[3] - p[1]) for p in (a, b)) - width * height
    return float(width * height / union) if union else 0.0


# Two boxes, and iou, giou, diou worked out by hand.
TABLE = [
    ((0, 0, 2, 2), (0, 0, 2, 2), 1.0, 1.0, 1.0),
    ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, 1 / 7 - 2 / 9, 1 / 7 - 2 / 18),
    ((0, 0, 1, 1), (2, 0, 3, 1), 0.0, -1 / 3, -4 / 10),
    ((0, 0, 1, 1), (1, 0, 2, 1), 0.0, 0.0, -1 / 5),
    ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16, 1 / 16, 1 / 16 - 0.5 / 32),
    ((2, 2, 0, 0), (0, 0, 2, 2), 1.0, 1.0, 1.0),
    ((1, 1, 1, 1), (1, 1, 1, 1), 0.0, 0.0, 0.0),
    ((0, 0, 0, 2), (0, 0, 0, 2), 0.0, 0.0, 0.0),
    ((0, 0, 0, 0), (3, 4, 3, 4), 0.0, -1.0, -1.0),
]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hand_table(impl, dtype):
    first = np.array([row[0] for row in TABLE], dtype=dtype)
    second = np.array([row[1] for row in TABLE], dtype=dtype)
    for column, kind in enumerate(("iou", "giou", "diou")):
        expected = np.array([row[2 + column] for row in TABLE])
        scores = paired_box_iou(first, second, kind=kind, impl=impl)
        assert scores.dtype == dtype
        np.testing.assert_allclose(scores, expected, atol=1e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("impl", IMPLS)
def test_ciou_by_its_definition(impl):
    a, b = (0.0, 0.0, 4.0, 2.0), (1.0, 0.0, 2.0, 3.0)
    iou = 2 / 9
    diou = iou - (0.5**2 + 0.5**2) / (4**2 + 3**2)
    aspect = 4 / math.pi**2 * (math.atan(4 / 2) - math.atan(1 / 3)) ** 2
    expected = diou - aspect / (1 - iou + aspect) * aspect
    assert box_iou(np.array([a]), np.array([b]), kind="ciou", impl=impl)[0, 0] == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 15), (3, 16), (7, 17), (5, 513), (2, 1025), (1030, 3)])
def test_native_equals_reference(kind, dtype, shape):
    rng = np.random.default_rng(shape[1])
    a, b = (random_boxes(rng, n, dtype) for n in shape)
    # Eight roundings of numbers at most 2 for float32; the reference is exact to the last bit of float64.
    atol = 8 * 2 * np.finfo(dtype).eps
    scores = box_iou(a, b, kind=kind, impl="native")
    assert scores.shape == shape and scores.dtype == dtype
    np.testing.assert_allclose(scores, box_iou(a, b, kind=kind, impl="reference"), atol=atol, rtol=0)
    count = min(shape)
    np.testing.assert_array_equal(
        paired_box_iou(a[:count], b[:count], kind=kind), np.diagonal(scores)[:count], strict=True
    )


@pytest.mark.parametrize("impl", IMPLS)
def test_a_matrix_is_an_array(impl):
    boxes = random_boxes(np.random.default_rng(0), 5)
    for function in (box_iou, paired_box_iou):
        scores = function(boxes.view(np.matrix), boxes.view(np.matrix), impl=impl)
        np.testing.assert_array_equal(scores, function(boxes, boxes, impl=impl), strict=True)


def test_pycocotools_on_random_pairs():
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 1000), random_boxes(rng, 100)
    as_xywh = [np.concatenate([x[:, :2], x[:, 2:] - x[:, :2]], axis=1) for x in (a, b)]
    expected = mask.iou(*as_xywh, [0] * len(b))
    np.testing.assert_allclose(box_iou(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(box_iou(a.astype(np.float32), b.astype(np.float32)), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_identical_boxes_score_exactly_one_and_the_matrix_is_symmetric(kind, dtype):
    boxes = random_boxes(np.random.default_rng(1), 300, dtype)
    scores = box_iou(boxes, boxes, kind=kind)
    np.testing.assert_array_equal(np.diagonal(scores), np.ones(300))
    np.testing.assert_array_equal(scores, scores.T)


WILD = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308, 1e-308, 5e-324, 1e154, 2.0**500, 2.0**-500, math.nan]),
    st.integers(-3, 3).map(float),
)
BOXES = hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.just(4)), elements=WILD)


@settings(max_examples=150, deadline=None)
@given(BOXES, BOXES)
def test_any_float64_box_against_exact_arithmetic(a, b):
    expected = np.array([[exact_iou(p, q) for q in b] for p in a])
    for impl in IMPLS:
        np.testing.assert_allclose(box_iou(a, b, impl=impl), expected, atol=1e-12, rtol=1e-9)
        for kind, lowest in (("giou", -1), ("diou", -1), ("ciou", -1.5)):
            scores = box_iou(a, b, kind=kind, impl=impl)
            assert bool((scores <= expected + 1e-12).all()) and bool((scores >= lowest - 1e-12).all())


@settings(max_examples=150, deadline=None)
@given(BOXES, BOXES)
def test_any_float32_box_against_exact_arithmetic(a, b):
    with np.errstate(over="ignore"):
        a, b = a.astype(np.float32), b.astype(np.float32)
    expected = np.array([[exact_iou(p, q) for q in b] for p in a])
    scores = box_iou(a, b, impl="native")
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_disjoint_pairs_are_ranked_by_distance(kind):
    near_to_far = np.array([[x, 0, x + 1, 1] for x in (2, 3, 5, 9)], dtype=np.float32)
    scores = box_iou(np.array([[0, 0, 1, 1]], dtype=np.float32), near_to_far, kind=kind)[0]
    assert bool((np.diff(scores) < 0).all()) and scores.max() < 0


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_bad_box_changes_no_other_score(impl, kind):
    rng = np.random.default_rng(2)
    a, b = random_boxes(rng, 20), random_boxes(rng, 30)
    clean = box_iou(a, b, kind=kind, impl=impl)
    bad_a, bad_b = a.copy(), b.copy()
    bad_a[3, 1], bad_b[17, 2] = math.nan, math.inf
    scores = box_iou(bad_a, bad_b, kind=kind, impl=impl)
    assert not scores[3].any() and not scores[:, 17].any()
    keep = np.ones_like(clean, dtype=bool)
    keep[3], keep[:, 17] = False, False
    np.testing.assert_array_equal(scores[keep], clean[keep])


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bad_number_at_any_corner_scores_zero(dtype, bad, kind, impl):
    boxes = np.tile(np.array([0, 0, 1, 1], dtype), (4, 1))
    boxes[np.arange(4), np.arange(4)] = bad
    other = np.array([[3, 3, 4, 4]] * 4, dtype)
    for a, b in ((boxes, other), (other, boxes)):
        assert not box_iou(a, b, kind=kind, impl=impl).any()
        assert not paired_box_iou(a, b, kind=kind, impl=impl).any()


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sign_of_zero_changes_nothing(dtype, kind, impl):
    signed = np.array(list(itertools.product([0.0, -0.0], repeat=4)), dtype)
    others = np.array([[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 2, 1]], dtype)
    plain = box_iou(np.zeros_like(signed), others, kind=kind, impl=impl)
    np.testing.assert_array_equal(box_iou(signed, others, kind=kind, impl=impl), plain)
    np.testing.assert_array_equal(box_iou(others, signed, kind=kind, impl=impl), plain.T)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_native_equals_reference_at_any_distance(kind, dtype):
    """Points, lines and boxes, apart by anything down to the smallest number."""
    info = np.finfo(dtype)
    distances = np.array([0, *np.exp2(np.linspace(np.log2(info.smallest_subnormal), 3, 40))], dtype)
    shapes = np.array([[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 1]], dtype)
    boxes = np.concatenate([distances[:, None] * shape for shape in shapes] + [shapes])
    count = len(distances)
    moved = [boxes[:, None] + distances[:, None] * np.array(to, dtype) for to in ([1, 0, 1, 0], [1, 1, 1, 1])]
    first, second = np.tile(np.repeat(boxes, count, axis=0), (2, 1)), np.concatenate(moved).reshape(-1, 4)
    for a, b in ((first, second), (second, first)):
        # One pair a call: one box beyond the range of its type takes a whole call to the wider one.
        pairs = [box_iou(a[i : i + 1], b[i : i + 1], kind=kind) for i in range(len(a))]
        expected = paired_box_iou(a, b, kind=kind, impl="reference")
        np.testing.assert_allclose(np.ravel(pairs), expected, atol=16 * info.eps, rtol=0)


@pytest.mark.parametrize("impl", IMPLS)
def test_empty(impl):
    boxes = np.zeros((3, 4))
    assert box_iou(boxes[:0], boxes, impl=impl).shape == (0, 3)
    assert box_iou(boxes, boxes[:0], impl=impl).shape == (3, 0)
    assert paired_box_iou(boxes[:0], boxes[:0], impl=impl).shape == (0,)


def test_strided_unaligned_swapped_and_other_dtypes():
    boxes = random_boxes(np.random.default_rng(3), 40)
    expected = box_iou(boxes, boxes)
    unaligned = np.frombuffer(b"x" + boxes.tobytes(), dtype=np.uint8)[1:].view(np.float64).reshape(-1, 4)
    assert not unaligned.flags.aligned
    wide = np.zeros((80, 8))
    wide[::2, ::2] = boxes
    for same in (unaligned, wide[::2, ::2], np.asfortranarray(boxes), boxes[::-1][::-1], boxes.astype(">f8")):
        np.testing.assert_array_equal(box_iou(same, boxes), expected)
    frozen = boxes.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(box_iou(frozen, frozen), expected)
    whole = np.round(boxes)
    np.testing.assert_array_equal(
        box_iou(whole.astype(np.int32), whole.astype(np.uint16)), box_iou(whole, whole)
    )
    mixed = box_iou(boxes.astype(np.float32), boxes)
    assert mixed.dtype == np.float64
    half = box_iou(boxes.astype(np.float16), boxes.astype(np.float16))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, box_iou(*[boxes.astype(np.float16).astype(np.float64)] * 2), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64])
def test_tensors_in_tensors_out(dtype):
    boxes = torch.from_numpy(random_boxes(np.random.default_rng(4), 9)).to(dtype)
    scores = box_iou(boxes, boxes[:5], kind="giou")
    assert isinstance(scores, torch.Tensor)
    assert scores.dtype == (torch.float64 if dtype in (torch.float64, torch.int64) else torch.float32)
    expected = box_iou(boxes.double().numpy(), boxes[:5].double().numpy(), kind="giou")
    torch.testing.assert_close(scores.double(), torch.from_numpy(expected), atol=1e-6, rtol=0)
    strided = torch.stack([boxes, boxes], dim=2)[:, :, 0].requires_grad_(dtype.is_floating_point)
    paired = paired_box_iou(strided, strided)
    assert not paired.requires_grad and bool((paired == 1).all())


@pytest.mark.parametrize("impl", ["auto", *IMPLS])
@pytest.mark.parametrize(
    ("a", "b", "error", "message"),
    [
        (np.zeros((2, 5)), np.zeros((2, 4)), ValueError, r"boxes1 must have shape \[N, 4\], got \[2, 5\]"),
        (np.zeros((2, 4)), np.zeros(4), ValueError, r"boxes2 must have shape \[N, 4\], got \[4\]"),
        (np.zeros((2, 4), dtype=complex), np.zeros((2, 4)), TypeError, "boxes1 must hold real numbers"),
        (np.zeros((2, 4)), np.full((2, 4), "x"), TypeError, "boxes2 must hold real numbers"),
        (np.zeros((2, 4)), torch.zeros((2, 4)), TypeError, "boxes2 must be of boxes1's type"),
        ([[0, 0, 1, 1]], [[0, 0, 1, 1]], TypeError, "boxes1 must be an ndarray or a torch tensor, got list"),
        (np.zeros((2, 4)), b"\0" * 128, TypeError, "boxes2 must be an ndarray or a torch tensor, got bytes"),
        (np.zeros((2, 4)), None, TypeError, "boxes2 must be an ndarray or a torch tensor, got NoneType"),
    ],
)
def test_bad_boxes(impl, a, b, error, message):
    with pytest.raises(error, match=message):
        box_iou(a, b, impl=impl)


def test_other_bad_arguments():
    boxes = np.zeros((2, 4))
    with pytest.raises(ValueError, match=r"kind must be one of .*, got 'siou'"):
        box_iou(boxes, boxes, kind="siou")
    with pytest.raises(ValueError, match=r"kind must be one of .*, got None"):
        box_iou(boxes, boxes, kind=None)
    with pytest.raises(ValueError, match="boxes2 must have 2 rows like boxes1, got 1"):
        paired_box_iou(boxes, boxes[:1])
    with pytest.raises(ValueError, match="impl must be one of"):
        box_iou(boxes, boxes, impl="fast")


PROBE = """
import sys, numpy as np
from mixed_r1_kernels import box_iou, paired_box_iou
rng = np.random.default_rng(5)
boxes = rng.random((90, 4)) * 100
out = {}
for dtype in ("float32", "float64"):
    for kind in ("iou", "giou", "diou", "ciou"):
        x = boxes.astype(dtype)
        out[f"{dtype}_{kind}"] = box_iou(x, x[:77], kind=kind, impl="native")
        assert (paired_box_iou(x, x, kind=kind, impl="native") == 1).all()
np.savez(sys.argv[1], **out)
"""


def test_instruction_sets_agree(tmp_path):
    results = []
    for level in LEVELS:
        path = tmp_path / f"{level}.npz"
        environment = {**os.environ, "MIXED_R1_ISA": level}
        subprocess.run([sys.executable, "-c", PROBE, str(path)], check=True, env=environment)
        results.append(np.load(path))
    for name in results[0].files:
        for result in results[1:]:
            atol = 1e-6 if name.startswith("float32") else 1e-14
            np.testing.assert_allclose(result[name], results[0][name], atol=atol, rtol=0)


def test_environment_chooses_the_implementation(monkeypatch):
    boxes = random_boxes(np.random.default_rng(6), 3, np.float32)
    monkeypatch.setenv("MIXED_R1_IMPL", "triton")
    with pytest.raises(Exception, match="MIXED_R1_IMPL"):
        box_iou(boxes, boxes)
    monkeypatch.setenv("MIXED_R1_IMPL", "reference")
    np.testing.assert_array_equal(box_iou(boxes, boxes), box_iou(boxes, boxes, impl="reference"))
