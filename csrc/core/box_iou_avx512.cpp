#include <immintrin.h>

namespace mixed_r1 {

namespace {

inline __m512 lower(__m512 a, __m512 b) { return _mm512_min_ps(a, b); }
inline __m512 upper(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
inline __m512d lower(__m512d a, __m512d b) { return _mm512_min_pd(a, b); }
inline __m512d upper(__m512d a, __m512d b) { return _mm512_max_pd(a, b); }

// As integers, negative numbers are below 0 too, and Zen runs that on all its pipes, where the float minima, maxima and
// sums of this loop fill two.
inline __m512 positive(__m512 a) {
  return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_setzero_si512()));
}

// The divider would be the limit (16 cycles for eight numbers; for sixteen floats it hides behind the rest on Zen 4,
// and costs Intel 9%). The estimate has 14 bits, each step doubles them, and the last one corrects the quotient by its
// exact remainder: within one unit in the last place, and exactly 1 for equal operands.
inline __m512d divide(__m512d numerator, __m512d denominator) {
  const __m512d estimate = _mm512_rcp14_pd(denominator);
  const __m512d error = _mm512_fnmadd_pd(estimate, denominator, _mm512_set1_pd(1));
  const __m512d inverse = _mm512_fmadd_pd(error, estimate, estimate), quotient = numerator * inverse;
  return _mm512_fmadd_pd(_mm512_fnmadd_pd(quotient, denominator, numerator), inverse, quotient);
}

}  // namespace

}  // namespace mixed_r1

#include "core/box_iou_kernel.h"

namespace mixed_r1 {

constinit const BoxKernels box_kernels_avx512 = {box_functions<float, __m512>(), box_functions<double, __m512d>()};

}  // namespace mixed_r1
