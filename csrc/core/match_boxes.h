// Optimal one-to-one matching of boxes, set by set. Rules: mixed_r1_kernels/match_boxes/api.py.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/box_iou.h"

namespace mixed_r1 {

// The one-to-one assignment of rows to columns with the largest sum; keeps its memory from one call to the next.
class AssignmentSolver {
 public:
  // score is [rows, columns], rows <= columns; the column of each row, until the next call.
  std::span<const std::int64_t> solve(const double* score, std::int64_t rows, std::int64_t columns);

 private:
  std::int64_t augmenting_path(const double* score, std::int64_t columns, std::int64_t start);

  std::vector<double> row_potential_, column_potential_, distance_;
  std::vector<std::int64_t> row_of_, column_of_, previous_;
  std::vector<char> closed_;
};

struct BoxMatch {
  std::int64_t pred, target;
  double iou;
};

// The matches of all sets, in the order of pred, and the sum of each set in total[pred_counts.size()].
std::vector<BoxMatch> match_boxes(const BoxView<double>& pred, const BoxView<double>& target,
                                  std::span<const std::int64_t> pred_counts,
                                  std::span<const std::int64_t> target_counts, double* total);

}  // namespace mixed_r1
