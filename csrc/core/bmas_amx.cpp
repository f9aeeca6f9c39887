// BMAS for AMX: 32 rows x 32 columns in four tiles of 16 x 16, 32 elements of depth per multiply. A panel already is a
// tile of columns; rows are gathered into tiles first, since a tile is read at one stride and table rows lie anywhere.
#include <immintrin.h>

#include "core/bmas_kernels.h"

namespace mixed_r1 {

namespace {

#include "core/bmas_pack.inl"
#include "core/bmas_rows.inl"

constexpr int kTileRows = 16;
constexpr int kRows = 2 * kTileRows;
constexpr std::int64_t kTileDepth = 32;  // bfloat16 elements
constexpr std::int64_t kTileWords = kTileDepth / 2 * kPanelWidth;
constexpr int kTileStride = 64;  // bytes

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t column_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t num_rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

constexpr TileConfig kConfig;

// rows [32] -> tiles [depth / 32][2][16 rows][32 elements], zeros beyond dim.
void gather(const void* const* rows, std::int64_t dim, std::uint16_t* tiles) {
  const std::int64_t whole = dim / kTileDepth * kTileDepth;
  for (std::int64_t k = 0; k < whole; k += kTileDepth) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto* row = static_cast<const std::uint16_t*>(rows[r]);
      _mm512_store_si512(tiles + r * kTileDepth, _mm512_loadu_si512(row + k));
    }
    tiles += kRows * kTileDepth;
  }
  if (whole < dim) {
    const auto mask = static_cast<__mmask32>((1ull << (dim - whole)) - 1);
    for (int r = 0; r < kRows; ++r) {
      const auto* row = static_cast<const std::uint16_t*>(rows[r]);
      _mm512_store_si512(tiles + r * kTileDepth, _mm512_maskz_loadu_epi16(mask, row + whole));
    }
  }
}

// Tiles 0-3 hold the sums, 4-5 rows, 6-7 columns.
void dots_of_two_panels(const std::uint16_t* tiles, std::int64_t steps, const std::uint32_t* left,
                        const std::uint32_t* right, float* out, std::int64_t out_stride) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::int64_t s = 0; s < steps; ++s) {
    _tile_loadd(6, left + s * kTileWords, kTileStride);
    _tile_loadd(4, tiles + s * kRows * kTileDepth, kTileStride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, right + s * kTileWords, kTileStride);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, tiles + s * kRows * kTileDepth + kTileRows * kTileDepth, kTileStride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  const std::int64_t stride = out_stride * 4;
  _tile_stored(0, out, stride);
  _tile_stored(1, out + kPanelWidth, stride);
  _tile_stored(2, out + kTileRows * out_stride, stride);
  _tile_stored(3, out + kTileRows * out_stride + kPanelWidth, stride);
}

void dots_of_one_panel(const std::uint16_t* tiles, std::int64_t steps, const std::uint32_t* panel, float* out,
                       std::int64_t out_stride) {
  _tile_zero(0);
  _tile_zero(2);
  for (std::int64_t s = 0; s < steps; ++s) {
    _tile_loadd(6, panel + s * kTileWords, kTileStride);
    _tile_loadd(4, tiles + s * kRows * kTileDepth, kTileStride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, tiles + s * kRows * kTileDepth + kTileRows * kTileDepth, kTileStride);
    _tile_dpbf16ps(2, 5, 6);
  }
  _tile_stored(0, out, out_stride * 4);
  _tile_stored(2, out + kTileRows * out_stride, out_stride * 4);
}

void dots(const void* const* rows, std::int64_t dim, const std::uint32_t* panels, std::int64_t depth_words,
          std::int64_t num_panels, float* out, std::int64_t out_stride, void* scratch) {
  auto* tiles = static_cast<std::uint16_t*>(scratch);
  gather(rows, dim, tiles);
  const std::int64_t steps = depth_words * 2 / kTileDepth;
  const std::int64_t stride = depth_words * kPanelWidth;
  _tile_loadconfig(&kConfig);
  std::int64_t p = 0;
  for (; p + 2 <= num_panels; p += 2) {
    dots_of_two_panels(tiles, steps, panels + p * stride, panels + (p + 1) * stride, out + p * kPanelWidth, out_stride);
  }
  if (p < num_panels) dots_of_one_panel(tiles, steps, panels + p * stride, out + p * kPanelWidth, out_stride);
  _tile_release();
}

constexpr BmasKernel kKernel = {true, kRows, kTileDepth / 2, 4, pack, dots, nullptr, finish, max_over_rows};

}  // namespace

const BmasKernel& bmas_kernel_amx() { return kKernel; }

}  // namespace mixed_r1
