// Overlap scores of axis-aligned boxes. Formulas and edge rules: mixed_r1_kernels/box_iou/api.py.
#pragma once

#include <cstdint>

namespace mixed_r1 {

enum class BoxKind : int { iou = 0, giou = 1, diou = 2, ciou = 3 };

inline constexpr int kNumBoxKinds = 4;

// `rows` boxes of four T (x1, y1, x2, y2) anywhere in memory; strides in bytes, no alignment needed.
template <class T>
struct BoxView {
  const char* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t row_stride = 4 * sizeof(T);
  std::int64_t column_stride = sizeof(T);
};

// out[i * boxes2.rows + j]; T is float or double.
template <class T>
void box_iou(const BoxView<T>& boxes1, const BoxView<T>& boxes2, BoxKind kind, T* out);

// out[i]; boxes1.rows == boxes2.rows.
template <class T>
void paired_box_iou(const BoxView<T>& boxes1, const BoxView<T>& boxes2, BoxKind kind, T* out);

}  // namespace mixed_r1
