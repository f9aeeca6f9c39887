#include "torch_group_advantages.h"

namespace mixed_r1 {

namespace {

Tensor group_advantages_cpu(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                            const std::optional<Tensor>& mask, const std::string& method_name, double eps,
                            const std::optional<Tensor>& scales) {
  const AdvantageMethod method = method_of(method_name);
  const CheckedAdvantages checked = check_advantages(rewards, sizes, weights, mask, method, eps, scales);
  Tensor advantages = empty({rewards.size(0)}, ScalarType::Double, rewards);
  group_advantages(
      {checked.rewards.const_data_ptr<double>(), rewards.size(0), rewards.size(1), span(checked.sizes),
       checked.weights.const_data_ptr<double>(), checked.mask ? checked.mask->const_data_ptr<bool>() : nullptr,
       checked.scales ? checked.scales->const_data_ptr<double>() : nullptr},
      method, eps, advantages.mutable_data_ptr<double>());
  return advantages;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(mixed_r1, m) {
  m.def(
      "group_advantages(Tensor rewards, Tensor group_sizes, Tensor weights, Tensor? mask=None, str method=\"group\", "
      "float eps=1e-06, Tensor? scales=None) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(mixed_r1, CPU, m) { m.impl("group_advantages", TORCH_BOX(&group_advantages_cpu)); }

}  // namespace mixed_r1
