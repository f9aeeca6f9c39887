#include "core/embedding_rows.h"

#include <algorithm>
#include <cmath>

#include "core/float_bits.h"
#include "core/thread_pool.h"

namespace mixed_r1 {

namespace {

template <class Element, class Widen>
double norm(const Element* row, std::int64_t dim, Widen widen) {
  // Eight sums, so that the compiler may use vectors without changing the order of addition.
  constexpr int kLanes = 8;
  double sums[kLanes] = {};
  std::int64_t k = 0;
  for (; k + kLanes <= dim; k += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const double value = widen(row[k + lane]);
      sums[lane] += value * value;
    }
  }
  for (; k < dim; ++k) {
    const double value = widen(row[k]);
    sums[k % kLanes] += value * value;
  }
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

double norm_of_row(const EmbeddingRows& rows, std::int64_t id) {
  const void* row = rows.row(id);
  switch (rows.type) {
    case RowType::bfloat16:
      return norm(static_cast<const std::uint16_t*>(row), rows.dim, widen_bfloat16);
    case RowType::float16:
      return norm(static_cast<const std::uint16_t*>(row), rows.dim, widen_float16);
    default:
      return norm(static_cast<const float*>(row), rows.dim, [](float value) { return value; });
  }
}

}  // namespace

void row_norms(const EmbeddingRows& rows, int num_threads, double* norms) {
  constexpr std::int64_t kRowsPerTask = 1024;
  parallel_for((rows.num_rows + kRowsPerTask - 1) / kRowsPerTask, num_threads, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(rows.num_rows, (task + 1) * kRowsPerTask);
    for (std::int64_t id = task * kRowsPerTask; id < end; ++id) norms[id] = norm_of_row(rows, id);
  });
}

}  // namespace mixed_r1
