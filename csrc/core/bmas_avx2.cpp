// BMAS for AVX2 with FMA and F16C: 6 rows x 16 columns in 12 of the 16 registers.
#include <immintrin.h>

#include "core/bmas_kernels.h"
#include "core/float_bits.h"

namespace mixed_r1 {

namespace {

#include "core/bmas_pack.inl"
#include "core/bmas_rows.inl"

constexpr int kRows = 6;

void dots(const void* const* rows, std::int64_t, std::int64_t dim, const std::uint32_t* panels,
          std::int64_t depth_words, std::int64_t num_panels, float* out, std::int64_t out_stride) {
  const float* row[kRows];
  for (int r = 0; r < kRows; ++r) row[r] = static_cast<const float*>(rows[r]);
  for (std::int64_t p = 0; p < num_panels; ++p) {
    const float* panel = reinterpret_cast<const float*>(panels + p * depth_words * kPanelWidth);
    __m256 sums[kRows][2] = {};
    for (std::int64_t k = 0; k < dim; ++k) {
      const __m256 left = _mm256_load_ps(panel + k * kPanelWidth);
      const __m256 right = _mm256_load_ps(panel + k * kPanelWidth + 8);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m256 value = _mm256_broadcast_ss(row[r] + k);
        sums[r][0] = _mm256_fmadd_ps(value, left, sums[r][0]);
        sums[r][1] = _mm256_fmadd_ps(value, right, sums[r][1]);
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      _mm256_storeu_ps(out + r * out_stride + p * kPanelWidth, sums[r][0]);
      _mm256_storeu_ps(out + r * out_stride + p * kPanelWidth + 8, sums[r][1]);
    }
  }
}

void widen(RowType type, const std::uint16_t* row, std::int64_t dim, float* out) {
  if (type == RowType::bfloat16) {
    for (std::int64_t k = 0; k < dim; ++k) out[k] = widen_bfloat16(row[k]);
    return;
  }
  std::int64_t k = 0;
  for (; k + 8 <= dim; k += 8) {
    _mm256_storeu_ps(out + k, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + k))));
  }
  for (; k < dim; ++k) out[k] = widen_float16(row[k]);
}

constexpr BmasKernel kKernel = {false, kRows, 1, pack, dots, widen, finish, max_over_rows};

}  // namespace

const BmasKernel& bmas_kernel_avx2() { return kKernel; }

}  // namespace mixed_r1
