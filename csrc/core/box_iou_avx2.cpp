#include <immintrin.h>

namespace mixed_r1 {

namespace {

inline __m256 lower(__m256 a, __m256 b) { return _mm256_min_ps(a, b); }
inline __m256 upper(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
inline __m256d lower(__m256d a, __m256d b) { return _mm256_min_pd(a, b); }
inline __m256d upper(__m256d a, __m256d b) { return _mm256_max_pd(a, b); }

inline __m256 positive(__m256 a) {  // as in box_iou_avx512.cpp
  return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_setzero_si256()));
}

}  // namespace

}  // namespace mixed_r1

#include "core/box_iou_kernel.h"

namespace mixed_r1 {

constinit const BoxKernels box_kernels_avx2 = {box_functions<float, __m256>(), box_functions<double, __m256d>()};

}  // namespace mixed_r1
