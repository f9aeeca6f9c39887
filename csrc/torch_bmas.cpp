#include "torch_bmas.h"

#include <tuple>

namespace mixed_r1 {

namespace {

std::tuple<Tensor, Tensor> bmas_cpu(const Tensor& rows, const Tensor& inverse_norms, const Tensor& completion_ids,
                                    const Tensor& completion_offsets, const Tensor& reference_ids,
                                    const Tensor& reference_offsets, const Tensor& reference_of,
                                    std::int64_t num_threads) {
  const CheckedBmas checked = check_bmas(rows, inverse_norms, completion_ids, completion_offsets, reference_ids,
                                         reference_offsets, reference_of, num_threads);
  Tensor precision = empty({reference_of.size(0)}, ScalarType::Double, rows);
  Tensor recall = empty({reference_of.size(0)}, ScalarType::Double, rows);
  bmas(checked.table(), checked.inverse_norms.const_data_ptr<float>(), checked.completions.view(),
       checked.references.view(), checked.reference_of.const_data_ptr<std::int64_t>(), checked.num_threads,
       precision.mutable_data_ptr<double>(), recall.mutable_data_ptr<double>());
  return {precision, recall};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(mixed_r1, m) {
  m.def(
      "bmas(Tensor rows, Tensor inverse_norms, Tensor completion_ids, Tensor completion_offsets, Tensor reference_ids, "
      "Tensor reference_offsets, Tensor reference_of, int num_threads=1) -> (Tensor precision, Tensor recall)");
}

STABLE_TORCH_LIBRARY_IMPL(mixed_r1, CPU, m) { m.impl("bmas", TORCH_BOX(&bmas_cpu)); }

}  // namespace mixed_r1
