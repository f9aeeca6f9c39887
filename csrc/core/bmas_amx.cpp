// BMAS for AMX: 48 rows x 16 columns in three tiles of sums, 32 elements of depth per multiply. A panel already is a
// tile of columns; rows are gathered into tiles first, since a tile is read at one stride and table rows lie anywhere.
// Each column tile serves three products: two by two tiles would need fewer loads but more of them from the
// second-level cache.
#include <immintrin.h>

#include "core/bmas_kernels.h"

namespace mixed_r1 {

namespace {

#include "core/bmas_pack.inl"
#include "core/bmas_rows.inl"

constexpr int kTileRows = 16;
constexpr int kRowTiles = 3;
constexpr int kRows = kRowTiles * kTileRows;
constexpr std::int64_t kTileDepth = 32;                            // bfloat16 elements
constexpr std::int64_t kTileWords = kTileDepth / 2 * kPanelWidth;  // of a panel
constexpr int kTileStride = 64;                                    // bytes
// Steps of depth gathered at a time: 48 rows of them stay in the first-level cache while every panel passes by.
constexpr std::int64_t kSteps = 8;
using RowTiles = std::uint16_t[kSteps][kRows][kTileDepth];

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t column_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t num_rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

constexpr TileConfig kConfig;

// Elements [begin, begin + num_steps * 32) of the rows, zeros beyond dim.
void gather(const void* const* rows, std::int64_t num_rows, std::int64_t begin, std::int64_t num_steps,
            std::int64_t dim, RowTiles& tiles) {
  for (std::int64_t s = 0; s < num_steps; ++s) {
    const std::int64_t k = begin + s * kTileDepth;
    const std::int64_t left = dim - k;
    const auto mask = static_cast<__mmask32>(left >= kTileDepth ? ~0u : left > 0 ? (1u << left) - 1 : 0u);
#pragma GCC unroll 8
    for (std::int64_t r = 0; r < num_rows; ++r) {
      const __m512i part = _mm512_maskz_loadu_epi16(mask, static_cast<const std::uint16_t*>(rows[r]) + k);
      _mm512_store_si512(tiles[s][r], part);
    }
  }
}

// Tiles 0-2 hold the sums, 3-5 rows, 6 columns. Sums continue from out unless this is the first part of the depth.
template <int kTiles>
void add_dots(const RowTiles& tiles, std::int64_t num_steps, const std::uint32_t* panel, bool is_first, float* out,
              std::int64_t out_stride) {
  const std::int64_t stride = out_stride * 4;
  if (is_first) {
    _tile_zero(0);
    if constexpr (kTiles > 1) _tile_zero(1);
    if constexpr (kTiles > 2) _tile_zero(2);
  } else {
    _tile_loadd(0, out, stride);
    if constexpr (kTiles > 1) _tile_loadd(1, out + kTileRows * out_stride, stride);
    if constexpr (kTiles > 2) _tile_loadd(2, out + 2 * kTileRows * out_stride, stride);
  }
  for (std::int64_t s = 0; s < num_steps; ++s) {
    _tile_loadd(6, panel + s * kTileWords, kTileStride);
    _tile_loadd(3, tiles[s][0], kTileStride);
    _tile_dpbf16ps(0, 3, 6);
    if constexpr (kTiles > 1) {
      _tile_loadd(4, tiles[s][kTileRows], kTileStride);
      _tile_dpbf16ps(1, 4, 6);
    }
    if constexpr (kTiles > 2) {
      _tile_loadd(5, tiles[s][2 * kTileRows], kTileStride);
      _tile_dpbf16ps(2, 5, 6);
    }
  }
  _tile_stored(0, out, stride);
  if constexpr (kTiles > 1) _tile_stored(1, out + kTileRows * out_stride, stride);
  if constexpr (kTiles > 2) _tile_stored(2, out + 2 * kTileRows * out_stride, stride);
}

template <int kTiles>
void dots_of_row_tiles(const void* const* rows, std::int64_t dim, const std::uint32_t* panels, std::int64_t depth_words,
                       std::int64_t num_panels, float* out, std::int64_t out_stride) {
  alignas(64) RowTiles tiles;
  const std::int64_t total_steps = depth_words * 2 / kTileDepth;
  for (std::int64_t begin = 0; begin < total_steps; begin += kSteps) {
    const std::int64_t num_steps = total_steps - begin < kSteps ? total_steps - begin : kSteps;
    gather(rows, kTiles * kTileRows, begin * kTileDepth, num_steps, dim, tiles);
    for (std::int64_t p = 0; p < num_panels; ++p) {
      const std::uint32_t* panel = panels + p * depth_words * kPanelWidth + begin * kTileWords;
      add_dots<kTiles>(tiles, num_steps, panel, begin == 0, out + p * kPanelWidth, out_stride);
    }
  }
}

void dots(const void* const* rows, std::int64_t num_rows, std::int64_t dim, const std::uint32_t* panels,
          std::int64_t depth_words, std::int64_t num_panels, float* out, std::int64_t out_stride) {
  _tile_loadconfig(&kConfig);
  if (num_rows <= kTileRows) {
    dots_of_row_tiles<1>(rows, dim, panels, depth_words, num_panels, out, out_stride);
  } else if (num_rows <= 2 * kTileRows) {
    dots_of_row_tiles<2>(rows, dim, panels, depth_words, num_panels, out, out_stride);
  } else {
    dots_of_row_tiles<3>(rows, dim, panels, depth_words, num_panels, out, out_stride);
  }
  _tile_release();
}

constexpr BmasKernel kKernel = {true, kRows, kTileDepth / 2, pack, dots, nullptr, finish, max_over_rows};

}  // namespace

const BmasKernel& bmas_kernel_amx() { return kKernel; }

}  // namespace mixed_r1
