// The parts of a BmasKernel that are the same for every instruction set. Included inside an anonymous namespace by each
// bmas_<isa>.cpp, and so compiled for that instruction set and shared with no other. Lanes are GCC vectors: a panel's
// width in one AVX-512 register, two of AVX2, or four of SSE2 and NEON.

using Lanes = float __attribute__((vector_size(4 * kPanelWidth)));

void finish(float* dots, std::int64_t stride, std::int64_t num_rows, std::int64_t num_columns, const float* row_inverse,
            const float* column_inverse, const std::int32_t* match, float* row_max) {
  const Lanes one = Lanes{} + 1.0f;
  for (std::int64_t i = 0; i < num_rows; ++i) {
    float* row = dots + i * stride;
    Lanes largest = -one;
    for (std::int64_t j = 0; j < num_columns; j += kPanelWidth) {
      Lanes cosine, inverse;
      __builtin_memcpy(&cosine, row + j, sizeof(Lanes));
      __builtin_memcpy(&inverse, column_inverse + j, sizeof(Lanes));
      cosine = cosine * row_inverse[i] * inverse;
      cosine = cosine > -one ? cosine : -one;
      cosine = cosine < one ? cosine : one;
      largest = cosine > largest ? cosine : largest;
      __builtin_memcpy(row + j, &cosine, sizeof(Lanes));
    }
    row_max[i] = largest[0];
    for (int lane = 1; lane < kPanelWidth; ++lane) row_max[i] = largest[lane] > row_max[i] ? largest[lane] : row_max[i];
    if (match[i] >= 0) row_max[i] = row[match[i]] = 1.0f;
  }
}

template <int kPanels>
void max_over_rows_of_panels(const float* cosines, std::int64_t stride, const std::int32_t* rows, std::int64_t num_rows,
                             float* column_max) {
  Lanes largest[kPanels];
#pragma GCC unroll 4
  for (int p = 0; p < kPanels; ++p) largest[p] = Lanes{} - 1.0f;
  for (std::int64_t i = 0; i < num_rows; ++i) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      Lanes row;
      __builtin_memcpy(&row, cosines + rows[i] * stride + p * kPanelWidth, sizeof(Lanes));
      largest[p] = row > largest[p] ? row : largest[p];
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < kPanels; ++p) __builtin_memcpy(column_max + p * kPanelWidth, &largest[p], sizeof(Lanes));
}

void max_over_rows(const float* cosines, std::int64_t stride, const std::int32_t* rows, std::int64_t num_rows,
                   std::int64_t num_columns, float* column_max) {
  constexpr std::int64_t kFour = 4 * kPanelWidth;
  std::int64_t j = 0;
  for (; j + kFour <= num_columns; j += kFour) {
    max_over_rows_of_panels<4>(cosines + j, stride, rows, num_rows, column_max + j);
  }
  for (; j < num_columns; j += kPanelWidth) {
    max_over_rows_of_panels<1>(cosines + j, stride, rows, num_rows, column_max + j);
  }
}
