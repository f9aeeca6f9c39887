#include <cuda_runtime.h>

#include <cmath>

#include "cuda/group_advantages.h"
#include "cuda/launch.h"

namespace mixed_r1 {

namespace {

// As in reference.py: equal within 4 units in the last place of float32; between the magnitudes no square or quotient
// leaves the range of double.
constexpr double kRelativeTolerance = 0x1p-21, kSmallest = 1e-140, kLargest = 1e140;
constexpr int kWarp = 32, kThreads = 128;

__device__ double none() { return std::nan(""); }
__device__ bool applies(double value) { return value == value; }
__device__ double usable(double value) { return std::fabs(value) <= kLargest ? value : none(); }
__device__ double lower(double a, double b) { return a < b ? a : b; }
__device__ double upper(double a, double b) { return a > b ? a : b; }

// Every lane gets the result, in the same order of additions.
template <class Combine>
__device__ double reduce(double value, Combine combine) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value = combine(value, __shfl_xor_sync(0xFFFFFFFFu, value, mask));
  return value;
}

__device__ double sum(double value) {
  return reduce(value, [](double a, double b) { return a + b; });
}

// Rewards as they apply (gdpo), or their weighted total in the first column (stride 1).
__global__ void __launch_bounds__(kThreads) values_kernel(AdvantageBatch batch, bool total, double* values) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= batch.num_rows) return;
  const double* const rewards = batch.rewards + row * batch.num_rewards;
  const bool masked = batch.mask != nullptr && !batch.mask[row];
  double weighted = 0;
  bool any = false;
  for (std::int64_t k = 0; k < batch.num_rewards; ++k) {
    const double reward = masked ? none() : usable(rewards[k]);
    if (!total) {
      values[row * batch.num_rewards + k] = reward;
      continue;
    }
    const double part = usable(reward * batch.weights[k]);
    if (!applies(part)) continue;
    weighted += part;
    any = true;
  }
  if (total) values[row] = any ? weighted : none();
}

struct Statistics {
  double count, mean, variance;
  bool constant;  // decided by the range: a standard deviation of equal numbers need not come out as 0
};

// Of values[i * stride], begin <= i < end; one warp.
__device__ Statistics measure(const double* values, std::int64_t stride, std::int64_t begin, std::int64_t end) {
  double count = 0, total = 0, low = INFINITY, high = -INFINITY;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kWarp) {
    const double value = values[i * stride];
    if (!applies(value)) continue;
    count += 1;
    total += value;
    low = lower(low, value);
    high = upper(high, value);
  }
  count = sum(count);
  low = reduce(low, lower);
  high = reduce(high, upper);
  const double limit = upper(kRelativeTolerance * upper(std::fabs(low), std::fabs(high)), kSmallest);
  Statistics result = {count, sum(total) / upper(count, 1), 0, count < 2 || high - low <= limit};
  double rest = 0, squares = 0;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kWarp) {
    const double value = values[i * stride];
    if (!applies(value)) continue;
    rest += value - result.mean;
    squares += (value - result.mean) * (value - result.mean);
  }
  rest = sum(rest);
  result.variance = upper(sum(squares) - rest * rest / upper(count, 1), 0) / upper(count - 1, 1);
  result.mean += rest / upper(count, 1);
  return result;
}

// The standard deviation of all values, for the method batch; one warp.
__global__ void __launch_bounds__(kWarp) batch_std_kernel(const double* values, std::int64_t num_rows, double* std) {
  const Statistics all = measure(values, 1, 0, num_rows);
  if (threadIdx.x == 0) *std = all.count > 1 ? std::sqrt(all.variance) : 0;
}

// One warp a group. `columns` is 1 but for gdpo, whose columns are normalised apart and added up.
__global__ void __launch_bounds__(kWarp)
    groups_kernel(AdvantageBatch batch, AdvantageMethod method, double eps, const double* values, std::int64_t columns,
                  const double* batch_std, double* advantages) {
  const std::int64_t begin = batch.begins[blockIdx.x], end = batch.begins[blockIdx.x + 1];
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kWarp) advantages[i] = 0;
  for (std::int64_t column = 0; column < columns; ++column) {
    const Statistics group = measure(values + column, columns, begin, end);
    if (group.constant) continue;
    const bool normalise = method == AdvantageMethod::group || method == AdvantageMethod::gdpo;
    const double n = group.count, bound = (n - 1) / std::sqrt(n);
    const double weight = method == AdvantageMethod::gdpo ? batch.weights[column] : 1;
    double divisor = 1;
    if (normalise) divisor = std::sqrt(group.variance) + eps;
    if (method == AdvantageMethod::rloo) divisor = (n - 1) / n;
    if (method == AdvantageMethod::batch) divisor = upper(*batch_std + eps, kSmallest);
    if (method == AdvantageMethod::maxrl) divisor = group.mean > 0 ? upper(group.mean + eps, kSmallest) : INFINITY;
    for (std::int64_t i = begin + threadIdx.x; i < end; i += kWarp) {
      const double value = values[i * columns + column];
      if (!applies(value)) continue;
      if (method == AdvantageMethod::task_ema) divisor = upper(batch.scales[i] + eps, kSmallest);
      double advantage = (value - group.mean) / divisor;
      if (normalise) advantage = upper(lower(advantage, bound), -bound);
      advantages[i] += weight * advantage;
    }
  }
}

// gdpo's whitening: each normalised reward sums to 0 over its group, so the batch mean is 0. One warp.
__global__ void __launch_bounds__(kWarp)
    whiten_kernel(AdvantageBatch batch, double eps, const double* values, double* advantages) {
  double squares = 0, valid = 0;
  for (std::int64_t i = threadIdx.x; i < batch.num_rows; i += kWarp) {
    squares += advantages[i] * advantages[i];
    bool any = false;
    for (std::int64_t k = 0; k < batch.num_rewards; ++k) any = any || applies(values[i * batch.num_rewards + k]);
    valid += any ? 1 : 0;
  }
  const double std = std::sqrt(sum(squares) / upper(sum(valid) - 1, 1));
  for (std::int64_t i = threadIdx.x; i < batch.num_rows; i += kWarp) {
    advantages[i] = std > kSmallest ? advantages[i] / (std + eps) : 0;
  }
}

}  // namespace

cudaError_t group_advantages_cuda(const AdvantageBatch& batch, AdvantageMethod method, double eps, double* values,
                                  double* std, double* advantages, cudaStream_t stream) {
  if (batch.num_rows == 0) return cudaSuccess;
  const bool is_gdpo = method == AdvantageMethod::gdpo;
  const std::int64_t row_blocks = blocks_of(batch.num_rows, kThreads);
  cudaError_t error = launch(values_kernel, row_blocks, kThreads, stream, batch, !is_gdpo, values);
  if (error == cudaSuccess && method == AdvantageMethod::batch) {
    error = launch(batch_std_kernel, 1, kWarp, stream, static_cast<const double*>(values), batch.num_rows, std);
  }
  if (error == cudaSuccess) {
    error =
        launch(groups_kernel, batch.num_groups, kWarp, stream, batch, method, eps, static_cast<const double*>(values),
               is_gdpo ? batch.num_rewards : std::int64_t{1}, static_cast<const double*>(std), advantages);
  }
  if (error == cudaSuccess && is_gdpo) {
    error = launch(whiten_kernel, 1, kWarp, stream, batch, eps, static_cast<const double*>(values), advantages);
  }
  return error;
}

}  // namespace mixed_r1
