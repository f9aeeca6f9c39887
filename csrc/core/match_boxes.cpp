#include "core/match_boxes.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace mixed_r1 {

// Shortest augmenting paths (Crouse, On implementing 2D rectangular assignment algorithms, 2016).
std::span<const std::int64_t> AssignmentSolver::solve(const double* score, std::int64_t rows, std::int64_t columns) {
  row_potential_.assign(rows, 0);
  column_potential_.assign(columns, 0);
  row_of_.assign(columns, -1);
  column_of_.assign(rows, -1);
  for (std::int64_t start = 0; start < rows; ++start) {
    std::int64_t column = augmenting_path(score, columns, start);
    while (column >= 0) {
      const std::int64_t row = previous_[column];
      row_of_[column] = row;
      std::swap(column, column_of_[row]);
    }
  }
  return column_of_;
}

// The free column at the end of the cheapest path from `start`; previous_ leads back. Potentials are updated, so that
// every reduced cost stays at least 0 and is 0 on the assignment.
std::int64_t AssignmentSolver::augmenting_path(const double* score, std::int64_t columns, std::int64_t start) {
  constexpr double kFar = std::numeric_limits<double>::infinity();
  distance_.assign(columns, kFar);
  previous_.assign(columns, -1);
  closed_.assign(columns, 0);
  double reached = 0;
  std::int64_t row = start, end = -1;
  while (row >= 0) {
    const double* const scores = score + row * columns;
    const double base = reached - row_potential_[row];
    double nearest = kFar;
    for (std::int64_t j = 0; j < columns; ++j) {
      if (closed_[j]) continue;
      const double reduced = base - scores[j] - column_potential_[j];
      if (reduced < distance_[j]) {
        distance_[j] = reduced;
        previous_[j] = row;
      }
      if (distance_[j] < nearest) {
        nearest = distance_[j];
        end = j;
      }
    }
    closed_[end] = 1;
    reached = nearest;
    row = row_of_[end];
  }
  row_potential_[start] += reached;
  for (std::int64_t j = 0; j < columns; ++j) {
    if (!closed_[j]) continue;
    const double slack = reached - distance_[j];
    column_potential_[j] -= slack;
    if (row_of_[j] >= 0) row_potential_[row_of_[j]] += slack;
  }
  return end;
}

namespace {

BoxView<double> rows_of(const BoxView<double>& view, std::int64_t first, std::int64_t count) {
  return {view.data + first * view.row_stride, count, view.row_stride, view.column_stride};
}

// In ascending order: the order of the boxes in their set cannot change the last bit.
double ordered_sum(std::span<const BoxMatch> matches, std::vector<double>& values) {
  values.clear();
  for (const BoxMatch& match : matches) values.push_back(match.iou);
  std::sort(values.begin(), values.end());
  return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace

std::vector<BoxMatch> match_boxes(const BoxView<double>& pred, const BoxView<double>& target,
                                  std::span<const std::int64_t> pred_counts,
                                  std::span<const std::int64_t> target_counts, double* total) {
  std::vector<BoxMatch> matches;
  AssignmentSolver solver;
  std::vector<double> iou, values;
  std::int64_t first_pred = 0, first_target = 0;
  for (std::size_t set = 0; set < pred_counts.size(); ++set) {
    const std::int64_t num_pred = pred_counts[set], num_target = target_counts[set];
    const BoxView<double> ours = rows_of(pred, first_pred, num_pred);
    const BoxView<double> theirs = rows_of(target, first_target, num_target);
    const std::size_t begin = matches.size();
    const bool pred_are_rows = num_pred <= num_target;
    const std::int64_t rows = std::min(num_pred, num_target), columns = std::max(num_pred, num_target);
    iou.resize(static_cast<std::size_t>(rows * columns));
    box_iou<double>(pred_are_rows ? ours : theirs, pred_are_rows ? theirs : ours, BoxKind::iou, iou.data());
    const std::span<const std::int64_t> column_of = solver.solve(iou.data(), rows, columns);
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t column = column_of[row];
      const double score = iou[row * columns + column];
      if (!(score > 0)) continue;
      const std::int64_t i = pred_are_rows ? row : column, j = pred_are_rows ? column : row;
      matches.push_back({first_pred + i, first_target + j, score});
    }
    const auto added = matches.begin() + static_cast<std::ptrdiff_t>(begin);
    std::sort(added, matches.end(), [](const BoxMatch& a, const BoxMatch& b) { return a.pred < b.pred; });
    total[set] = ordered_sum(std::span(matches).subspan(begin), values);
    first_pred += num_pred;
    first_target += num_target;
  }
  return matches;
}

}  // namespace mixed_r1
