// Advantages of completions within their group. Formulas and edge rules: mixed_r1_kernels/group_advantages/api.py.
#pragma once

#include <cstdint>
#include <span>

namespace mixed_r1 {

enum class AdvantageMethod : int { group = 0, mean_only, batch, rloo, gdpo, maxrl, task_ema };

inline constexpr int kNumAdvantageMethods = 7;

struct AdvantageInput {
  const double* rewards;                // [N, K], a value that is not usable counts as not applicable
  std::int64_t num_rows;                // N
  std::int64_t num_rewards;             // K
  std::span<const std::int64_t> sizes;  // of the groups, summing to N
  const double* weights;                // [K]
  const bool* mask;                     // [N], false leaves a row out; may be null
  const double* scales;                 // [N], the divisor of each row for task_ema; else null
};

// advantages[N]; always finite.
void group_advantages(const AdvantageInput& input, AdvantageMethod method, double eps, double* advantages);

}  // namespace mixed_r1
