// With core/bmas_device_plan.cpp core/bmas_plan.cpp core/thread_pool.cpp.
// Runs csrc/cuda/bmas.cu against scalar loops in float64; exits with 1 on a difference.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "core/bmas_device_plan.h"
#include "core/float_bits.h"
#include "cuda/bmas.h"
#include "gpu_memory.h"

namespace {

using namespace mixed_r1;

struct Table {
  RowType type;
  std::int64_t dim;
  std::vector<std::uint8_t> bytes;
  std::vector<std::vector<double>> values;
  std::vector<float> inverse_norms;

  EmbeddingRows rows() const { return {bytes.data(), type, static_cast<std::int64_t>(values.size()), dim}; }
};

// Normal values cut to the type; the third row is zero.
Table make_table(RowType type, std::int64_t num_rows, std::int64_t dim, std::mt19937& random) {
  Table table{type, dim, {}, {}, {}};
  std::normal_distribution<float> normal;
  for (std::int64_t v = 0; v < num_rows; ++v) {
    double norm = 0.0;
    table.values.emplace_back();
    for (std::int64_t k = 0; k < dim; ++k) {
      const float drawn = v == 2 ? 0.0f : normal(random);
      const auto word = __builtin_bit_cast(std::uint32_t, drawn);
      // float16: the sign, an exponent of 0.5 to 2 and the leading bits
      const std::uint16_t half = type == RowType::bfloat16 ? word >> 16
                                 : v == 2 ? 0
                                          : (word >> 16 & 0x8000u) | 0x3800u | (word >> 13 & 0x7FFu);
      const float value = type == RowType::float32   ? drawn
                          : type == RowType::float16 ? widen_float16(half)
                                                     : widen_bfloat16(half);
      const auto* raw = type == RowType::float32 ? reinterpret_cast<const std::uint8_t*>(&drawn)
                                                 : reinterpret_cast<const std::uint8_t*>(&half);
      table.bytes.insert(table.bytes.end(), raw, raw + (type == RowType::float32 ? 4 : 2));
      table.values.back().push_back(value);
      norm += static_cast<double>(value) * value;
    }
    table.inverse_norms.push_back(norm > 0.0 ? static_cast<float>(1.0 / std::sqrt(norm)) : 0.0f);
  }
  return table;
}

struct Ragged {
  std::vector<std::int32_t> ids;
  std::vector<std::int64_t> offsets = {0};

  void add(int length, std::int64_t num_ids, std::mt19937& random) {
    for (int i = 0; i < length; ++i) ids.push_back(static_cast<std::int32_t>(random() % num_ids));
    offsets.push_back(static_cast<std::int64_t>(ids.size()));
  }
  TokenSequences view() const {
    return {ids.data(), offsets.data(), static_cast<std::int64_t>(offsets.size()) - 1};
  }
};

double cosine(const Table& table, std::int32_t a, std::int32_t b) {
  double dot = 0.0, norm_a = 0.0, norm_b = 0.0;
  for (std::int64_t k = 0; k < table.dim; ++k) {
    const double x = table.values[a][k], y = table.values[b][k];
    dot += x * y, norm_a += x * x, norm_b += y * y;
  }
  return norm_a == 0.0 || norm_b == 0.0 ? 0.0 : a == b ? 1.0 : dot / std::sqrt(norm_a * norm_b);
}

// Mean over sequence a of the best partner in b.
double mean_best(const Table& table, const TokenSequences& a, std::int64_t i, const TokenSequences& b,
                 std::int64_t j) {
  if (a.offsets[i] == a.offsets[i + 1] || b.offsets[j] == b.offsets[j + 1]) return 0.0;
  double sum = 0.0;
  for (auto s = a.offsets[i]; s < a.offsets[i + 1]; ++s) {
    double best = -1.0;
    for (auto t = b.offsets[j]; t < b.offsets[j + 1]; ++t)
      best = std::max(best, cosine(table, a.ids[s], b.ids[t]));
    sum += best;
  }
  return sum / static_cast<double>(a.offsets[i + 1] - a.offsets[i]);
}

// Of scores computed in waves of at most max_cosines cosines.
double largest_error(const Table& table, const Ragged& completions, const Ragged& references,
                     const std::vector<std::int64_t>& reference_of, std::int64_t max_cosines) {
  const auto num_rows = static_cast<std::int64_t>(table.values.size());
  const BmasDevicePlan plan =
      plan_for_device(num_rows, completions.view(), references.view(), reference_of.data(), kBmasRowBlock, 1);
  const BmasWaves waves = plan_waves(plan, max_cosines);
  const std::size_t count = reference_of.size();
  std::vector<double> precision(count, 0.0), recall(count, 0.0);
  const OnGpu bytes(table.bytes);
  const OnGpu inverse_norms(table.inverse_norms);
  const OnGpu begins(waves.cosine_begin);
  const OnGpu cosines(std::vector<float>(waves.most_cosines));
  const OnGpu row_max(std::vector<float>(plan.row_ids.size()));
  const OnGpu precision_on_gpu(precision), recall_on_gpu(recall);
  const OnGpu row_begin(plan.row_begin), row_ids(plan.row_ids), column_begin(plan.column_begin),
      column_ids(plan.column_ids), column_counts(plan.column_counts), tile_group(plan.tile_group),
      tile_row(plan.tile_row), completion_group(plan.completion_group),
      completion_index(plan.completion_index), distinct_begin(plan.distinct_begin),
      distinct_rows(plan.distinct_rows), distinct_counts(plan.distinct_counts);
  EmbeddingRows rows = table.rows();
  rows.data = bytes.get();
  for (const BmasWave& wave : waves.waves) {
    const BmasBatch batch = {.row_begin = row_begin.get(),
                             .row_ids = row_ids.get(),
                             .column_begin = column_begin.get(),
                             .column_ids = column_ids.get(),
                             .column_counts = column_counts.get(),
                             .cosine_begin = begins.get(),
                             .tile_group = tile_group.get() + wave.tile_begin,
                             .tile_row = tile_row.get() + wave.tile_begin,
                             .num_tiles = wave.tile_end - wave.tile_begin,
                             .completion_group = completion_group.get() + wave.completion_begin,
                             .completion_index = completion_index.get() + wave.completion_begin,
                             .distinct_begin = distinct_begin.get() + wave.completion_begin,
                             .distinct_rows = distinct_rows.get(),
                             .distinct_counts = distinct_counts.get(),
                             .num_completions = wave.completion_end - wave.completion_begin};
    if (bmas_cuda(rows, inverse_norms.get(), batch, cosines.get(), row_max.get(), precision_on_gpu.get(),
                  recall_on_gpu.get(), nullptr) != cudaSuccess)
      return INFINITY;
  }
  precision_on_gpu.copy_back(precision.data());
  recall_on_gpu.copy_back(recall.data());
  double error = 0.0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto index = static_cast<std::int64_t>(i);
    const double p = mean_best(table, completions.view(), index, references.view(), reference_of[i]);
    const double r = mean_best(table, references.view(), reference_of[i], completions.view(), index);
    error = std::fmax(error, std::fmax(std::fabs(precision[i] - p), std::fabs(recall[i] - r)));
  }
  return error;
}

// One group larger than the limit, two that share a wave, one more.
bool waves_are_right() {
  BmasDevicePlan plan;
  plan.row_begin = {0, 10, 12, 14, 20};
  plan.column_begin = {0, 10, 12, 15, 20};  // cosines: 100, 4, 6, 30
  plan.tile_group = {0, 0, 1, 2, 3};
  plan.completion_group = {0, 1, 1, 2, 3};
  const BmasWaves waves = plan_waves(plan, 12);
  if (waves.waves.size() != 3 || waves.most_cosines != 100) return false;
  const BmasWave& middle = waves.waves[1];
  return waves.cosine_begin == std::vector<std::int64_t>{0, 0, 4, 0} && middle.tile_begin == 2 &&
         middle.tile_end == 4 && middle.completion_begin == 1 && middle.completion_end == 4 &&
         waves.waves[2].tile_end == 5 && waves.waves[2].completion_end == 5;
}

}  // namespace

int main() {
  std::mt19937 random(1);
  bool failed = !waves_are_right();
  for (const RowType type : {RowType::float32, RowType::float16, RowType::bfloat16}) {
    for (const std::int64_t dim : {1, 33, 136}) {
      const Table table = make_table(type, 150, dim, random);
      Ragged completions, references;
      for (const int length : {70, 0, 1, 90}) completions.add(length, 150, random);
      for (const int length : {100, 2, 0}) references.add(length, 150, random);
      // Every group in a wave of its own, or all in one.
      const std::int64_t max_cosines = dim == 33 ? 1 : 1 << 28;
      const double error = largest_error(table, completions, references, {0, 0, 1, 0}, max_cosines);
      std::printf("type %d, dim %lld: error %.1e\n", static_cast<int>(type), static_cast<long long>(dim),
                  error);
      failed |= !(error <= 5e-7);
    }
  }
  return failed ? 1 : 0;
}
