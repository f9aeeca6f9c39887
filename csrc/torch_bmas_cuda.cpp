// Checks, device guard, allocation, stream, launch.

#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#include "core/bmas_device_plan.h"
#include "cuda/bmas.h"
#include "torch_bmas.h"
#include "torch_cuda.h"

namespace mixed_r1 {

namespace {

constexpr std::int64_t kMaxCosines = std::int64_t{1} << 28;  // held at once: 1 GiB, or one group's

// The plan's arrays on a device: one tensor, one copy. The pointers of the batch are into it.
Tensor upload(const BmasDevicePlan& plan, const Device& device, BmasBatch& batch) {
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
  const Tensor host = torch::stable::empty({total}, ScalarType::Int);
  auto* next = host.mutable_data_ptr<std::int32_t>();
  for (const auto& [array, pointer] : parts) {
    if (!array.empty()) std::memcpy(next, array.data(), array.size() * sizeof(std::int32_t));
    next += array.size();
  }
  Tensor moved = torch::stable::to(host, device);
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
  const DeviceGuard guard(rows.get_device_index());
  Tensor precision = zeros({reference_of.size(0)}, ScalarType::Double, rows);
  Tensor recall = zeros({reference_of.size(0)}, ScalarType::Double, rows);
  const BmasDevicePlan plan =
      plan_for_device(rows.size(0), checked.completions.view(), checked.references.view(),
                      checked.reference_of.const_data_ptr<std::int64_t>(), kBmasRowBlock, checked.num_threads);
  if (plan.completion_group.empty()) return {precision, recall};
  const BmasWaves waves = plan_waves(plan, kMaxCosines);
  BmasBatch whole = {};
  const Tensor uploaded = upload(plan, rows.device(), whole);
  Tensor begins = torch::stable::empty({static_cast<std::int64_t>(waves.cosine_begin.size())}, ScalarType::Long);
  std::memcpy(begins.mutable_data_ptr(), waves.cosine_begin.data(), waves.cosine_begin.size() * sizeof(std::int64_t));
  begins = torch::stable::to(begins, rows.device());
  whole.cosine_begin = begins.const_data_ptr<std::int64_t>();
  Tensor cosines = empty({waves.most_cosines}, ScalarType::Float, rows);
  Tensor row_max = empty({static_cast<std::int64_t>(plan.row_ids.size())}, ScalarType::Float, rows);
  for (const BmasWave& wave : waves.waves) {
    BmasBatch batch = whole;
    batch.tile_group += wave.tile_begin;
    batch.tile_row += wave.tile_begin;
    batch.num_tiles = wave.tile_end - wave.tile_begin;
    batch.completion_group += wave.completion_begin;
    batch.completion_index += wave.completion_begin;
    batch.distinct_begin += wave.completion_begin;
    batch.num_completions = wave.completion_end - wave.completion_begin;
    check_cuda(bmas_cuda(checked.table(), checked.inverse_norms.const_data_ptr<float>(), batch,
                         cosines.mutable_data_ptr<float>(), row_max.mutable_data_ptr<float>(),
                         precision.mutable_data_ptr<double>(), recall.mutable_data_ptr<double>(),
                         current_stream(rows)));
  }
  return {precision, recall};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mixed_r1, MIXED_R1_CUDA_KEY, m) { m.impl("bmas", TORCH_BOX(&bmas_on_cuda)); }

}  // namespace mixed_r1
