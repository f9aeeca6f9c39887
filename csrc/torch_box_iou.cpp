#include "torch_box_iou.h"

namespace mixed_r1 {

namespace {

template <class T, bool paired>
void run_box_iou(const Tensor& boxes1, const Tensor& boxes2, BoxKind kind, Tensor& scores) {
  if constexpr (paired) {
    paired_box_iou<T>(view<T>(boxes1), view<T>(boxes2), kind, scores.mutable_data_ptr<T>());
  } else {
    box_iou<T>(view<T>(boxes1), view<T>(boxes2), kind, scores.mutable_data_ptr<T>());
  }
}

template <bool paired>
Tensor box_iou_cpu(const Tensor& boxes1, const Tensor& boxes2, const std::string& kind) {
  check_boxes(boxes1, boxes2, paired);
  Tensor scores = new_scores(boxes1, boxes2, paired);
  const auto run = boxes1.scalar_type() == ScalarType::Float ? run_box_iou<float, paired> : run_box_iou<double, paired>;
  run(boxes1, boxes2, kind_of(kind), scores);
  return scores;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(mixed_r1, m) {
  m.def("box_iou(Tensor boxes1, Tensor boxes2, str kind=\"iou\") -> Tensor");
  m.def("paired_box_iou(Tensor boxes1, Tensor boxes2, str kind=\"iou\") -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(mixed_r1, CPU, m) {
  m.impl("box_iou", TORCH_BOX(&box_iou_cpu<false>));
  m.impl("paired_box_iou", TORCH_BOX(&box_iou_cpu<true>));
}

}  // namespace mixed_r1
