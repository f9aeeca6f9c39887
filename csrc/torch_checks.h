// Checks that several of the torch ops make. A message names the argument, the rule and what was given.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/box_iou.h"
#include "torch_stable.h"

namespace mixed_r1 {

// The place of `name` in `names`.
template <std::size_t count>
int index_of(std::string_view name, const std::string_view (&names)[count], const char* argument) {
  for (std::size_t i = 0; i < count; ++i) {
    if (names[i] == name) return static_cast<int>(i);
  }
  require(false, argument, " must be a known name, got '", name, "'");
  return -1;
}

void check_vector(const char* name, const Tensor& vector, ScalarType type, const Device& device,
                  std::optional<std::int64_t> size = std::nullopt);

// Two sets of boxes of one dtype on one device; `paired`: as many in one as in the other.
void check_boxes(const Tensor& boxes1, const Tensor& boxes2, bool paired, const char* name1 = "boxes1",
                 const char* name2 = "boxes2");

// Integers [S] on the CPU, each at least `least`, that add up to `total`.
Tensor check_counts(const char* name, const Tensor& counts, std::int64_t total, std::int64_t least);

// Checked tensors as csrc/core takes them.
template <class T>
BoxView<T> view(const Tensor& boxes) {
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(T));
  return {static_cast<const char*>(boxes.const_data_ptr()), boxes.size(0), boxes.stride(0) * kSize,
          boxes.stride(1) * kSize};
}

inline std::span<const std::int64_t> span(const Tensor& counts) {
  return {counts.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(counts.size(0))};
}

}  // namespace mixed_r1
