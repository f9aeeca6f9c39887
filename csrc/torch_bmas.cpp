#include "torch_bmas.h"

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>

namespace mixed_r1 {

namespace {

using at::Tensor;

std::tuple<Tensor, Tensor> bmas_cpu(const Tensor& rows, const Tensor& inverse_norms, const Tensor& completion_ids,
                                    const Tensor& completion_offsets, const Tensor& reference_ids,
                                    const Tensor& reference_offsets, const Tensor& reference_of,
                                    std::int64_t num_threads) {
  const CheckedBmas checked = check_bmas(rows, inverse_norms, completion_ids, completion_offsets, reference_ids,
                                         reference_offsets, reference_of, num_threads);
  const auto wide = rows.options().dtype(at::kDouble);
  Tensor precision = at::empty({reference_of.size(0)}, wide), recall = at::empty({reference_of.size(0)}, wide);
  bmas(checked.table(), checked.inverse_norms.const_data_ptr<float>(), checked.completions.view(),
       checked.references.view(), checked.reference_of.const_data_ptr<std::int64_t>(), checked.num_threads,
       precision.mutable_data_ptr<double>(), recall.mutable_data_ptr<double>());
  return {precision, recall};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(mixed_r1, m) {
  m.def(
      "bmas(Tensor rows, Tensor inverse_norms, Tensor completion_ids, Tensor completion_offsets, Tensor reference_ids, "
      "Tensor reference_offsets, Tensor reference_of, int num_threads=1) -> (Tensor precision, Tensor recall)");
}

TORCH_LIBRARY_IMPL(mixed_r1, CPU, m) { m.impl("bmas", &bmas_cpu); }

// No gradient, and no result claims one: autograd is passed by.
TORCH_LIBRARY_IMPL(mixed_r1, Autograd, m) { m.impl("bmas", torch::CppFunction::makeFallthrough()); }

}  // namespace mixed_r1
