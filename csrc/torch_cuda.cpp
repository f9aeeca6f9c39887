// The CUDA kernels of torch.ops.mixed_r1: checks, device guard, allocation, stream, launch. Part of the module only
// where csrc/cuda is. The tests run these launchers on the CPU, registered under its key.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <cstring>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "core/bmas_device_plan.h"
#include "cuda/advantages.h"
#include "cuda/bmas.h"
#include "cuda/box_iou.h"
#include "torch_ops.h"

#ifndef MIXED_R1_CUDA_KEY
#define MIXED_R1_CUDA_KEY CUDA
#endif

namespace mixed_r1 {

namespace {

using at::Tensor;

constexpr std::int64_t kMaxCosines = std::int64_t{1} << 28;  // held at once: 1 GiB, or one group's

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

Tensor group_advantages_on_cuda(const Tensor& rewards, const Tensor& sizes, const Tensor& weights,
                                const std::optional<Tensor>& mask, std::string_view method_name, double eps,
                                const std::optional<Tensor>& scales) {
  const AdvantageMethod method = method_of(method_name);
  const CheckedAdvantages checked = check_advantages(rewards, sizes, weights, mask, method, eps, scales);
  const c10::cuda::CUDAGuard guard(rewards.device());
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

// The plan's arrays on a device: one tensor, one copy. The pointers of the batch are into it.
Tensor upload(const BmasDevicePlan& plan, at::Device device, BmasBatch& batch) {
  const std::pair<const BmasDevicePlan::Array&, const std::int32_t*&> parts[] = {
      {plan.row_begin, batch.row_begin},
      {plan.row_ids, batch.row_ids},
      {plan.column_begin, batch.column_begin},
      {plan.column_ids, batch.column_ids},
      {plan.column_counts, batch.column_counts},
      {plan.tile_group, batch.tile_group},
      {plan.tile_row, batch.tile_row},
      {plan.completion_group, batch.completion_group},
      {plan.completion_index, batch.completion_index},
      {plan.distinct_begin, batch.distinct_begin},
      {plan.distinct_rows, batch.distinct_rows},
      {plan.distinct_counts, batch.distinct_counts}};
  std::int64_t total = 0;
  for (const auto& [array, pointer] : parts) total += static_cast<std::int64_t>(array.size());
  const Tensor host = at::empty({total}, at::kInt);
  auto* next = host.mutable_data_ptr<std::int32_t>();
  for (const auto& [array, pointer] : parts) {
    if (!array.empty()) std::memcpy(next, array.data(), array.size() * sizeof(std::int32_t));
    next += array.size();
  }
  Tensor moved = host.to(device);
  const auto* begin = moved.const_data_ptr<std::int32_t>();
  for (const auto& [array, pointer] : parts) {
    pointer = begin;
    begin += array.size();
  }
  return moved;
}

std::tuple<Tensor, Tensor> bmas_on_cuda(const Tensor& rows, const Tensor& inverse_norms, const Tensor& completion_ids,
                                        const Tensor& completion_offsets, const Tensor& reference_ids,
                                        const Tensor& reference_offsets, const Tensor& reference_of,
                                        std::int64_t num_threads) {
  const CheckedBmas checked = check_bmas(rows, inverse_norms, completion_ids, completion_offsets, reference_ids,
                                         reference_offsets, reference_of, num_threads);
  const c10::cuda::CUDAGuard guard(rows.device());
  const auto wide = rows.options().dtype(at::kDouble);
  Tensor precision = at::zeros({reference_of.size(0)}, wide), recall = at::zeros({reference_of.size(0)}, wide);
  const BmasDevicePlan plan =
      plan_for_device(rows.size(0), checked.completions.view(), checked.references.view(),
                      checked.reference_of.const_data_ptr<std::int64_t>(), kBmasRowBlock, checked.num_threads);
  if (plan.completion_group.empty()) return {precision, recall};
  const BmasWaves waves = plan_waves(plan, kMaxCosines);
  BmasBatch whole = {};
  const Tensor uploaded = upload(plan, rows.device(), whole);
  Tensor begins = at::empty({static_cast<std::int64_t>(waves.cosine_begin.size())}, at::kLong);
  std::memcpy(begins.mutable_data_ptr(), waves.cosine_begin.data(), waves.cosine_begin.size() * sizeof(std::int64_t));
  begins = begins.to(rows.device());
  whole.cosine_begin = begins.const_data_ptr<std::int64_t>();
  Tensor cosines = at::empty({waves.most_cosines}, rows.options().dtype(at::kFloat));
  Tensor row_max = at::empty({static_cast<std::int64_t>(plan.row_ids.size())}, rows.options().dtype(at::kFloat));
  for (const BmasWave& wave : waves.waves) {
    BmasBatch batch = whole;
    batch.tile_group += wave.tile_begin;
    batch.tile_row += wave.tile_begin;
    batch.num_tiles = wave.tile_end - wave.tile_begin;
    batch.completion_group += wave.completion_begin;
    batch.completion_index += wave.completion_begin;
    batch.distinct_begin += wave.completion_begin;
    batch.num_completions = wave.completion_end - wave.completion_begin;
    C10_CUDA_CHECK(bmas_cuda(checked.table(), checked.inverse_norms.const_data_ptr<float>(), batch,
                             cosines.mutable_data_ptr<float>(), row_max.mutable_data_ptr<float>(),
                             precision.mutable_data_ptr<double>(), recall.mutable_data_ptr<double>(),
                             c10::cuda::getCurrentCUDAStream()));
  }
  return {precision, recall};
}

}  // namespace

TORCH_LIBRARY_IMPL(mixed_r1, MIXED_R1_CUDA_KEY, m) {
  m.impl("box_iou", &box_iou_on_cuda<false>);
  m.impl("paired_box_iou", &box_iou_on_cuda<true>);
  m.impl("group_advantages", &group_advantages_on_cuda);
  m.impl("bmas", &bmas_on_cuda);
}

}  // namespace mixed_r1
