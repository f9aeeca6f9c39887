#include <cuda_runtime.h>

#include <cmath>

#include "cuda/box_iou.h"
#include "cuda/launch.h"

namespace mixed_r1 {

namespace {

constexpr int kThreads = 128;
constexpr int kRows = 16;  // boxes of the first set for each thread, which keeps its box of the second

template <class T>
__device__ T lower(T a, T b) {
  return a < b ? a : b;
}

template <class T>
__device__ T upper(T a, T b) {
  return a > b ? a : b;
}

// Corners in order, a quarter of them: every difference is finite.
template <class T>
struct Box {
  T x1, y1, x2, y2, angle;
  bool finite;
};

template <BoxKind kind, class T>
__device__ Box<T> load(const T* boxes, std::int64_t index) {
  const T* const v = boxes + 4 * index;
  const T a = v[0], b = v[1], c = v[2], d = v[3];
  // x - x is 0 for a finite x only.
  const bool finite = a - a == T(0) && b - b == T(0) && c - c == T(0) && d - d == T(0);
  const T quarter = T(0.25);
  Box<T> box = {
      lower(a, c) * quarter, lower(b, d) * quarter, upper(a, c) * quarter, upper(b, d) * quarter, T(0), finite};
  if (kind == BoxKind::ciou && finite) {
    box.angle = std::atan2(box.x2 - box.x1 + 0, box.y2 - box.y1 + 0);  // atan2(0, -0.0) would be pi
  }
  return box;
}

// numerator / denominator, and 0 where the denominator is not above 0.
template <class T>
__device__ T ratio(T numerator, T denominator) {
  return denominator > T(0) ? numerator / denominator : T(0);
}

// In units of the enclosing box, so that nothing over- or underflows. An axis without extent has only zero widths:
// there any unit serves.
template <BoxKind kind, class T>
__device__ T score(const Box<T>& a, const Box<T>& b) {
  if (!a.finite || !b.finite) return T(0);
  const T width = upper(a.x2, b.x2) - lower(a.x1, b.x1), height = upper(a.y2, b.y2) - lower(a.y1, b.y1);
  const T x_unit = width > T(0) ? width : T(1), y_unit = height > T(0) ? height : T(1);
  const T x_overlap = upper(lower(a.x2, b.x2) - upper(a.x1, b.x1), T(0)) / x_unit;
  const T y_overlap = upper(lower(a.y2, b.y2) - upper(a.y1, b.y1), T(0)) / y_unit;
  const T intersection = x_overlap * y_overlap;
  const T a_area = ((a.x2 - a.x1) / x_unit) * ((a.y2 - a.y1) / y_unit);
  const T b_area = ((b.x2 - b.x1) / x_unit) * ((b.y2 - b.y1) / y_unit);
  const T both = (a_area + b_area) - intersection;
  const T iou = lower(ratio(intersection, both), T(1));
  if constexpr (kind == BoxKind::iou) return iou;
  if constexpr (kind == BoxKind::giou) {
    // The enclosing box has area 1 here, or 0 where an extent is 0.
    return width > T(0) && height > T(0) ? iou - upper(T(1) - both, T(0)) : iou;
  }
  const T unit = width > height ? width : height > T(0) ? height : T(1);
  const T dx = ((a.x1 - b.x1) + (a.x2 - b.x2)) / unit, dy = ((a.y1 - b.y1) + (a.y2 - b.y2)) / unit;
  const T across = width / unit, down = height / unit;
  const T diou = iou - ratio(T(0.25) * (dx * dx + dy * dy), across * across + down * down);
  if constexpr (kind != BoxKind::ciou) return diou;
  constexpr T kFourOverPiSquared = T(0.40528473456935108577551785283891);
  const T turn = a.angle - b.angle, aspect = kFourOverPiSquared * (turn * turn);
  return diou - ratio(aspect * aspect, (T(1) - iou) + aspect);
}

// Blocks walk the columns first: neighbours write neighbouring addresses.
template <BoxKind kind, class T>
__global__ void __launch_bounds__(kThreads)
    pairs_kernel(const T* boxes1, std::int64_t count1, const T* boxes2, std::int64_t count2, T* out) {
  const std::int64_t column_blocks = (count2 + kThreads - 1) / kThreads;
  const std::int64_t column = blockIdx.x % column_blocks * kThreads + threadIdx.x;
  const std::int64_t first_row = blockIdx.x / column_blocks * kRows;
  if (column >= count2) return;
  const Box<T> b = load<kind>(boxes2, column);
  for (std::int64_t row = first_row; row < first_row + kRows && row < count1; ++row) {
    out[row * count2 + column] = score<kind>(load<kind>(boxes1, row), b);
  }
}

template <BoxKind kind, class T>
__global__ void __launch_bounds__(kThreads)
    paired_kernel(const T* boxes1, const T* boxes2, std::int64_t count, T* out) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row < count) out[row] = score<kind>(load<kind>(boxes1, row), load<kind>(boxes2, row));
}

}  // namespace

template <class T>
cudaError_t box_iou_cuda(const T* boxes1, std::int64_t count1, const T* boxes2, std::int64_t count2, BoxKind kind,
                         T* out, cudaStream_t stream) {
  using Kernel = void (*)(const T*, std::int64_t, const T*, std::int64_t, T*);
  constexpr Kernel kKernels[kNumBoxKinds] = {pairs_kernel<BoxKind::iou, T>, pairs_kernel<BoxKind::giou, T>,
                                             pairs_kernel<BoxKind::diou, T>, pairs_kernel<BoxKind::ciou, T>};
  const std::int64_t blocks = blocks_of(count2, kThreads) * blocks_of(count1, kRows);
  return launch(kKernels[static_cast<int>(kind)], blocks, kThreads, stream, boxes1, count1, boxes2, count2, out);
}

template <class T>
cudaError_t paired_box_iou_cuda(const T* boxes1, const T* boxes2, std::int64_t count, BoxKind kind, T* out,
                                cudaStream_t stream) {
  using Kernel = void (*)(const T*, const T*, std::int64_t, T*);
  constexpr Kernel kKernels[kNumBoxKinds] = {paired_kernel<BoxKind::iou, T>, paired_kernel<BoxKind::giou, T>,
                                             paired_kernel<BoxKind::diou, T>, paired_kernel<BoxKind::ciou, T>};
  return launch(kKernels[static_cast<int>(kind)], blocks_of(count, kThreads), kThreads, stream, boxes1, boxes2, count,
                out);
}

template cudaError_t box_iou_cuda(const float*, std::int64_t, const float*, std::int64_t, BoxKind, float*,
                                  cudaStream_t);
template cudaError_t box_iou_cuda(const double*, std::int64_t, const double*, std::int64_t, BoxKind, double*,
                                  cudaStream_t);
template cudaError_t paired_box_iou_cuda(const float*, const float*, std::int64_t, BoxKind, float*, cudaStream_t);
template cudaError_t paired_box_iou_cuda(const double*, const double*, std::int64_t, BoxKind, double*, cudaStream_t);

}  // namespace mixed_r1
