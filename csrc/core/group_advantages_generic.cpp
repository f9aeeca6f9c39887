#include <algorithm>
#include <cmath>
#include <limits>

#include "core/group_advantages_kernels.h"

namespace mixed_r1 {

namespace {

constexpr int kLanes = 4;

double usable(double value) {
  return std::fabs(value) <= kLargestReward ? value : std::numeric_limits<double>::quiet_NaN();
}

void usable_products(const double* rewards, std::int64_t count, double weight, double* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = usable(usable(rewards[i]) * weight);
}

// f(lane, value)
template <class Function>
void for_each(const double* values, std::int64_t count, const Function& f) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) f(lane, values[i + lane]);
  }
  for (int lane = 0; i < count; ++i, ++lane) f(lane, values[i]);
}

double total(const double (&lanes)[kLanes]) { return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]); }

GroupStatistics measure(const double* values, std::int64_t num_values) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double count[kLanes] = {}, sum[kLanes] = {}, rest[kLanes] = {}, squares[kLanes] = {}, low[kLanes], high[kLanes];
  std::fill_n(low, kLanes, kInfinity);
  std::fill_n(high, kLanes, -kInfinity);
  for_each(values, num_values, [&](int lane, double value) {
    const bool valid = value == value;
    count[lane] += valid ? 1.0 : 0.0;
    sum[lane] += valid ? value : 0.0;
    low[lane] = value < low[lane] ? value : low[lane];
    high[lane] = value > high[lane] ? value : high[lane];
  });
  const double n = total(count);
  if (n == 0) return {0, 0, 0, kInfinity, -kInfinity};
  const double mean = total(sum) / n;
  for_each(values, num_values, [&](int lane, double value) {
    const double deviation = value == value ? value - mean : 0.0;
    rest[lane] += deviation;
    squares[lane] += deviation * deviation;
  });
  const double left = total(rest), corrected = total(squares) - left * left / n;
  return {static_cast<std::int64_t>(n), mean + left / n, corrected > 0 ? corrected : 0,
          *std::min_element(low, low + kLanes), *std::max_element(high, high + kLanes)};
}

void add_normalised(const double* values, std::int64_t count, double mean, double divisor, double bound, double weight,
                    double* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const double quotient = (values[i] - mean) / divisor;
    const double limited = quotient < -bound ? -bound : quotient > bound ? bound : quotient;
    out[i] += limited == limited ? weight * limited : 0.0;
  }
}

}  // namespace

constinit const AdvantageKernels advantage_kernels_generic = {usable_products, measure, add_normalised};

}  // namespace mixed_r1
