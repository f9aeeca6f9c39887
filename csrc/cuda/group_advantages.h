// Advantages of completions within their group on a GPU; formulas: kernels/mixed_r1_kernels/group_advantages/api.py.
// Device pointers and a stream, no allocation, no synchronisation, no atomics: sums have a fixed order.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/group_advantages.h"

namespace mixed_r1 {

struct AdvantageBatch {
  const double* rewards;  // [num_rows, num_rewards], a value that is not usable counts as not applicable
  std::int64_t num_rows, num_rewards;
  const std::int64_t* begins;  // [num_groups + 1], the first row of each group and num_rows
  std::int64_t num_groups;
  const double* weights;  // [num_rewards]
  const bool* mask;       // [num_rows], false leaves a row out; may be null
  const double* scales;   // [num_rows], the divisor of each row for task_ema; else null
};

// values [num_rows, num_rewards] and std [1] are scratch; advantages is [num_rows].
cudaError_t group_advantages_cuda(const AdvantageBatch& batch, AdvantageMethod method, double eps, double* values,
                                  double* std, double* advantages, cudaStream_t stream);

}  // namespace mixed_r1
