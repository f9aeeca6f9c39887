#include "core/advantages.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace mixed_r1 {

namespace {

// As in reference.py: equal within 4 units in the last place of float32; between the magnitudes no square or quotient
// leaves the range of double.
constexpr double kRelativeTolerance = 0x1p-21, kSmallest = 1e-140, kLargest = 1e140;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double usable(double value) { return std::fabs(value) <= kLargest ? value : kNone; }

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

struct Statistics {
  std::int64_t count = 0;  // values that are not NaN
  double mean = 0;
  double squares = 0;  // sum of squared deviations
  double low = std::numeric_limits<double>::infinity(), high = -low;

  double std() const { return std::sqrt(squares / static_cast<double>(count - 1)); }
  // Zero variance, decided by the range: a standard deviation of equal numbers need not come out as 0.
  bool constant() const {
    const double magnitude = std::max(std::fabs(low), std::fabs(high));
    return count < 2 || high - low <= std::max(kRelativeTolerance * magnitude, kSmallest);
  }
};

// f(lane, value) in four lanes: sums that do not wait for one another, always in the same order.
constexpr int kLanes = 4;

template <class Function>
void for_each(std::span<const double> values, const Function& f) {
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) f(lane, values[i + lane]);
  }
  for (int lane = 0; i < values.size(); ++i, ++lane) f(lane, values[i]);
}

double total(const double (&lanes)[kLanes]) { return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]); }

Statistics measure(std::span<const double> values) {
  Statistics result;
  double count[kLanes] = {}, sum[kLanes] = {}, rest[kLanes] = {}, squares[kLanes] = {}, low[kLanes], high[kLanes];
  std::fill_n(low, kLanes, result.low);
  std::fill_n(high, kLanes, result.high);
  for_each(values, [&](int lane, double value) {
    const bool valid = value == value;
    count[lane] += valid ? 1.0 : 0.0;
    sum[lane] += valid ? value : 0.0;
    low[lane] = value < low[lane] ? value : low[lane];
    high[lane] = value > high[lane] ? value : high[lane];
  });
  const double n = total(count);
  result.count = static_cast<std::int64_t>(n);
  if (result.count == 0) return result;
  const double mean = total(sum) / n;
  for_each(values, [&](int lane, double value) {
    const double deviation = value == value ? value - mean : 0.0;
    rest[lane] += deviation;
    squares[lane] += deviation * deviation;
  });
  result.low = *std::min_element(low, low + kLanes);
  result.high = *std::max_element(high, high + kLanes);
  const double left = total(rest);
  result.squares = std::max(total(squares) - left * left / n, 0.0);
  result.mean = mean + left / n;
  return result;
}

// out += weight * (value - mean) / divisor, within [-bound, bound] before the weight.
void add_normalised(std::span<const double> values, const Statistics& group, double eps, double weight, double* out) {
  const auto count = static_cast<double>(group.count);
  const double mean = group.mean, bound = (count - 1) / std::sqrt(count), divisor = group.std() + eps;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double quotient = (values[i] - mean) / divisor;
    const double limited = quotient < -bound ? -bound : quotient > bound ? bound : quotient;
    out[i] += limited == limited ? weight * limited : 0.0;
  }
}

void divide_centred(std::span<const double> values, double mean, double divisor, double* out) {
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
      const std::span<const double> values(column.data() + first, static_cast<std::size_t>(size));
      const Statistics group = measure(values);
      if (!group.constant()) add_normalised(values, group, eps, input.weights[k], out + first);
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
void one_group(std::span<const double> values, AdvantageMethod method, double eps, double batch_std,
               const double* scales, double* out) {
  const Statistics group = measure(values);
  if (group.constant()) return;
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
    const double weight = input.weights[0];
    for (std::int64_t i = 0; i < input.num_rows; ++i) totals[i] = usable(usable(input.rewards[i]) * weight);
  } else {
    for (std::int64_t i = 0; i < input.num_rows; ++i) totals[i] = weighted_total(input, i);
  }
  double batch_std = 0;
  if (method == AdvantageMethod::batch) {
    const Statistics batch = measure(totals);
    if (batch.count > 1) batch_std = batch.std();
  }
  std::size_t first = 0;
  for (const std::int64_t size : input.sizes) {
    const std::span<const double> values(totals.data() + first, static_cast<std::size_t>(size));
    const double* const scales = input.scales == nullptr ? nullptr : input.scales + first;
    one_group(values, method, eps, batch_std, scales, advantages + first);
    first += static_cast<std::size_t>(size);
  }
}

}  // namespace mixed_r1
