// mixed_r1_kernels._torch_ops: torch.ops.mixed_r1.*, for torch.compile and for callers that stay in torch. Checks and
// strides here, the algorithms in core/ and cuda/. Shapes without values (Meta) serve as fake kernels.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/library.h>

#include <optional>
#include <string_view>

#include "core/advantages.h"
#include "core/box_iou.h"

#ifdef MIXED_R1_WITH_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "cuda/advantages.h"
#include "cuda/box_iou.h"
#endif

namespace mixed_r1 {

namespace {

using at::Tensor;

template <std::size_t count>
int index_of(c10::string_view name, const std::string_view (&names)[count], const char* argument) {
  for (std::size_t i = 0; i < count; ++i) {
    if (names[i] == std::string_view(name.data(), name.size())) return static_cast<int>(i);
  }
  TORCH_CHECK_VALUE(false, argument, " must be a known name, got '", name, "'");
}

BoxKind kind_of(c10::string_view name) {
  constexpr std::string_view kNames[kNumBoxKinds] = {"iou", "giou", "diou", "ciou"};
  return static_cast<BoxKind>(index_of(name, kNames, "kind"));
}

AdvantageMethod method_of(c10::string_view name) {
  constexpr std::string_view kNames[kNumAdvantageMethods] = {"group", "mean_only", "batch",   "rloo",
                                                             "gdpo",  "maxrl",     "task_ema"};
  return static_cast<AdvantageMethod>(index_of(name, kNames, "method"));
}

void check_boxes(const Tensor& boxes1, const Tensor& boxes2, bool paired) {
  for (const Tensor* boxes : {&boxes1, &boxes2}) {
    const char* const name = boxes == &boxes1 ? "boxes1" : "boxes2";
    TORCH_CHECK_VALUE(boxes->dim() == 2 && boxes->sym_size(1) == 4, name, " must have shape [N, 4], got ",
                      boxes->sym_sizes());
    TORCH_CHECK_TYPE(boxes->scalar_type() == at::kFloat || boxes->scalar_type() == at::kDouble, name,
                     " must be float32 or float64, got ", boxes->scalar_type());
  }
  TORCH_CHECK_TYPE(boxes1.scalar_type() == boxes2.scalar_type(), "boxes2 must have boxes1's dtype ",
                   boxes1.scalar_type(), ", got ", boxes2.scalar_type());
  TORCH_CHECK_VALUE(boxes1.device() == boxes2.device(), "boxes2 must be on boxes1's device ", boxes1.device(), ", got ",
                    boxes2.device());
  TORCH_CHECK_VALUE(!paired || boxes1.sym_size(0) == boxes2.sym_size(0), "boxes2 must have ", boxes1.sym_size(0),
                    " rows like boxes1, got ", boxes2.sym_size(0));
}

Tensor new_scores(const Tensor& boxes1, const Tensor& boxes2, bool paired) {
  c10::SmallVector<c10::SymInt, 2> shape = {boxes1.sym_size(0)};
  if (!paired) shape.push_back(boxes2.sym_size(0));
  return at::empty_symint(shape, boxes1.options());
}

template <bool paired>
Tensor box_iou_meta(const Tensor& boxes1, const Tensor& boxes2, c10::string_view kind) {
  check_boxes(boxes1, boxes2, paired);
  kind_of(kind);
  return new_scores(boxes1, boxes2, paired);
}

template <class T>
BoxView<T> view(const Tensor& boxes) {
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(T));
  return {static_cast<const char*>(boxes.const_data_ptr()), boxes.size(0), boxes.stride(0) * kSize,
          boxes.stride(1) * kSize};
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
Tensor box_iou_cpu(const Tensor& boxes1, const Tensor& boxes2, c10::string_view kind) {
  check_boxes(boxes1, boxes2, paired);
  Tensor scores = new_scores(boxes1, boxes2, paired);
  const auto run = boxes1.scalar_type() == at::kFloat ? run_box_iou<float, paired> : run_box_iou<double, paired>;
  run(boxes1, boxes2, kind_of(kind), scores);
  return scores;
}

struct CheckedAdvantages {
  Tensor rewards, sizes, weights;
  std::optional<Tensor> mask, scales;
};

void check_column(const char* name, const Tensor& rewards, const Tensor& column, at::ScalarType type) {
  TORCH_CHECK_VALUE(column.dim() == 1 && column.sym_size(0) == rewards.sym_size(0), name, " must have shape [",
                    rewards.sym_size(0), "], got ", column.sym_sizes());
  TORCH_CHECK_TYPE(column.scalar_type() == type, name, " must be ", type, ", got ", column.scalar_type());
  TORCH_CHECK_VALUE(column.device() == rewards.device(), name, " must be on the device of rewards, ", rewards.device(),
                    ", got ", column.device());
}

void check_advantages(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                      const std::optional<Tensor>& mask, AdvantageMethod method, double eps,
                      const std::optional<Tensor>& scales) {
  TORCH_CHECK_VALUE(rewards.dim() == 2, "rewards must have shape [N, K], got ", rewards.sym_sizes());
  TORCH_CHECK_TYPE(rewards.scalar_type() == at::kDouble, "rewards must be float64, got ", rewards.scalar_type());
  TORCH_CHECK_VALUE(sizes.dim() == 1, "group_sizes must be one-dimensional, got ", sizes.sym_sizes());
  TORCH_CHECK_TYPE(sizes.scalar_type() == at::kLong, "group_sizes must be int64, got ", sizes.scalar_type());
  TORCH_CHECK_VALUE(weights.dim() == 1 && weights.sym_size(0) == rewards.sym_size(1), "weights must have shape [",
                    rewards.sym_size(1), "], got ", weights.sym_sizes());
  TORCH_CHECK_TYPE(weights.scalar_type() == at::kDouble, "weights must be float64, got ", weights.scalar_type());
  TORCH_CHECK_VALUE(weights.device() == rewards.device(), "weights must be on the device of rewards, got ",
                    weights.device());
  TORCH_CHECK_VALUE(std::isfinite(eps) && eps >= 0, "eps must be finite and at least 0, got ", eps);
  TORCH_CHECK_VALUE(scales.has_value() == (method == AdvantageMethod::task_ema),
                    "scales must be given for method task_ema and no other");
  if (mask) check_column("mask", rewards, *mask, at::kBool);
  if (scales) check_column("scales", rewards, *scales, at::kDouble);
}

Tensor group_advantages_meta(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                             const std::optional<Tensor>& mask, c10::string_view method, double eps,
                             const std::optional<Tensor>& scales) {
  check_advantages(rewards, sizes, weights, mask, method_of(method), eps, scales);
  return at::empty_symint({rewards.sym_size(0)}, rewards.options());
}

std::optional<Tensor> contiguous(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional(tensor->contiguous()) : std::nullopt;
}

// Contiguous copies where needed; the sizes, whose values are read, must be on the CPU and add up.
CheckedAdvantages prepare(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                          const std::optional<Tensor>& mask, AdvantageMethod method, double eps,
                          const std::optional<Tensor>& scales) {
  check_advantages(rewards, sizes, weights, mask, method, eps, scales);
  TORCH_CHECK_VALUE(sizes.is_cpu(), "group_sizes must be on the CPU, got ", sizes.device());
  CheckedAdvantages checked = {rewards.contiguous(), sizes.contiguous(), weights.contiguous(), contiguous(mask),
                               contiguous(scales)};
  const std::int64_t N = rewards.size(0);
  std::int64_t left = N;
  for (std::int64_t g = 0; g < sizes.size(0); ++g) {
    const std::int64_t size = checked.sizes.const_data_ptr<std::int64_t>()[g];
    TORCH_CHECK_VALUE(size >= 1 && size <= left, "group_sizes must be at least 1 and add up to the ", N,
                      " rewards, got ", size, " with ", left, " left");
    left -= size;
  }
  TORCH_CHECK_VALUE(left == 0, "group_sizes must add up to the ", N, " rewards, got ", N - left);
  return checked;
}

Tensor group_advantages_cpu(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                            const std::optional<Tensor>& mask, c10::string_view method_name, double eps,
                            const std::optional<Tensor>& scales) {
  const AdvantageMethod method = method_of(method_name);
  const CheckedAdvantages checked = prepare(rewards, sizes, weights, mask, method, eps, scales);
  Tensor advantages = at::empty({rewards.size(0)}, rewards.options());
  group_advantages({checked.rewards.const_data_ptr<double>(),
                    rewards.size(0),
                    rewards.size(1),
                    {checked.sizes.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(sizes.size(0))},
                    checked.weights.const_data_ptr<double>(),
                    checked.mask ? checked.mask->const_data_ptr<bool>() : nullptr,
                    checked.scales ? checked.scales->const_data_ptr<double>() : nullptr},
                   method, eps, advantages.mutable_data_ptr<double>());
  return advantages;
}

#ifdef MIXED_R1_WITH_CUDA

template <class T, bool paired>
void run_box_iou_cuda(const Tensor& boxes1, const Tensor& boxes2, BoxKind kind, Tensor& scores, cudaStream_t stream) {
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
Tensor box_iou_on_cuda(const Tensor& boxes1, const Tensor& boxes2, c10::string_view kind) {
  check_boxes(boxes1, boxes2, paired);
  const c10::cuda::CUDAGuard guard(boxes1.device());
  Tensor scores = new_scores(boxes1, boxes2, paired);
  if (scores.numel() == 0) return scores;
  const auto run =
      boxes1.scalar_type() == at::kFloat ? run_box_iou_cuda<float, paired> : run_box_iou_cuda<double, paired>;
  run(boxes1.contiguous(), boxes2.contiguous(), kind_of(kind), scores, c10::cuda::getCurrentCUDAStream());
  return scores;
}

Tensor group_advantages_on_cuda(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                                const std::optional<Tensor>& mask, c10::string_view method_name, double eps,
                                const std::optional<Tensor>& scales) {
  const AdvantageMethod method = method_of(method_name);
  const c10::cuda::CUDAGuard guard(rewards.device());
  const CheckedAdvantages checked = prepare(rewards, sizes, weights, mask, method, eps, scales);
  Tensor begins = at::zeros({sizes.size(0) + 1}, sizes.options());
  auto* const first = begins.mutable_data_ptr<std::int64_t>();
  for (std::int64_t g = 0; g < sizes.size(0); ++g) {
    first[g + 1] = first[g] + checked.sizes.const_data_ptr<std::int64_t>()[g];
  }
  begins = begins.to(rewards.device());
  Tensor advantages = at::empty({rewards.size(0)}, rewards.options());
  Tensor values = at::empty({rewards.numel()}, rewards.options());
  Tensor std = at::empty({1}, rewards.options());
  C10_CUDA_CHECK(group_advantages_cuda(
      {checked.rewards.const_data_ptr<double>(), rewards.size(0), rewards.size(1),
       begins.const_data_ptr<std::int64_t>(), sizes.size(0), checked.weights.const_data_ptr<double>(),
       checked.mask ? checked.mask->const_data_ptr<bool>() : nullptr,
       checked.scales ? checked.scales->const_data_ptr<double>() : nullptr},
      method, eps, values.mutable_data_ptr<double>(), std.mutable_data_ptr<double>(),
      advantages.mutable_data_ptr<double>(), c10::cuda::getCurrentCUDAStream()));
  return advantages;
}

#endif

}  // namespace

TORCH_LIBRARY(mixed_r1, m) {
  m.def("box_iou(Tensor boxes1, Tensor boxes2, str kind=\"iou\") -> Tensor");
  m.def("paired_box_iou(Tensor boxes1, Tensor boxes2, str kind=\"iou\") -> Tensor");
  m.def(
      "group_advantages(Tensor rewards, Tensor group_sizes, Tensor weights, Tensor? mask=None, str method=\"group\", "
      "float eps=1e-06, Tensor? scales=None) -> Tensor");
}

TORCH_LIBRARY_IMPL(mixed_r1, CPU, m) {
  m.impl("box_iou", &box_iou_cpu<false>);
  m.impl("paired_box_iou", &box_iou_cpu<true>);
  m.impl("group_advantages", &group_advantages_cpu);
}

TORCH_LIBRARY_IMPL(mixed_r1, Meta, m) {
  m.impl("box_iou", &box_iou_meta<false>);
  m.impl("paired_box_iou", &box_iou_meta<true>);
  m.impl("group_advantages", &group_advantages_meta);
}

#ifdef MIXED_R1_WITH_CUDA
TORCH_LIBRARY_IMPL(mixed_r1, CUDA, m) {
  m.impl("box_iou", &box_iou_on_cuda<false>);
  m.impl("paired_box_iou", &box_iou_on_cuda<true>);
  m.impl("group_advantages", &group_advantages_on_cuda);
}
#endif

}  // namespace mixed_r1

PYBIND11_MODULE(_torch_ops, m) {
#ifdef MIXED_R1_WITH_CUDA
  m.attr("has_cuda") = true;
#else
  m.attr("has_cuda") = false;
#endif
}
