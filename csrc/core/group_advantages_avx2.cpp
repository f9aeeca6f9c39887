#include <immintrin.h>

#include "core/group_advantages_kernels.h"

namespace mixed_r1 {

namespace {

inline __m256d all(double value) { return _mm256_set1_pd(value); }
inline __m256d known(__m256d v) { return _mm256_cmp_pd(v, v, _CMP_EQ_OQ); }
inline __m256i first_lanes(std::int64_t count) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
}

// The last values of a group, and NaN behind them.
inline __m256d load_rest(const double* values, std::int64_t count) {
  const __m256i mask = first_lanes(count);
  return _mm256_blendv_pd(all(__builtin_nan("")), _mm256_maskload_pd(values, mask), _mm256_castsi256_pd(mask));
}

inline __m256d usable(__m256d v) {
  const __m256d magnitude = _mm256_andnot_pd(all(-0.0), v);
  return _mm256_blendv_pd(all(__builtin_nan("")), v, _mm256_cmp_pd(magnitude, all(kLargestReward), _CMP_LE_OQ));
}

void usable_products(const double* rewards, std::int64_t count, double weight, double* out) {
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) _mm256_storeu_pd(out + i, usable(usable(_mm256_loadu_pd(rewards + i)) * all(weight)));
  if (i < count) {
    const __m256d rest = usable(usable(load_rest(rewards + i, count - i)) * all(weight));
    _mm256_maskstore_pd(out + i, first_lanes(count - i), rest);
  }
}

// f(four values)
template <class Function>
inline void for_each(const double* values, std::int64_t count, const Function& f) {
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) f(_mm256_loadu_pd(values + i));
  if (i < count) f(load_rest(values + i, count - i));
}

inline double total(__m256d v) {
  const __m256d pairs = _mm256_hadd_pd(v, v);  // v0 + v1, v2 + v3
  return _mm256_cvtsd_f64(pairs) + _mm_cvtsd_f64(_mm256_extractf128_pd(pairs, 1));
}

inline __m128d fold(__m256d v) { return _mm256_castpd256_pd128(v); }

inline double least(__m256d v) {
  const __m128d two = _mm_min_pd(fold(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_min_sd(two, _mm_unpackhi_pd(two, two)));
}

inline double greatest(__m256d v) {
  const __m128d two = _mm_max_pd(fold(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)));
}

GroupStatistics measure(const double* values, std::int64_t num_values) {
  constexpr double kInfinity = __builtin_inf();
  __m256d count = all(0), sum = all(0), low = all(kInfinity), high = all(-kInfinity);
  for_each(values, num_values, [&](__m256d v) {
    const __m256d valid = known(v);
    count += _mm256_and_pd(valid, all(1));
    sum += _mm256_and_pd(valid, v);
    low = _mm256_min_pd(v, low);  // of NaN and low: low
    high = _mm256_max_pd(v, high);
  });
  const double n = total(count);
  if (n == 0) return {0, 0, 0, kInfinity, -kInfinity};
  const double mean = total(sum) / n;
  __m256d rest = all(0), squares = all(0);
  for_each(values, num_values, [&](__m256d v) {
    const __m256d deviation = _mm256_and_pd(known(v), v - all(mean));
    rest += deviation;
    squares += deviation * deviation;
  });
  const double left = total(rest), corrected = total(squares) - left * left / n;
  return {static_cast<std::int64_t>(n), mean + left / n, corrected > 0 ? corrected : 0, least(low), greatest(high)};
}

void add_normalised(const double* values, std::int64_t count, double mean, double divisor, double bound, double weight,
                    double* out) {
  const auto terms = [&](__m256d v) {
    const __m256d quotient = (v - all(mean)) / all(divisor);
    const __m256d limited = _mm256_max_pd(all(-bound), _mm256_min_pd(all(bound), quotient));  // of NaN: NaN
    return _mm256_and_pd(known(limited), limited * all(weight));
  };
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    _mm256_storeu_pd(out + i, _mm256_loadu_pd(out + i) + terms(_mm256_loadu_pd(values + i)));
  }
  if (i < count) {
    const __m256i mask = first_lanes(count - i);
    _mm256_maskstore_pd(out + i, mask, _mm256_maskload_pd(out + i, mask) + terms(load_rest(values + i, count - i)));
  }
}

}  // namespace

constinit const AdvantageKernels advantage_kernels_avx2 = {usable_products, measure, add_normalised};

}  // namespace mixed_r1
