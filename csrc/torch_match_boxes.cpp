#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <tuple>

#include "core/match_boxes.h"
#include "torch_checks.h"

namespace mixed_r1 {

namespace {

using at::Tensor;

// (target_of [P], iou [P], total [S]): the row of target matched to each row of pred or -1, and its IoU or 0.
std::tuple<Tensor, Tensor, Tensor> match_boxes_cpu(const Tensor& pred, const Tensor& target, const Tensor& pred_counts,
                                                   const Tensor& target_counts) {
  check_boxes(pred, target, false, "pred", "target");
  const Tensor pred_sizes = check_counts("pred_counts", pred_counts, pred.size(0), 0);
  const Tensor target_sizes = check_counts("target_counts", target_counts, target.size(0), 0);
  TORCH_CHECK_VALUE(pred_sizes.size(0) == target_sizes.size(0), "target_counts must have ", pred_sizes.size(0),
                    " entries, got ", target_sizes.size(0));
  const auto wide = pred.options().dtype(at::kDouble);
  const Tensor pred_boxes = pred.to(at::kDouble), target_boxes = target.to(at::kDouble);
  Tensor target_of = at::full({pred.size(0)}, -1, pred_counts.options());
  Tensor iou = at::zeros({pred.size(0)}, wide), total = at::empty({pred_sizes.size(0)}, wide);
  for (const BoxMatch& match : match_boxes(view<double>(pred_boxes), view<double>(target_boxes), span(pred_sizes),
                                           span(target_sizes), total.mutable_data_ptr<double>())) {
    target_of.mutable_data_ptr<std::int64_t>()[match.pred] = match.target;
    iou.mutable_data_ptr<double>()[match.pred] = match.iou;
  }
  return {target_of, iou, total};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(mixed_r1, m) {
  m.def(
      "match_boxes(Tensor pred, Tensor target, Tensor pred_counts, Tensor target_counts) -> (Tensor target_of, Tensor "
      "iou, Tensor total)");
}

TORCH_LIBRARY_IMPL(mixed_r1, CPU, m) { m.impl("match_boxes", &match_boxes_cpu); }

// No gradient, and no result claims one: autograd is passed by.
TORCH_LIBRARY_IMPL(mixed_r1, Autograd, m) { m.impl("match_boxes", torch::CppFunction::makeFallthrough()); }

}  // namespace mixed_r1
