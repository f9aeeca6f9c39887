// A token embedding table: V rows of d elements as the model stores them.
#pragma once

#include <cstdint>

namespace mixed_r1 {

enum class RowType : int { float32, float16, bfloat16 };

struct EmbeddingRows {
  const void* data = nullptr;  // [num_rows, dim], contiguous
  RowType type = RowType::float32;
  std::int64_t num_rows = 0;
  std::int64_t dim = 0;

  std::int64_t element_bytes() const { return type == RowType::float32 ? 4 : 2; }
  const char* row(std::int64_t id) const { return static_cast<const char*>(data) + id * dim * element_bytes(); }
};

// Euclidean norms [num_rows] in float64, summed in a fixed order; NaN or infinite where a row is not finite.
void row_norms(const EmbeddingRows& rows, int num_threads, double* norms);

}  // namespace mixed_r1
