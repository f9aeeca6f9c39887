#include "core/box_iou.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/box_iou_block.h"
#include "core/dispatch.h"

namespace mixed_r1 {

namespace {

constexpr IsaTable<const BoxKernels*> kKernels = {&box_kernels_generic, MIXED_R1_X86(&box_kernels_avx2),
                                                  MIXED_R1_X86(&box_kernels_avx512)};

template <class T, class Out>
const BoxFunctions<T, Out>& functions() {
  if constexpr (std::is_same_v<T, float>) {
    return kKernels.at(active_isa())->single;
  } else if constexpr (std::is_same_v<T, double>) {
    return kKernels.at(active_isa())->wide;
  } else if constexpr (std::is_same_v<Out, float>) {
    return box_functions_extended_float;
  } else {
    return box_functions_extended_double;
  }
}

template <class T>
struct Box {
  T x1, y1, x2, y2;
  bool finite() const { return std::isfinite(x1) && std::isfinite(y1) && std::isfinite(x2) && std::isfinite(y2); }
};

// Corners in order. A swap, not a minimum and a maximum, which would lose a NaN.
template <class T>
Box<T> load(const BoxView<T>& view, std::int64_t row) {
  T v[4];
  const char* at = view.data + row * view.row_stride;
  for (int k = 0; k < 4; ++k) std::memcpy(&v[k], at + k * view.column_stride, sizeof(T));
  if (!(v[0] <= v[2])) std::swap(v[0], v[2]);
  if (!(v[1] <= v[3])) std::swap(v[1], v[3]);
  return {v[0], v[1], v[2], v[3]};
}

// Squares of numbers between these stay finite and normal.
template <class T>
constexpr T kBig = std::is_same_v<T, float> ? T(0x1p60) : T(0x1p500);
template <class T>
constexpr T kSmall = T(1) / kBig<T>;

// Where they do for a box. Outside, the same loop runs in long double, which holds them all.
template <class T>
bool is_ordinary(const Box<T>& box, BoxKind kind) {
  constexpr T big = kBig<T>, small = kSmall<T>;
  const T width = box.x2 - box.x1, height = box.y2 - box.y1;
  const bool fits = box.x1 > -big && box.y1 > -big && box.x2 < big && box.y2 < big && (width == 0 || width > small) &&
                    (height == 0 || height > small);
  if (!fits || kind == BoxKind::iou) return fits;
  // The others measure across two boxes: coordinates this far from 0, or 0, differ by 0 or at least `small`.
  const auto is_far = [](T value) {
    return value == 0 || std::fabs(value) >= small / std::numeric_limits<T>::epsilon();
  };
  return is_far(box.x1) && is_far(box.y1) && is_far(box.x2) && is_far(box.y2);
}

// The boxes as they lie in memory, where nothing lies between them: for loops that the compiler can vectorise.
template <class T>
const T* dense(const BoxView<T>& view) {
  const bool whole = view.row_stride == 4 * sizeof(T) && view.column_stride == sizeof(T);
  const bool aligned = reinterpret_cast<std::uintptr_t>(view.data) % alignof(T) == 0;
  return whole && aligned ? reinterpret_cast<const T*>(view.data) : nullptr;
}

// is_ordinary() of every box for iou, without a branch.
template <class T>
bool are_ordinary(const T* boxes, std::int64_t count) {
  int strange = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const T x1 = boxes[4 * i], y1 = boxes[4 * i + 1], x2 = boxes[4 * i + 2], y2 = boxes[4 * i + 3];
    const T width = std::fabs(x2 - x1), height = std::fabs(y2 - y1);
    strange |= !(std::fabs(x1) < kBig<T>) | !(std::fabs(y1) < kBig<T>) | !(std::fabs(x2) < kBig<T>) |
               !(std::fabs(y2) < kBig<T>);
    strange |= ((width != 0) & (width <= kSmall<T>)) | ((height != 0) & (height <= kSmall<T>));
  }
  return strange == 0;
}

struct Scan {
  bool ordinary = true;
  std::vector<std::int64_t> bad;  // rows that are not finite
};

template <class T>
Scan scan(const BoxView<T>& view, BoxKind kind) {
  Scan result;
  if (const T* boxes = dense(view); kind == BoxKind::iou && boxes != nullptr && are_ordinary(boxes, view.rows)) {
    return result;
  }
  for (std::int64_t row = 0; row < view.rows; ++row) {
    const Box<T> box = load(view, row);
    if (is_ordinary(box, kind)) continue;
    if (box.finite()) {
      result.ordinary = false;
    } else {
      result.bad.push_back(row);
    }
  }
  return result;
}

// A box that is not finite becomes a point here; clear() overwrites its scores.
template <class T, class Wide>
void put(const BoxView<T>& view, std::int64_t row, bool want_angle, BoxBlock<Wide>& block, int at) {
  Box<T> box = load(view, row);
  if (!box.finite()) box = {};
  // + 0: -0.0 - 0.0 is -0.0, and atan2(0, -0) is pi.
  const Wide width = Wide(box.x2) - Wide(box.x1) + 0, height = Wide(box.y2) - Wide(box.y1) + 0;
  block.x1[at] = box.x1;
  block.y1[at] = box.y1;
  block.x2[at] = box.x2;
  block.y2[at] = box.y2;
  block.area[at] = std::max(width * height, std::numeric_limits<Wide>::min());
  if (want_angle) block.angle[at] = std::atan2(width, height);
}

// The same for boxes that are all finite, without the angle, in a loop that the compiler vectorises.
template <class T>
void put_finite(const T* boxes, int count, BoxBlock<T>& block) {
  constexpr T kLeast = std::numeric_limits<T>::min();
  for (int k = 0; k < count; ++k) {
    const T x1 = boxes[4 * k], y1 = boxes[4 * k + 1], x2 = boxes[4 * k + 2], y2 = boxes[4 * k + 3];
    const T left = x1 < x2 ? x1 : x2, right = x1 < x2 ? x2 : x1, top = y1 < y2 ? y1 : y2, bottom = y1 < y2 ? y2 : y1;
    const T area = (right - left) * (bottom - top);
    block.x1[k] = left;
    block.y1[k] = top;
    block.x2[k] = right;
    block.y2[k] = bottom;
    block.area[k] = area < kLeast ? kLeast : area;
  }
}

// Boxes from `first` on, as many as the block holds: their number.
template <class T, class Wide>
int fill(const BoxView<T>& view, std::int64_t first, const Scan& found, BoxKind kind, BoxBlock<Wide>& block) {
  const auto count = static_cast<int>(std::min<std::int64_t>(view.rows - first, block.kSize));
  const bool want_angle = kind == BoxKind::ciou;
  const T* const boxes = dense(view);
  int k = 0;
  if constexpr (std::is_same_v<T, Wide>) {
    if (boxes != nullptr && found.bad.empty() && !want_angle) {
      put_finite(boxes + 4 * first, count, block);
      k = count;
    }
  }
  for (; k < count; ++k) put(view, first + k, want_angle, block, k);
  for (; k % kBoxPadding != 0; ++k) {
    block.x1[k] = block.y1[k] = block.x2[k] = block.y2[k] = block.angle[k] = 0;
    block.area[k] = 1;
  }
  return count;
}

template <class T>
struct Boxes {
  explicit Boxes(const BoxView<T>& boxes, BoxKind kind) : view(boxes), found(scan(boxes, kind)) {}
  const BoxView<T>& view;
  const Scan found;
};

template <class Wide, class T>
void all_pairs(const Boxes<T>& boxes1, const Boxes<T>& boxes2, BoxKind kind, T* out) {
  const BoxMatrixFunction<Wide, T> score = functions<Wide, T>().matrix[static_cast<int>(kind)];
  const std::int64_t num_rows = boxes1.view.rows, num_columns = boxes2.view.rows;
  BoxBlock<Wide> rows;
  BoxBlock<Wide> columns;
  for (std::int64_t i = 0; i < num_rows; i += rows.kSize) {
    const int height = fill(boxes1.view, i, boxes1.found, kind, rows);
    for (std::int64_t j = 0; j < num_columns; j += columns.kSize) {
      const int width = fill(boxes2.view, j, boxes2.found, kind, columns);
      score(rows, height, columns, width, out + i * num_columns + j, num_columns);
    }
  }
}

template <class Wide, class T>
void pairs(const Boxes<T>& boxes1, const Boxes<T>& boxes2, BoxKind kind, T* out) {
  const BoxPairFunction<Wide, T> score = functions<Wide, T>().paired[static_cast<int>(kind)];
  BoxBlock<Wide> left;
  BoxBlock<Wide> right;
  for (std::int64_t first = 0; first < boxes1.view.rows; first += left.kSize) {
    const int count = fill(boxes1.view, first, boxes1.found, kind, left);
    fill(boxes2.view, first, boxes2.found, kind, right);
    score(left, right, count, out + first);
  }
}

}  // namespace

template <class T>
void box_iou(const BoxView<T>& boxes1, const BoxView<T>& boxes2, BoxKind kind, T* out) {
  const Boxes<T> rows(boxes1, kind), columns(boxes2, kind);
  if (rows.found.ordinary && columns.found.ordinary) {
    all_pairs<T>(rows, columns, kind, out);
  } else {
    all_pairs<long double>(rows, columns, kind, out);
  }
  for (const std::int64_t i : rows.found.bad) std::fill_n(out + i * boxes2.rows, boxes2.rows, T(0));
  for (const std::int64_t j : columns.found.bad) {
    for (std::int64_t i = 0; i < boxes1.rows; ++i) out[i * boxes2.rows + j] = T(0);
  }
}

template <class T>
void paired_box_iou(const BoxView<T>& boxes1, const BoxView<T>& boxes2, BoxKind kind, T* out) {
  const Boxes<T> left(boxes1, kind), right(boxes2, kind);
  if (left.found.ordinary && right.found.ordinary) {
    pairs<T>(left, right, kind, out);
  } else {
    pairs<long double>(left, right, kind, out);
  }
  for (const std::int64_t i : left.found.bad) out[i] = T(0);
  for (const std::int64_t i : right.found.bad) out[i] = T(0);
}

template void box_iou(const BoxView<float>&, const BoxView<float>&, BoxKind, float*);
template void box_iou(const BoxView<double>&, const BoxView<double>&, BoxKind, double*);
template void paired_box_iou(const BoxView<float>&, const BoxView<float>&, BoxKind, float*);
template void paired_box_iou(const BoxView<double>&, const BoxView<double>&, BoxKind, double*);

}  // namespace mixed_r1
