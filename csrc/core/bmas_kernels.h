// What bmas.cpp needs of an instruction set. Sizes: m completion rows, n reference columns in panels of 16, d the
// table's width.
//
// A panel holds 16 reference rows transposed, as 32-bit words: one float32 or two neighbouring bfloat16 of a row. Word
// w of column c is panel[w * 16 + c]; w runs over depth_words, the row's words rounded up to depth_step, zeros at the
// end.
#pragma once

#include <cstdint>

#include "core/embedding_rows.h"

namespace mixed_r1 {

inline constexpr int kPanelWidth = 16;

struct BmasKernel {
  bool reads_bfloat16;      // rows are bfloat16 as stored; else float32, which the caller widens to
  std::int64_t row_block;   // rows that one call of dots takes
  std::int64_t depth_step;  // in words

  // Transposes num_words words of 16 rows.
  void (*pack)(const void* const* rows, std::int64_t num_words, std::uint32_t* panel);

  // out[i * out_stride + j] = <rows[i], column j>, accumulated in float32 over the depth in order, so that an entry
  // depends on its two rows alone. rows holds row_block pointers and out row_block rows, of which the first num_rows
  // are wanted: a kernel may leave out or compute the rest. j runs over num_panels * 16; dim is the length of a row.
  void (*dots)(const void* const* rows, std::int64_t num_rows, std::int64_t dim, const std::uint32_t* panels,
               std::int64_t depth_words, std::int64_t num_panels, float* out, std::int64_t out_stride);

  // Widens bfloat16 or float16 to float32 (kernels that read float32).
  void (*widen)(RowType type, const std::uint16_t* row, std::int64_t dim, float* out);

  // Turns dots into cosines in [-1, 1], sets S[i][match[i]] to exactly 1 where match[i] >= 0, and takes each row's
  // maximum. num_columns is a multiple of 16. Zero inverse norms give cosine 0.
  void (*finish)(float* dots, std::int64_t stride, std::int64_t num_rows, std::int64_t num_columns,
                 const float* row_inverse, const float* column_inverse, const std::int32_t* match, float* row_max);

  // column_max[j] = the largest of S[rows[i]][j] over i < num_rows; num_rows >= 1.
  void (*max_over_rows)(const float* cosines, std::int64_t stride, const std::int32_t* rows, std::int64_t num_rows,
                        std::int64_t num_columns, float* column_max);
};

const BmasKernel& bmas_kernel_generic();
const BmasKernel& bmas_kernel_avx2();
const BmasKernel& bmas_kernel_avx512();
const BmasKernel& bmas_kernel_avx512bf16();
const BmasKernel& bmas_kernel_amx();

}  // namespace mixed_r1
