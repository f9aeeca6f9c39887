// The loops of group_advantages over one group's values, and what they find; group_advantages.cpp decides what to do
// with it. Four lanes, each always summing the same values in the same order: every instruction set gives the same
// bits.
#pragma once

#include <cstdint>

namespace mixed_r1 {

// Of the values that are not NaN. `low` and `high` are infinite where there are none.
struct GroupStatistics {
  std::int64_t count;
  double mean;
  double squares;  // sum of squared deviations
  double low, high;
};

inline constexpr double kLargestReward = 1e140;  // no square or quotient of usable values leaves the range of double

struct AdvantageKernels {
  // reward * weight, NaN where one of the two is not at most kLargestReward in magnitude.
  void (*usable_products)(const double* rewards, std::int64_t count, double weight, double* out);
  GroupStatistics (*measure)(const double* values, std::int64_t count);
  // out += weight * (value - mean) / divisor, the quotient within [-bound, bound]; NaN adds 0.
  void (*add_normalised)(const double* values, std::int64_t count, double mean, double divisor, double bound,
                         double weight, double* out);
};

extern const AdvantageKernels advantage_kernels_generic;
extern const AdvantageKernels advantage_kernels_avx2;

// Those of this processor, below the cap of MIXED_R1_ISA.
const AdvantageKernels& advantage_kernels();

}  // namespace mixed_r1
