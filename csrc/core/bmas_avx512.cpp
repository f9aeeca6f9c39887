// BMAS for AVX-512 on float32: 6 rows x up to 64 columns in 24 of the 32 registers.
#include <immintrin.h>

#include "core/bmas_kernels.h"
#include "core/float_bits.h"

namespace mixed_r1 {

namespace {

#include "core/bmas_pack.inl"
#include "core/bmas_rows.inl"

constexpr int kRows = 6;
using Element = float;
using Word = float;

template <int kPanels>
void dots_of_panels(const float* const* row, std::int64_t dim, const float* panels, std::int64_t panel_stride,
                    float* out, std::int64_t out_stride) {
  __m512 sums[kRows][kPanels] = {};
  for (std::int64_t k = 0; k < dim; ++k) {
    __m512 columns[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) columns[p] = _mm512_load_ps(panels + p * panel_stride + k * kPanelWidth);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512 value = _mm512_set1_ps(row[r][k]);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) sums[r][p] = _mm512_fmadd_ps(value, columns[p], sums[r][p]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) _mm512_storeu_ps(out + r * out_stride + p * kPanelWidth, sums[r][p]);
  }
}

#include "core/bmas_panels.inl"

void widen(RowType type, const std::uint16_t* row, std::int64_t dim, float* out) {
  if (type == RowType::bfloat16) {
    for (std::int64_t k = 0; k < dim; ++k) out[k] = widen_bfloat16(row[k]);
    return;
  }
  for (std::int64_t k = 0; k < dim; k += 16) {
    const __mmask16 mask =
        dim - k < 16 ? static_cast<__mmask16>((1u << (dim - k)) - 1) : static_cast<__mmask16>(0xFFFF);
    const __m256i bits = _mm256_maskz_loadu_epi16(mask, row + k);
    _mm512_mask_storeu_ps(out + k, mask, _mm512_cvtph_ps(bits));
  }
}

constexpr BmasKernel kKernel = {false, kRows, 1, pack, dots, widen, finish, max_over_rows};

}  // namespace

const BmasKernel& bmas_kernel_avx512() { return kKernel; }

}  // namespace mixed_r1
