// Checks, device guard, allocation, stream, launch.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "cuda/group_advantages.h"
#include "torch_cuda.h"
#include "torch_group_advantages.h"

namespace mixed_r1 {

namespace {

using at::Tensor;

Tensor group_advantages_on_cuda(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                                const std::optional<Tensor>& mask, std::string_view method_name, double eps,
                                const std::optional<Tensor>& scales) {
  const AdvantageMethod method = method_of(method_name);
  const CheckedAdvantages checked = check_advantages(rewards, sizes, weights, mask, method, eps, scales);
  const c10::cuda::CUDAGuard guard(rewards.device());
  Tensor begins = at::zeros({sizes.size(0) + 1}, sizes.options());
  auto* const first = begins.mutable_data_ptr<std::int64_t>();
  for (std::int64_t g = 0; g < sizes.size(0); ++g) {
    first[g + 1] = first[g] + checked.sizes.const_data_ptr<std::int64_t>()[g];
  }
  begins = begins.to(rewards.device());
  Tensor advantages = at::empty({rewards.size(0)}, rewards.options());
  Tensor values = at::empty({rewards.numel()}, rewards.options());
  Tensor std = at::empty({1}, rewards.options());
  C10_CUDA_CHECK(group_advantages_cuda(
      {checked.rewards.const_data_ptr<double>(), rewards.size(0), rewards.size(1),
       begins.const_data_ptr<std::int64_t>(), sizes.size(0), checked.weights.const_data_ptr<double>(),
       checked.mask ? checked.mask->const_data_ptr<bool>() : nullptr,
       checked.scales ? checked.scales->const_data_ptr<double>() : nullptr},
      method, eps, values.mutable_data_ptr<double>(), std.mutable_data_ptr<double>(),
      advantages.mutable_data_ptr<double>(), c10::cuda::getCurrentCUDAStream()));
  return advantages;
}

}  // namespace

TORCH_LIBRARY_IMPL(mixed_r1, MIXED_R1_CUDA_KEY, m) { m.impl("group_advantages", &group_advantages_on_cuda); }

}  // namespace mixed_r1
