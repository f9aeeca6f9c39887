#include "core/bmas_device_plan.h"

#include <algorithm>
#include <stdexcept>

#include "core/bmas_plan.h"

namespace mixed_r1 {

namespace {

using Array = BmasDevicePlan::Array;

std::int32_t end_of(const Array& array) {
  if (array.size() > INT32_MAX) throw std::length_error("a batch must have fewer than 2**31 distinct tokens");
  return static_cast<std::int32_t>(array.size());
}

void append(Array& array, const Array& more) { array.insert(array.end(), more.begin(), more.end()); }

void append_completions(const Group& group, std::int32_t group_index, std::int32_t first_row, Array& counts,
                        BmasDevicePlan& plan) {
  counts.assign(group.rows.size(), 0);
  for (const GroupCompletion& completion : group.completions) {
    for (auto t = completion.tokens_begin; t < completion.tokens_end; ++t) {
      ++counts[static_cast<std::size_t>(group.token_row[static_cast<std::size_t>(t)])];
    }
    for (auto d = completion.distinct_begin; d < completion.distinct_end; ++d) {
      const std::int32_t row = group.distinct[static_cast<std::size_t>(d)];
      plan.distinct_rows.push_back(first_row + row);
      plan.distinct_counts.push_back(counts[static_cast<std::size_t>(row)]);
      counts[static_cast<std::size_t>(row)] = 0;
    }
    plan.distinct_begin.push_back(end_of(plan.distinct_rows));
    plan.completion_group.push_back(group_index);
    plan.completion_index.push_back(static_cast<std::int32_t>(completion.index));
  }
}

}  // namespace

BmasDevicePlan plan_for_device(std::int64_t num_ids, const TokenSequences& completions,
                               const TokenSequences& references, const std::int64_t* reference_of, int row_block,
                               int num_threads) {
  const std::vector<Group> groups = plan_groups(num_ids, completions, references, reference_of, num_threads);
  BmasDevicePlan plan;
  plan.row_begin = plan.column_begin = plan.distinct_begin = {0};
  Array counts;
  for (const Group& group : groups) {
    const std::int32_t first_row = plan.row_begin.back(), index = end_of(plan.row_begin) - 1;
    append(plan.row_ids, group.rows);
    append(plan.column_ids, group.columns);
    append(plan.column_counts, group.column_counts);
    plan.row_begin.push_back(end_of(plan.row_ids));
    plan.column_begin.push_back(end_of(plan.column_ids));
    for (std::int64_t row = 0; row < group.num_rows(); row += row_block) {
      plan.tile_group.push_back(index);
      plan.tile_row.push_back(first_row + static_cast<std::int32_t>(row));
    }
    append_completions(group, index, first_row, counts, plan);
  }
  return plan;
}

BmasWaves plan_waves(const BmasDevicePlan& plan, std::int64_t max_cosines) {
  BmasWaves planned;
  const auto num_groups = static_cast<std::int32_t>(plan.row_begin.size() - 1);
  std::size_t tile = 0, completion = 0;
  std::int64_t cosines = 0;
  for (std::int32_t group = 0; group < num_groups; ++group) {
    const auto next = static_cast<std::size_t>(group) + 1;
    const std::int64_t rows = plan.row_begin[next] - plan.row_begin[next - 1];
    const std::int64_t area = rows * (plan.column_begin[next] - plan.column_begin[next - 1]);
    if (group == 0 || cosines + area > max_cosines) {
      const auto t = static_cast<std::int64_t>(tile), c = static_cast<std::int64_t>(completion);
      planned.waves.push_back({t, t, c, c});
      cosines = 0;
    }
    planned.cosine_begin.push_back(cosines);
    cosines += area;
    planned.most_cosines = std::max(planned.most_cosines, cosines);
    while (tile < plan.tile_group.size() && plan.tile_group[tile] == group) ++tile;
    while (completion < plan.completion_group.size() && plan.completion_group[completion] == group) ++completion;
    planned.waves.back().tile_end = static_cast<std::int64_t>(tile);
    planned.waves.back().completion_end = static_cast<std::int64_t>(completion);
  }
  return planned;
}

}  // namespace mixed_r1
