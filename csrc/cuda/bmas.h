// BMAS on a GPU, from a plan made on the CPU (core/bmas_device_plan.h); the formula is in
// kernels/mixed_r1_kernels/bmas/api.py. Device pointers and a stream, no allocation, no synchronisation, no atomics.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/embedding_rows.h"

namespace mixed_r1 {

constexpr int kBmasRowBlock = 64;  // row_block of the plan

// Device copies of the arrays of BmasDevicePlan, or of the part of them that a call runs: whole groups.
struct BmasBatch {
  const std::int32_t *row_begin, *row_ids, *column_begin, *column_ids, *column_counts;
  const std::int64_t* cosine_begin;  // [groups] where a group's rows x columns cosines begin
  const std::int32_t *tile_group, *tile_row;
  std::int64_t num_tiles;
  const std::int32_t *completion_group, *completion_index, *distinct_begin, *distinct_rows, *distinct_counts;
  std::int64_t num_completions;
};

// table.data and inverse_norms [num_rows] are device memory; cosines and row_max [rows] are scratch. Writes precision
// and recall at the completions' indices and nowhere else. A completion's scores are bit-equal whatever else is in the
// batch.
cudaError_t bmas_cuda(const EmbeddingRows& table, const float* inverse_norms, const BmasBatch& batch, float* cosines,
                      float* row_max, double* precision, double* recall, cudaStream_t stream);

}  // namespace mixed_r1
