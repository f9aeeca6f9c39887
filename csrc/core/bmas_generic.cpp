// BMAS on any machine: GCC vector types of four floats (SSE2, NEON), separate multiply and add.
#include "core/bmas_kernels.h"
#include "core/float_bits.h"

namespace mixed_r1 {

namespace {

#include "core/bmas_pack.inl"
#include "core/bmas_rows.inl"

using Float4 = float __attribute__((vector_size(16)));

constexpr int kRows = 2;
constexpr int kVectors = kPanelWidth / 4;

void dots(const void* const* rows, std::int64_t, std::int64_t dim, const std::uint32_t* panels,
          std::int64_t depth_words, std::int64_t num_panels, float* out, std::int64_t out_stride) {
  const float* row0 = static_cast<const float*>(rows[0]);
  const float* row1 = static_cast<const float*>(rows[1]);
  for (std::int64_t p = 0; p < num_panels; ++p) {
    const char* panel = reinterpret_cast<const char*>(panels + p * depth_words * kPanelWidth);
    Float4 sums[kRows][kVectors] = {};
    for (std::int64_t k = 0; k < dim; ++k) {
      Float4 columns[kVectors];
      __builtin_memcpy(columns, panel + k * sizeof(columns), sizeof(columns));
      for (int v = 0; v < kVectors; ++v) sums[0][v] += row0[k] * columns[v];
      for (int v = 0; v < kVectors; ++v) sums[1][v] += row1[k] * columns[v];
    }
    for (int r = 0; r < kRows; ++r) __builtin_memcpy(out + r * out_stride + p * kPanelWidth, sums[r], sizeof(sums[r]));
  }
}

void widen(RowType type, const std::uint16_t* row, std::int64_t dim, float* out) {
  if (type == RowType::bfloat16) {
    for (std::int64_t k = 0; k < dim; ++k) out[k] = widen_bfloat16(row[k]);
  } else {
    for (std::int64_t k = 0; k < dim; ++k) out[k] = widen_float16(row[k]);
  }
}

constexpr BmasKernel kKernel = {false, kRows, 1, pack, dots, widen, finish, max_over_rows};

}  // namespace

const BmasKernel& bmas_kernel_generic() { return kKernel; }

}  // namespace mixed_r1
