// What BMAS computes for a batch: distinct tokens, once per reference.
#pragma once

#include <cstdint>
#include <vector>

#include "core/bmas.h"
#include "core/bmas_kernels.h"

namespace mixed_r1 {

// One completion within its group. Ranges are into Group::token_row and Group::distinct.
struct GroupCompletion {
  std::int64_t index = 0;  // in the batch
  std::int64_t tokens_begin = 0, tokens_end = 0;
  std::int64_t distinct_begin = 0, distinct_end = 0;
};

// All completions that share one reference (by content). Rows are the distinct ids of the completions, columns those of
// the reference, each in the order of first appearance.
struct Group {
  std::int64_t reference = 0;
  std::int64_t reference_tokens = 0;
  std::vector<std::int32_t> columns;
  std::vector<std::int32_t> column_counts;
  std::vector<std::int32_t> rows;
  std::vector<std::int32_t> match;  // [rows] the column with the same id, or -1
  std::vector<GroupCompletion> completions;
  std::vector<std::int32_t> token_row;  // the row of each token of each completion
  std::vector<std::int32_t> distinct;   // the rows of each completion, each once

  std::int64_t num_rows() const { return static_cast<std::int64_t>(rows.size()); }
  std::int64_t padded_columns() const {
    return (static_cast<std::int64_t>(columns.size()) + kPanelWidth - 1) / kPanelWidth * kPanelWidth;
  }
  // Padding repeats the first column, which changes no maximum.
  std::int32_t column_id(std::int64_t column) const {
    return columns[column < static_cast<std::int64_t>(columns.size()) ? static_cast<std::size_t>(column) : 0];
  }
};

// Groups in the order of their first completion; completions and references without tokens are in none.
std::vector<Group> plan_groups(std::int64_t num_ids, const TokenSequences& completions,
                               const TokenSequences& references, const std::int64_t* reference_of, int num_threads);

}  // namespace mixed_r1
