// What the CPU and the CUDA half of the torch op group_advantages share: its arguments, checked and contiguous.
#pragma once

#include <ATen/core/Tensor.h>

#include <cmath>
#include <optional>
#include <string_view>

#include "core/group_advantages.h"
#include "torch_checks.h"

namespace mixed_r1 {

inline constexpr double kLargestWeight = 1e100;  // _LARGEST_WEIGHT of group_advantages/api.py

inline AdvantageMethod method_of(std::string_view name) {
  constexpr std::string_view kNames[kNumAdvantageMethods] = {"group", "mean_only", "batch",   "rloo",
                                                             "gdpo",  "maxrl",     "task_ema"};
  return static_cast<AdvantageMethod>(index_of(name, kNames, "method"));
}

struct CheckedAdvantages {
  at::Tensor rewards, sizes, weights;
  std::optional<at::Tensor> mask, scales;
};

inline std::optional<at::Tensor> contiguous(const std::optional<at::Tensor>& tensor) {
  return tensor ? std::optional(tensor->contiguous()) : std::nullopt;
}

inline CheckedAdvantages check_advantages(const at::Tensor& rewards, const at::Tensor& sizes, const at::Tensor& weights,
                                          const std::optional<at::Tensor>& mask, AdvantageMethod method, double eps,
                                          const std::optional<at::Tensor>& scales) {
  TORCH_CHECK_VALUE(rewards.dim() == 2, "rewards must have shape [N, K], got ", rewards.sizes());
  TORCH_CHECK_TYPE(rewards.scalar_type() == at::kDouble, "rewards must be float64, got ", rewards.scalar_type());
  TORCH_CHECK_VALUE(std::isfinite(eps) && eps >= 0, "eps must be finite and at least 0, got ", eps);
  TORCH_CHECK_VALUE(scales.has_value() == (method == AdvantageMethod::task_ema),
                    "scales must be given for method task_ema and no other");
  const std::int64_t N = rewards.size(0);
  check_vector("weights", weights, at::kDouble, rewards.device(), rewards.size(1));
  if (weights.is_cpu()) {  // on a GPU nothing is read back
    for (std::int64_t k = 0; k < weights.size(0); ++k) {
      const double weight = weights[k].item<double>();
      TORCH_CHECK_VALUE(std::abs(weight) <= kLargestWeight, "weights must be numbers of at most ", kLargestWeight,
                        ", got ", weight);
    }
  }
  if (mask) check_vector("mask", *mask, at::kBool, rewards.device(), N);
  if (scales) check_vector("scales", *scales, at::kDouble, rewards.device(), N);
  return {rewards.contiguous(), check_counts("group_sizes", sizes, N, 1), weights.contiguous(), contiguous(mask),
          contiguous(scales)};
}

}  // namespace mixed_r1
