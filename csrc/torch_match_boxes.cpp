#include <algorithm>
#include <tuple>

#include "core/match_boxes.h"
#include "torch_checks.h"

namespace mixed_r1 {

namespace {

// (target_of [P], iou [P], total [S]): the row of target matched to each row of pred or -1, and its IoU or 0.
std::tuple<Tensor, Tensor, Tensor> match_boxes_cpu(const Tensor& pred, const Tensor& target, const Tensor& pred_counts,
                                                   const Tensor& target_counts) {
  check_boxes(pred, target, false, "pred", "target");
  const Tensor pred_sizes = check_counts("pred_counts", pred_counts, pred.size(0), 0);
  const Tensor target_sizes = check_counts("target_counts", target_counts, target.size(0), 0);
  require(pred_sizes.size(0) == target_sizes.size(0), "target_counts must have ", pred_sizes.size(0), " entries, got ",
          target_sizes.size(0));
  const Tensor pred_boxes = as_type(pred, ScalarType::Double), target_boxes = as_type(target, ScalarType::Double);
  Tensor target_of = empty({pred.size(0)}, ScalarType::Long, pred);
  std::fill_n(target_of.mutable_data_ptr<std::int64_t>(), pred.size(0), -1);
  Tensor iou = zeros({pred.size(0)}, ScalarType::Double, pred);
  Tensor total = empty({pred_sizes.size(0)}, ScalarType::Double, pred);
  for (const BoxMatch& match : match_boxes(view<double>(pred_boxes), view<double>(target_boxes), span(pred_sizes),
                                           span(target_sizes), total.mutable_data_ptr<double>())) {
    target_of.mutable_data_ptr<std::int64_t>()[match.pred] = match.target;
    iou.mutable_data_ptr<double>()[match.pred] = match.iou;
  }
  return {target_of, iou, total};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(mixed_r1, m) {
  m.def(
      "match_boxes(Tensor pred, Tensor target, Tensor pred_counts, Tensor target_counts) -> (Tensor target_of, Tensor "
      "iou, Tensor total)");
}

STABLE_TORCH_LIBRARY_IMPL(mixed_r1, CPU, m) { m.impl("match_boxes", TORCH_BOX(&match_boxes_cpu)); }

}  // namespace mixed_r1
