// What the CPU and the CUDA half of the torch ops box_iou and paired_box_iou share.
#pragma once

#include <string_view>

#include "core/box_iou.h"
#include "torch_checks.h"

namespace mixed_r1 {

inline BoxKind kind_of(std::string_view name) {
  constexpr std::string_view kNames[kNumBoxKinds] = {"iou", "giou", "diou", "ciou"};
  return static_cast<BoxKind>(index_of(name, kNames, "kind"));
}

// [N] (paired) or [N, M], uninitialised.
inline Tensor new_scores(const Tensor& boxes1, const Tensor& boxes2, bool paired) {
  if (paired) return empty({boxes1.size(0)}, boxes1.scalar_type(), boxes1);
  return empty({boxes1.size(0), boxes2.size(0)}, boxes1.scalar_type(), boxes1);
}

}  // namespace mixed_r1
