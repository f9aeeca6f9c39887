// Checks, device guard, allocation, stream, launch.

#include "cuda/group_advantages.h"
#include "torch_cuda.h"
#include "torch_group_advantages.h"

namespace mixed_r1 {

namespace {

Tensor group_advantages_on_cuda(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                                const std::optional<Tensor>& mask, const std::string& method_name, double eps,
                                const std::optional<Tensor>& scales) {
  const AdvantageMethod method = method_of(method_name);
  const CheckedAdvantages checked = check_advantages(rewards, sizes, weights, mask, method, eps, scales);
  const DeviceGuard guard(rewards.get_device_index());
  Tensor begins = zeros({sizes.size(0) + 1}, ScalarType::Long, sizes);
  auto* const first = begins.mutable_data_ptr<std::int64_t>();
  for (std::int64_t g = 0; g < sizes.size(0); ++g) {
    first[g + 1] = first[g] + checked.sizes.const_data_ptr<std::int64_t>()[g];
  }
  begins = torch::stable::to(begins, rewards.device());
  Tensor advantages = empty({rewards.size(0)}, ScalarType::Double, rewards);
  Tensor values = empty({rewards.numel()}, ScalarType::Double, rewards);
  Tensor std = empty({1}, ScalarType::Double, rewards);
  check_cuda(group_advantages_cuda(
      {checked.rewards.const_data_ptr<double>(), rewards.size(0), rewards.size(1),
       begins.const_data_ptr<std::int64_t>(), sizes.size(0), checked.weights.const_data_ptr<double>(),
       checked.mask ? checked.mask->const_data_ptr<bool>() : nullptr,
       checked.scales ? checked.scales->const_data_ptr<double>() : nullptr},
      method, eps, values.mutable_data_ptr<double>(), std.mutable_data_ptr<double>(),
      advantages.mutable_data_ptr<double>(), current_stream(rewards)));
  return advantages;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mixed_r1, MIXED_R1_CUDA_KEY, m) {
  m.impl("group_advantages", TORCH_BOX(&group_advantages_on_cuda));
}

}  // namespace mixed_r1
