// Checks, device guard, allocation, stream, launch.

#include "cuda/box_iou.h"
#include "torch_box_iou.h"
#include "torch_cuda.h"

namespace mixed_r1 {

namespace {

using at::Tensor;

template <class T, bool paired>
void run_box_iou(const Tensor& boxes1, const Tensor& boxes2, BoxKind kind, Tensor& scores, cudaStream_t stream) {
  const T* const a = boxes1.const_data_ptr<T>();
  const T* const b = boxes2.const_data_ptr<T>();
  T* const out = scores.mutable_data_ptr<T>();
  if constexpr (paired) {
    C10_CUDA_CHECK(paired_box_iou_cuda<T>(a, b, boxes1.size(0), kind, out, stream));
  } else {
    C10_CUDA_CHECK(box_iou_cuda<T>(a, boxes1.size(0), b, boxes2.size(0), kind, out, stream));
  }
}

template <bool paired>
Tensor box_iou_on_cuda(const Tensor& boxes1, const Tensor& boxes2, std::string_view kind_name) {
  check_boxes(boxes1, boxes2, paired);
  const BoxKind kind = kind_of(kind_name);
  const c10::cuda::CUDAGuard guard(boxes1.device());
  Tensor scores = new_scores(boxes1, boxes2, paired);
  if (scores.numel() == 0) return scores;
  const auto run = boxes1.scalar_type() == at::kFloat ? run_box_iou<float, paired> : run_box_iou<double, paired>;
  run(boxes1.contiguous(), boxes2.contiguous(), kind, scores, c10::cuda::getCurrentCUDAStream());
  return scores;
}

}  // namespace

TORCH_LIBRARY_IMPL(mixed_r1, MIXED_R1_CUDA_KEY, m) {
  m.impl("box_iou", &box_iou_on_cuda<false>);
  m.impl("paired_box_iou", &box_iou_on_cuda<true>);
}

}  // namespace mixed_r1
