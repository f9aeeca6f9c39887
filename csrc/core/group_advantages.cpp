#include "core/group_advantages.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "core/group_advantages_kernels.h"

namespace mixed_r1 {

namespace {

// As in reference.py: equal within 4 units in the last place of float32; between kSmallest and kLargestReward no square
// or quotient leaves the range of double.
constexpr double kRelativeTolerance = 0x1p-21, kSmallest = 1e-140;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double usable(double value) { return std::fabs(value) <= kLargestReward ? value : kNone; }

// NaN where the row is masked or no reward applies.
double weighted_total(const AdvantageInput& input, std::int64_t row) {
  if (input.mask != nullptr && !input.mask[row]) return kNone;
  const double* const rewards = input.rewards + row * input.num_rewards;
  double total = 0;
  bool any = false;
  for (std::int64_t k = 0; k < input.num_rewards; ++k) {
    const double value = usable(usable(rewards[k]) * input.weights[k]);
    if (std::isnan(value)) continue;
    total += value;
    any = true;
  }
  return any ? total : kNone;
}

using Values = std::span<const double>;

GroupStatistics measure(Values values) {
  return advantage_kernels().measure(values.data(), static_cast<std::int64_t>(values.size()));
}

double sample_std(const GroupStatistics& group) {
  return std::sqrt(group.squares / static_cast<double>(group.count - 1));
}

// Zero variance, decided by the range: a standard deviation of equal numbers need not come out as 0.
bool is_constant(const GroupStatistics& group) {
  const double magnitude = std::max(std::fabs(group.low), std::fabs(group.high));
  return group.count < 2 || group.high - group.low <= std::max(kRelativeTolerance * magnitude, kSmallest);
}

void add_normalised(Values values, const GroupStatistics& group, double eps, double weight, double* out) {
  const auto count = static_cast<double>(group.count);
  const double bound = (count - 1) / std::sqrt(count), divisor = sample_std(group) + eps;
  const auto size = static_cast<std::int64_t>(values.size());
  advantage_kernels().add_normalised(values.data(), size, group.mean, divisor, bound, weight, out);
}

void divide_centred(Values values, double mean, double divisor, double* out) {
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = std::isnan(values[i]) ? 0 : (values[i] - mean) / divisor;
}

void gdpo(const AdvantageInput& input, double eps, double* out) {
  const std::int64_t N = input.num_rows, K = input.num_rewards;
  std::vector<double> column(static_cast<std::size_t>(N));
  std::vector<char> valid(static_cast<std::size_t>(N), 0);
  for (std::int64_t k = 0; k < K; ++k) {
    for (std::int64_t i = 0; i < N; ++i) {
      column[i] = input.mask == nullptr || input.mask[i] ? usable(input.rewards[i * K + k]) : kNone;
      valid[i] |= !std::isnan(column[i]);
    }
    std::size_t first = 0;
    for (const std::int64_t size : input.sizes) {
      const Values values(column.data() + first, static_cast<std::size_t>(size));
      const GroupStatistics group = measure(values);
      if (!is_constant(group)) add_normalised(values, group, eps, input.weights[k], out + first);
      first += static_cast<std::size_t>(size);
    }
  }
  // Each normalised reward sums to 0 over its group, so the batch mean is 0 and only the scale is left.
  const std::int64_t num_valid = std::count(valid.begin(), valid.end(), 1);
  double squares = 0;
  for (std::int64_t i = 0; i < N; ++i) squares += out[i] * out[i];
  const double std = std::sqrt(squares / static_cast<double>(std::max<std::int64_t>(num_valid - 1, 1)));
  for (std::int64_t i = 0; i < N; ++i) out[i] = std > kSmallest ? out[i] / (std + eps) : 0;
}

// `scales` are the divisors of the group's rows for task_ema, before eps.
void one_group(Values values, AdvantageMethod method, double eps, double batch_std, const double* scales, double* out) {
  const GroupStatistics group = measure(values);
  if (is_constant(group)) return;
  const auto count = static_cast<double>(group.count);
  switch (method) {
    case AdvantageMethod::group:
      return add_normalised(values, group, eps, 1, out);
    case AdvantageMethod::mean_only:
      return divide_centred(values, group.mean, 1, out);
    case AdvantageMethod::rloo:
      return divide_centred(values, group.mean, (count - 1) / count, out);
    case AdvantageMethod::batch:
      return divide_centred(values, group.mean, std::max(batch_std + eps, kSmallest), out);
    case AdvantageMethod::maxrl:
      if (group.mean > 0) divide_centred(values, group.mean, std::max(group.mean + eps, kSmallest), out);
      return;
    case AdvantageMethod::task_ema:
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (!std::isnan(values[i])) out[i] = (values[i] - group.mean) / std::max(scales[i] + eps, kSmallest);
      }
      return;
    case AdvantageMethod::gdpo:
      return;
  }
}

}  // namespace

void group_advantages(const AdvantageInput& input, AdvantageMethod method, double eps, double* advantages) {
  std::fill_n(advantages, input.num_rows, 0.0);
  if (method == AdvantageMethod::gdpo) return gdpo(input, eps, advantages);
  std::vector<double> totals(static_cast<std::size_t>(input.num_rows));
  if (input.num_rewards == 1 && input.mask == nullptr) {
    advantage_kernels().usable_products(input.rewards, input.num_rows, input.weights[0], totals.data());
  } else {
    for (std::int64_t i = 0; i < input.num_rows; ++i) totals[i] = weighted_total(input, i);
  }
  double batch_std = 0;
  if (method == AdvantageMethod::batch) {
    const GroupStatistics batch = measure(totals);
    if (batch.count > 1) batch_std = sample_std(batch);
  }
  std::size_t first = 0;
  for (const std::int64_t size : input.sizes) {
    const Values values(totals.data() + first, static_cast<std::size_t>(size));
    const double* const scales = input.scales == nullptr ? nullptr : input.scales + first;
    one_group(values, method, eps, batch_std, scales, advantages + first);
    first += static_cast<std::size_t>(size);
  }
}

}  // namespace mixed_r1
