#include "cuda/bmas.h"
#include "cuda/bmas_tiles.cuh"
#include "cuda/launch.h"

namespace mixed_r1 {

namespace {

constexpr int kWarp = 32;
constexpr int kAverageWarps = 8;
constexpr int kBlocksPerProcessor = 3;  // 168 registers a thread: none spills

static_assert(kTile == kBmasRowBlock);

__device__ float warp_max(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  }
  return value;
}

// In a fixed order: neighbours first.
__device__ double warp_sum(double value) {
  for (int offset = 1; offset < kWarp; offset *= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

struct TileIds {
  std::int32_t rows[kTile], columns[kTile];
  float row_inverse[kTile], column_inverse[kTile];
  float row_max[kTile];
};

// Scales the dot products, stores the cosines, and carries the row maxima on. A warp has every fourth row.
__device__ void finish_tile(const TileMemory& memory, TileIds& ids, int num_rows, int num_columns, std::int64_t pitch,
                            float* cosines) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int row = warp; row < num_rows; row += kThreads / kWarp) {
    float best = -1.0f;
    for (int column = lane; column < num_columns; column += kWarp) {
      const float scaled = memory.dots[row * kDotPitch + column] * ids.row_inverse[row] * ids.column_inverse[column];
      const bool equal = ids.rows[row] == ids.columns[column] && ids.row_inverse[row] > 0.0f;
      const float cosine = equal ? 1.0f : fminf(fmaxf(scaled, -1.0f), 1.0f);
      cosines[row * pitch + column] = cosine;
      best = fmaxf(best, cosine);
    }
    best = warp_max(best);
    if (lane == 0) ids.row_max[row] = fmaxf(ids.row_max[row], best);
  }
}

// Cosines and row maxima of one tile of a group's rows with all of its columns.
template <class T, bool kWhole>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    cosines_kernel(const T* table, std::int64_t dim, const float* inverse_norms, BmasBatch batch, float* cosines,
                   float* row_max) {
  __shared__ TileMemory memory;
  __shared__ TileIds ids;
  const std::int32_t group = batch.tile_group[blockIdx.x], first_row = batch.tile_row[blockIdx.x];
  const std::int32_t row_begin = batch.row_begin[group], rows_left = batch.row_begin[group + 1] - first_row;
  const std::int32_t column_begin = batch.column_begin[group];
  const std::int32_t num_columns = batch.column_begin[group + 1] - column_begin;
  const int num_rows = min(rows_left, kTile);
  const int thread = static_cast<int>(threadIdx.x);
  cosines += batch.cosine_begin[group] + std::int64_t{first_row - row_begin} * num_columns;
  if (thread < kTile) {  // padding repeats the last row, and below the last column
    ids.rows[thread] = batch.row_ids[first_row + min(thread, num_rows - 1)];
    ids.row_inverse[thread] = inverse_norms[ids.rows[thread]];
    ids.row_max[thread] = -1.0f;
  }
  for (std::int32_t column = 0; column < num_columns; column += kTile) {
    const int columns_here = min(num_columns - column, kTile);
    if (thread < kTile) {
      ids.columns[thread] = batch.column_ids[column_begin + column + min(thread, columns_here - 1)];
      ids.column_inverse[thread] = inverse_norms[ids.columns[thread]];
    }
    __syncthreads();
    multiply_tiles<T, kWhole>(table, dim, ids.rows, ids.columns, memory);
    __syncthreads();
    finish_tile(memory, ids, num_rows, columns_here, num_columns, cosines + column);
    __syncthreads();
  }
  if (thread < num_rows) row_max[first_row + thread] = ids.row_max[thread];
}

// Sum over the block in a fixed order, for thread 0.
__device__ double block_sum(double value, double* of_warp) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  value = warp_sum(value);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) of_warp[warp] = value;
  __syncthreads();
  double sum = 0.0;
  for (int w = 0; w < kAverageWarps; ++w) sum += of_warp[w];
  return sum;
}

// Mean row maximum over the tokens of one completion, mean column maximum over those of its reference.
__global__ void __launch_bounds__(kAverageWarps* kWarp)
    averages_kernel(BmasBatch batch, const float* cosines, const float* row_max, double* precision, double* recall) {
  __shared__ float best_of_warp[kAverageWarps][kWarp];
  __shared__ double of_warp[kAverageWarps];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp, lane = thread % kWarp;
  const std::int32_t group = batch.completion_group[blockIdx.x], index = batch.completion_index[blockIdx.x];
  const std::int32_t begin = batch.distinct_begin[blockIdx.x], end = batch.distinct_begin[blockIdx.x + 1];
  double total = 0.0, tokens = 0.0;  // counts are exact in float64
  for (std::int32_t d = begin + thread; d < end; d += kAverageWarps * kWarp) {
    total += static_cast<double>(batch.distinct_counts[d]) * row_max[batch.distinct_rows[d]];
    tokens += batch.distinct_counts[d];
  }
  total = block_sum(total, of_warp);
  tokens = block_sum(tokens, of_warp);
  if (thread == 0) precision[index] = total / tokens;

  const std::int32_t row_begin = batch.row_begin[group], column_begin = batch.column_begin[group];
  const std::int64_t num_columns = batch.column_begin[group + 1] - column_begin;
  cosines += batch.cosine_begin[group];
  total = tokens = 0.0;  // of the columns of this lane, in the first warp
  for (std::int64_t column = lane; column - lane < num_columns; column += kWarp) {
    float best = -1.0f;
    for (std::int32_t d = begin + warp; column < num_columns && d < end; d += kAverageWarps) {
      best = fmaxf(best, cosines[(batch.distinct_rows[d] - row_begin) * num_columns + column]);
    }
    best_of_warp[warp][lane] = best;
    __syncthreads();
    if (warp == 0 && column < num_columns) {
      for (int w = 1; w < kAverageWarps; ++w) best = fmaxf(best, best_of_warp[w][lane]);
      total += static_cast<double>(batch.column_counts[column_begin + column]) * best;
      tokens += batch.column_counts[column_begin + column];
    }
    __syncthreads();
  }
  total = block_sum(total, of_warp);
  tokens = block_sum(tokens, of_warp);
  if (thread == 0) recall[index] = total / tokens;
}

template <class T>
cudaError_t run(const EmbeddingRows& table, const float* inverse_norms, const BmasBatch& batch, float* cosines,
                float* row_max, cudaStream_t stream) {
  const bool whole = table.dim * sizeof(T) % 16 == 0 && reinterpret_cast<std::uintptr_t>(table.data) % 16 == 0;
  return launch(whole ? cosines_kernel<T, true> : cosines_kernel<T, false>, batch.num_tiles, kThreads, stream,
                static_cast<const T*>(table.data), table.dim, inverse_norms, batch, cosines, row_max);
}

}  // namespace

cudaError_t bmas_cuda(const EmbeddingRows& table, const float* inverse_norms, const BmasBatch& batch, float* cosines,
                      float* row_max, double* precision, double* recall, cudaStream_t stream) {
  const auto run_type = table.type == RowType::float32   ? run<float>
                        : table.type == RowType::float16 ? run<__half>
                                                         : run<__nv_bfloat16>;
  const cudaError_t error = run_type(table, inverse_norms, batch, cosines, row_max, stream);
  if (error != cudaSuccess) return error;
  return launch(averages_kernel, batch.num_completions, kAverageWarps * kWarp, stream, batch, cosines, row_max,
                precision, recall);
}

}  // namespace mixed_r1
