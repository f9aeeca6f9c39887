// Products of 64 gathered rows with 64 gathered rows, for one thread block of kThreads.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline_primitives.h>
#include <mma.h>

#include <cstdint>

namespace mixed_r1 {

constexpr int kTile = 64;
constexpr int kThreads = 128;
constexpr int kStages = 2;
constexpr int kDepthBytes = 128;               // of each row at once
constexpr int kPitchBytes = kDepthBytes + 16;  // keeps rows in different banks, and fragments aligned to 32 bytes
constexpr int kDotPitch = kTile + 4;

// Rows of both sides for two steps, later their dot products.
union alignas(128) TileMemory {
  char rows[kStages][2][kTile * kPitchBytes];
  float dots[kTile * kDotPitch];
};

// One step of kDepthBytes of 64 rows into shared memory, zeros beyond the end of the row. kWhole: rows are whole
// vectors of 16 bytes on such boundaries.
template <class T, bool kWhole>
__device__ void load_rows(const T* table, std::int64_t dim, const std::int32_t* ids, std::int64_t first, char* out) {
  constexpr int kElements = kDepthBytes / sizeof(T);
  constexpr int kUnit = kWhole ? 16 / sizeof(T) : 1;
#pragma unroll 4
  for (int i = threadIdx.x; i < kTile * kElements / kUnit; i += kThreads) {
    const int row = i / (kElements / kUnit);
    const int element = i % (kElements / kUnit) * kUnit;
    const bool inside = first + element < dim;
    const T* source = table + ids[row] * dim + (inside ? first + element : 0);
    char* target = out + row * kPitchBytes + element * static_cast<int>(sizeof(T));
    if constexpr (kWhole) {
      __pipeline_memcpy_async(target, source, 16, inside ? 0 : 16);
    } else {
      *reinterpret_cast<T*>(target) = inside ? *source : T(0.0f);
    }
  }
}

// Products of 16-bit floats on the tensor cores: four warps in two rows of two, 32 x 32 dots each. The tensor cores
// round every addition towards zero, so they add one step only; steps are added here, rounded to nearest.
template <class T>
class Product {
 public:
  __device__ Product() {
    for (auto& row : dots_) {
      for (auto& dots : row) nvcuda::wmma::fill_fragment(dots, 0.0f);
    }
  }

  __device__ void add_step(const char* a_rows, const char* b_rows) {
    using namespace nvcuda::wmma;
    Dots step[2][2];
    for (auto& row : step) {
      for (auto& dots : row) fill_fragment(dots, 0.0f);
    }
#pragma unroll
    for (int k = 0; k < kDepthBytes / static_cast<int>(sizeof(T)); k += 16) {
      fragment<matrix_a, 16, 16, 16, T, row_major> a[2];
      fragment<matrix_b, 16, 16, 16, T, col_major> b[2];
      for (int i = 0; i < 2; ++i) {
        load_matrix_sync(a[i], element(a_rows, row() + 16 * i, k), kPitchBytes / sizeof(T));
        load_matrix_sync(b[i], element(b_rows, column() + 16 * i, k), kPitchBytes / sizeof(T));
      }
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) mma_sync(step[i][j], a[i], b[j], step[i][j]);
      }
    }
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) {
        for (int e = 0; e < step[i][j].num_elements; ++e) dots_[i][j].x[e] += step[i][j].x[e];
      }
    }
  }

  __device__ void store(float* dots) const {
    using namespace nvcuda::wmma;
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) {
        float* corner = dots + (row() + 16 * i) * kDotPitch + column() + 16 * j;
        store_matrix_sync(corner, dots_[i][j], kDotPitch, mem_row_major);
      }
    }
  }

 private:
  using Dots = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>;

  __device__ static int row() { return static_cast<int>(threadIdx.x) / 64 * 32; }
  __device__ static int column() { return static_cast<int>(threadIdx.x) / 32 % 2 * 32; }
  __device__ static const T* element(const char* rows, int row, int k) {
    return reinterpret_cast<const T*>(rows + row * kPitchBytes) + k;
  }

  Dots dots_[2][2];
};

// float32 in fused multiply-adds: each thread has 4 rows, 16 apart, and 8 columns, 8 apart.
template <>
class Product<float> {
 public:
  __device__ void add_step(const char* a_rows, const char* b_rows) {
    float step[4][8] = {};
#pragma unroll 8
    for (int k = 0; k < kDepthBytes / static_cast<int>(sizeof(float)); ++k) {
      float a[4], b[8];
      for (int i = 0; i < 4; ++i) a[i] = element(a_rows, row() + 16 * i, k);
      for (int j = 0; j < 8; ++j) b[j] = element(b_rows, column() + 8 * j, k);
      for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 8; ++j) step[i][j] = fmaf(a[i], b[j], step[i][j]);
      }
    }
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 8; ++j) dots_[i][j] += step[i][j];
    }
  }

  __device__ void store(float* dots) const {
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 8; ++j) dots[(row() + 16 * i) * kDotPitch + column() + 8 * j] = dots_[i][j];
    }
  }

 private:
  __device__ static int row() { return static_cast<int>(threadIdx.x) / 8; }
  __device__ static int column() { return static_cast<int>(threadIdx.x) % 8; }
  __device__ static float element(const char* rows, int row, int k) {
    return reinterpret_cast<const float*>(rows + row * kPitchBytes)[k];
  }

  float dots_[4][8] = {};
};

// Dot products of rows a_ids and b_ids [kTile] of the table, in memory.dots; a barrier is the caller's.
template <class T, bool kWhole>
__device__ void multiply_tiles(const T* table, std::int64_t dim, const std::int32_t* a_ids, const std::int32_t* b_ids,
                               TileMemory& memory) {
  constexpr int kDepth = kDepthBytes / sizeof(T);
  const auto load = [&](std::int64_t first) {
    const std::int64_t stage = first / kDepth % kStages;
    if (first < dim) {
      load_rows<T, kWhole>(table, dim, a_ids, first, memory.rows[stage][0]);
      load_rows<T, kWhole>(table, dim, b_ids, first, memory.rows[stage][1]);
    }
    __pipeline_commit();
  };
  Product<T> product;
  load(0);
  for (std::int64_t first = 0; first < dim; first += kDepth) {
    load(first + kDepth);
    __pipeline_wait_prior(1);
    __syncthreads();
    const std::int64_t stage = first / kDepth % kStages;
    product.add_step(memory.rows[stage][0], memory.rows[stage][1]);
    __syncthreads();
  }
  product.store(memory.dots);
}

}  // namespace mixed_r1
