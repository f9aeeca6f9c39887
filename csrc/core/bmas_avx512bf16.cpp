// BMAS for AVX-512 BF16: rows as stored, two elements of each row and column per multiply-add. Products of bfloat16 are
// exact in float32; only the sums round.
#include <immintrin.h>

#include "core/bmas_kernels.h"

namespace mixed_r1 {

namespace {

#include "core/bmas_pack.inl"
#include "core/bmas_rows.inl"

constexpr int kRows = 6;
using Element = std::uint16_t;
using Word = std::uint32_t;

inline __m512bh broadcast_pair(const std::uint16_t* row) {
  std::uint32_t pair;
  __builtin_memcpy(&pair, row, sizeof(pair));
  return (__m512bh)_mm512_set1_epi32(static_cast<int>(pair));
}

template <int kPanels>
void dots_of_panels(const std::uint16_t* const* row, std::int64_t dim, const std::uint32_t* panels,
                    std::int64_t panel_stride, float* out, std::int64_t out_stride) {
  __m512 sums[kRows][kPanels] = {};
  const std::int64_t pairs = dim / 2;
  for (std::int64_t w = 0; w < pairs; ++w) {
    __m512bh columns[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      columns[p] = (__m512bh)_mm512_load_si512(panels + p * panel_stride + w * kPanelWidth);
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512bh value = broadcast_pair(row[r] + 2 * w);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) sums[r][p] = _mm512_dpbf16_ps(sums[r][p], value, columns[p]);
    }
  }
  if (dim % 2 != 0) {  // the panel's last word has a zero in its upper half
    for (int r = 0; r < kRows; ++r) {
      const __m512bh value = (__m512bh)_mm512_set1_epi32(row[r][dim - 1]);
      for (int p = 0; p < kPanels; ++p) {
        const auto column = (__m512bh)_mm512_load_si512(panels + p * panel_stride + pairs * kPanelWidth);
        sums[r][p] = _mm512_dpbf16_ps(sums[r][p], value, column);
      }
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) _mm512_storeu_ps(out + r * out_stride + p * kPanelWidth, sums[r][p]);
  }
}

#include "core/bmas_panels.inl"

constexpr BmasKernel kKernel = {true, kRows, 1, pack, dots, nullptr, finish, max_over_rows};

}  // namespace

const BmasKernel& bmas_kernel_avx512bf16() { return kKernel; }

}  // namespace mixed_r1
