// What the CPU and the CUDA half of the torch op group_advantages share: its arguments, checked and contiguous.
#pragma once

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
  Tensor rewards, sizes, weights;
  std::optional<Tensor> mask, scales;
};

inline std::optional<Tensor> compact(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional(compact(*tensor)) : std::nullopt;
}

inline CheckedAdvantages check_advantages(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                                          const std::optional<Tensor>& mask, AdvantageMethod method, double eps,
                                          const std::optional<Tensor>& scales) {
  require(rewards.dim() == 2, "rewards must have shape [N, K], got ", rewards);
  require(rewards.scalar_type() == ScalarType::Double, "rewards must be float64, got ", rewards.scalar_type());
  require(std::isfinite(eps) && eps >= 0, "eps must be finite and at least 0, got ", eps);
  require(scales.has_value() == (method == AdvantageMethod::task_ema),
          "scales must be given for method task_ema and no other");
  const std::int64_t N = rewards.size(0);
  check_vector("weights", weights, ScalarType::Double, rewards.device(), rewards.size(1));
  const Tensor solid_weights = compact(weights);
  if (weights.is_cpu()) {  // on a GPU nothing is read back
    for (std::int64_t k = 0; k < weights.size(0); ++k) {
      const double weight = solid_weights.const_data_ptr<double>()[k];
      require(std::abs(weight) <= kLargestWeight, "weights must be numbers of at most ", kLargestWeight, ", got ",
              weight);
    }
  }
  if (mask) check_vector("mask", *mask, ScalarType::Bool, rewards.device(), N);
  if (scales) check_vector("scales", *scales, ScalarType::Double, rewards.device(), N);
  return {compact(rewards), check_counts("group_sizes", sizes, N, 1), solid_weights, compact(mask), compact(scales)};
}

}  // namespace mixed_r1
