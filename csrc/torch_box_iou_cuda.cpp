// Checks, device guard, allocation, stream, launch.

#include "cuda/box_iou.h"
#include "torch_box_iou.h"
#include "torch_cuda.h"

namespace mixed_r1 {

namespace {

template <class T, bool paired>
void run_box_iou(const Tensor& boxes1, const Tensor& boxes2, BoxKind kind, Tensor& scores, cudaStream_t stream) {
  const T* const a = boxes1.const_data_ptr<T>();
  const T* const b = boxes2.const_data_ptr<T>();
  T* const out = scores.mutable_data_ptr<T>();
  if constexpr (paired) {
    check_cuda(paired_box_iou_cuda<T>(a, b, boxes1.size(0), kind, out, stream));
  } else {
    check_cuda(box_iou_cuda<T>(a, boxes1.size(0), b, boxes2.size(0), kind, out, stream));
  }
}

template <bool paired>
Tensor box_iou_on_cuda(const Tensor& boxes1, const Tensor& boxes2, const std::string& kind_name) {
  check_boxes(boxes1, boxes2, paired);
  const BoxKind kind = kind_of(kind_name);
  const DeviceGuard guard(boxes1.get_device_index());
  Tensor scores = new_scores(boxes1, boxes2, paired);
  if (scores.numel() == 0) return scores;
  const auto run = boxes1.scalar_type() == ScalarType::Float ? run_box_iou<float, paired> : run_box_iou<double, paired>;
  run(compact(boxes1), compact(boxes2), kind, scores, current_stream(boxes1));
  return scores;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mixed_r1, MIXED_R1_CUDA_KEY, m) {
  m.impl("box_iou", TORCH_BOX(&box_iou_on_cuda<false>));
  m.impl("paired_box_iou", TORCH_BOX(&box_iou_on_cuda<true>));
}

}  // namespace mixed_r1
