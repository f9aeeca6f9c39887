// Bidirectional Max-Average Similarity of token sequences; the formula is in kernels/mixed_r1_kernels/bmas/api.py.
#pragma once

#include <cstdint>

#include "core/embedding_rows.h"

namespace mixed_r1 {

// count sequences: sequence i is ids[offsets[i] .. offsets[i + 1]).
struct TokenSequences {
  const std::int32_t* ids = nullptr;
  const std::int64_t* offsets = nullptr;
  std::int64_t count = 0;
};

// precision and recall [completions.count], against reference reference_of[i]; 0 where a side is empty.
// inverse_norms [num_rows]: 1 / norm, 0 for rows that count as zero. Ids must be in [0, num_rows).
// A pair's result is bit-equal whatever else is in the batch and whatever num_threads is.
void bmas(const EmbeddingRows& table, const float* inverse_norms, const TokenSequences& completions,
          const TokenSequences& references, const std::int64_t* reference_of, int num_threads, double* precision,
          double* recall);

}  // namespace mixed_r1
