// mixed_r1_kernels._torch_ops: torch.ops.mixed_r1.*, for torch.compile and for callers that stay in torch. Schemas and
// CPU kernels; those for CUDA are in torch_cuda.cpp, shapes without values (fake kernels) in mixed_r1_kernels/ops.py.
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/library.h>

#include <optional>
#include <string_view>
#include <tuple>

#include "core/assignment.h"
#include "torch_ops.h"

namespace mixed_r1 {

namespace {

using at::Tensor;

template <class T>
BoxView<T> view(const Tensor& boxes) {
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(T));
  return {static_cast<const char*>(boxes.const_data_ptr()), boxes.size(0), boxes.stride(0) * kSize,
          boxes.stride(1) * kSize};
}

std::span<const std::int64_t> span(const Tensor& counts) {
  return {counts.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(counts.size(0))};
}

template <class T, bool paired>
void run_box_iou(const Tensor& boxes1, const Tensor& boxes2, BoxKind kind, Tensor& scores) {
  if constexpr (paired) {
    paired_box_iou<T>(view<T>(boxes1), view<T>(boxes2), kind, scores.mutable_data_ptr<T>());
  } else {
    box_iou<T>(view<T>(boxes1), view<T>(boxes2), kind, scores.mutable_data_ptr<T>());
  }
}

template <bool paired>
Tensor box_iou_cpu(const Tensor& boxes1, const Tensor& boxes2, std::string_view kind) {
  check_boxes(boxes1, boxes2, paired);
  Tensor scores = new_scores(boxes1, boxes2, paired);
  const auto run = boxes1.scalar_type() == at::kFloat ? run_box_iou<float, paired> : run_box_iou<double, paired>;
  run(boxes1, boxes2, kind_of(kind), scores);
  return scores;
}

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

Tensor group_advantages_cpu(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                            const std::optional<Tensor>& mask, std::string_view method_name, double eps,
                            const std::optional<Tensor>& scales) {
  const AdvantageMethod method = method_of(method_name);
  const CheckedAdvantages checked = check_advantages(rewards, sizes, weights, mask, method, eps, scales);
  Tensor advantages = at::empty({rewards.size(0)}, rewards.options());
  group_advantages(
      {checked.rewards.const_data_ptr<double>(), rewards.size(0), rewards.size(1), span(checked.sizes),
       checked.weights.const_data_ptr<double>(), checked.mask ? checked.mask->const_data_ptr<bool>() : nullptr,
       checked.scales ? checked.scales->const_data_ptr<double>() : nullptr},
      method, eps, advantages.mutable_data_ptr<double>());
  return advantages;
}

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

TORCH_LIBRARY(mixed_r1, m) {
  m.def("box_iou(Tensor boxes1, Tensor boxes2, str kind=\"iou\") -> Tensor");
  m.def("paired_box_iou(Tensor boxes1, Tensor boxes2, str kind=\"iou\") -> Tensor");
  m.def(
      "match_boxes(Tensor pred, Tensor target, Tensor pred_counts, Tensor target_counts) -> (Tensor target_of, Tensor "
      "iou, Tensor total)");
  m.def(
      "group_advantages(Tensor rewards, Tensor group_sizes, Tensor weights, Tensor? mask=None, str method=\"group\", "
      "float eps=1e-06, Tensor? scales=None) -> Tensor");
  m.def(
      "bmas(Tensor rows, Tensor inverse_norms, Tensor completion_ids, Tensor completion_offsets, Tensor reference_ids, "
      "Tensor reference_offsets, Tensor reference_of, int num_threads=1) -> (Tensor precision, Tensor recall)");
}

TORCH_LIBRARY_IMPL(mixed_r1, CPU, m) {
  m.impl("box_iou", &box_iou_cpu<false>);
  m.impl("paired_box_iou", &box_iou_cpu<true>);
  m.impl("match_boxes", &match_boxes_cpu);
  m.impl("group_advantages", &group_advantages_cpu);
  m.impl("bmas", &bmas_cpu);
}

// No op has a gradient, and no result claims one: autograd is passed by.
TORCH_LIBRARY_IMPL(mixed_r1, Autograd, m) {
  for (const char* name : {"box_iou", "paired_box_iou", "match_boxes", "group_advantages", "bmas"}) {
    m.impl(name, torch::CppFunction::makeFallthrough());
  }
}

}  // namespace mixed_r1

PYBIND11_MODULE(_torch_ops, m) {
#ifdef MIXED_R1_WITH_CUDA
  m.attr("has_cuda") = true;
#else
  m.attr("has_cuda") = false;
#endif
}
