// With core/group_advantages.cpp core/group_advantages_generic.cpp.
// Runs csrc/cuda/group_advantages.cu against core/group_advantages.cpp, which is tested against the
// reference; exits with 1 on a difference.
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "core/group_advantages_kernels.h"
#include "cuda/group_advantages.h"
#include "gpu_memory.h"

const mixed_r1::AdvantageKernels& mixed_r1::advantage_kernels() {
  return mixed_r1::advantage_kernels_generic;
}

namespace {

using namespace mixed_r1;

bool check(const std::vector<std::int64_t>& sizes, std::int64_t num_rewards, bool masked, double eps) {
  std::vector<std::int64_t> begins(sizes.size() + 1, 0);
  std::partial_sum(sizes.begin(), sizes.end(), begins.begin() + 1);
  const std::int64_t N = begins.back();
  std::mt19937 random(static_cast<unsigned>(N * 10 + num_rewards));
  std::uniform_real_distribution<double> uniform;
  std::vector<double> rewards(N * num_rewards), weights(num_rewards), scales(N);
  const auto mask = std::make_unique<bool[]>(N);
  for (double& r : rewards)
    r = uniform(random) < 0.15 ? std::numeric_limits<double>::quiet_NaN() : uniform(random);
  for (double& w : weights) w = uniform(random);
  for (double& s : scales) s = uniform(random);
  for (std::int64_t i = 0; i < N; ++i) mask[i] = uniform(random) > 0.1;
  for (std::int64_t i = 0; i < sizes[0]; ++i)
    rewards[i * num_rewards] = 0.7;  // one reward of one group is constant
  if (N > 4) rewards[3] = std::numeric_limits<double>::infinity();
  if (N > 4) rewards[rewards.size() - 1] = 1e300;
  std::vector<double> expected(N), found(N, -1), values(N * num_rewards);
  const double std = -1;
  const OnGpu rewards_on_gpu(rewards), weights_on_gpu(weights), scales_on_gpu(scales), found_on_gpu(found);
  const OnGpu values_on_gpu(values), std_on_gpu(&std, 1);
  const OnGpu begins_on_gpu(begins);
  const OnGpu mask_on_gpu(static_cast<const bool*>(mask.get()), N);
  for (int m = 0; m < kNumAdvantageMethods; ++m) {
    const auto method = static_cast<AdvantageMethod>(m);
    const bool* const rows = masked ? mask.get() : nullptr;
    group_advantages({rewards.data(), N, num_rewards, sizes, weights.data(), rows, scales.data()}, method,
                     eps, expected.data());
    const AdvantageBatch batch = {rewards_on_gpu.get(),
                                  N,
                                  num_rewards,
                                  begins_on_gpu.get(),
                                  static_cast<std::int64_t>(sizes.size()),
                                  weights_on_gpu.get(),
                                  masked ? mask_on_gpu.get() : nullptr,
                                  scales_on_gpu.get()};
    if (group_advantages_cuda(batch, method, eps, values_on_gpu.get(), std_on_gpu.get(), found_on_gpu.get(),
                              nullptr) != cudaSuccess) {
      return false;
    }
    found_on_gpu.copy_back(found.data());
    for (std::int64_t i = 0; i < N; ++i) {
      const double tolerance = 1e-12 * (1 + std::fabs(expected[i]));
      if (std::fabs(found[i] - expected[i]) <= tolerance && (found[i] == 0) == (expected[i] == 0)) continue;
      std::printf("method %d, row %ld: %g, must be %g\n", m, static_cast<long>(i), found[i], expected[i]);
      return false;
    }
  }
  return true;
}

}  // namespace

int main() {
  return check({1}, 1, false, 1e-6) && check({4, 1, 33, 70}, 1, false, 0) && check({7, 32, 2}, 3, true, 1e-6)
             ? 0
             : 1;
}
